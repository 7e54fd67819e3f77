"""Connections that only read: one a thread, straight on SQLite, never waiting for a writer.

Built around WAL snapshots. The hot path of a query goes through here and not through
SQLAlchemy, whose overhead a row is several times SQLite's own. It knows only that the
file is a catalogue.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from indexer.schema import BUSY_S
from indexer.spelling import Vocabulary


class Reading(sqlite3.Connection):
    """A connection with the vocabularies that all connections of a catalogue share."""

    vocabularies: dict[str, Vocabulary]
    counts: dict[tuple[str, str], int]
    """How many rows of a table hold a token; emptied when something was written."""
    version: int = -1

    def known_counts(self) -> dict[tuple[str, str], int]:
        version = self.execute("PRAGMA data_version").fetchone()[0]
        if version != self.version or len(self.counts) > 20_000:
            self.version, self.counts = version, {}
        return self.counts


class Connections:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[Reading] = []
        self._vocabularies = {table: Vocabulary(table) for table in ("words", "names")}
        self._lock = threading.Lock()

    def get(self) -> Reading:
        """This thread's own."""
        connection: Reading | None = getattr(self._local, "connection", None)
        if connection is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_S, check_same_thread=False, factory=Reading
            )
            connection.vocabularies, connection.counts = self._vocabularies, {}
            connection.execute("PRAGMA temp_store = MEMORY")
            for table in ("words", "names", "characters"):
                connection.execute(
                    f"CREATE VIRTUAL TABLE temp.{table}_terms USING fts5vocab(main, {table}, row)"
                )
            connection.isolation_level = None
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()
