"""The catalogue in one SQLite file: WAL, FTS5, its own vocabulary tables.

Built around snapshots that never wait for the writer and a writer that takes the lock at
once. Searches read on `sqlite3` itself, whose overhead a row is a fraction of SQLAlchemy's.
The FTS5 tables of words are kept in step by triggers. It knows nothing of what rows mean.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event

from indexer.catalogue.lock import FileLock, OwnerLock
from indexer.catalogue.schema import BUSY_S, full_disk, migrations, stored_name
from indexer.catalogue.text.expression import Expression, unspaced_only
from indexer.catalogue.text.spelling import Vocabulary
from indexer.errors import LibraryError

APPLICATION_ID = 0x53474C54
"""'SGLT' in the SQLite header: tells a library from any other SQLite file."""

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
        """Raises `LibraryError` when the file is not a library, is damaged, was written by a newer
        Sightline, or (read only) is not there yet."""
        if read_only and not self.path.exists():
            raise LibraryError(f"There is no library in {self.path.parent} yet: index a folder first.")
        bring_up_to_date(self.path, migrations(), read_only=read_only)
        engine = sa.create_engine(
            f"sqlite:///{self.path}", connect_args={"timeout": BUSY_S, "check_same_thread": False}
        )
        event.listen(engine, "connect", _connected)
        event.listen(engine, "begin", _begun)
        return engine

    def sentence(self, error: Exception) -> str | None:
        if not isinstance(error, (sqlite3.DatabaseError, sa.exc.DatabaseError)):
            return None
        text, folder = str(error), self.path.parent
        if "disk is full" in text or "disk I/O error" in text:
            return full_disk(folder)
        if "not a database" in text or "malformed" in text:
            return (
                f"The library file {self.path} is damaged: put your backup in its place, or delete it and "
                "index again (your own files are untouched)."
            )
        if "unable to open" in text or "readonly database" in text:
            return f"The library in {folder} cannot be written: check the folder's permissions."
        if "is locked" in text:
            return f"Another program holds the library in {folder} for over {BUSY_S:.0f} s; try again."
        return None

    def is_away(self, error: Exception) -> bool:
        return False

    def owner_lock(self, data_dir: Path) -> OwnerLock:
        return FileLock(data_dir / "indexer.catalogue.lock")

    def feeding_lock(self) -> OwnerLock:
        return FileLock(self.path.with_name("vectors.lock"))

    def begin_write(self, c: sa.Connection) -> None:
        """`_begun` has taken the write lock."""

    # -- text indexes ----------------------------------------------------------------------

    def write_texts(self, c: sa.Connection, texts: Sequence[tuple[int, str]], *, new: bool) -> None:
        """Triggers keep `words`; `characters` has a row only where there is something in it."""
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
        told = [row[0] for row in c.exec_driver_sql("PRAGMA quick_check(20)")]
        if told == ["ok"]:
            return None
        return (
            f"The catalogue is damaged ({told[0]}): put a backup in the place of {self.path}, "
            "or delete it and index again."
        )

    def dangling(self, c: sa.Connection) -> list[tuple[str, int]]:
        return [(row[0], row[1]) for row in c.exec_driver_sql("PRAGMA foreign_key_check")]

    def texts_agree(self, c: sa.Connection) -> bool:
        try:
            c.exec_driver_sql("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        except sa.exc.DatabaseError:
            return False
        return True

    def rebuild_texts(self, c: sa.Connection) -> None:
        c.exec_driver_sql("INSERT INTO words (words) VALUES ('rebuild')")

    def last_numbers(self, c: sa.Connection) -> dict[str, int]:
        return {row[0]: row[1] for row in c.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")}

    def go_on_from(self, c: sa.Connection, numbers: dict[str, int]) -> None:
        """Files and chunks are never numbered again (AUTOINCREMENT); the journal is this catalogue's own."""
        for table in ("file", "chunk"):
            last = numbers.get(table, 0)
            known = c.exec_driver_sql(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table)
            ).rowcount
            if not known:
                c.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))

    backup_suffix = ".sqlite"

    def restoring(self, backup: Path) -> str:
        return "put it in the place of catalogue.sqlite"

    def backup(self, to: Path) -> None:
        """SQLite's online backup."""
        source, target = sqlite3.connect(self.path), sqlite3.connect(to)
        try:
            source.backup(target, pages=2000)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        finally:
            source.close()
            target.close()

    # -- searching -------------------------------------------------------------------------

    def reading(self, vocabularies: dict[str, Vocabulary]) -> SQLiteReading:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            check_same_thread=False,
            factory=SQLiteReading,
        )
        connection.vocabularies, connection.counts = vocabularies, {}
        connection.execute("PRAGMA temp_store = MEMORY")
        for table in ("words", "names", "characters"):
            connection.execute(f"CREATE VIRTUAL TABLE temp.{table}_terms USING fts5vocab(main, {table}, row)")
        connection.isolation_level = None
        return connection


class SQLiteReading(sqlite3.Connection):
    """A connection with the vocabularies that all connections of a catalogue share."""

    vocabularies: dict[str, Vocabulary]
    counts: dict[tuple[str, str], int]
    """How many rows of a table hold a token; emptied when something was written."""
    counted_at: int = -1

    def version(self) -> int:
        return self.execute("PRAGMA data_version").fetchone()[0]

    def known_counts(self) -> dict[tuple[str, str], int]:
        version = self.version()
        if version != self.counted_at or len(self.counts) > 20_000:
            self.counted_at, self.counts = version, {}
        return self.counts

    def rows_with(self, table: str, stems: Sequence[str]) -> dict[str, int]:
        sql = f"SELECT doc FROM temp.{table}_terms WHERE term = ?"
        return {s: row[0] for s in stems if (row := self.execute(sql, (s,)).fetchone())}

    def any_row(self, table: str, asked: Expression) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1"
        return self.execute(sql, (asked,)).fetchone() is not None

    def any_term(self, table: str, beginning: str) -> bool:
        sql = f"SELECT 1 FROM temp.{table}_terms WHERE term >= ? AND term < ? LIMIT 1"
        return self.execute(sql, (beginning, beginning + "\uffff")).fetchone() is not None

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        vocabulary = self.vocabularies[table]
        written = (
            self.execute("SELECT max(id) FROM chunk").fetchone(),
            self.execute("SELECT max(id) FROM file").fetchone(),
        )
        vocabulary.refresh(written, lambda most: self._terms(table, most))
        return vocabulary.near(word, most_edits)

    def _terms(self, table: str, most: int) -> Iterator[str]:
        rows = self.execute(
            f"SELECT term FROM temp.{table}_terms WHERE length(term) BETWEEN 4 AND 24 ORDER BY doc DESC LIMIT {most}"
        )
        return (row[0] for row in rows)

    def best(
        self,
        table: str,
        asked: Expression,
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
            (asked, *values, limit),
        ).fetchall()

    def snippet(self, chunk_id: int, asked: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        row = self.execute(
            f"SELECT snippet(words, 0, '{mark}', '{unmark}', '…', {tokens}) FROM words"
            " WHERE words MATCH ? AND rowid = ?",
            (asked, chunk_id),
        ).fetchone()
        return None if row is None else row[0]


def bring_up_to_date(path: Path, ladder: list[tuple[int, str]], *, read_only: bool = False) -> None:
    """Run the steps of `ladder` above the file's `user_version`, all or none."""
    newest = ladder[-1][0]
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        version, ours = _versions(connection)
        if version == newest and ours:
            return
        if read_only and version < newest:
            raise LibraryError(
                f"The library in {path.parent} must be brought up to date first: run `sightline index` once."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        version, ours = _versions(connection)  # another program may have been faster
        if not ours and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise LibraryError(f"{path} is not a Sightline library; choose another --data-dir.")
        if version > newest:
            raise LibraryError(
                f"The library in {path.parent} was written by a newer Sightline (schema {version}, this one "
                f"knows {newest}): update Sightline, or choose another --data-dir."
            )
        for number, sql in ladder:
            if number > version:
                for statement in statements(sql):
                    connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one (`executescript` would commit in between)."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _versions(connection: sqlite3.Connection) -> tuple[int, bool]:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return version, connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def _connected(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours (`_begun`), so that a reader's snapshot is real
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -2000")  # kB a connection; the system caches the file anyway


def _begun(connection: sa.Connection) -> None:
    """A writer takes the write lock at once: upgrading a read later can fail without waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
