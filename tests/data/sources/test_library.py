"""Pairs of a real library whose catalogue is on a real PostgreSQL server: those of the embedded one."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from data.sources.library import LibrarySource
from data.sources.pair import LoadedSide, SourceError
from data.sources.registry import open_source
from indexer.library import Library
from tests import media
from tests.postgresql import Server
from train.loading import Loader, pieces

NO_UTF8 = b"/caf\xe9.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Pictures")
    media.draw_image(folder / "a.jpg", "hello", (320, 240))
    shutil.copy(folder / "a.jpg", os.fsencode(folder) + NO_UTF8)
    with (folder / os.fsdecode(NO_UTF8[1:])).open("ab") as file:
        file.write(b"\0")  # another content
    pages = ["The notice period is three months to the end of a quarter.", "Parking is not included in it."]
    media.draw_pdf(folder / "b.pdf", pages)
    return folder


@pytest.fixture(scope="module")
def libraries(
    folder: Path, postgresql_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path, str]]:
    """(folder of the embedded one, folder of the other one, its database)."""
    place, address = tmp_path_factory.mktemp("libraries"), postgresql_server.database()
    for name, more in (("embedded", {}), ("shared", {"catalogue": address})):
        with Library.open(place / name, nice=False, ocr="off", **more) as library:
            assert library.index([folder]).failed == 0
    yield place / "embedded", place / "shared", address


def told(source: LibrarySource) -> list[str]:
    """Its pairs, whatever numbers they have."""
    pairs = [source[row] for row in range(len(source))]
    return sorted(str((p.query, p.positive.looks_for, p.positive.media)) for p in pairs)


@pytest.mark.parametrize("pairs", ["text", "media", ["text", "media"]], ids=str)
def test_a_library_on_a_server_gives_the_pairs_of_the_embedded_one(
    libraries: tuple[Path, Path, str], folder: Path, pairs: Any
) -> None:
    embedded, _, address = libraries
    source = open_source({"type": "library", "catalogue": address, "pairs": pairs}, Path("unused"))
    wanted = LibrarySource(embedded, pairs=pairs)
    assert told(source) == told(wanted) and len(wanted) >= 2
    if "media" in pairs:
        shown = [source[row].positive.media for row in range(len(source))]
        assert os.fsencode(folder) + NO_UTF8 in [os.fsencode(m.path) for m in shown if m is not None]


def words(sides: list[LoadedSide]) -> list[str]:
    return [side.text for side in sides]


def test_loader_processes_have_connections_of_their_own(libraries: tuple[Path, Path, str]) -> None:
    """Made by fork, after this process has used its own, and used in between."""
    source = LibrarySource(catalogue=libraries[2])
    here = [source[row].query.text for row in range(len(source))]
    share = [(0, row) for row in range(len(source))]
    steps = pieces(Loader([source], words, max_frames=1), iter([share] * 4), 1, workers=2)
    for step in steps:
        assert [text for piece in step for text in piece.queries] == here
        assert source[0].query.text == here[0]
    assert pickle.loads(pickle.dumps(source))[0] == source[0]


def test_clicks_lie_in_the_librarys_folder_wherever_its_catalogue_is(
    libraries: tuple[Path, Path, str],
) -> None:
    _, shared, address = libraries
    with sa.create_engine(address).connect() as database:
        content = database.execute(sa.text("SELECT hash FROM content WHERE kind = 'pdf'")).scalar_one()
    click = {"query": "parking", "content": bytes(content).hex(), "page": 2, "start_s": None, "end_s": None}
    (shared / "clicks.jsonl").write_text(json.dumps(click) + "\n")
    source = LibrarySource(shared, catalogue=address, pairs="clicks")
    assert len(source) == 1 and source[0].query.text == "parking"
    assert source[0].positive.media is not None and source[0].positive.media.span.page == 2
    with pytest.raises(SourceError, match="clicks are kept in the library's folder; name it with data_dir"):
        LibrarySource(catalogue=address, pairs="clicks")


def test_a_catalogue_is_only_read(libraries: tuple[Path, Path, str]) -> None:
    for source in (LibrarySource(libraries[0]), LibrarySource(catalogue=libraries[2])):
        with (
            pytest.raises(SourceError, match=r"read-?only"),
            source._catalogue.reading() as reading,
        ):
            reading.execute(sa.text("DELETE FROM chunk"))


def test_what_left_the_library_since_is_skipped_and_named(
    libraries: tuple[Path, Path, str], tmp_path: Path
) -> None:
    shutil.copytree(libraries[0], tmp_path / "copy")
    source = LibrarySource(tmp_path / "copy", pairs="media")
    gone = source._rows[1][1]
    with sa.create_engine(f"sqlite:///{tmp_path}/copy/catalogue.sqlite").begin() as database:
        database.exec_driver_sql("PRAGMA foreign_keys = OFF")
        database.exec_driver_sql("UPDATE chunk SET id = id + 1000 WHERE id = ?", (gone,))
    (step,) = pieces(Loader([source], words, max_frames=1), iter([[(0, 1)]]), 1, 0)
    assert step[0].missing[0][2] == "library, row 1: it is no longer in the library"


@pytest.mark.parametrize(
    "address, said",
    [
        (
            "postgresql://me:secret@127.0.0.1:1/library",
            r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/library",
        ),
        ("mysql://me:secret@box/library", r"not mysql://me:\*\*\*@box/library"),
        ("me:secret at box", "catalogue is an address"),
        ("$NOBODYS_ADDRESS", "catalogue is an address"),
    ],
)
def test_an_address_that_does_not_do_is_said_without_its_password(address: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        LibrarySource(catalogue=address)
    assert "secret" not in str(caught.value)


def test_a_database_without_a_library_is_named(
    postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_CATALOGUE", postgresql_server.database())
    with pytest.raises(SourceError, match=r"library_\S+ cannot be read as a Sightline library .*chunk"):
        LibrarySource(catalogue="$OUR_CATALOGUE")
    with pytest.raises(SourceError, match="with data_dir, or its database with catalogue"):
        LibrarySource()
