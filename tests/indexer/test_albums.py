"""Albums and favourites of a real library: found by their words, through renames, another indexing and `verify`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from indexer import export
from indexer.errors import QueryError
from indexer.library import Library
from indexer.types import FAVOURITES, Part, Query
from tests.indexer.conftest import OpenLibrary


def ids_of(library: Library, *paths: Path) -> list[int]:
    files = [library.file_at(path) for path in paths]
    return [file.file_id for file in files if file is not None]


def titles(library: Library, text: str) -> list[str]:
    return sorted({hit.title for hit in library.search(Query((Part(text=text),)), 50).hits})


@pytest.mark.slow
def test_an_album_is_found_after_a_rename_another_indexing_and_verify(folder: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([folder])
    library.add_to_album("Trip to Oslo", ids_of(library, folder / "photo 1.jpg", folder / "letter.pdf"))
    library.add_to_album(FAVOURITES, ids_of(library, folder / "photo 1.jpg"))
    assert titles(library, 'album:"trip to oslo"') == ["letter.pdf", "photo 1.jpg"]
    assert titles(library, 'album:"trip to oslo" type:image is:favourite') == ["photo 1.jpg"]
    assert titles(library, 'bananas album:"trip to oslo"')[0] == "letter.pdf"
    (folder / "elsewhere").mkdir()
    (folder / "photo 1.jpg").rename(folder / "elsewhere" / "renamed.jpg")
    library.index()
    assert library.verify(repair=True).problems == []
    assert titles(library, "is:favourite") == ["renamed.jpg"]
    hits = library.search(Query((Part(text="type:image"),))).hits
    assert {hit.title: hit.favourite for hit in hits}["renamed.jpg"]
    library.forget(folder)
    gone = library.search(Query((Part(text='album:"Trip to Oslo"'),)))
    assert gone.total == 0 and gone.notice is not None and gone.notice.startswith("The 2 files of the album")
    assert library.albums()[1].missing == 2
    library.index([folder])
    assert titles(library, 'album:"Trip to Oslo"') == ["letter.pdf", "renamed.jpg"]


@pytest.mark.slow
def test_an_export_names_albums_and_favourites(folder: Path, open_library: OpenLibrary, tmp_path: Path) -> None:
    library = open_library()
    library.index([folder])
    library.add_to_album("Trip", ids_of(library, folder / "photo 1.jpg"))
    library.add_to_album("Home", ids_of(library, folder / "photo 1.jpg"))
    library.add_to_album(FAVOURITES, ids_of(library, folder / "photo 2.jpg"))
    export(library.searcher(), tmp_path / "all.jsonl", vectors=False)
    rows = {Path(row["path"]).name: row for row in map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())}
    assert rows["photo 1.jpg"]["albums"] == ["Home", "Trip"] and not rows["photo 1.jpg"]["favourite"]
    assert rows["photo 2.jpg"]["albums"] == [] and rows["photo 2.jpg"]["favourite"]
    export(library.searcher(), tmp_path / "all.csv", format="csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        cells = {Path(row["path"]).name: row["albums"] for row in csv.DictReader(file)}
    assert cells["photo 1.jpg"] == "Home; Trip"


def test_what_is_in_no_album_is_a_sentence(open_library: OpenLibrary) -> None:
    library = open_library()
    answer = library.search(Query((Part(text="album:Nowhere"),)))
    assert answer.notice == "There is nothing in the album “Nowhere” yet: select some results and add them."
    with pytest.raises(QueryError, match="is:favourite"):
        library.search(Query((Part(text="is:nice"),)))
