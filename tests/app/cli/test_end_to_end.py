"""The walking road, end to end: the real command on real files, good and bad."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from app.demo import build
from tests.media import draw_image

Run = Any


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photographs, clips and handbook, and beside them what goes wrong in real folders."""
    folder = build(tmp_path_factory.mktemp("files"))
    bad = folder / "Bad"
    bad.mkdir()
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "notes.mp4").write_text("These are notes, not a film.\n" * 50)
    locked = pymupdf.open()
    locked.new_page().insert_text((72, 72), "secret")
    locked.save(bad / "locked.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="a", user_pw="b")
    (folder / "readme.txt").write_text("not of any kind we read")
    shutil.copy(folder / "Photos/Safari/IMG_0431.jpg", folder / "Photos/copy of the lion.jpg")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home") / "library"


@pytest.fixture(scope="module")
def sightline(home: Path) -> Run:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *map(str, words)],
            env=os.environ | {"SIGHTLINE_DATA_DIR": str(home), "COLUMNS": "200", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture(scope="module")
def indexed(sightline: Run, folder: Path) -> dict[str, Any]:
    done = sightline("index", folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hits(sightline: Run, *words: str | Path) -> list[dict[str, Any]]:
    done = sightline("search", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["hits"]


def test_every_file_is_accounted_for(indexed: dict[str, Any]) -> None:
    counts = {name: indexed[name] for name in ("files", "images", "videos", "pdfs", "failed")}
    assert counts == {"files": 13, "images": 7, "videos": 4, "pdfs": 2, "failed": 3}
    assert indexed["chunks"] == 13, "five photographs, three clips, five pages"


def test_words_find_the_page_that_says_them(sightline: Run, indexed: dict[str, Any]) -> None:
    first = hits(sightline, "where are the life jackets")[0]
    assert (first["title"], first["page"], first["relevant"]) == ("cabin handbook.pdf", 4, True)
    assert first["open_url"] == f"/open/{first['chunk_id']}"


def test_words_find_the_picture(sightline: Run, indexed: dict[str, Any]) -> None:
    first = hits(sightline, "a lion", "--kind", "image")[0]
    assert any(path.endswith("Safari/IMG_0431.jpg") for path in (first["path"], *first["also_at"]))


def test_a_quiet_search_answers_with_its_exit_code(sightline: Run, indexed: dict[str, Any]) -> None:
    for words, code in (("where are the life jackets", 0), ("zzqx", 1)):
        done = sightline("search", words, "-q")
        assert (done.returncode, done.stdout, done.stderr) == (code, "", ""), words


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("pending", "It is not transcribed yet: "),
        ("failed", "Its sound could not be read"),
        ("none", "It has no sound."),
        ("whisper:tiny.en@1", "No speech was recognised in it."),
    ],
)
def test_a_transcript_without_lines_says_why(
    sightline: Run, indexed: dict[str, Any], folder: Path, home: Path, state: str, sentence: str
) -> None:
    with contextlib.closing(sqlite3.connect(home / "catalogue.sqlite")) as connection, connection:
        connection.execute("UPDATE content SET heard = ? WHERE kind = 'video'", (state,))
    done = sightline("transcript", folder / "Videos/clip b.mp4")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(sentence)
    told = json.loads(sightline("transcript", folder / "Videos/clip b.mp4", "--json").stdout)
    assert told == {"cues": [], "state": "transcribed" if "@" in state else state}


def test_a_picture_finds_itself_and_its_copy_is_named_with_it(
    sightline: Run, indexed: dict[str, Any], folder: Path
) -> None:
    first = hits(sightline, "--image", folder / "Photos/Safari/IMG_0431.jpg")[0]
    paths = {first["path"], *first["also_at"]}
    assert paths == {str(folder / "Photos/Safari/IMG_0431.jpg"), str(folder / "Photos/copy of the lion.jpg")}


def test_a_clip_finds_its_video(sightline: Run, indexed: dict[str, Any], folder: Path) -> None:
    first = hits(sightline, "--video", folder / "Videos/clip b.mp4", "--kind", "video")[0]
    assert first["title"] == "clip b.mp4"
    assert first["start_s"] == 0.0


def test_words_and_a_picture_together_find_what_is_both(sightline: Run, indexed: dict[str, Any], folder: Path) -> None:
    found = hits(sightline, "cheetah", "--image", folder / "Photos/Safari/IMG_0431.jpg", "--kind", "image")
    assert {Path(h["path"]).parent.name for h in found[:2]} <= {"Safari", "Photos"}


def test_indexing_again_reads_no_file_again(sightline: Run, indexed: dict[str, Any], folder: Path) -> None:
    again = json.loads(sightline("index", folder, "--json").stdout)
    assert (again["files"], again["chunks"]) == (indexed["files"], 0)


def test_each_bad_file_has_its_reason_in_one_line(sightline: Run, indexed: dict[str, Any]) -> None:
    failures = {Path(f["path"]).name: f["reason"] for f in json.loads(sightline("failures", "--json").stdout)}
    assert failures.keys() == {"empty.jpg", "notes.mp4", "locked.pdf"}
    assert "empty" in failures["empty.jpg"]
    assert "not a video" in failures["notes.mp4"]
    assert "password" in failures["locked.pdf"]
    assert not any("\n" in reason or "Error" in reason for reason in failures.values())


def test_status_tells_what_there_is(sightline: Run, indexed: dict[str, Any], folder: Path) -> None:
    status = json.loads(sightline("status", "--json").stdout)
    assert status["roots"] == [str(folder)]
    assert (status["chunks"], status["pending"], status["failed"]) == (13, 0, 3)
    assert status["model"].startswith("lite@")
    spoken = sightline("status").stdout
    assert "13 chunks" in spoken and "3 could not be read" in spoken


def test_a_moment_is_found_in_a_video_of_the_library(sightline: Run, indexed: dict[str, Any], folder: Path) -> None:
    film = folder / "Videos/earth from orbit.mp4"
    found = json.loads(sightline("moments", film, "a planet", "--json").stdout)
    assert found and all(0 <= m["start_s"] <= m["at_s"] <= m["end_s"] <= 31 for m in found)
    elsewhere = sightline("moments", folder / "readme.txt", "a planet")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "is not in the library" in elsewhere.stderr


def test_labels_can_be_searched_for(sightline: Run, indexed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("lion\ntower\nbus\n")
    assert sightline("label", "--labels", tmp_path / "labels.txt").returncode == 0
    assert "IMG_0431.jpg" in {Path(h["path"]).name for h in hits(sightline, "label:lion")} | {
        Path(p).name for h in hits(sightline, "label:lion") for p in h["also_at"]
    }
    done = sightline("label", "--labels", "kinetics")
    assert done.returncode == 0 and "labels stored" in done.stderr
    from indexer.features.labels import names

    listed = {line.split(None, 1)[1] for line in done.stdout.splitlines()}
    assert len(listed - {"lion", "tower", "bus"}) > 3
    assert listed <= {*names("kinetics"), "lion", "tower", "bus"}, "other labels stay"


def test_an_answer_is_chosen_for_a_picture(sightline: Run, indexed: dict[str, Any], folder: Path) -> None:
    picture = folder / "Photos/Safari/IMG_0431.jpg"
    done = sightline("answer", "What is this?", "--choices", "a lion", "a bus", "an invoice", "--image", picture)
    assert done.stdout.splitlines()[0] == "a lion"
    assert sightline("answer", "What?", "--choices", "one", "--image", picture).returncode == 2


def test_the_library_can_be_taken_elsewhere(sightline: Run, indexed: dict[str, Any], tmp_path: Path) -> None:
    assert sightline("export", "--out", tmp_path / "all.jsonl").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 13 and {len(row["vector"]) for row in rows} == {1152}
    table = sightline("search", "life jackets", "--csv").stdout.splitlines()
    assert table[0].startswith("rank,score,relevant,kind,path") and "cabin handbook.pdf" in table[1]


def test_the_library_is_in_order(sightline: Run, indexed: dict[str, Any]) -> None:
    done = sightline("verify")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_an_empty_folder_is_no_error(sightline: Run, indexed: dict[str, Any], tmp_path: Path) -> None:
    done = sightline("index", tmp_path, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["files"] == 0
    assert sightline("forget", tmp_path).returncode == 0


def test_searching_where_no_library_is_says_what_to_do(tmp_path: Path, sightline: Run) -> None:
    done = sightline("search", "a cat", "--data-dir", tmp_path / "none")
    assert done.returncode == 1
    assert "index" in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, which only root may make."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.long
def test_a_full_disk_is_said_and_loses_nothing(sightline: Run, small_disk: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for n in range(80):
        draw_image(photos / f"{n}.png", text=str(n), size=(320, 320), seed=n)
    done = sightline("index", photos, "--data-dir", small_disk / "library")
    assert done.returncode == 1
    assert "full" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    after = sightline("index", photos, "--data-dir", small_disk / "library", "--json")
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout)["images"] == 80
    assert sightline("verify", "--data-dir", small_disk / "library").returncode == 0
