"""The database: old libraries climb the ladder, foreign ones are left alone, readers never wait."""

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from indexer.catalogue import schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import sqlite
from indexer.errors import LibraryError
from tests.indexer.catalogue.conftest import index, put


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


def test_words_of_an_older_library_are_whole_with_their_vowel_signs(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    older = [step for step in schema.migrations() if step[0] < 10]
    sqlite.bring_up_to_date(path, older)
    with sqlite3.connect(path) as c:
        c.execute("INSERT INTO content (hash, kind) VALUES (x'01', 'pdf')")
        c.execute("INSERT INTO root (id, path) VALUES (1, '/p')")
        c.execute(
            "INSERT INTO file (id, root_id, path, folder, name, kind, size, mtime_ns, ctime_ns, content_hash)"
            " VALUES (7, 1, '/p/दाल.pdf', '/p', 'दाल.pdf', 'pdf', 1, 1, 1, x'01')"
        )
        c.execute("INSERT INTO chunk (id, content_hash, ordinal, text) VALUES (5, x'01', 0, 'दाल นำ')")
        c.execute("INSERT INTO names (rowid, name, folder) VALUES (7, 'दाल', 'p')")
        c.execute("INSERT INTO characters (rowid, text) VALUES (5, 'น ำ')")
        assert c.execute("SELECT rowid FROM words WHERE words MATCH '\"दिल\"'").fetchall() == [(5,)]
    Catalogue(path).close()
    with sqlite3.connect(path) as c:
        for table, word, other, row in (
            ("words", "दाल", "दिल", 5),
            ("names", "दाल", "दिल", 7),
            ("characters", "น ำ", "น ้ ำ", 5),
        ):
            find = f"SELECT rowid FROM {table} WHERE {table} MATCH ?"
            assert c.execute(find, (f'"{word}"',)).fetchall() == [(row,)]
            assert c.execute(find, (f'"{other}"',)).fetchall() == []
        c.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        c.execute("DELETE FROM file")
        c.execute("DELETE FROM chunk")
        for table in ("words", "names", "characters"):
            assert c.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


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
        reader.join(60)
    assert seen == [1]
    assert catalogue.files.counts().files == 0


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
