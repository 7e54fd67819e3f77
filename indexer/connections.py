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


class Connections:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def get(self) -> sqlite3.Connection:
        """This thread's own."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, check_same_thread=False)
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
