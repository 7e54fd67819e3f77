"""The catalogue in one SQLite file, with WAL, FTS5 and its vocabulary tables.

Built around snapshots that never wait for the writer, and a writer that takes the lock at its start. Searches
use `sqlite3` directly, whose overhead per row is a fraction of SQLAlchemy's. Triggers update the FTS5 table
`words`. It knows nothing of the rows' meaning.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event

from indexer import private
from indexer.catalogue.dialects import sqlite_access
from indexer.catalogue.lock import FileLock, OwnerLock
from indexer.catalogue.schema import BUSY_S, full_disk, migrations, stored_name
from indexer.catalogue.text.expression import Expression, unspaced_only
from indexer.catalogue.text.spelling import Vocabulary
from indexer.errors import CatalogueAway, LibraryError

APPLICATION_ID = 0x53474C54
"""'SGLT' in the SQLite header, which distinguishes a library from any other SQLite file."""

TEXT_TABLES = ("words", "names", "characters")

INSERT_CHARACTERS = "INSERT INTO characters (rowid, text) VALUES (?, ?)"
INSERT_NAME = "INSERT INTO names (rowid, name, folder) VALUES (?, ?, ?)"


class SQLite:
    name = "sqlite"
    shared = False
    locking = skip_locked = ""  # there is one writer at a time
    writing: ClassVar[dict[str, Any]] = {"writes": True}
    now = "((julianday('now') - 2440587.5) * 86400.0)"

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- opening ---------------------------------------------------------------------------

    def open_engine(self, read_only: bool) -> sa.Engine:
        """Raises `LibraryError` if the file is not a library, is damaged, was written by a newer Sightline, or (read
        only) does not exist yet."""
        if read_only and not self.path.exists():
            raise LibraryError(f"There is no library in {self.path.parent} yet: index a folder first.")
        bring_up_to_date(self.path, migrations(), read_only=read_only)
        options: dict[str, Any] = {"timeout": BUSY_S, "check_same_thread": False}
        if read_only:
            reader = partial(sqlite_access.connect, self.path, **options)
            engine = sa.create_engine(f"sqlite:///{self.path}", creator=reader)
            event.listen(engine, "connect", _on_connect_reader)
        else:
            address = f"{self.path.absolute().as_uri()}?mode=rw"  # never a new file where the folder was
            writer = partial(sqlite3.connect, address, uri=True, **options)
            engine = sa.create_engine(f"sqlite:///{self.path}", creator=writer)
            event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        return engine

    def identity(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise CatalogueAway(self._absence()) from error
        return status.st_dev, status.st_ino

    def _absence(self) -> str:
        return (
            f"The library's folder {self.path.parent} is not there: it was moved or deleted, or its disk is not"
            " connected. Nothing is written in its place."
        )

    def sentence(self, error: Exception) -> str | None:
        if not isinstance(error, (sqlite3.DatabaseError, sa.exc.DatabaseError)):
            return None
        text, folder = str(error), self.path.parent
        if self.is_away(error):
            return self._absence()
        if "disk is full" in text or "disk I/O error" in text:
            return full_disk(folder)
        if "not a database" in text or "malformed" in text:
            return (
                f"The library file {self.path} is damaged: put your backup in its place, or save what can be read by: "
                "sightline verify --repair (your own files are untouched)."
            )
        if "unable to open" in text or "readonly database" in text:
            return f"The library in {folder} cannot be written: check the folder's permissions."
        if "is locked" in text:
            return f"Another program holds the library in {folder} for over {BUSY_S:.0f} s; try again."
        return None

    def is_away(self, error: Exception) -> bool:
        return not self.path.exists()

    def owner_lock(self, data_dir: Path) -> OwnerLock:
        return FileLock(data_dir / "indexer.catalogue.lock")

    def feeding_lock(self) -> OwnerLock:
        return FileLock(self.path.with_name("vectors.lock"))

    def begin_write(self, c: sa.Connection) -> None:
        """`_on_begin` has taken the write lock."""

    # -- text indexes ----------------------------------------------------------------------

    def write_texts(self, c: sa.Connection, texts: Sequence[tuple[int, str]], *, new: bool) -> None:
        """Triggers update `words`; `characters` has a row only for a text with such characters."""
        for chunk_id, text in texts:
            if not new:
                c.exec_driver_sql("DELETE FROM characters WHERE rowid = ?", (chunk_id,))
            if characters := unspaced_only(text):
                c.exec_driver_sql(INSERT_CHARACTERS, (chunk_id, characters))

    def name_files(self, c: sa.Connection, names: Sequence[tuple[str, str, str]]) -> None:
        if names:
            c.exec_driver_sql(
                "INSERT OR IGNORE INTO names (rowid, name, folder) SELECT id, ?, ? FROM file WHERE path = ?"
                " AND NOT EXISTS (SELECT 1 FROM names WHERE rowid = file.id)",
                [(name, folders, stored_name(path)) for path, name, folders in names],
            )

    def rename_file(self, c: sa.Connection, file_id: int, name: str, folders: str) -> None:
        c.exec_driver_sql("DELETE FROM names WHERE rowid = ?", (file_id,))
        c.exec_driver_sql(INSERT_NAME, (file_id, name, folders))

    def clear_names(self, c: sa.Connection) -> None:
        c.exec_driver_sql("DELETE FROM names")

    # -- care ------------------------------------------------------------------------------

    def damage(self, c: sa.Connection) -> str | None:
        problems = damage_of(self.path)
        if not problems:
            return None
        return (
            f"The catalogue is damaged ({problems[0]}): put a backup in the place of {self.path}, "
            "or save what can be read by: sightline verify --repair"
        )

    def dangling(self, c: sa.Connection) -> list[tuple[str, int]]:
        return [(row[0], row[1]) for row in c.exec_driver_sql("PRAGMA foreign_key_check")]

    def texts_agree(self, c: sa.Connection) -> bool:
        """FTS5 checks a table only where it may write: each is copied into a temporary table, without its texts."""
        with closing(sqlite_access.connect(self.path, timeout=BUSY_S)) as copy:
            copy.execute("CREATE TEMP VIEW chunk AS SELECT id, text FROM main.chunk")
            try:
                for table in TEXT_TABLES:
                    _check_copy(copy, table)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                return False
        return True

    def rebuild_texts(self, c: sa.Connection) -> None:
        for table in TEXT_TABLES:
            c.exec_driver_sql(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")

    def last_ids(self, c: sa.Connection) -> dict[str, int]:
        return {row[0]: row[1] for row in c.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")}

    def advance_sequences(self, c: sa.Connection, ids: dict[str, int]) -> None:
        """Only ids of files and chunks are never reused (AUTOINCREMENT); the journal begins anew."""
        for table in ("file", "chunk"):
            last = ids.get(table, 0)
            has_sequence = c.exec_driver_sql(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table)
            ).rowcount
            if not has_sequence:
                c.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))

    backup_suffix = ".sqlite"

    def restore_hint(self, backup: Path) -> str:
        return "end Sightline, put it in the place of catalogue.sqlite, and delete catalogue.sqlite-wal beside that"

    def backup(self, to: Path, settings: Mapping[str, str]) -> None:
        """SQLite's online backup."""
        private.make(to)
        source, target = sqlite_access.connect(self.path), sqlite3.connect(to)
        try:
            source.backup(target, pages=2000)
            with target:
                target.executemany("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", settings.items())
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a WAL file
        finally:
            source.close()
            target.close()

    # -- searching -------------------------------------------------------------------------

    def reading(self, vocabularies: dict[str, Vocabulary]) -> SQLiteReading:
        connection = sqlite_access.connect(self.path, timeout=BUSY_S, check_same_thread=False, factory=SQLiteReading)
        connection.vocabularies, connection.counts = vocabularies, {}
        connection.execute("PRAGMA temp_store = MEMORY")
        for table in TEXT_TABLES:
            connection.execute(f"CREATE VIRTUAL TABLE temp.{table}_terms USING fts5vocab(main, {table}, row)")
        connection.isolation_level = None
        return connection


class SQLiteReading(sqlite3.Connection):
    """A connection with the vocabularies that all connections of a catalogue share."""

    vocabularies: dict[str, Vocabulary]
    counts: dict[tuple[str, str], int]
    """(table, token) -> number of rows; emptied after each write."""
    counted_at: int = -1

    def version(self) -> int:
        return int(self.execute("PRAGMA data_version").fetchone()[0])

    def known_counts(self) -> dict[tuple[str, str], int]:
        version = self.version()
        if version != self.counted_at or len(self.counts) > 20_000:
            self.counted_at, self.counts = version, {}
        return self.counts

    def rows_with(self, table: str, stems: Sequence[str]) -> dict[str, int]:
        sql = f"SELECT doc FROM temp.{table}_terms WHERE term = ?"
        return {s: row[0] for s in stems if (row := self.execute(sql, (s,)).fetchone())}

    def any_row(self, table: str, expression: Expression) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1"
        return self.execute(sql, (expression,)).fetchone() is not None

    def any_term(self, table: str, beginning: str) -> bool:
        sql = f"SELECT 1 FROM temp.{table}_terms WHERE term >= ? AND term < ? LIMIT 1"
        return self.execute(sql, (beginning, beginning + "\uffff")).fetchone() is not None

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        vocabulary = self.vocabularies[table]
        newest = (
            self.execute("SELECT max(id) FROM chunk").fetchone(),
            self.execute("SELECT max(id) FROM file").fetchone(),
        )
        vocabulary.refresh(newest, lambda limit: self._terms(table, limit))
        return vocabulary.near(word, most_edits)

    def _terms(self, table: str, limit: int) -> Iterator[str]:
        rows = self.execute(
            f"SELECT term FROM temp.{table}_terms WHERE length(term) BETWEEN 4 AND 24 ORDER BY doc DESC LIMIT {limit}"
        )
        return (row[0] for row in rows)

    def best(
        self,
        table: str,
        expression: Expression,
        limit: int,
        allowed: tuple[str, list[Any]] = ("", []),
        longest: int | None = None,
    ) -> list[tuple[int, float]]:
        condition, values = allowed
        rank = f"bm25({table}, 4.0, 1.0)" if table == "names" else "rank"
        where = f" AND {condition}" if condition else ""
        if longest is not None:
            where += f" AND length(w.{'name' if table == 'names' else 'text'}) <= {longest}"
        return self.execute(
            f"SELECT w.rowid, -{rank} FROM {table} w WHERE {table} MATCH ?{where} ORDER BY {rank} LIMIT ?",
            (expression, *values, limit),
        ).fetchall()

    def snippet(self, chunk_id: int, expression: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        row = self.execute(
            f"SELECT snippet(words, 0, '{mark}', '{unmark}', '…', {tokens}) FROM words"
            " WHERE words MATCH ? AND rowid = ?",
            (expression, chunk_id),
        ).fetchone()
        return None if row is None else row[0]


def bring_up_to_date(path: Path, steps: list[tuple[int, str]], *, read_only: bool = False) -> None:
    """Run the migrations above the file's `user_version`, in one transaction. `steps`: (version, SQL)."""
    newest = steps[-1][0]
    if read_only:
        connection = sqlite_access.connect(path, timeout=BUSY_S)
    else:
        private.make(path)  # SQLite gives the files beside it the same mode
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        if _known_version(connection, path, newest) == newest:
            return
        if read_only:
            raise LibraryError(
                f"The library in {path.parent} must be brought up to date first: run `sightline index` once."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        version = _known_version(connection, path, newest)  # another program may have migrated it meanwhile
        for number, sql in steps:
            if number > version:
                for statement in statements(sql):
                    connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def damage_of(path: Path) -> list[str]:
    """Returns SQLite's own report of a library's file; empty if the file is sound, or another program's."""
    with closing(sqlite_access.connect(path)) as connection:
        try:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                return []
            lines = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
    return [line for line in lines if line != "ok" and not line.startswith("***")]


def _check_copy(connection: sqlite3.Connection, table: str) -> None:
    """Copy an FTS5 table with its shadow tables to the schema `temp`, and check the copy. Raises DatabaseError if it
    disagrees with its texts or with itself."""
    (sql,) = connection.execute("SELECT sql FROM main.sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.execute(re.sub(rf'VIRTUAL TABLE "?{table}"?', f"VIRTUAL TABLE temp.{table}", sql, count=1))
    shadows = "SELECT name FROM sqlite_temp_master WHERE type = 'table' AND name GLOB ?"
    for (shadow,) in connection.execute(shadows, (f"{table}_*",)).fetchall():
        connection.execute(f"DELETE FROM temp.{shadow}")
        connection.execute(f"INSERT INTO temp.{shadow} SELECT * FROM main.{shadow}")
    connection.commit()
    connection.execute(f"INSERT INTO temp.{table} ({table}, rank) VALUES ('integrity-check', 1)")


def statements(script: str) -> Iterator[str]:
    """Yields the statements of a script (`executescript` would commit in between)."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _known_version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """Returns the schema version of a library; 0 for an empty file. Raises LibraryError for any other file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    is_library = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not is_library and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise LibraryError(f"{path} is not a Sightline library; choose another --data-dir.")
    if version > newest:
        raise LibraryError(
            f"The library in {path.parent} was written by a newer Sightline (schema {version}, this one "
            f"knows {newest}): update Sightline, or choose another --data-dir."
        )
    return version if is_library else 0


def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    _on_connect_reader(connection, record)


def _on_connect_reader(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # `_on_begin` begins a transaction, so that a reader has a snapshot
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -2000")  # kB per connection; the system caches the file anyway


def _on_begin(connection: sa.Connection) -> None:
    """Begin a transaction. A writer takes the write lock at once, as a later upgrade can fail without waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
