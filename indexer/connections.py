"""Connections that only read: one a thread, never waiting for a writer.

Built around snapshots. The hot path of a query goes through here and not through
SQLAlchemy, whose overhead a row is several times the driver's own. SQL is written in SQLite's
words (`?` marks); another engine renders them. It knows only that the place holds a catalogue.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from indexer.dialects import dialect_of
from indexer.expressions import Expression
from indexer.schema import Where
from indexer.spelling import Vocabulary


class Reading(Protocol):
    """One thread's connection."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """A cursor over rows: tuples."""

    def version(self) -> object:
        """Another one after anything was written by others."""

    def known_counts(self) -> dict[tuple[str, str], int]:
        """How many rows of a table hold a token, as far as was asked; emptied when something was written."""

    def rows_with(self, table: str, stems: Sequence[str]) -> dict[str, int]:
        """How many rows hold each term; those that none holds may be left out."""

    def any_row(self, table: str, asked: Expression) -> bool:
        """Whether a row holds what is asked."""

    def any_term(self, table: str, beginning: str) -> bool:
        """Whether a term begins so."""

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        """The terms closest to a word, at most `most_edits` letters away; at most three."""

    def best(
        self,
        table: str,
        asked: Expression,
        limit: int,
        allowed: tuple[str, list[Any]] = ("", []),
        longest: int | None = None,
    ) -> list[tuple[int, float]]:
        """(row, BM25 as FTS5 reckons it) of rows that hold what is asked, best first. `allowed`: a condition
        on `w.rowid` and its values; `longest`: of texts (names) of at most so many characters."""

    def snippet(self, chunk_id: int, asked: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        """A piece of a chunk's text around what is asked; None when it does not hold that."""

    def close(self) -> None: ...


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
