"""The catalogue keeps what it is told, and its journal never disagrees with it."""

import itertools
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from indexer.catalogue import schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import sqlite
from indexer.catalogue.files import under
from indexer.catalogue.rows import FoundFile, NewChunk, Unhashed
from indexer.catalogue.schema import Where
from indexer.errors import LibraryError
from indexer.search import text_search
from indexer.vectors import source
from indexer.vectors.source import GROUPS, StoredEmbeddings
from tests.indexer.conftest import new_place
from tests.indexer.written_library import paths_under

VECTOR = np.array([1.0, 0.0, 0.0, 0.0], np.float32)


@pytest.fixture
def catalogue(where: Where) -> Iterator[Catalogue]:
    made = Catalogue(where)
    yield made
    made.close()


def put(catalogue: Catalogue, path: str, digest: bytes = b"a" * 32, root: str = "/r") -> Unhashed:
    root_id = catalogue.files.set_root(Path(root))
    catalogue.files.note(root_id, [FoundFile(path, "image", (10, 20, 30))])
    waiting = next(f for f in catalogue.queue.unhashed(10_000) if f.path == path)
    catalogue.queue.hashed([(waiting, waiting.stamp, digest)])
    return waiting


def take(catalogue: Catalogue, digest: bytes) -> int:
    waiting = catalogue.queue.unhashed(1)[0]
    return catalogue.queue.hashed([(waiting, waiting.stamp, digest)])


def index(catalogue: Catalogue, digest: bytes, texts: tuple[str, ...] = ("",)) -> list[int]:
    model = catalogue.models.add("m", 4)
    return catalogue.contents.write(
        digest, {}, [NewChunk(i, VECTOR, text=t) for i, t in enumerate(texts)], model.id
    )


def holding(catalogue: Catalogue, word: str, table: str = "words") -> list[int]:
    """Rows of a text table that hold a word, its other forms included."""
    with catalogue.database.reader() as c:
        asked = text_search.matching(word, table)
        return list(c.exec_driver_sql(f"SELECT rowid FROM {table} WHERE {table} MATCH ?", (asked,)).scalars())


def test_the_tables_in_python_are_the_tables_in_the_file(catalogue: Catalogue) -> None:
    inspector = sa.inspect(catalogue.database.engine)
    for table in schema.metadata.sorted_tables:
        there = {c["name"]: c["nullable"] for c in inspector.get_columns(table.name)}
        there.pop("rowid", None)  # what SQLite has of itself
        assert {c.name for c in table.columns} == set(there), table.name
        for column in table.columns:
            if not column.primary_key:
                assert column.nullable == there[column.name], f"{table.name}.{column.name}"


def test_a_library_of_a_newer_program_is_refused_in_one_clear_line(tmp_path: Path) -> None:
    Catalogue(tmp_path / "c.sqlite").close()
    with sqlite3.connect(tmp_path / "c.sqlite") as c:
        c.execute("PRAGMA user_version = 999")
    with pytest.raises(LibraryError, match=r"newer Sightline .*update Sightline"):
        Catalogue(tmp_path / "c.sqlite")


def test_an_older_library_climbs_the_ladder_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    ladder = schema.migrations()
    sqlite.bring_up_to_date(path, ladder)
    with sqlite3.connect(path) as c:
        c.execute("INSERT INTO setting VALUES ('kept', 'yes')")
    step = (ladder[-1][0] + 1, "ALTER TABLE setting ADD COLUMN note TEXT;\nCREATE TABLE extra (x);")
    sqlite.bring_up_to_date(path, [*ladder, step])
    with sqlite3.connect(path) as c:
        assert c.execute("SELECT name, value, note FROM setting").fetchall() == [("kept", "yes", None)]
        assert c.execute("PRAGMA user_version").fetchone() == (step[0],)


def test_names_of_an_older_library_are_found_in_singular_and_plural(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    sqlite.bring_up_to_date(path, schema.migrations()[:3])
    with sqlite3.connect(path) as c:
        c.execute("INSERT INTO root (id, path) VALUES (1, '/p')")
        c.execute(
            "INSERT INTO file (id, root_id, path, folder, name, kind, size, mtime_ns, ctime_ns)"
            " VALUES (7, 1, '/p/cats.jpg', '/p', 'cats.jpg', 'image', 1, 1, 1)"
        )
        c.execute("INSERT INTO names (rowid, name, folder) VALUES (7, 'cats', 'p')")
        assert c.execute("SELECT rowid FROM names WHERE names MATCH 'cat'").fetchall() == []
    Catalogue(path).close()
    with sqlite3.connect(path) as c:
        assert c.execute("SELECT rowid FROM names WHERE names MATCH 'cat'").fetchall() == [(7,)]
        c.execute("DELETE FROM file WHERE id = 7")
        assert c.execute("SELECT count(*) FROM names").fetchone() == (0,)


def test_a_step_of_the_ladder_that_fails_leaves_the_library_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    ladder = schema.migrations()
    sqlite.bring_up_to_date(path, ladder)
    bad = (ladder[-1][0] + 1, "CREATE TABLE half (x);\nCREATE TABLE half (x);")
    with pytest.raises(sqlite3.OperationalError):
        sqlite.bring_up_to_date(path, [*ladder, bad])
    with sqlite3.connect(path) as c:
        assert c.execute("PRAGMA user_version").fetchone() == (ladder[-1][0],)
        assert c.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with sqlite3.connect(path) as c:
        c.execute("CREATE TABLE theirs (x)")
    with pytest.raises(LibraryError, match="not a Sightline library"):
        Catalogue(path)


def test_a_damaged_library_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"not a database at all" * 400)
    with pytest.raises(LibraryError, match="damaged: put your backup"):
        Catalogue(tmp_path / "c.sqlite")


def test_readers_see_a_snapshot_and_do_not_wait_for_the_writer(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    seen: list[int] = []
    with catalogue.database.writer() as c:
        c.execute(sa.delete(schema.file))
        reader = threading.Thread(target=lambda: seen.append(catalogue.files.counts().files))
        reader.start()
        reader.join(5)
    assert seen == [1]
    assert catalogue.files.counts().files == 0


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & {0, 47} and b not in (b".", b".."))
)
def test_every_name_a_file_system_can_hold_comes_back_as_it_was(
    request: pytest.FixtureRequest, engine: str, name: bytes
) -> None:
    catalogue = _shared(request, engine)
    path = f"/r/d/{os.fsdecode(name)}"
    put(catalogue, path)
    assert paths_under(catalogue, "/r/d") == [path]
    assert paths_under(catalogue, "/r/d2") == []
    root_id = catalogue.files.set_root(Path("/r"))
    assert catalogue.files.stamps(root_id, "/r/d") == {os.fsdecode(name): (10, 20, 30)}
    info = catalogue.files.at(path)
    assert info is not None and os.fsencode(info.path) == b"/r/d/" + name
    assert catalogue.files.remove_under("/r") == 1


_SHARED: dict[str, Catalogue] = {}


def _shared(request: pytest.FixtureRequest, engine: str) -> Catalogue:
    """One for all examples: making one costs 20 ms and more."""
    if engine not in _SHARED:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("shared")
        _SHARED[engine] = Catalogue(new_place(request, engine, folder))
    return _SHARED[engine]


def test_under_a_folder_means_below_it_and_nothing_beside_it(catalogue: Catalogue) -> None:
    inside = ["/r/a/x.jpg", "/r/a/b/y.jpg", "/r/a/\udcff.jpg"]
    for path in [*inside, "/r/a.jpg", "/r/ab/z.jpg", "/r/a0.jpg"]:
        put(catalogue, path)
    assert sorted(paths_under(catalogue, "/r/a")) == sorted(inside)
    if catalogue.database.dialect.name != "sqlite":
        return
    with catalogue.database.reader() as c:
        query = sa.select(schema.file.c.id).where(under(schema.file.c.path, "/r/a")).compile(c.engine)
        values = tuple(query.params[name] for name in query.positiontup or ())
        plan = c.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
    assert all("SCAN" not in row.detail for row in plan), plan


def test_a_copy_is_one_content_and_costs_no_embedding(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    index(catalogue, b"a" * 32)
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/b.jpg", "image", (10, 20, 30))])
    assert take(catalogue, b"a" * 32) == 1
    assert catalogue.queue.waiting("decode", 10, kind="image") == []
    assert (
        catalogue.files.counts().files,
        catalogue.files.counts().chunks,
        catalogue.files.counts().reused,
    ) == (2, 1, 1)
    assert [f.path.name for f in catalogue.files.of_content(b"a" * 32)] == ["a.jpg", "b.jpg"]


def test_a_changed_file_answers_with_what_it_was_until_the_new_is_ready(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    (old,) = index(catalogue, b"a" * 32)
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/a.jpg", "image", (11, 21, 31))])
    held = catalogue.contents.chunk(old)
    assert held is not None and held.file.path == Path("/r/a.jpg")
    take(catalogue, b"b" * 32)
    assert catalogue.contents.chunk(old) is None
    assert [w.hash for w in catalogue.queue.waiting("decode", 9, kind="image")] == [b"b" * 32]


def test_words_follow_their_chunks_through_rewrites_and_removal(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.pdf")
    first = index(catalogue, b"a" * 32, ("invoices of March", "something else"))
    assert holding(catalogue, "invoice") == [first[0]]
    catalogue.contents.write_ocr(b"a" * 32, {first[1]: "a \udcff lone surrogate and a receipt"}, 1, {})
    assert holding(catalogue, "receipts") == [first[1]]
    second = index(catalogue, b"a" * 32, ("nothing",))
    assert holding(catalogue, "invoice") == holding(catalogue, "receipt") == []
    assert holding(catalogue, "nothing") == second
    catalogue.files.remove_under("/r")
    catalogue.contents.sweep(kept_s=-1)
    assert holding(catalogue, "nothing") == []
    with catalogue.database.writer() as c:
        assert catalogue.database.dialect.texts_agree(c)


def test_names_follow_their_files_through_a_move(catalogue: Catalogue) -> None:
    put(catalogue, "/r/Holiday 2019/Ünïcode_beach.jpg")
    (number,) = holding(catalogue, "beach", "names")
    assert holding(catalogue, "unicode", "names") == holding(catalogue, "holiday", "names") == [number]
    root_id = catalogue.files.set_root(Path("/r"))
    moved = FoundFile("/r/Work/office.jpg", "image", (10, 20, 31))
    assert catalogue.files.move("/r/Holiday 2019/Ünïcode_beach.jpg", root_id, moved)
    assert holding(catalogue, "beach", "names") == []
    assert holding(catalogue, "work", "names") == holding(catalogue, "office", "names") == [number]
    catalogue.files.remove(["/r/Work/office.jpg"])
    assert holding(catalogue, "office", "names") == []


def test_a_photo_that_failed_as_a_pdf_is_tried_again_under_its_right_name(catalogue: Catalogue) -> None:
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/photo.pdf", "pdf", (1, 1, 1))])
    take(catalogue, b"p" * 32)
    catalogue.contents.fail(b"p" * 32, "not a PDF")
    assert [f.reason for f in catalogue.files.failures()] == ["not a PDF"]
    catalogue.files.note(root_id, [FoundFile("/r/photo.jpg", "image", (1, 1, 1))])
    take(catalogue, b"p" * 32)
    assert [w.kind for w in catalogue.queue.waiting("decode", 9, kind="image")] == ["image"]


def test_retry_makes_every_failure_pending_again(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    catalogue.contents.fail(b"a" * 32, "broken")
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/b.jpg", "image", (1, 1, 1))])
    catalogue.files.fail(catalogue.queue.unhashed(1)[0].file_id, "no permission")
    assert catalogue.files.counts().failed == 2
    assert catalogue.queue.retry() == 2
    assert (catalogue.files.counts().failed, catalogue.files.counts().pending) == (0, 2)


def test_files_of_a_root_that_is_away_are_kept_and_not_worked_on(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    catalogue.files.set_root(Path("/r"), "away")
    assert catalogue.queue.waiting("decode", 9, kind="image") == [] and catalogue.files.counts().files == 1


def test_the_old_model_answers_until_the_new_one_is_promoted(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    (chunk_id,) = index(catalogue, b"a" * 32)
    new = catalogue.models.add("n", 4)
    held = catalogue.models.answering()
    assert (new.state, held.name if held else None) == ("building", "m")
    assert [w.hash for w in catalogue.queue.waiting("embed", 9, model_id=new.id)] == [b"a" * 32]
    catalogue.contents.add_embeddings(new.id, [chunk_id, 9999], [VECTOR, VECTOR])
    assert (
        catalogue.queue.waiting("embed", 9, model_id=new.id) == [] and catalogue.models.lacking(new.id) == 0
    )
    catalogue.models.promote(new.id)
    assert [m.name for m in catalogue.models.all()] == ["n"]


def test_a_backup_in_the_middle_of_writing_is_a_whole_library(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            digest = n.to_bytes(32, "big")
            put(catalogue, f"/r/{n}.jpg", digest)
            index(catalogue, digest)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(5):
            catalogue.database.backup(tmp_path / f"{n}.sqlite")
    finally:
        stop.set()
        writer.join()
    for n in range(5):
        copy = Catalogue(tmp_path / f"{n}.sqlite")
        with copy.database.reader() as c:
            assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert (
                c.exec_driver_sql(
                    "SELECT count(*) FROM content WHERE state = 'ready' AND NOT EXISTS"
                    " (SELECT 1 FROM chunk WHERE content_hash = hash)"
                ).scalar()
                == 0
            )
        copy.close()


class JournalAgainstCatalogue(RuleBasedStateMachine):
    """Whatever happens, an index that reads the journal holds exactly what the catalogue can find."""

    places: Iterator[Where]

    @initialize()
    def start(self) -> None:
        self.catalogue = Catalogue(next(self.places))
        self.model = self.catalogue.models.add("m", 4)
        self.source = StoredEmbeddings(self.catalogue.database, self.model.id, 4)
        self.seen, self.held = 0, dict[int, bytes]()

    @rule(name=st.integers(0, 4), digest=st.integers(1, 3))
    def file_appears_or_changes(self, name: int, digest: int) -> None:
        put(self.catalogue, f"/r/{name}.jpg", bytes([digest]) * 32)

    @rule(digest=st.integers(1, 3), chunks=st.integers(0, 3), value=st.integers(0, 9))
    def content_is_written(self, digest: int, chunks: int, value: int) -> None:
        pieces = [NewChunk(i, np.full(4, value, np.float32)) for i in range(chunks)]
        self.catalogue.contents.write(bytes([digest]) * 32, {}, pieces, self.model.id)

    @rule(name=st.integers(0, 4))
    def file_goes(self, name: int) -> None:
        self.catalogue.files.remove([f"/r/{name}.jpg"])

    @rule(digest=st.integers(1, 3))
    def content_fails(self, digest: int) -> None:
        self.catalogue.contents.fail(bytes([digest]) * 32, "broken")

    @rule()
    def orphans_are_swept(self) -> None:
        self.catalogue.contents.sweep(kept_s=-1)

    @rule()
    def index_catches_up(self) -> None:
        step = self.source.changes(self.seen)
        assert step is not None
        self.seen = step.position
        for i in step.gone.tolist():
            self.held.pop(i, None)
        self.held.update(zip(step.ids.tolist(), (v.tobytes() for v in step.vectors), strict=True))

    @invariant()
    def it_holds_what_can_be_found(self) -> None:
        self.index_catches_up()
        truth = {
            i: v.tobytes()
            for ids, vs in self.source.vectors(GROUPS["image"])
            for i, v in zip(ids.tolist(), vs, strict=True)
        }
        assert self.held == truth

    def teardown(self) -> None:
        if hasattr(self, "catalogue"):
            self.catalogue.close()


@pytest.mark.parametrize(("engine", "examples"), [("sqlite", 25), ("postgresql", 10)])
def test_an_index_that_reads_the_journal_agrees_with_the_catalogue(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    examples: int,
) -> None:
    monkeypatch.setattr(source, "BATCH", 2)

    def places() -> Iterator[Where]:
        for n in itertools.count():
            (tmp_path / str(n)).mkdir()
            yield new_place(request, engine, tmp_path / str(n))

    JournalAgainstCatalogue.places = places()
    run_state_machine_as_test(
        JournalAgainstCatalogue,
        settings=settings(max_examples=examples, stateful_step_count=20, deadline=None),
    )
