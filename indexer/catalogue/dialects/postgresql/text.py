"""Values for PostgreSQL: paths of any bytes, the terms of a text (tsvector), expressions (tsquery).

Built around psycopg's adapters. A path need not be UTF-8 and PostgreSQL's text must be: such paths are escaped
(`names.py`). It knows nothing of tables.
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
"""Bytes of a term that are stored (PostgreSQL: at most 2046)."""
MAX_BYTES = 900_000
"""Bytes of a row's terms (PostgreSQL: 1 MB); further terms of a text are not indexed."""
MAX_POSITIONS, LAST_POSITION = 256, 16383
"""PostgreSQL's limits: the positions of one term in a row, and the highest position."""


def tsvector(terms: Sequence[str], *, start: int = 1, weight: str = "") -> tuple[str, int]:
    """Returns terms in their order as the text of a tsvector, and their number. `start`: the first position."""
    positions: dict[str, list[int]] = {}
    for number, term in enumerate(terms, start):
        positions.setdefault(_cut(term), []).append(number)
    parts, size = [], 0
    for term, numbers in positions.items():
        stored = [n for n in numbers[:MAX_POSITIONS] if n <= LAST_POSITION] or [LAST_POSITION]
        size += len(term.encode()) + 2 * len(stored) + 8
        if size > MAX_BYTES:
            break
        parts.append(f"{_quoted(term)}:{','.join(f'{n}{weight}' for n in stored)}")
    return " ".join(parts), len(terms)


def tsquery(expression: Expression) -> str:
    """Returns an expression as the text of a tsquery."""
    groups = []
    for group in expression.groups:
        phrases = [_phrase_query(p, expression.table) for p in group]
        groups.append("(" + " | ".join(phrases) + ")" if len(phrases) > 1 else phrases[0])
    return " & ".join(groups)


@lru_cache(maxsize=4096)
def terms_of(phrase: Phrase, table: str) -> tuple[str, ...]:
    """Returns the terms of a phrase in a table."""
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
    """Register the adapters of a psycopg connection: paths of any bytes, expressions, numeric values as numbers."""
    from psycopg.adapt import Dumper, Loader
    from psycopg.types.string import StrDumper, StrDumperUnknown

    class NameDumper(Dumper):
        oid = connection.adapters.types["text"].oid

        def dump(self, obj: bytes) -> bytes:
            return escaped(os.fsdecode(bytes(obj))).encode()

    class TextDumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            """PostgreSQL's text cannot hold a NUL."""
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
