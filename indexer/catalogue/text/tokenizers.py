"""Text to terms with FTS5's tokenizers, as the text tables have them.

Built around a SQLite database in memory, so that an index outside SQLite has the same terms and the same
snippets. It knows nothing of an index's place.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from functools import lru_cache

from indexer.catalogue.text.expression import Expression

WITH_SIGNS = "categories 'L* N* Co M*'"
"""Marks are part of a word: FTS5's default splits दिल and दाल at their vowel signs into the same letters."""
TOKENISERS = {
    "words": f"porter unicode61 remove_diacritics 2 {WITH_SIGNS}",
    "names": f"porter unicode61 remove_diacritics 2 {WITH_SIGNS}",
    "characters": f"unicode61 remove_diacritics 0 {WITH_SIGNS}",
}
"""As in `migrations/`."""


class Tokenisers:
    """Safe to use from many threads; one works at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        for name, tokeniser in TOKENISERS.items():
            self._connection.executescript(
                f'CREATE VIRTUAL TABLE {name} USING fts5(t, tokenize = "{tokeniser}");'
                f"CREATE VIRTUAL TABLE {name}_terms USING fts5vocab({name}, instance);"
            )

    def terms(self, text: str, table: str) -> list[str]:
        """Returns the terms of a text in order, repeated ones too. A lone combining mark has none."""
        with self._lock:
            try:
                self._connection.execute(f"INSERT INTO {table} VALUES (?)", (text,))
                rows = self._connection.execute(f"SELECT term FROM {table}_terms ORDER BY offset").fetchall()
            finally:
                self._connection.rollback()
        return [row[0] for row in rows if row[0]]

    def snippet(
        self, text: str, expression: Expression, mark: str, unmark: str, tokens: int, table: str = "words"
    ) -> str | None:
        """Returns about `tokens` tokens of a text around the matches, which are between `mark` and `unmark`; None
        if the text does not match."""
        with self._lock:
            try:
                self._connection.execute(f"INSERT INTO {table} VALUES (?)", (text,))
                row = self._connection.execute(
                    f"SELECT snippet({table}, 0, '{mark}', '{unmark}', '…', {tokens}) FROM {table}"
                    f" WHERE {table} MATCH ?",
                    (expression,),
                ).fetchone()
            finally:
                self._connection.rollback()
        return None if row is None else row[0]

    def highlighted(self, texts: Sequence[str], expression: Expression, mark: str, unmark: str) -> list[str]:
        """Returns the texts with every match between `mark` and `unmark`."""
        with self._lock:
            try:
                self._connection.executemany("INSERT INTO words (rowid, t) VALUES (?, ?)", enumerate(texts))
                rows = self._connection.execute(
                    f"SELECT rowid, highlight(words, 0, '{mark}', '{unmark}') FROM words WHERE words MATCH ?",
                    (expression,),
                ).fetchall()
            finally:
                self._connection.rollback()
        marked = dict(rows)
        return [marked.get(n, text) for n, text in enumerate(texts)]


@lru_cache(maxsize=1)
def tokenisers() -> Tokenisers:
    return Tokenisers()


@lru_cache(maxsize=8192)
def stemmed(token: str, table: str = "words") -> str:
    """Returns the term of a token in a table: `running` is `run` in chunk text."""
    return next(iter(tokenisers().terms(token, table)), token)
