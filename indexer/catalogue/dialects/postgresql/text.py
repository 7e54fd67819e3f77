"""Values on their way to and from PostgreSQL: names of any bytes, terms, what is asked of them.

Built around psycopg's adaptation. A file-system name need not be UTF-8 and PostgreSQL's text
must be: such names travel escaped (`names.py`). It knows nothing of tables.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from indexer.catalogue.dialects.postgresql.names import escaped, unescaped
from indexer.catalogue.schema import RawName
from indexer.catalogue.text.expression import Expression, Phrase
from indexer.catalogue.text.tokenizers import tokenisers

LONGEST_TERM = 500
"""Bytes kept of a term (PostgreSQL: at most 2046)."""
MOST_BYTES = 900_000
"""Of a row's terms (PostgreSQL: 1 MB): what a text holds beyond is found by other words only."""
MOST_POSITIONS, LAST_POSITION = 256, 16383
"""PostgreSQL keeps no more positions of a term in a row, and none after the last."""


def tsvector(terms: Sequence[str], *, start: int = 1, weight: str = "") -> tuple[str, int]:
    """Terms in their order as a tsvector's text, and how many there are."""
    at: dict[str, list[int]] = {}
    for number, term in enumerate(terms, start):
        at.setdefault(_cut(term), []).append(number)
    parts, size = [], 0
    for term, numbers in at.items():
        kept = [n for n in numbers[:MOST_POSITIONS] if n <= LAST_POSITION] or [LAST_POSITION]
        size += len(term.encode()) + 2 * len(kept) + 8
        if size > MOST_BYTES:
            break
        parts.append(f"{_quoted(term)}:{','.join(f'{n}{weight}' for n in kept)}")
    return " ".join(parts), len(terms)


def tsquery(asked: Expression) -> str:
    """What is asked as PostgreSQL writes it."""
    groups = []
    for group in asked.groups:
        phrases = [_phrase_query(p, asked.table) for p in group]
        groups.append("(" + " | ".join(phrases) + ")" if len(phrases) > 1 else phrases[0])
    return " & ".join(groups)


@lru_cache(maxsize=4096)
def terms_of(phrase: Phrase, table: str) -> tuple[str, ...]:
    """The terms that a table keeps of a phrase."""
    return tuple(_cut(t) for t in tokenisers().terms(phrase.text, table))


def _phrase_query(phrase: Phrase, table: str) -> str:
    terms = [_quoted(t) for t in terms_of(phrase, table)] or ["''"]
    if phrase.prefix:
        terms[-1] += ":*"
    return "(" + " <-> ".join(terms) + ")" if len(terms) > 1 else terms[0]


def _cut(term: str) -> str:
    return term if len(term) <= LONGEST_TERM // 4 else term.encode()[:LONGEST_TERM].decode("utf-8", "ignore")


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def adapt(connection: Any) -> None:
    """Teach a psycopg connection our values: names of any bytes, expressions, whole numbers as numbers."""
    from psycopg.adapt import Dumper, Loader
    from psycopg.types.string import StrDumper, StrDumperUnknown

    class NameDumper(Dumper):
        oid = connection.adapters.types["text"].oid

        def dump(self, obj: bytes) -> bytes:
            return escaped(os.fsdecode(bytes(obj))).encode()

    class TextDumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            """PostgreSQL's text holds no NUL."""
            try:
                return super().dump((obj if obj.isascii() else escaped(obj)).replace("\0", " "))
            except UnicodeEncodeError:
                return super().dump(obj.encode("utf-8", "replace").decode().replace("\0", " "))

    class ListedTextDumper(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(escaped(obj) if not obj.isascii() else obj)

    class ExpressionDumper(Dumper):
        oid = connection.adapters.types["tsquery"].oid

        def dump(self, obj: Expression) -> bytes:
            return tsquery(obj).encode()

    class TextLoader(Loader):
        def load(self, data: Any) -> str:
            text = bytes(data).decode()
            return text if text.isascii() else unescaped(text)

    class NumberLoader(Loader):
        def load(self, data: Any) -> int | float:
            text = bytes(data).decode()
            return int(text) if text.lstrip("-").isdigit() else float(text)

    adapters = connection.adapters
    adapters.register_dumper(RawName, NameDumper)
    adapters.register_dumper(Expression, ExpressionDumper)
    adapters.register_dumper(str, ListedTextDumper)
    adapters.register_dumper(str, TextDumper)
    adapters.register_loader("text", TextLoader)
    adapters.register_loader("varchar", TextLoader)
    adapters.register_loader("numeric", NumberLoader)
