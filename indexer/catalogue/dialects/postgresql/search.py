"""A search's connection to PostgreSQL: BM25 as FTS5 reckons it, over the same terms.

Built around psycopg. How often a term stands in a row is read off `ts_rank`: for one term and
all weights 1 it is 6/pi^2 times the sum of 1/i^2 over the occurrences (PostgreSQL's tsrank.c,
calc_rank_or), so the sum tells their number, at 2 us a row in place of the 26 us that unnest takes.
Phrases and beginnings are counted by `occurrences_of`. It knows nothing of queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from indexer.catalogue.dialects.postgresql.sql import rendered
from indexer.catalogue.dialects.postgresql.text import MOST_POSITIONS, terms_of, tsquery
from indexer.catalogue.text.expression import Expression, Phrase
from indexer.catalogue.text.spelling import closest, sharing
from indexer.catalogue.text.tokenizers import tokenisers

if TYPE_CHECKING:
    import psycopg

    from indexer.catalogue.dialects import Dialect

K1, B = 1.2, 0.75
LEAST_IDF = 1e-6
"""These three are FTS5's (fts5_aux.c)."""
NAME_WEIGHT = 4.0
"""Of a name's terms against its folders', as SQLite asks bm25() for it."""
ALIKE, CANDIDATES = 0.2, 200
"""Terms whose trigrams (pg_trgm) are that alike are compared letter by letter, at most so many."""

TABLES = ("words", "names", "characters")


def _thresholds() -> str:
    """Halfway between the sums of 1/i^2 up to n - 1 and up to n, n from 1."""
    ends, total = [], 0.0
    for n in range(1, MOST_POSITIONS + 1):
        ends.append(f"{total + 0.5 / (n * n):.8f}")
        total += 1.0 / (n * n)
    return "{" + ",".join(ends) + "}"


COUNT = (
    "width_bucket(ts_rank('{1,1,1,1}', %s, ?::tsquery)::double precision * 1.6449340668482264,"
    f" '{_thresholds()}'::double precision[])"
)


class PostgreSQLReading:
    def __init__(self, dialect: Dialect, connect: Callable[[], psycopg.Connection]) -> None:
        self._dialect, self._connect = dialect, connect
        self._connection = self._opened()
        self._counts: dict[tuple[str, str], int] = {}
        self._counted_at: object = None
        self._tallies: dict[str, tuple[int, int]] = {}

    def _opened(self) -> psycopg.Connection:
        connection = self._connect()
        connection.execute(f"SET pg_trgm.similarity_threshold = {ALIKE}")
        connection.execute("SET default_transaction_read_only = on")
        return connection

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """A lost connection is made anew, once. Raises LibraryError when the server does not answer."""
        import psycopg

        from indexer.catalogue.dialects import explained

        own = rendered(sql)
        try:
            if not self._connection.closed:
                return self._connection.execute(own, tuple(values))
        except psycopg.OperationalError:
            if not self._connection.closed:
                with explained(self._dialect):
                    raise
        self._connection = self._opened()
        with explained(self._dialect):
            return self._connection.execute(own, tuple(values))

    def close(self) -> None:
        self._connection.close()

    def version(self) -> object:
        return self.execute("SELECT version FROM written").fetchone()[0]

    def known_counts(self) -> dict[tuple[str, str], int]:
        version = self.version()
        if version != self._counted_at or len(self._counts) > 20_000:
            self._counted_at, self._counts, self._tallies = version, {}, {}
        return self._counts

    def rows_with(self, table: str, stems: Sequence[str]) -> dict[str, int]:
        marks = ", ".join("?" * len(stems))
        rows = self.execute(
            f"SELECT term, docs FROM term WHERE place = ? AND term IN ({marks})", (table, *stems)
        ).fetchall()
        for stem in stems:
            self._counts[table, f"={stem}"] = 0
        for term, docs in rows:
            self._counts[table, f"={term}"] = docs
        return dict(rows)

    def any_row(self, table: str, asked: Expression) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1"
        return self.execute(sql, (asked,)).fetchone() is not None

    def any_term(self, table: str, beginning: str) -> bool:
        sql = "SELECT 1 FROM term WHERE place = ? AND term >= ? AND term < ? LIMIT 1"
        return self.execute(sql, (table, beginning, beginning + "\uffff")).fetchone() is not None

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        rows = self.execute(
            "SELECT term, docs FROM term WHERE place = ? AND term % ? AND length(term) BETWEEN 4 AND 24"
            " ORDER BY similarity(term, ?) DESC, docs DESC, term LIMIT ?",
            (table, word, word, CANDIDATES),
        ).fetchall()
        # pg_trgm counts the word's edges too, and so finds more: what SQLite's way would not is left out.
        frequent = [term for term, _ in sorted(rows, key=lambda r: (-r[1], r[0]))]
        return closest(word, sharing(word, frequent), most_edits)

    def best(
        self,
        table: str,
        asked: Expression,
        limit: int,
        allowed: tuple[str, list[Any]] = ("", []),
        longest: int | None = None,
    ) -> list[tuple[int, float]]:
        docs, tokens = self._tally(table)
        if not docs:
            return []
        parts: list[str] = []
        counting: list[tuple[str, list[Any]]] = []
        for phrase in (p for group in asked.groups for p in group):
            idf = self._idf(phrase, table, docs)
            count, own = _count(phrase, table)
            parts.append(f"{idf!r} * b.f{len(parts)} * {K1 + 1} / (b.f{len(parts)} + b.norm)")
            counting.append((f"{count} AS f{len(parts) - 1}", own))
        average = max(tokens / docs, 1e-9)
        condition, values = allowed
        where = f" AND {condition}" if condition else ""
        if longest is not None:
            where += f" AND w.size <= {longest}"
        rows = self.execute(
            f"SELECT b.rowid, {' + '.join(parts)} AS score FROM (SELECT w.rowid,"
            f" {K1} * ({1 - B} + {B} * w.length / {average!r}) AS norm, {', '.join(c for c, _ in counting)}"
            f" FROM {table} w WHERE w.terms @@ ?::tsquery{where}) b ORDER BY score DESC, b.rowid LIMIT ?",
            (*(v for _, own in counting for v in own), tsquery(asked), *values, limit),
        )
        return [(row[0], float(row[1])) for row in rows]

    def _tally(self, table: str) -> tuple[int, int]:
        known = self._tallies.get(table)
        if known is None:
            row = self.execute("SELECT docs, tokens FROM tally WHERE place = ?", (table,)).fetchone()
            known = self._tallies[table] = (row[0], row[1])
        return known

    def _idf(self, phrase: Phrase, table: str, docs: int) -> float:
        terms = terms_of(phrase, table)
        if len(terms) == 1 and not phrase.prefix:
            held = self._rows_with_kept(table, terms[0])
        else:
            asked = Expression(table, [(phrase,)])
            key = (table, str(asked))
            if key not in self._counts:
                row = self.execute(f"SELECT count(*) FROM {table} WHERE {table} MATCH ?", (asked,)).fetchone()
                self._counts[key] = row[0]
            held = self._counts[key]
        idf = math.log((docs - held + 0.5) / (held + 0.5))
        return idf if idf > 0 else LEAST_IDF

    def _rows_with_kept(self, table: str, term: str) -> int:
        key = (table, f"={term}")
        if key not in self._counts:
            self.rows_with(table, [term])
        return self._counts[key]

    def snippet(self, chunk_id: int, asked: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        row = self.execute("SELECT text FROM chunk WHERE id = ?", (chunk_id,)).fetchone()
        return None if row is None else tokenisers().snippet(row[0], asked, mark, unmark, tokens)


def _count(phrase: Phrase, table: str) -> tuple[str, list[Any]]:
    """SQL for how often a phrase stands in the row `w`, a name's terms counting for more; and its values."""
    terms = terms_of(phrase, table)
    if len(terms) == 1 and not phrase.prefix:
        one = tsquery(Expression(table, [(phrase,)]))
        everywhere = COUNT % "w.terms"
        own: list[Any] = [one]
        in_name = COUNT % "ts_filter(w.terms, '{a}')"
    else:
        everywhere = "occurrences_of(w.terms, ?::text[], ?)"
        own = [list(terms), phrase.prefix]
        in_name = "occurrences_of(ts_filter(w.terms, '{a}'), ?::text[], ?)"
    if table != "names":
        return everywhere, own
    return f"({everywhere} + {NAME_WEIGHT - 1} * {in_name})", [*own, *own]
