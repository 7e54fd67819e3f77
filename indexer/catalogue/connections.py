"""Read-only connections for queries: one per thread, which never waits for a writer.

Built around snapshots. Queries use these and not SQLAlchemy, whose overhead per row is several times the
driver's. SQL is written for SQLite (`?` marks); another engine translates it. It knows nothing of the tables.
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
        """Returns the connection of this thread. Raises CatalogueAway if the catalogue's file is not there."""
        identity = self._dialect.identity()
        connection: Reading | None = getattr(self._local, "connection", None)
        if connection is None or self._local.identity != identity:
            connection = self._dialect.reading(self._vocabularies)
            self._local.connection, self._local.identity = connection, identity
            with self._lock:
                self._all.append(connection)
        return connection

    def version(self) -> tuple[object, object]:
        """Returns a value that changes with each write to the catalogue; its values are compared within one thread.
        Raises CatalogueAway."""
        return self.get().version(), self._local.identity

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()
