"""The database that holds a catalogue: snapshots to read, transactions to write.

Built around one engine, its dialect and a lock that lets one thread of this program write at a
time. A reader has a consistent snapshot and never waits for the writer (SQLite's WAL,
PostgreSQL's row versions), in this program or another. It knows nothing of what the tables mean.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from indexer.catalogue.dialects import dialect_of, explained
from indexer.catalogue.schema import Where


class Database:
    """Safe to use from many threads and programs. The engine's errors come as `LibraryError`."""

    def __init__(self, where: Where, *, read_only: bool = False) -> None:
        """Creates the library or brings it up to date, unless `read_only`."""
        self.where = where
        self.dialect = dialect_of(where)
        with explained(self.dialect):
            self.engine = self.dialect.open_engine(read_only)
        self._write_lock = threading.RLock()

    @contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """A consistent snapshot."""
        with explained(self.dialect), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writer(self) -> Iterator[sa.Connection]:
        """One transaction: all of it, or none of it when the block raises."""
        with self.short_writer() as connection:
            self.dialect.begin_write(connection)
            yield connection

    @contextmanager
    def short_writer(self) -> Iterator[sa.Connection]:
        """A transaction on leases and workers alone; on a server it does not wait for those who write
        contents."""
        with (
            explained(self.dialect),
            self._write_lock,
            self.engine.connect().execution_options(**self.dialect.writing) as connection,
            connection.begin(),
        ):
            yield connection

    def backup(self, to: Path) -> None:
        """Copy the catalogue as it is now, while it is in use, into one file."""
        with explained(self.dialect):
            self.dialect.backup(to)

    def close(self) -> None:
        self.engine.dispose()


def new_id(row: sa.CursorResult[Any]) -> int:
    """The id of a row that was inserted."""
    assert row.inserted_primary_key is not None
    return row.inserted_primary_key[0]
