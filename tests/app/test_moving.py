"""`sightline migrate`: a person moves a library to a server and back with one command each."""

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli import app
from indexer.records import LibraryError
from tests import media
from tests.postgresql import Server

runner = CliRunner()


def sightline(*arguments: object) -> dict:
    done = runner.invoke(app, [str(a) for a in (*arguments, "--json")])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_a_library_is_moved_to_a_server_and_back_into_a_folder(
    tmp_path: Path, postgresql_server: Server
) -> None:
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
