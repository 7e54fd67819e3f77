"""A library moved to another engine and back is the same library, whatever interrupts the move."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from data.span import Span
from indexer.catalogue import migrate, schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.migrate import move
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.search import text_search
from indexer.types import Part, Query
from tests.indexer.conftest import contents_of
from tests.indexer.written_library import paths_under
from tests.postgresql import Server

TEXTS = ("Invoices of the harbour", "我们在北京大学学习", "It's a bank's receipt \\ 'quoted'", "")


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Catalogue]:
    """Files of any name, some gone, some failed; texts, labels, settings; two models."""
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    fill(catalogue, 40)
    yield catalogue
    catalogue.close()


def fill(catalogue: Catalogue, files: int, start: int = 0) -> None:
    root = catalogue.files.set_root(Path("/r/Holiday 2019"))
    rng = np.random.default_rng(start)
    names = [f"/r/Holiday 2019/{n} é{chr(0xDC80 + n % 60)}.pdf" for n in range(start, start + files)]
    catalogue.files.note(root, [FoundFile(name, "pdf", (n, 2**60 + n, 3)) for n, name in enumerate(names)])
    model = catalogue.models.add("m", 8)
    for f in catalogue.queue.unhashed(10_000):
        digest = bytes(rng.integers(0, 256, 32, np.uint8))
        catalogue.queue.hashed([(f, f.stamp, digest)])
        vectors = rng.normal(size=(4, 8)).astype(np.float32)
        chunks = [
            NewChunk(i, v, span=Span(page=i + 1), text=t) for i, (t, v) in enumerate(zip(TEXTS, vectors, strict=True))
        ]
        facts = {"taken": f"2023-07-14T09:30:{f.file_id % 60:02}", "lat": 1.1 * f.file_id, "camera": "A\0B"}
        ids = catalogue.contents.write(digest, facts, chunks, model.id)
        catalogue.albums.add(f"Été {f.file_id % 3}", [f.file_id])
        with catalogue.database.writer() as c:
            c.execute(sa.insert(schema.label).values(chunk_id=ids[0], name="Dog", score=0.1 + f.file_id, hidden=0))
    catalogue.files.remove(names[:3])
    catalogue.contents.fail(digest, "broken: \0 of it")
    catalogue.settings.set("mounts:1", "/a\0/b")


def finding(catalogue: Catalogue, word: str, table: str) -> list[int]:
    with catalogue.database.reader() as c:
        sql = f"SELECT rowid FROM {table} WHERE {table} MATCH ? ORDER BY rowid"
        return list(c.exec_driver_sql(sql, (text_search.matching(word, table),)).scalars())


def test_a_library_moved_to_a_server_and_back_is_the_same(
    old: Catalogue, postgresql_server: Server, tmp_path: Path
) -> None:
    there = Catalogue(place(postgresql_server.database()))
    seen: list[tuple[str, int, int]] = []
    out = move(old, there, lambda *step: seen.append(step))
    (tmp_path / "back").mkdir()
    back = Catalogue(tmp_path / "back" / "catalogue.sqlite")
    home = move(there, back)
    assert out.digests == home.digests and out.rows == home.rows
    assert out.rows["chunk"] == out.rows["embedding"] == 39 * 4 and out.rows["file"] == 37
    assert out.written == sum(out.rows.values()) and seen[-1] == ("checked", 9, 9)
    for word, table in (("invoice", "words"), ("receipts", "words"), ("北京", "characters"), ("holiday", "names")):
        assert finding(old, word, table) == finding(there, word, table) == finding(back, word, table) != []
    for catalogue in (there, back):
        assert catalogue.albums.all() == old.albums.all() != []
        assert catalogue.files.counts() == old.files.counts()
        assert catalogue.files.failures()[0].reason.replace("\0", " ") == "broken:   of it"
        names = [os.fsencode(p) for p in paths_under(catalogue, "/r")]
        assert sorted(names) == sorted(os.fsencode(p) for p in paths_under(old, "/r"))
        with catalogue.database.reader() as c:
            assert (
                catalogue.settings.get("mounts:1") == "/a\x1f/b"
                and catalogue.database.dialect.last_ids(c)["chunk"] == 160
            )
        assert catalogue.settings.get("library") != old.settings.get("library")
    fill(there, 2, start=100)  # numbers go on where they were
    fill(old, 2, start=100)
    assert [f.chunk_id for f in there.contents.chunks_of(_newest(there))] == [
        p.chunk_id for p in old.contents.chunks_of(_newest(old))
    ]
    there.close()
    back.close()


def _newest(catalogue: Catalogue) -> bytes:
    with catalogue.database.reader() as c:
        return bytes(c.exec_driver_sql("SELECT content_hash FROM chunk ORDER BY id DESC LIMIT 1").scalar_one())


@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_an_interrupted_move_goes_on_and_takes_in_what_changed_meanwhile(
    old: Catalogue, postgresql_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    monkeypatch.setattr(migrate, "BATCH", 30)
    there = Catalogue(place(postgresql_server.database()))
    steps = 0

    def power_cut(*step: Any) -> None:
        nonlocal steps
        steps += 1
        if steps > stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(old, there, power_cut)
    with pytest.raises(LibraryError, match="is not whole yet: run the same `sightline migrate` again"):
        migrate.refuse_unfinished(there)
    paths = sorted(paths_under(old, "/r"))
    old.files.remove(paths[5:9])  # the old library lives on
    old.contents.sweep(kept_s=-1)
    with old.database.writer() as c:  # two names change places
        rows = c.execute(sa.select(schema.file.c.id, schema.file.c.path).order_by(schema.file.c.id).limit(2)).all()
        for number, path in ((rows[0].id, "/r/x"), (rows[1].id, rows[0].path), (rows[0].id, rows[1].path)):
            c.execute(sa.update(schema.file).where(schema.file.c.id == number).values(path=path))
    fill(old, 5, start=200)
    report = move(old, there)
    migrate.refuse_unfinished(there)
    assert there.files.counts() == old.files.counts() and 0 < report.written < sum(report.rows.values())
    assert finding(there, "invoice", "words") == finding(old, "invoice", "words")
    with there.database.writer() as c:
        assert there.database.dialect.texts_agree(c)
    there.close()


def test_a_place_that_holds_another_library_is_left_alone(
    old: Catalogue, postgresql_server: Server, tmp_path: Path
) -> None:
    there = Catalogue(place(postgresql_server.database()))
    done = move(old, there)
    again = move(old, there)
    assert again.written == 0 and again.digests == done.digests
    fill(there, 1, start=300)  # it goes its own way
    with pytest.raises(LibraryError, match="was moved there already"):
        move(old, there)
    other = Catalogue(tmp_path / "other.sqlite")
    other.files.set_root(Path("/theirs"))
    with pytest.raises(LibraryError, match="another library already"):
        move(old, other)
    assert [str(r.path) for r in other.files.roots()] == ["/theirs"]
    other.close()
    there.close()


def test_what_does_not_read_back_the_same_is_no_move(
    old: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk, a driver or a bug that changes one vector on its way."""
    new = Catalogue(tmp_path / "new.sqlite")
    real = migrate._values

    def bent(row: Any) -> tuple[Any, ...]:
        values = real(row)
        return (*values[:-1], b"\0" * 16) if getattr(row, "vector", None) and row.id == 7 else values

    monkeypatch.setattr(migrate, "_values", bent)
    written = migrate._write

    def write(*arguments: Any) -> int:
        monkeypatch.setattr(migrate, "_values", bent)
        try:
            return written(*arguments)
        finally:
            monkeypatch.setattr(migrate, "_values", real)

    monkeypatch.setattr(migrate, "_write", write)
    with pytest.raises(LibraryError, match=r"does not read back the same \(table embedding"):
        move(old, new)
    with pytest.raises(LibraryError, match="not whole yet"):
        migrate.refuse_unfinished(new)
    new.close()


def test_the_old_library_answers_and_indexes_while_it_is_moved(
    folder: Path, tmp_path: Path, postgresql_server: Server
) -> None:
    database = postgresql_server.database()
    query = Query((Part(text="bananas"),))
    with Library.open(tmp_path / "old", nice=False, ocr="off") as library:
        library.index([folder])
        before = [(h.path, h.chunk_id, h.score) for h in library.search(query).hits]
        answers = []

        def meanwhile(what: str, done: int, total: int) -> None:
            answers.append([(h.path, h.chunk_id, h.score) for h in library.search(query).hits])
            if len(answers) == 1:
                (folder / "photo 2.jpg").unlink()
                library.index()

        there = Catalogue(place(database))
        move(library.catalogue, there, meanwhile)
        there.close()
        assert answers[0] == before and len(answers) > 7
        with Library.open(tmp_path / "new", nice=False, ocr="off", catalogue=database) as moved:
            assert [(h.path, h.chunk_id, round(h.score, 2)) for h in moved.search(query).hits[:2]] == [
                (path, number, round(score, 2)) for path, number, score in before[:2]
            ]
            assert moved.index().chunks == 0
            assert contents_of(moved) == contents_of(library) and moved.verify().problems == []
