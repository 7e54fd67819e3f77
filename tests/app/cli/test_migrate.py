"""`sightline migrate`: a person moves a library to a server and back with one command each."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.program import app
from indexer.errors import LibraryError
from tests import media
from tests.milvus_server import RunningMilvus
from tests.postgresql import Server

runner = CliRunner()


def sightline(*arguments: object) -> dict:
    done = runner.invoke(app, [str(a) for a in (*arguments, "--json")])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_a_library_is_moved_to_a_server_and_back_into_a_folder(tmp_path: Path, postgresql_server: Server) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_pdf(folder / "letter.pdf", ["An invoice for bananas", "Greetings from the harbour"])
    media.draw_image(folder / "photo.jpg", seed=1, size=(160, 120))
    old, server = ("--data-dir", tmp_path / "old"), postgresql_server.database()
    sightline("index", folder, *old)
    told = sightline("migrate", "--to", server, *old)
    assert (told["rows"]["file"], told["rows"]["chunk"]) == (2, 3)
    there = (*old, "--catalogue", server)
    back = sightline("migrate", "--to", tmp_path / "back", *there)
    assert back["digests"] == told["digests"]
    hits = [
        [(h["path"], h["chunk_id"], h["score"]) for h in sightline("search", "bananas", *place)["hits"]]
        for place in (old, there, ("--data-dir", tmp_path / "back"))
    ]
    assert hits[0] == hits[1] == hits[2] and hits[0][0][0].endswith("letter.pdf")
    assert sightline("index", *there)["chunks"] == 0
    again = runner.invoke(app, ["migrate", "--to", server, *map(str, old)])
    assert isinstance(again.exception, LibraryError) and "moved there already" in str(again.exception)


def test_an_address_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    done = runner.invoke(app, ["status", "--data-dir", str(tmp_path), "--catalogue", "mysql://h/d"])
    assert done.exit_code == 2 and "postgresql+psycopg://USER@HOST/DATABASE" in done.output


def sound(*library: object) -> None:
    done = runner.invoke(app, ["verify", *map(str, library)])
    assert done.exit_code == 0, done.output


KILLED = """
import os, signal, sys
from indexer.catalogue import migrate
from indexer.vectors.milvus import collection
migrate.BATCH = 2
where, after = {"rows": (migrate, "_write"), "vectors": (collection.VectorCollection, "upsert")}, 0
owner, name = where[sys.argv[1]]
real = getattr(owner, name)
def cut(*arguments):
    global after
    after += 1
    if after == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(owner, name, cut)
from app.cli.program import app
app(sys.argv[3:])
"""


@pytest.mark.long
def test_a_library_moves_to_both_servers_and_back_through_kills_and_answers_meanwhile(
    tmp_path: Path, postgresql_server: Server, milvus: RunningMilvus
) -> None:
    """Killed while rows go over, killed again before the vectors do; each time the same command goes on."""
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_pdf(folder / "letter.pdf", ["An invoice for bananas", "Greetings from the harbour"])
    for n in range(3):
        media.draw_image(folder / f"photo {n}.jpg", seed=n, size=(160, 120))
    database = postgresql_server.database()
    old = ("--data-dir", tmp_path / "old")
    there = ("--data-dir", tmp_path / "there", "--catalogue", database, "--vectors", milvus.url("moved"))
    sightline("index", folder, *old)

    def hits(*library: object) -> list[tuple[str, float]]:
        found = [sightline("search", text, *library)["hits"] for text in ("bananas", "a red circle")]
        return [(h["path"], h["score"]) for each in found for h in each]

    before = hits(*old)
    migrate = ("migrate", "--to", database, *old, "--vectors", milvus.url("moved"))
    for what, after in (("rows", 4), ("vectors", 1)):
        command = [sys.executable, "-c", KILLED, what, str(after), *map(str, migrate)]
        cut = subprocess.run(command, capture_output=True, text=True, check=False)
        assert cut.returncode == -signal.SIGKILL, cut.stderr
        assert hits(*old) == before
        if what == "rows":
            unfinished = runner.invoke(app, ["status", *map(str, there)])
            assert "not whole yet: run the same `sightline migrate` again" in str(unfinished.exception)
    told = sightline(*migrate)
    assert told["written"] == 0  # all rows were there, the vectors were not
    assert hits(*old) == before
    assert [path for path, _ in hits(*there)] == [path for path, _ in before]
    assert all(abs(a - b) <= 1e-3 for (_, a), (_, b) in zip(hits(*there), before, strict=True))
    sound(*there)
    back = sightline("migrate", "--to", tmp_path / "back", *there[:4])
    assert back["digests"] == told["digests"]
    home = ("--data-dir", tmp_path / "back")
    assert hits(*home) == before
    sound(*home)
    for place in (there, home):
        assert sightline("index", *place)["chunks"] == 0


def test_what_the_environment_says_of_the_old_librarys_vectors_is_not_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_image(folder / "photo.jpg", seed=1, size=(160, 120))
    sightline("index", folder, "--data-dir", tmp_path / "old")
    monkeypatch.setenv("SIGHTLINE_VECTORS", "milvus://127.0.0.1:9/home")  # nobody is there, and nobody asks
    done = runner.invoke(app, ["migrate", "--to", str(tmp_path / "new"), "--data-dir", str(tmp_path / "old")])
    assert done.exit_code == 0 and "Take SIGHTLINE_VECTORS away" in done.output
    monkeypatch.delenv("SIGHTLINE_VECTORS")
    assert sightline("search", "photo", "--data-dir", tmp_path / "new")["hits"]
