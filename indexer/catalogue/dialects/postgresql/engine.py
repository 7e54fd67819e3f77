"""The catalogue in a PostgreSQL database, through psycopg 3, for libraries that several machines share.

Built around one schema of one database per library. Each writer first locks the row of `written`, so that only one
writes at a time, as in SQLite: the journal is in the order of the commits. Readers have a snapshot (repeatable
read). SQL that is written for SQLite is translated (`sql.py`). It knows nothing of the rows' meaning.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event

from indexer.catalogue.dialects.postgresql.sql import as_postgresql, rendering
from indexer.catalogue.dialects.postgresql.text import adapt, tsvector
from indexer.catalogue.schema import BUSY_S, migrations, stored_name
from indexer.catalogue.text.expression import unspaced_only
from indexer.catalogue.text.tokenizers import tokenisers
from indexer.errors import CatalogueAway, LibraryError, NoLibraryYet

if TYPE_CHECKING:
    import psycopg

    from indexer.catalogue.dialects.postgresql.search import PostgreSQLReading
    from indexer.catalogue.lock import OwnerLock
    from indexer.catalogue.text.spelling import Vocabulary

log = logging.getLogger(__name__)

OLDEST = 14
"""The oldest version of the server that is supported (tested on 15)."""
CONNECT_S = 10
LOCK = 0x53474C54
"""'SGLT': the first half of Sightline's advisory locks; the second half is the schema."""
FOLDER_GAP = 2
"""Positions between a name's terms and its folders' terms, so that no phrase spans both."""
BATCH = 500
NUMBERED = (*((table, "id") for table in ("root", "model", "file", "chunk", "embedding", "cue")), ("content", "rowid"))
"""Tables with a sequence, and its column."""


class PostgreSQL:
    name = "postgresql"
    shared = True
    locking = " FOR UPDATE OF c"
    skip_locked = " FOR UPDATE OF c SKIP LOCKED"
    writing: ClassVar[dict[str, Any]] = {"writes": True, "isolation_level": "READ COMMITTED"}
    now = "extract(epoch FROM clock_timestamp())::double precision"

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.shown = sa.URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database
        ).render_as_string()

    # -- opening ---------------------------------------------------------------------------

    def open_engine(self, read_only: bool) -> sa.Engine:
        """Raises `LibraryError`: no such server, a wrong password, a server that is too old, tables of another program
        or of a newer Sightline, no permission to create tables, no psycopg."""
        with self.connect() as connection:
            bring_up_to_date(connection, migrations("postgresql"), self.shown, read_only=read_only)
        engine = sa.create_engine(
            self.url,
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=30,
            connect_args=self._arguments(),
        )
        event.listen(engine, "connect", lambda connection, record: adapt(connection))
        event.listen(engine, "before_cursor_execute", rendering, retval=True)
        return engine

    def connect(self, autocommit: bool = False) -> psycopg.Connection:
        """Returns a new psycopg connection. Raises LibraryError."""
        try:
            import psycopg
        except ImportError as error:
            raise LibraryError("A catalogue on PostgreSQL needs psycopg: pip install 'sightline[scale]'.") from error
        try:
            connection = psycopg.connect(
                self.url.set(drivername="postgresql").render_as_string(hide_password=False),
                autocommit=autocommit,
                **self._arguments(),
            )
        except psycopg.Error as error:
            kind = CatalogueAway if self.is_away(error) else LibraryError
            sentence = f"The catalogue at {self.shown} cannot be opened: {_first_line(error)}."
            raise kind(self.sentence(error) or sentence) from error
        adapt(connection)
        return connection

    def _arguments(self) -> dict[str, Any]:
        arguments = {"connect_timeout": CONNECT_S, "application_name": "sightline", "client_encoding": "utf8"}
        return {name: value for name, value in arguments.items() if name not in self.url.query}

    def sentence(self, error: Exception) -> str | None:
        import psycopg
        from psycopg import errors

        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if isinstance(cause, errors.DiskFull):
            return (
                f"The disk of the database server ({self.shown}) is full: nothing is lost; "
                "make room and indexing goes on where it stopped."
            )
        if isinstance(cause, (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
            return f"This user may not write the catalogue at {self.shown}: {_first_line(cause)}."
        if isinstance(cause, errors.LockNotAvailable):
            return f"Another program holds the catalogue at {self.shown} for over {BUSY_S:.0f} s; try again."
        if not isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
            return None
        text = str(cause)
        if "password authentication failed" in text or "no password supplied" in text:
            return (
                f"The database server refuses the user or the password of {self.shown}: "
                "check SIGHTLINE_CATALOGUE (or --catalogue)."
            )
        if re.search(r'database "[^"]*" does not exist', text):
            return (
                f"There is no database {self.url.database} on the server of {self.shown}: create it "
                f"(createdb {self.url.database}), or name another."
            )
        if re.search(r'role "[^"]*" does not exist', text):
            return f"The database server knows no user {self.url.username} ({self.shown}): check the name."
        if "starting up" in text or "shutting down" in text or "in recovery" in text:
            return f"The database server of {self.shown} is starting or stopping: try again in a moment."
        return f"The database server of {self.shown} does not answer: {_first_line(cause)}."

    def identity(self) -> None:
        return None

    def is_away(self, error: Exception) -> bool:
        """A server that refuses a password, or whose disk is full, is not away."""
        import psycopg
        from psycopg import errors

        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        return (
            isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError))
            and not isinstance(cause, (errors.DiskFull, errors.LockNotAvailable))
            and re.search(r'password|(database|role) "[^"]*" does not exist', str(cause)) is None
        )

    def owner_lock(self, data_dir: Path) -> OwnerLock:
        return ServerLock(self)

    def feeding_lock(self) -> OwnerLock:
        return ServerLock(self, LOCK + 2)

    def begin_write(self, c: sa.Connection) -> None:
        """Wait for the writer before; READ COMMITTED, so that this writer then sees its rows."""
        c.exec_driver_sql("UPDATE written SET version = version + 1")

    # -- text indexes ----------------------------------------------------------------------

    def write_texts(self, c: sa.Connection, texts: Sequence[tuple[int, str]], *, new: bool) -> None:
        if not new and texts:
            ids = [i for i, _ in texts]
            c.exec_driver_sql("DELETE FROM words WHERE rowid = ANY (?)", (ids,))
            c.exec_driver_sql("DELETE FROM characters WHERE rowid = ANY (?)", (ids,))
        unspaced = [(i, s) for i, text in texts if (s := unspaced_only(text))]
        for table, rows in (("words", texts), ("characters", unspaced)):
            terms = tokenisers().terms
            _insert(c, table, [(i, *tsvector(terms(text, table)), len(text)) for i, text in rows])

    def name_files(self, c: sa.Connection, names: Sequence[tuple[str, str, str]]) -> None:
        by_path = {path: (name, folders) for path, name, folders in names}
        paths = list(by_path)
        for start in range(0, len(paths), BATCH):
            batch = [stored_name(p) for p in paths[start : start + BATCH]]
            rows = c.exec_driver_sql(
                f"SELECT f.id, f.path FROM file f WHERE f.path IN ({', '.join('?' * len(batch))})"
                " AND NOT EXISTS (SELECT 1 FROM names n WHERE n.rowid = f.id)",
                tuple(batch),
            ).all()
            _insert(c, "names", [_name_row(number, *by_path[path]) for number, path in rows])

    def rename_file(self, c: sa.Connection, file_id: int, name: str, folders: str) -> None:
        c.exec_driver_sql("DELETE FROM names WHERE rowid = ?", (file_id,))
        _insert(c, "names", [_name_row(file_id, name, folders)])

    def clear_names(self, c: sa.Connection) -> None:
        c.exec_driver_sql("DELETE FROM names")

    # -- care ------------------------------------------------------------------------------

    def damage(self, c: sa.Connection) -> str | None:
        """The server checks its pages itself when it reads them (data checksums, amcheck)."""
        return None

    def dangling(self, c: sa.Connection) -> list[tuple[str, int]]:
        """The server enforces the foreign keys."""
        return []

    def texts_agree(self, c: sa.Connection) -> bool:
        """Checks that each chunk has a row, the count of rows, and the terms of a thousand random rows."""
        lacking = c.exec_driver_sql(
            "SELECT count(*) FROM chunk k WHERE NOT EXISTS (SELECT 1 FROM words w WHERE w.rowid = k.id)"
        ).scalar_one()
        if lacking:
            return False
        rows = c.exec_driver_sql(
            "SELECT k.text, w.terms = ?::tsvector, w.terms::text, w.length FROM chunk k"
            " JOIN words w ON w.rowid = k.id ORDER BY random() LIMIT 1000",
            ("",),
        ).all()
        for text, _, terms, length in rows:
            expected, count = tsvector(tokenisers().terms(text, "words"))
            is_same = c.exec_driver_sql("SELECT ?::tsvector = ?::tsvector", (expected, terms)).scalar_one()
            if not is_same or count != length:
                return False
        row_count, tally = c.exec_driver_sql(
            "SELECT (SELECT count(*) FROM words), (SELECT docs FROM tally WHERE place = 'words')"
        ).one()
        return bool(row_count == tally)

    def rebuild_texts(self, c: sa.Connection) -> None:
        c.exec_driver_sql("DELETE FROM words")
        c.exec_driver_sql("DELETE FROM characters")
        c.exec_driver_sql("DELETE FROM term WHERE place <> 'names'")
        c.exec_driver_sql("UPDATE tally SET docs = 0, tokens = 0 WHERE place <> 'names'")
        last = -1
        while rows := c.exec_driver_sql(
            "SELECT id, text FROM chunk WHERE id > ? ORDER BY id LIMIT ?", (last, BATCH)
        ).all():
            self.write_texts(c, [(r[0], r[1]) for r in rows], new=True)
            last = rows[-1][0]

    def last_ids(self, c: sa.Connection) -> dict[str, int]:
        ids = {}
        for table, column in NUMBERED:
            sequence = c.exec_driver_sql("SELECT pg_get_serial_sequence(?, ?)", (table, column)).scalar_one()
            ids[table] = int(c.exec_driver_sql(f"SELECT last_value FROM {sequence}").scalar_one())
        return ids

    def advance_sequences(self, c: sa.Connection, ids: dict[str, int]) -> None:
        for table, column in NUMBERED:
            newest = c.exec_driver_sql(f"SELECT coalesce(max({column}), 0) FROM {table}").scalar_one()
            c.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence(?, ?), ?)", (table, column, max(1, newest, ids.get(table, 0)))
            )

    backup_suffix = ".dump"

    def backup(self, to: Path, settings: Mapping[str, str]) -> None:
        """`settings` stay out: pg_dump's format takes no further rows."""
        from indexer.catalogue.dialects.postgresql.backup import dump

        with self.connect(autocommit=True) as connection:
            row = connection.execute("SELECT current_schema()").fetchone()
        schema = row[0] if row and row[0] != "public" else None
        dump(self.url, schema, self.shown, to)

    def restore_hint(self, backup: Path) -> str:
        return f"createdb an empty database, then pg_restore --no-owner -d DATABASE {backup}"

    # -- searching -------------------------------------------------------------------------

    def reading(self, vocabularies: dict[str, Vocabulary]) -> PostgreSQLReading:
        from indexer.catalogue.dialects.postgresql.search import PostgreSQLReading

        return PostgreSQLReading(self, partial(self.connect, autocommit=True))


class ServerLock:
    """The owner lock on the server: an advisory lock of a connection of its own, which ends with the program, the
    machine or the network."""

    def __init__(self, dialect: PostgreSQL, number: int = LOCK) -> None:
        self._dialect, self._number = dialect, number
        self._connection: psycopg.Connection | None = None
        self._guard = threading.Lock()

    @property
    def is_held(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def acquire(self) -> bool:
        import psycopg

        with self._guard:
            if self._connection is not None:
                try:
                    self._connection.execute("SELECT 1")
                    return True
                except psycopg.Error:
                    self._connection = None  # the connection is lost, and the lock with it
            connection = self._dialect.connect(autocommit=True)
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))", (self._number,)
            ).fetchone()
            if row is None or not row[0]:
                connection.close()
                return False
            import os
            import socket

            name = f"sightline {socket.gethostname()} {os.getpid()}"[:63]
            connection.execute("SELECT set_config('application_name', %s, false)", (name,))
            self._connection = connection
            return True

    def holder(self) -> str:
        with self._dialect.connect(autocommit=True) as connection:
            row = connection.execute(
                "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
                " WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = %s"
                " AND l.objid::bigint = (hashtext(current_schema())::bigint & 4294967295)"
                " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                (self._number,),
            ).fetchone()
        words = row[0].split() if row else []
        return f"process {words[2]} on {words[1]}" if len(words) == 3 else "another program"

    def release(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def bring_up_to_date(
    connection: psycopg.Connection, steps: list[tuple[int, str]], shown: str, *, read_only: bool = False
) -> None:
    """Run the migrations above the database's schema version, in one transaction. `steps`: (version, SQL)."""
    from psycopg import errors

    server = connection.info.server_version // 10_000
    if server < OLDEST:
        raise LibraryError(f"The database server of {shown} is PostgreSQL {server}; Sightline needs {OLDEST} or newer.")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise LibraryError(f"The database {shown} is kept in {encoding}: create it with encoding UTF8.")
    newest = steps[-1][0]
    version = _version(connection)
    if version is None and read_only:
        raise NoLibraryYet(f"There is no library at {shown} yet: index a folder first.")
    if version is not None and version < newest and read_only:
        raise LibraryError(
            f"The library at {shown} must be brought up to date first (schema {version}, this one knows "
            f"{newest}): run `sightline index` of this version once."
        )
    if version == newest:
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", (LOCK + 1,))
    version = _version(connection)  # another program may have migrated it meanwhile
    if version is None and _tables(connection):
        raise LibraryError(f"The database {shown} holds another program's tables: name one of its own.")
    if version is not None and version > newest:
        raise LibraryError(
            f"The library at {shown} was written by a newer Sightline (schema {version}, this one knows "
            f"{newest}): update Sightline, or name another --catalogue."
        )
    try:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except (errors.InsufficientPrivilege, errors.UndefinedFile, errors.FeatureNotSupported) as error:
            raise LibraryError(
                f"The database {shown} lacks the extension pg_trgm, and this user may not create it: "
                "let the server's administrator run CREATE EXTENSION pg_trgm there."
            ) from error
        for number, sql in steps:
            if number > (version or 0):
                connection.execute(as_postgresql(sql))
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL)")
        connection.execute("DELETE FROM schema_version")
        connection.execute("INSERT INTO schema_version VALUES (%s)", (newest,))
        connection.commit()
    except errors.InsufficientPrivilege as error:
        raise LibraryError(
            f"This user may not create tables in {shown} ({_first_line(error)}): let its owner GRANT CREATE "
            "on the schema."
        ) from error


def _version(connection: psycopg.Connection) -> int | None:
    table = connection.execute("SELECT to_regclass(current_schema() || '.schema_version')").fetchone()
    if table is None or table[0] is None:
        return None
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    return row[0] if row else None


def _tables(connection: psycopg.Connection) -> bool:
    row = connection.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema()"
        " AND table_type = 'BASE TABLE' LIMIT 1"
    ).fetchone()
    return row is not None


def _insert(c: sa.Connection, table: str, rows: Sequence[tuple[int, str, int, int]]) -> None:
    """Insert rows (row number, tsvector, number of terms, number of characters), in one statement per batch, so that
    the triggers run once."""
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        c.exec_driver_sql(
            f"INSERT INTO {table} (rowid, terms, length, size) SELECT r, t::tsvector, l, s FROM"
            " unnest(?::bigint[], ?::text[], ?::bigint[], ?::bigint[]) u (r, t, l, s)"
            " ON CONFLICT (rowid) DO NOTHING",
            tuple([row[n] for row in batch] for n in range(4)),
        )


def _name_row(number: int, name: str, folders: str) -> tuple[int, str, int, int]:
    name_terms, folder_terms = (tokenisers().terms(text, "names") for text in (name, folders))
    name_vector, n = tsvector(name_terms, weight="A")
    folder_vector, m = tsvector(folder_terms, start=n + FOLDER_GAP)
    return number, f"{name_vector} {folder_vector}", n + m, len(name)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
