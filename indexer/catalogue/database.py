"""The database of a catalogue: snapshots for readers, transactions for writers.

Built around one engine, its dialect and a lock that lets one thread of this program write at a time. A reader
has a consistent snapshot and never waits for a writer in this program or another (SQLite's WAL, PostgreSQL's
row versions). It knows nothing of the tables' meaning.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from indexer.catalogue.dialects import dialect_of, explained
from indexer.catalogue.schema import Where
from indexer.errors import CatalogueAway


class Database:
    """Safe to use from many threads and programs. Errors of the engine are raised as `LibraryError`."""

    def __init__(self, where: Where, *, read_only: bool = False) -> None:
        """Creates the library or migrates it to the newest schema, unless `read_only`."""
        self.where = where
        self.dialect = dialect_of(where)
        with explained(self.dialect):
            self.engine = self.dialect.open_engine(read_only)
            self._identity = self.dialect.identity()
        self._write_lock = threading.RLock()

    @contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """A consistent snapshot."""
        with explained(self.dialect):
            self.identity()
            with self.engine.begin() as connection:
                yield connection

    @contextmanager
    def writer(self) -> Iterator[sa.Connection]:
        """A transaction, which is rolled back if the block raises."""
        with self.short_writer() as connection:
            self.dialect.begin_write(connection)
            yield connection

    @contextmanager
    def short_writer(self) -> Iterator[sa.Connection]:
        """A transaction on leases and workers only; on a server it does not wait for writers of contents."""
        with explained(self.dialect), self._write_lock:
            self.identity()
            with self.engine.connect().execution_options(**self.dialect.writing) as connection, connection.begin():
                yield connection

    def identity(self) -> object:
        """Returns which file the catalogue is; connections to another one end. Raises CatalogueAway if its folder is
        not there, where open connections would go on with a file that nobody can see."""
        identity = self.dialect.identity()
        if identity != self._identity:
            self._identity = identity
            self.engine.dispose()
        return identity

    def is_here(self) -> bool:
        try:
            self.dialect.identity()
        except CatalogueAway:
            return False
        return True

    def backup(self, to: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        """Copy the catalogue into one file, also while it is in use, and add `settings` to it."""
        with explained(self.dialect):
            self.dialect.backup(to, settings)

    def close(self) -> None:
        self.engine.dispose()


def new_id(row: sa.CursorResult[Any]) -> int:
    """Returns the id of an inserted row."""
    assert row.inserted_primary_key is not None
    return int(row.inserted_primary_key[0])
