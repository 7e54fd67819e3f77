"""`sightline albums`: what was made on the page, for the terminal and for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.program import app
from indexer.library import Library
from indexer.types import FAVOURITES
from tests.media import draw_image


@pytest.mark.slow
def test_albums_are_listed_with_their_files_and_what_is_missing(tmp_path: Path) -> None:
    folder, home = tmp_path / "photos", tmp_path / "library"
    paths = [draw_image(folder / f"{n}.jpg", seed=n) for n in range(3)]
    with Library.open(home, ocr="off") as library:
        library.index([folder])
        ids = [file.file_id for path in paths if (file := library.file_at(path))]
        library.add_to_album("Trip to Oslo", ids)
        library.add_to_album(FAVOURITES, ids[:1])
        paths[2].unlink()
        library.index()

    def sightline(*words: str) -> str:
        result = CliRunner().invoke(app, ["albums", *words, "--data-dir", str(home)])
        assert result.exit_code == 0, result.output
        return result.stdout

    lines = [line.split() for line in sightline().splitlines()]
    assert lines == [["1", "favourites"], ["2", "Trip", "to", "Oslo", "(1", "not", "in", "the", "library)"]]
    assert [album["count"] for album in json.loads(sightline("--json"))] == [1, 2]
    items = json.loads(sightline("trip to oslo", "--json"))
    assert items == [{"path": str(path), "missing": n == 2} for n, path in enumerate(paths)]
    assert sightline("--favourites").splitlines() == [str(paths[0])]
    assert CliRunner().invoke(app, ["albums", "Nowhere", "--data-dir", str(home)]).exit_code == 1
