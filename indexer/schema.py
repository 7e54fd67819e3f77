"""The catalogue's tables, and how a library file is opened, created and brought up to date.

Built around SQLite (WAL) through SQLAlchemy Core. The DDL is the ladder of SQL files
in `indexer/migrations`, one a schema version, run in order and counted in SQLite's own
`user_version`; the `Table`s below describe the same for queries (a test compares them).
The FTS5 tables `words` and `characters` (rowid = chunk.id) and `names` (rowid = file.id) exist
only in SQL.
It knows nothing of what the rows mean: that is `catalogue.py`.

Names are kept losslessly. A path that is UTF-8 is stored as TEXT; one that is not
(POSIX allows any bytes) is stored as a BLOB of exactly those bytes, and is a `str` with
surrogate escapes (`os.fsdecode`) in Python.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from indexer.records import LibraryError

APPLICATION_ID = 0x53474C54
"""'SGLT' in the SQLite header: tells a library from any other SQLite file."""

BUSY_S = 30.0
"""How long one program waits for another's transaction. Ours are milliseconds; a backup may be seconds."""


class PathText(sa.types.TypeDecorator[str]):
    """A file-system name: `str` in Python (surrogate escapes allowed), TEXT or BLOB in SQLite."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else stored_name(os.fspath(value))

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return os.fsdecode(value) if isinstance(value, bytes) else value


def stored_name(name: str) -> str | bytes:
    """What SQLite keeps of a name: itself, or its bytes where they are not UTF-8."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name)


metadata = sa.MetaData()

root = sa.Table(
    "root",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", PathText, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # here | away | left_out
    sa.Column("mount", PathText),
    sa.Column("ignored", sa.Integer, nullable=False),
    sa.Column("scanned_at", sa.Float),
)

content = sa.Table(
    "content",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending | ready | failed
    sa.Column("error", sa.Text),
    sa.Column("failed_at", sa.Float),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("ocr", sa.Text, nullable=False),  # none | pending | done
    sa.Column("orphaned_at", sa.Float),
    sa.Column("duration_s", sa.Float),
    sa.Column("pages", sa.Integer),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("taken_at", sa.Float),
    sa.Column("camera", sa.Text),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
)

file = sa.Table(
    "file",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("root_id", sa.ForeignKey("root.id"), nullable=False),
    sa.Column("path", PathText, nullable=False),
    sa.Column("folder", PathText, nullable=False),
    sa.Column("name", PathText, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("ctime_ns", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.LargeBinary, sa.ForeignKey("content.hash")),
    sa.Column("state", sa.Text, nullable=False),  # pending | known | failed
    sa.Column("error", sa.Text),
    sa.Column("failed_at", sa.Float),
)

chunk = sa.Table(
    "chunk",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("content_hash", sa.ForeignKey("content.hash"), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("start_s", sa.Float),
    sa.Column("end_s", sa.Float),
    sa.Column("page", sa.Integer),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("same_as", sa.Integer),
)

model = sa.Table(
    "model",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # answering | building | old
    sa.Column("source", sa.Text, nullable=False),
)

embedding = sa.Table(
    "embedding",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("chunk_id", sa.ForeignKey("chunk.id"), nullable=False),
    sa.Column("model_id", sa.ForeignKey("model.id"), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)

change = sa.Table(
    "change",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("chunk_id", sa.Integer, nullable=False),
)

label = sa.Table(
    "label",
    metadata,
    sa.Column("chunk_id", sa.ForeignKey("chunk.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("hidden", sa.Integer, nullable=False),
)

seen = sa.Table(
    "seen",
    metadata,
    sa.Column("root_id", sa.ForeignKey("root.id"), primary_key=True),
    sa.Column("folder", PathText, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("ignored", sa.Integer, nullable=False),
)

setting = sa.Table(
    "setting",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


def migrations() -> list[tuple[int, str]]:
    """The ladder: (version, SQL) in order, from `indexer/migrations/NNNN_*.sql`."""
    files = sorted(
        (f for f in resources.files("indexer").joinpath("migrations").iterdir() if f.name.endswith(".sql")),
        key=lambda f: f.name,
    )
    return [(int(f.name.split("_")[0]), f.read_text(encoding="utf-8")) for f in files]


def open_engine(path: Path, *, read_only: bool = False) -> sa.Engine:
    """The engine over a library's `catalogue.sqlite`, created or brought up to date first.

    Raises `LibraryError` when the file is not a library, is damaged, was written by a newer
    Sightline, or (read only) is not there yet.
    """
    with explained(path):
        if read_only and not path.exists():
            raise LibraryError(f"There is no library in {path.parent} yet: index a folder first.")
        bring_up_to_date(path, migrations(), read_only=read_only)
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_S, "check_same_thread": False}
    )
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begun)
    return engine


def bring_up_to_date(path: Path, ladder: list[tuple[int, str]], *, read_only: bool = False) -> None:
    """Run the steps of `ladder` above the file's `user_version`, all or none."""
    newest = ladder[-1][0]
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        version, ours = _versions(connection)
        if version == newest and ours:
            return
        if read_only:
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


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's own errors as sentences for a person."""
    try:
        yield
    except (sqlite3.DatabaseError, sa.exc.DatabaseError) as error:
        told = sentence(error, path)
        if told is None:
            raise
        raise LibraryError(told) from error


def full_disk(folder: Path) -> str:
    return (
        f"The disk that holds the library ({folder}) is full or failing: nothing is lost; "
        "make room and indexing goes on where it stopped."
    )


def sentence(error: Exception, path: Path) -> str | None:
    """What a person should know about a database error, or None when it is a bug of ours."""
    text = str(error)
    if "disk is full" in text or "disk I/O error" in text:
        return full_disk(path.parent)
    if "not a database" in text or "malformed" in text:
        return (
            f"The library file {path} is damaged: put your backup in its place, or delete it and index again "
            "(your own files are untouched)."
        )
    if "unable to open" in text or "readonly database" in text:
        return f"The library in {path.parent} cannot be written: check the folder's permissions."
    if "is locked" in text:
        return f"Another program holds the library in {path.parent} for over {BUSY_S:.0f} s; try again."
    return None


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
