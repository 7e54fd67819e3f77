"""Text to terms, by FTS5's own tokenisers: what each table of words keeps of a text.

Built around a SQLite in memory, so that an index outside SQLite holds the very same terms, and
a snippet is cut in the same place. It knows nothing of where an index lives.
"""

from __future__ import annotations

import sqlite3
import threading
from functools import lru_cache

from indexer.catalogue.text.expression import Expression

WITH_SIGNS = "categories 'L* N* Co M*'"
"""Marks are part of a word: by the default, vowel signs part दिल and दाल into the same letters."""
TOKENISERS = {
    "words": f"porter unicode61 remove_diacritics 2 {WITH_SIGNS}",
    "names": f"porter unicode61 remove_diacritics 2 {WITH_SIGNS}",
    "characters": f"unicode61 remove_diacritics 0 {WITH_SIGNS}",
}
"""As in `migrations/`."""


class Tokenisers:
    """Safe to ask from many threads, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        for name, tokeniser in TOKENISERS.items():
            self._connection.executescript(
                f'CREATE VIRTUAL TABLE {name} USING fts5(t, tokenize = "{tokeniser}");'
                f"CREATE VIRTUAL TABLE {name}_terms USING fts5vocab({name}, instance);"
            )

    def terms(self, text: str, table: str) -> list[str]:
        """In the order of the text; a term stands as often as it occurs."""
        with self._lock:
            try:
                self._connection.execute(f"INSERT INTO {table} VALUES (?)", (text,))
                rows = self._connection.execute(f"SELECT term FROM {table}_terms ORDER BY offset").fetchall()
            finally:
                self._connection.rollback()
        return [row[0] for row in rows]

    def snippet(
        self, text: str, asked: Expression, mark: str, unmark: str, tokens: int, table: str = "words"
    ) -> str | None:
        """A piece of a text around what is asked, marked; None when it does not hold that."""
        with self._lock:
            try:
                self._connection.execute(f"INSERT INTO {table} VALUES (?)", (text,))
                row = self._connection.execute(
                    f"SELECT snippet({table}, 0, '{mark}', '{unmark}', '…', {tokens}) FROM {table}"
                    f" WHERE {table} MATCH ?",
                    (asked,),
                ).fetchone()
            finally:
                self._connection.rollback()
        return None if row is None else row[0]


@lru_cache(maxsize=1)
def tokenisers() -> Tokenisers:
    return Tokenisers()


@lru_cache(maxsize=8192)
def stemmed(token: str, table: str = "words") -> str:
    """What a table keeps of a token: `running` is `run` in chunk text."""
    return next(iter(tokenisers().terms(token, table)), token)
