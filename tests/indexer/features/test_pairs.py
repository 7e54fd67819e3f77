"""A library as pairs to train with: what `sightline export --pairs` writes, `type: pairs` reads."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from data.sources.pair import LoadedSide, Media, Pair, load
from data.sources.pairs import Pairs
from data.span import Span
from indexer.errors import LibraryError
from indexer.features.pairs import passage
from indexer.library import Library
from indexer.types import Part, Query
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


def exported(library: Library, path: Path, *kinds: str) -> list[Pair]:
    count = library.export_pairs(path, kinds)
    source = Pairs(path, name="library")
    assert len(source) == count
    return [source[row] for row in range(count)]


def without_rows(pairs: Sequence[Pair]) -> list[str]:
    return sorted(str((p.query, p.positive.media)) for p in pairs)


def test_a_library_on_a_server_gives_the_pairs_of_the_embedded_one(
    folder: Path, postgresql_server: Server, tmp_path: Path
) -> None:
    found: list[list[list[str]]] = []
    for name, more in (("embedded", {}), ("shared", {"catalogue": postgresql_server.database()})):
        with Library.open(tmp_path / name, nice=False, ocr="off", **more) as library:
            assert library.index([folder]).failed == 0
            library.clicks.enable(True)
            assert library.clicks.add("parking", library.search(Query((Part("parking"),))).hits[0].chunk_id)
            of = [exported(library, tmp_path / "p.jsonl", kind) for kind in ("text", "media", "clicks")]
            both = exported(library, tmp_path / "p.jsonl", "text", "media")
        assert without_rows(both) == sorted(without_rows(of[0]) + without_rows(of[1])) and len(of[0]) >= 2
        paths = [os.fsencode(pair.positive.media.path) for pair in of[1] if pair.positive.media is not None]
        assert os.fsencode(folder) + NO_UTF8 in paths
        found.append([without_rows(pairs) for pairs in of])
    assert found[0] == found[1]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A library of an image, two pages and two windows, read-only; its files lie in its own folder."""
    Library.open(tmp_path).close()
    database = sqlite3.connect(tmp_path / "catalogue.sqlite")
    database.execute("INSERT INTO root (id, path) VALUES (1, ?)", (str(tmp_path),))
    page = "The notice period is three months to the end of a quarter. Parking is not included."
    contents = [
        (b"1", "image", "a.png", [(None, None, None, "")]),
        (b"2", "pdf", "b.pdf", [(None, None, 1, page), (None, None, 2, "7")]),
        (b"3", "video", "c.mp4", [(0.0, 30.0, None, "she opens the old door slowly"), (30.0, 60.0, None, "")]),
    ]
    for number, (key, kind, name, chunks) in enumerate(contents, 1):
        ready = "INSERT INTO content (hash, kind, state) VALUES (?, ?, 'ready')"
        database.execute(ready, (key, kind))
        database.execute(
            "INSERT INTO file (id, root_id, path, folder, name, kind, size, mtime_ns, ctime_ns, "
            "content_hash, state) VALUES (?, 1, ?, ?, ?, ?, 1, 1, 1, ?, 'known')",
            (number, str(tmp_path / name), str(tmp_path), name, kind, key),
        )
        for ordinal, (start, end, at, text) in enumerate(chunks):
            database.execute(
                "INSERT INTO chunk (content_hash, ordinal, start_s, end_s, page, text) VALUES (?, ?, ?, ?, ?, ?)",
                (key, ordinal, start, end, at, text),
            )
    database.commit()
    database.close()
    media.draw_image(tmp_path / "a.png")
    media.draw_pdf(tmp_path / "b.pdf", ["one", "two"])
    with Library.open(tmp_path, read_only=True) as library:
        yield library


def test_a_library_gives_a_page_and_its_words_and_a_window_and_its_transcript(library: Library, tmp_path: Path) -> None:
    pairs = exported(library, tmp_path / "p.jsonl", "text")
    assert [p.positive.media.kind for p in pairs if p.positive.media] == ["page", "video"]
    assert pairs[0].query.text in (
        "The notice period is three months to the end of a quarter.",
        "Parking is not included.",
    )
    assert pairs[0].query.looks_for == "pdf"
    assert pairs[0].positive.text == ""  # the answer must not stand in the target
    assert pairs[1].query.text == "she opens the old door slowly"
    assert pairs[1].positive.media == Media("video", str(tmp_path / "c.mp4"), span=Span(start_s=0.0, end_s=30.0))
    assert load(pairs[0].positive).frames[0].ndim == 3


def test_distillation_gets_every_chunk(library: Library, tmp_path: Path) -> None:
    pairs = exported(library, tmp_path / "p.jsonl", "media")
    assert len(pairs) == 5 and all(p.query == p.positive for p in pairs)
    assert len(exported(library, tmp_path / "p.jsonl", "text", "media")) == 7


def test_an_export_only_reads(library: Library, tmp_path: Path) -> None:
    before = (tmp_path / "catalogue.sqlite").read_bytes()
    assert exported(library, tmp_path / "p.jsonl", "text", "media")
    assert (tmp_path / "catalogue.sqlite").read_bytes() == before


def test_clicks_are_used_where_they_are_kept(library: Library, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"no clicks are kept .* `sightline clicks --keep` begins"):
        library.export_pairs(tmp_path / "p.jsonl", ["clicks"])
    whole = {"page": None, "start_s": None, "end_s": None}
    rows = [
        {"query": "my dog", "content": b"1".hex(), **whole},
        {"query": "my dog", "content": b"1".hex(), **whole},  # opened twice
        {"query": "parking", "content": b"2".hex(), **whole, "page": 2},
        {"query": "the door", "content": b"3".hex(), **whole, "start_s": 0.0, "end_s": 30.0},
        {"query": "gone", "content": "00" * 32, **whole},  # no longer in the library
    ]
    clicks = tmp_path / "clicks.jsonl"
    clicks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = exported(library, tmp_path / "p.jsonl", "clicks")
    assert [pair.query.text for pair in pairs] == ["my dog", "parking", "the door"]
    assert pairs[0].positive.media == Media("image", str(tmp_path / "a.png"))
    assert pairs[1].positive.media == Media("page", str(tmp_path / "b.pdf"), span=Span(page=2))
    assert pairs[2].positive.media == Media("video", str(tmp_path / "c.mp4"), span=Span(start_s=0.0, end_s=30.0))
    assert len(exported(library, tmp_path / "p.jsonl", "text", "clicks")) == 5
    with clicks.open("a") as file:
        file.write('{"query": "half a li')
    with pytest.raises(LibraryError, match=r"clicks\.jsonl, row 6: no click"):
        library.export_pairs(tmp_path / "p.jsonl", ["clicks"])


def test_what_left_its_place_since_is_skipped_and_named(library: Library, tmp_path: Path) -> None:
    library.export_pairs(tmp_path / "p.jsonl", ["media"])
    (tmp_path / "b.pdf").rename(tmp_path / "moved.pdf")

    def words(sides: list[LoadedSide]) -> list[str]:
        return [side.text for side in sides]

    (step,) = pieces(Loader([Pairs(tmp_path / "p.jsonl")], words, max_frames=1), iter([[(0, 1)]]), 1, 0)
    assert f"{tmp_path / 'b.pdf'} page 1" in step[0].missing[0][2]


def test_a_passage_is_a_whole_sentence_and_always_the_same() -> None:
    text = "One two three four five. Six seven eight nine ten. No."
    assert {passage(text, seed=s) for s in range(20)} == {"One two three four five.", "Six seven eight nine ten."}
    assert passage(text, 3) == passage(text, 3)
    assert len(passage("word " * 500, 1).split()) == 24
