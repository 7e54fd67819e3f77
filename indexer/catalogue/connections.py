"""Connections that only read: one a thread, never waiting for a writer.

Built around snapshots. The hot path of a query goes through here and not through
SQLAlchemy, whose overhead a row is several times the driver's own. SQL is written in SQLite's
words (`?` marks); another engine renders them. It knows only that the place holds a catalogue.
"""

from __future__ import annotations

import threading

from indexer.catalogue.dialects import Reading, dialect_of
from indexer.catalogue.schema import Where
from indexer.catalogue.text.spelling import Vocabulary


class Connections:
    def __init__(self, where: Where) -> None:
        self._dialect = dialect_of(where)
        self._local = threading.local()
        self._all: list[Reading] = []
        self._vocabularies = {table: Vocabulary(table) for table in ("words", "names")}
        self._lock = threading.Lock()

    def get(self) -> Reading:
        """This thread's own."""
        connection: Reading | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._dialect.reading(self._vocabularies)
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
