"""A catalogue with damaged bytes: what can be read is saved, what people made first, and the rest is made again."""

import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.care.salvage import TABLES
from indexer.catalogue.lock import FileLock
from indexer.catalogue.schema import metadata
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Part, Query
from tests.indexer.care.conftest import reopened
from tests.indexer.conftest import contents_of

pytestmark = pytest.mark.slow

PAGE = 4096


@pytest.fixture
def data_dir(used: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(used, tmp_path / "library"))


@pytest.fixture
def before(used: Path) -> Iterator[dict[str, Any]]:
    with reopened(used, read_only=True) as library:
        yield known(library)


def known(library: Library) -> dict[str, Any]:
    """What a library holds, by what it is."""
    with library.catalogue.database.reader() as c:
        rows = c.exec_driver_sql("SELECT l.chunk_id, l.name, l.score, l.hidden FROM label l ORDER BY 1, 2").all()
        ids = c.exec_driver_sql("SELECT content_hash, ordinal, id FROM chunk ORDER BY 1, 2").all()
    return {
        "contents": contents_of(library),
        "labels": [tuple(row) for row in rows],
        "chunks": [tuple(row) for row in ids],
        "roots": [(root.path, root.state) for root in library.catalogue.files.roots()],
        "albums": library.albums(),
        "setting": library.catalogue.settings.get("colour"),
        "cues": [library.transcript(f) for f in range(1, 7)],
    }


def pages_of(data_dir: Path, name: str) -> list[int]:
    """The numbers of the leaf pages of a table or an index, by the format of SQLite's files."""
    path = data_dir / "catalogue.sqlite"
    with closing(sqlite3.connect(path)) as c:
        row = c.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        root = row[0] if row else 1  # sqlite_master itself
    data = path.read_bytes()

    def leaves(number: int) -> list[int]:
        page = data[(number - 1) * PAGE : number * PAGE]
        head = page[100:] if number == 1 else page
        if head[0] in (10, 13):
            return [number]
        cells = [int.from_bytes(head[12 + 2 * n : 14 + 2 * n], "big") for n in range(int.from_bytes(head[3:5], "big"))]
        children = [int.from_bytes(page[at : at + 4], "big") for at in cells] + [int.from_bytes(head[8:12], "big")]
        return [leaf for child in children for leaf in leaves(child)]

    return leaves(root)


def overwrite(data_dir: Path, number: int, data: bytes) -> None:
    with (data_dir / "catalogue.sqlite").open("r+b") as file:
        file.seek((number - 1) * PAGE)
        file.write(data)


def garbage(size: int = PAGE) -> bytes:
    return random.Random(5).randbytes(size)


def saved(data_dir: Path) -> tuple[list[str], dict[str, Any]]:
    """Salvage, repair and index again; the sentences of the first, and what the library holds then."""
    report = Library.salvage(data_dir)
    with reopened(data_dir) as library:
        library.verify(repair=True)
        library.index()
        assert library.verify().problems == []
        assert library.search(Query((Part(text="bananas"),))).hits[0].title == "letter.pdf"
        return report.problems, known(library)


def test_a_sound_catalogue_stays_as_it_is(data_dir: Path) -> None:
    data = (data_dir / "catalogue.sqlite").read_bytes()
    assert Library.salvage(data_dir).problems == []
    assert (data_dir / "catalogue.sqlite").read_bytes() == data


@pytest.mark.parametrize("size", [16, 100])
def test_a_damaged_header_loses_nothing(data_dir: Path, before: dict[str, Any], size: int) -> None:
    overwrite(data_dir, 1, garbage(size))
    damaged = (data_dir / "catalogue.sqlite").read_bytes()
    with pytest.raises(LibraryError, match="damaged: put your backup"):
        reopened(data_dir, read_only=True)
    (line,), after = saved(data_dir)
    assert after == before
    kept = next(data_dir.glob("catalogue-damaged-*.sqlite"))
    assert kept.name in line and kept.read_bytes() == damaged


def test_a_file_that_is_cut_off_gives_what_is_left(data_dir: Path, before: dict[str, Any]) -> None:
    """The pages at the end are those that were written last."""
    path = data_dir / "catalogue.sqlite"
    last = max(pages_of(data_dir, "embedding"))
    assert last > max(pages_of(data_dir, "sqlite_master"))
    path.write_bytes(path.read_bytes()[: (last - 1) * PAGE + 100])
    lines, after = saved(data_dir)
    assert any("embeddings are made again" in line for line in lines), lines
    assert after["contents"].keys() == before["contents"].keys() and after["labels"] == before["labels"]


def test_an_index_that_disagrees_with_its_table_is_made_again_in_place(data_dir: Path, before: dict[str, Any]) -> None:
    (page,) = pages_of(data_dir, "file_folder")
    overwrite(data_dir, page, b"\x0a\0\0\0\0\x10\0\0")  # an empty leaf
    (line,), after = saved(data_dir)
    assert "indexes do not agree" in line and after == before
    assert not list(data_dir.glob("catalogue-damaged-*"))


@pytest.mark.parametrize("name", ["file_folder", "sqlite_autoindex_chunk_1", "sqlite_autoindex_label_1", "words_data"])
def test_a_damaged_page_of_an_index_or_of_the_words_loses_nothing(
    data_dir: Path, before: dict[str, Any], name: str
) -> None:
    overwrite(data_dir, pages_of(data_dir, name)[0], garbage())
    (line,), after = saved(data_dir)
    assert "what can be read is in a new one" in line and after == before


def test_words_that_do_not_agree_with_themselves_are_made_again(data_dir: Path, before: dict[str, Any]) -> None:
    for table in ("words", "names"):
        with closing(sqlite3.connect(data_dir / "catalogue.sqlite")) as c:
            c.execute(f"UPDATE {table}_data SET block = zeroblob(length(block)) WHERE id > 10")
            c.execute(f"DELETE FROM {table}_docsize")
            c.commit()
        with reopened(data_dir) as library:
            assert any("index of words" in problem for problem in library.verify(repair=True).problems)
            assert library.verify().problems == [] and known(library) == before


def test_a_damaged_page_of_embeddings_costs_those_embeddings(data_dir: Path, before: dict[str, Any]) -> None:
    pages = pages_of(data_dir, "embedding")
    assert len(pages) > 4
    overwrite(data_dir, pages[2], garbage())
    lines, after = saved(data_dir)
    (lost,) = [int(re.findall(r"(\d+) embeddings are made again", line)[0]) for line in lines[1:]]
    assert after["contents"].keys() == before["contents"].keys() and after["labels"] == before["labels"]
    differing = [k for k, row in after["contents"].items() if row != before["contents"][k]]
    assert len(differing) <= lost <= 3  # a vector that is made again may differ in its last bit


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("chunk", "7 chunks are read again"),
        ("content", "5 contents are read again"),
        ("file", "5 files are looked at again"),
        ("cue", "1 lines of transcripts are made again"),
        ("model", "1 models are lost"),
        ("label", "8 labels have lost their score"),
        ("album_item", "of 3 album items only album and content are left"),
        ("root", "of 2 folders only the names are left"),
        ("setting", "settings are lost"),
    ],
)
def test_a_table_that_cannot_be_read_keeps_what_people_made(
    data_dir: Path, before: dict[str, Any], table: str, named: str
) -> None:
    for page in pages_of(data_dir, table):
        overwrite(data_dir, page, garbage())
    lines, after = saved(data_dir)
    assert any(named in line for line in lines[1:]), lines
    assert [row[:2] for row in after["labels"]] == [row[:2] for row in before["labels"]]
    assert after["chunks"] == before["chunks"] and after["roots"] == before["roots"]
    assert after["setting"] == (None if table == "setting" else "blue")
    if table != "cue":
        assert after["cues"] == before["cues"]
    if table == "cue":
        with reopened(data_dir, read_only=True) as library:
            assert library.untranscribed_count() == 1
    if table != "label":
        assert after["labels"] == before["labels"]
    if table != "album_item":
        assert after["albums"] == before["albums"]
    else:  # an album is called by what its spellings have in common
        expected = [replace(album, name=album.name.casefold()) for album in before["albums"]]
        assert after["albums"] == expected


def test_every_table_is_saved_or_made_anew() -> None:
    """A table of a later version that is in neither list would be lost without a word."""
    made_anew = {"change", "claim", "seen", "worker"}
    assert set(metadata.tables) - {table.name for table in TABLES} == made_anew


def test_damage_is_named_with_its_repair(data_dir: Path) -> None:
    overwrite(data_dir, pages_of(data_dir, "embedding")[2], garbage())
    with reopened(data_dir, read_only=True) as library:
        (problem,) = library.verify().problems
    assert "put a backup" in problem and problem.endswith("sightline verify --repair")


def test_a_catalogue_of_which_nothing_can_be_read_is_left_alone(data_dir: Path) -> None:
    path = data_dir / "catalogue.sqlite"
    path.write_bytes(garbage(path.stat().st_size))
    data = path.read_bytes()
    with pytest.raises(LibraryError, match="damaged: put your backup"):
        Library.salvage(data_dir)
    assert path.read_bytes() == data and not list(data_dir.glob("catalogue-damaged-*"))
    assert not list(data_dir.glob("salvage-*")) and not list(data_dir.glob("*.salvaged*"))


def test_a_catalogue_that_is_being_indexed_is_not_salvaged(data_dir: Path) -> None:
    lock = FileLock(data_dir / "indexer.catalogue.lock")
    assert lock.acquire()
    overwrite(data_dir, 1, garbage(16))
    with pytest.raises(LibraryError, match="is indexing this library: stop it"):
        Library.salvage(data_dir)
    lock.release()


def test_the_command_says_what_is_saved_and_what_is_not(data_dir: Path) -> None:
    from typer.testing import CliRunner

    from app.cli.program import app

    def verify(*options: str) -> Any:
        return CliRunner().invoke(app, ["verify", "--data-dir", str(data_dir), *options])

    overwrite(data_dir, pages_of(data_dir, "embedding")[2], garbage())
    done = verify()
    assert done.exit_code == 1 and "save what can be read by: sightline verify --repair" in done.output
    done = verify("--repair")
    assert done.exit_code == 0 and "embeddings are made again" in done.output, done.output
    overwrite(data_dir, pages_of(data_dir, "label")[0], garbage())
    done = verify("--repair")
    assert done.exit_code == 1 and "8 labels have lost their score" in done.output, done.output


def test_rows_that_an_index_has_lost_are_saved_from_a_damaged_file(data_dir: Path, before: dict[str, Any]) -> None:
    for name in ("sqlite_autoindex_chunk_1", "sqlite_autoindex_label_1", "sqlite_autoindex_file_1"):
        overwrite(data_dir, pages_of(data_dir, name)[0], b"\x0a\0\0\0\0\x10\0\0")  # an empty leaf
    overwrite(data_dir, pages_of(data_dir, "words_data")[0], garbage())
    (line,), after = saved(data_dir)
    assert "what can be read is in a new one" in line and after == before
