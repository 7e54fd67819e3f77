"""A library on a medium that nothing can be written to is searched, shown and verified with all that it holds; and
`verify` without `--repair` writes nothing anywhere."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Part, Query
from tests.indexer.conftest import OpenLibrary

State = Callable[[Library, Path], None]


def closed(library: Library, to: Path) -> None:
    """One file: the last program to end took the WAL in."""
    library.close()
    shutil.copytree(library.data_dir, to)


def with_unread_wal(library: Library, to: Path) -> None:
    """As a backup program finds it while the library is in use: nearly everything is in the WAL."""
    shutil.copytree(library.data_dir, to, ignore=shutil.ignore_patterns("*-shm"))
    assert (to / "catalogue.sqlite-wal").stat().st_size > 100_000


def with_wal_and_index(library: Library, to: Path) -> None:
    """As after a power cut."""
    shutil.copytree(library.data_dir, to)
    assert (to / "catalogue.sqlite-shm").exists()


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "medium"
    yield folder
    for path in [folder, *folder.rglob("*")] if folder.exists() else ():
        path.chmod(0o700)  # so that it can be deleted


def take_writing_away(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)


@pytest.mark.unprivileged
@pytest.mark.parametrize("state", [closed, with_unread_wal, pytest.param(with_wal_and_index, marks=pytest.mark.long)])
def test_a_library_that_cannot_be_written_gives_all_that_it_holds(
    folder: Path, open_library: OpenLibrary, unwritable: Path, state: State
) -> None:
    library = open_library()
    (folder / "broken.jpg").write_bytes(b"no picture")
    library.index([folder])
    expected = library.status()
    state(library, unwritable)
    take_writing_away(unwritable)
    before = {path: path.stat().st_mtime_ns for path in unwritable.rglob("*")}
    with pytest.raises(LibraryError, match="cannot be written: check the folder's permissions"):
        Library.open(unwritable, ocr="off").catalogue.settings.set("a", "b")
    with Library.open(unwritable, read_only=True) as reader:
        assert (reader.status().chunks, reader.status().failed) == (expected.chunks, 1) == (7, 1)
        assert [Path(f.path).name for f in reader.failures()] == ["broken.jpg"]
        assert reader.search(Query((Part(text="bananas"),))).hits[0].title == "letter.pdf"
        video = reader.file_at(folder / "clip.mp4")
        assert video is not None and reader.transcript(video.file_id) == []
        assert reader.thumbnail(1) is not None
        report = reader.verify()
        assert report.problems == [] and report.sampled == 5
    assert {path: path.stat().st_mtime_ns for path in unwritable.rglob("*")} == before


@pytest.mark.unprivileged
def test_verify_finds_damage_where_it_cannot_be_repaired(
    folder: Path, open_library: OpenLibrary, unwritable: Path
) -> None:
    library = open_library()
    library.index([folder])
    with closing(sqlite3.connect(library.data_dir / "catalogue.sqlite")) as c:
        c.execute("INSERT INTO words (words) VALUES ('delete-all')")
        c.execute("DELETE FROM embedding WHERE chunk_id = 1")
        c.commit()
    closed(library, unwritable)
    take_writing_away(unwritable)
    with Library.open(unwritable, read_only=True) as reader:
        problems = reader.verify().problems
        assert ["index of words" in problems[0], "1 chunks have no embedding" in problems[1]] == [True, True]
        with pytest.raises(LibraryError, match="opened for reading only"):
            reader.verify(repair=True)


def mounted_read_only(library: Library, medium: Path) -> list[str]:
    """A copy of the library, and the command that mounts it at `medium` and replaces itself with a shell command that
    is to follow. Skips where a folder cannot be mounted."""
    copy = medium.with_name("copy")
    with_unread_wal(library, copy)
    medium.mkdir()
    mount = f"mount --bind {copy} {medium} && mount -o remount,ro,bind {medium}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this account may not mount a folder read-only")
    return ["unshare", "-rm", "sh", "-c", f'{mount} && ! touch {medium}/x 2>/dev/null && eval "$1"', "sh"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a read-only mount")
def test_the_commands_work_on_a_read_only_file_system(folder: Path, open_library: OpenLibrary, tmp_path: Path) -> None:
    library = open_library()
    library.index([folder])
    medium = tmp_path / "medium"
    shell = mounted_read_only(library, medium)
    commands = " && ".join(
        f"{sys.executable} -m app.cli {command} --data-dir {medium}"
        for command in ("search bananas", "status", "failures", "transcript clip.mp4", "verify")
    )
    commands = commands.replace("clip.mp4", str(folder / "clip.mp4"))
    done = subprocess.run(
        [*shell, commands], capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "letter.pdf" in done.stdout and "Everything is in order; 5 of 5 contents" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a read-only mount")
def test_a_library_is_served_from_a_read_only_file_system(
    folder: Path, open_library: OpenLibrary, tmp_path: Path
) -> None:
    library = open_library()
    library.index([folder])
    library.clicks.enable(True)
    assert library.clicks.add("bananas", 1)
    medium = tmp_path / "medium"
    shell = mounted_read_only(library, medium)
    options = f"--no-browser --port 0 --data-dir {medium}"
    serve = f"exec {sys.executable} -m app.cli run {folder} {options}"
    with subprocess.Popen([*shell, serve], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            notice, address, token_line = (server.stderr.readline().strip() for _ in range(3))
            assert notice == (
                f"{medium} is open for reading only: the library is searched and shown as it is; nothing is indexed,"
                " changed or recorded."
            )
            assert token_line == f"The token cannot be stored in {medium}: it holds for this run."
            url, _, token = address.removeprefix("Sightline is at ").partition("/?token=")
            headers = {"authorization": f"Bearer {token}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                while not (status := client.get("/api/status").json())["gradio"]:
                    time.sleep(0.1)
                assert status["notices"][0] == notice and status["chunks"] == 7
                (hit, *_) = client.get("/api/search", params={"q": "bananas"}).json()["hits"]
                assert hit["title"] == "letter.pdf"
                sent = {"files": ("a.jpg", (folder / "photo 0.jpg").read_bytes())}
                assert client.post("/api/search", files=sent).json()["hits"][0]["title"] == "photo 0.jpg"
                for path in (hit["thumb_url"], f"/media/{hit['file_id']}", f"/page/{hit['file_id']}/1.webp", "/"):
                    assert client.get(path).status_code == 200, path
                for method, path, json in (
                    ("POST", "/api/roots", {"path": str(tmp_path)}),
                    ("POST", "/api/failures/retry", None),
                    ("POST", "/api/clicks", {"q": "bananas", "chunk_id": 1}),
                    ("PUT", "/api/clicks", {"keep": False}),
                    ("DELETE", "/api/clicks", None),
                ):
                    answer = client.request(method, path, json=json)
                    assert answer.status_code == 400 and answer.json()["error"].endswith("."), (path, answer.text)
        finally:
            server.terminate()
        assert server.wait(30) in (0, 143, -15)
        assert server.stderr.read() == ""
    elsewhere = f"{sys.executable} -m app.cli run {tmp_path / 'copy'} {options}"
    refused = subprocess.run([*shell, elsewhere], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"sightline: {tmp_path / 'copy'} is not in the library, and {medium} cannot be")
    assert refused.stderr.count("\n") == 1


def test_verify_does_not_wait_for_another_programs_write_lock(folder: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([folder])
    with closing(sqlite3.connect(library.data_dir / "catalogue.sqlite", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM embedding")
        report = open_library(read_only=True).verify()  # waits 30 s for a lock, and fails then, if it takes one
        writer.execute("ROLLBACK")
    assert report.problems == []


def test_a_new_library_that_holds_nothing_is_searched_without_writing(open_library: OpenLibrary) -> None:
    open_library().close()
    reader = open_library(read_only=True)
    assert reader.search(Query((Part(text="bananas"),))).hits == ()
    with reader.catalogue.database.reader() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM model").scalar() == 0
