"""Albums in the catalogue, on both databases: contents by their bytes, named without regard to case."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError
from indexer.types import FAVOURITES, Album
from tests.indexer.catalogue.conftest import index, put


def file_id(catalogue: Catalogue, path: str) -> int:
    file = catalogue.files.at(path)
    assert file is not None
    return file.file_id


def test_an_album_holds_contents_and_outlasts_their_files(catalogue: Catalogue) -> None:
    albums = catalogue.albums
    for name, digest in (("a", b"a" * 32), ("copy of a", b"a" * 32), ("b", b"b" * 32)):
        put(catalogue, f"/r/{name}.jpg", digest)
    (of_a,), (of_b,) = index(catalogue, b"a" * 32), index(catalogue, b"b" * 32)
    a, copy, b = (file_id(catalogue, f"/r/{name}.jpg") for name in ("a", "copy of a", "b"))
    assert albums.add("Été  2023", [a, copy, 424242]) == 1, "two files of one content are one item"
    assert albums.add("ÉTÉ 2023", [a, b]) == 1
    assert albums.add(FAVOURITES, [b]) == 1
    assert albums.all() == [Album(FAVOURITES, 1, 0, of_b), Album("Été 2023", 2, 0, of_b)]
    assert albums.of_contents([b"b" * 32]) == {b"b" * 32: [FAVOURITES, "Été 2023"]}
    assert albums.all([Path("/elsewhere")]) == []
    catalogue.files.remove(["/r/b.jpg"])
    catalogue.contents.sweep(kept_s=-1)
    assert albums.all()[1] == Album("Été 2023", 1, 1, of_a)
    assert albums.items("été 2023") == [("/r/a.jpg", True), ("/r/b.jpg", False)]
    put(catalogue, "/r/back again.jpg", b"b" * 32)
    assert albums.items("été 2023") == [("/r/a.jpg", True), ("/r/back again.jpg", True)]
    assert albums.remove("Été 2023", [a]) == 1
    assert albums.delete("Été 2023") == 1 and [album.name for album in albums.all()] == [FAVOURITES]


def test_an_album_is_renamed_but_not_to_another_one_or_to_what_no_query_can_name(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    index(catalogue, b"a" * 32)
    a = file_id(catalogue, "/r/a.jpg")
    for name in ("Trip", "Home"):
        catalogue.albums.add(name, [a])
    catalogue.albums.rename("trip", "TRIP to Oslo")
    assert [album.name for album in catalogue.albums.all()] == ["Home", "TRIP to Oslo"]
    for name, to in (("Home", "trip to oslo"), ("No such", "New"), ("Home", 'a "quoted" name'), ("Home", "x" * 101)):
        with pytest.raises(LibraryError):
            catalogue.albums.rename(name, to)
