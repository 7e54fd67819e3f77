"""A read-only connection to PostgreSQL for searches: BM25 as in FTS5, over the same terms.

Built around psycopg. The frequency of a term in a row is computed from `ts_rank`: for one term and all weights 1
it is 6/pi^2 times the sum of 1/i^2 over the occurrences (PostgreSQL's tsrank.c, calc_rank_or), which determines
their number, at 2 us per row instead of 26 us with unnest. Phrases and beginnings are counted by
`occurrences_of`. It knows nothing of queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from indexer.catalogue.dialects.postgresql.sql import rendered
from indexer.catalogue.dialects.postgresql.text import MAX_POSITIONS, terms_of, tsquery
from indexer.catalogue.text.expression import Expression, Phrase
from indexer.catalogue.text.spelling import closest, sharing
from indexer.catalogue.text.tokenizers import tokenisers

if TYPE_CHECKING:
    import psycopg

    from indexer.catalogue.dialects import Dialect

K1, B = 1.2, 0.75
MIN_IDF = 1e-6
"""K1, B and MIN_IDF are FTS5's (fts5_aux.c)."""
NAME_WEIGHT = 4.0
"""Weight of a name's terms; its folders' terms have 1, as in SQLite's bm25()."""
ALIKE, CANDIDATES = 0.2, 200
"""The similarity of trigrams (pg_trgm) from which on terms are compared letter by letter, and their maximum number."""

TABLES = ("words", "names", "characters")


def _thresholds() -> str:
    """Returns the middles between the sums of 1/i^2 up to n - 1 and up to n, from n = 1, as an SQL array."""
    ends, total = [], 0.0
    for n in range(1, MAX_POSITIONS + 1):
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
        self._connection = self._open()
        self._counts: dict[tuple[str, str], int] = {}
        self._counted_at: object = None
        self._tallies: dict[str, tuple[int, int]] = {}

    def _open(self) -> psycopg.Connection:
        connection = self._connect()
        connection.execute(f"SET pg_trgm.similarity_threshold = {ALIKE}")
        connection.execute("SET default_transaction_read_only = on")
        return connection

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """A lost connection is opened again, once. Raises LibraryError if the server does not answer."""
        import psycopg

        from indexer.catalogue.dialects import explained

        statement = rendered(sql)
        try:
            if not self._connection.closed:
                return self._connection.execute(statement, tuple(values))
        except psycopg.OperationalError:
            if not self._connection.closed:
                with explained(self._dialect):
                    raise
        self._connection = self._open()
        with explained(self._dialect):
            return self._connection.execute(statement, tuple(values))

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

    def any_row(self, table: str, expression: Expression) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1"
        return self.execute(sql, (expression,)).fetchone() is not None

    def any_term(self, table: str, beginning: str) -> bool:
        sql = "SELECT 1 FROM term WHERE place = ? AND term >= ? AND term < ? LIMIT 1"
        return self.execute(sql, (table, beginning, beginning + "\uffff")).fetchone() is not None

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        rows = self.execute(
            "SELECT term, docs FROM term WHERE place = ? AND term % ? AND length(term) BETWEEN 4 AND 24"
            " ORDER BY similarity(term, ?) DESC, docs DESC, term LIMIT ?",
            (table, word, word, CANDIDATES),
        ).fetchall()
        # pg_trgm counts the word's ends too, and so has more results; `sharing` keeps those that SQLite has.
        frequent = [term for term, _ in sorted(rows, key=lambda r: (-r[1], r[0]))]
        return closest(word, sharing(word, frequent), most_edits)

    def best(
        self,
        table: str,
        expression: Expression,
        limit: int,
        allowed: tuple[str, list[Any]] = ("", []),
        longest: int | None = None,
    ) -> list[tuple[int, float]]:
        docs, tokens = self._tally(table)
        if not docs:
            return []
        parts: list[str] = []
        counting: list[tuple[str, list[Any]]] = []
        for phrase in (p for group in expression.groups for p in group):
            idf = self._idf(phrase, table, docs)
            count, phrase_values = _count(phrase, table)
            parts.append(f"{idf!r} * b.f{len(parts)} * {K1 + 1} / (b.f{len(parts)} + b.norm)")
            counting.append((f"{count} AS f{len(parts) - 1}", phrase_values))
        average = max(tokens / docs, 1e-9)
        condition, values = allowed
        where = f" AND {condition}" if condition else ""
        if longest is not None:
            where += f" AND w.size <= {longest}"
        rows = self.execute(
            f"SELECT b.rowid, {' + '.join(parts)} AS score FROM (SELECT w.rowid,"
            f" {K1} * ({1 - B} + {B} * w.length / {average!r}) AS norm, {', '.join(c for c, _ in counting)}"
            f" FROM {table} w WHERE w.terms @@ ?::tsquery{where}) b ORDER BY score DESC, b.rowid LIMIT ?",
            (*(v for _, phrase_values in counting for v in phrase_values), tsquery(expression), *values, limit),
        )
        return [(row[0], float(row[1])) for row in rows]

    def _tally(self, table: str) -> tuple[int, int]:
        tally = self._tallies.get(table)
        if tally is None:
            row = self.execute("SELECT docs, tokens FROM tally WHERE place = ?", (table,)).fetchone()
            tally = self._tallies[table] = (row[0], row[1])
        return tally

    def _idf(self, phrase: Phrase, table: str, docs: int) -> float:
        terms = terms_of(phrase, table)
        if len(terms) == 1 and not phrase.prefix:
            key = (table, f"={terms[0]}")
            if key not in self._counts:
                self.rows_with(table, [terms[0]])
        else:
            expression = Expression(table, [(phrase,)])
            key = (table, str(expression))
            if key not in self._counts:
                row = self.execute(f"SELECT count(*) FROM {table} WHERE {table} MATCH ?", (expression,)).fetchone()
                self._counts[key] = row[0]
        count = self._counts[key]
        idf = math.log((docs - count + 0.5) / (count + 0.5))
        return idf if idf > 0 else MIN_IDF

    def snippet(self, chunk_id: int, expression: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        row = self.execute("SELECT text FROM chunk WHERE id = ?", (chunk_id,)).fetchone()
        return None if row is None else tokenisers().snippet(row[0], expression, mark, unmark, tokens)


def _count(phrase: Phrase, table: str) -> tuple[str, list[Any]]:
    """Returns SQL for the weighted number of occurrences of a phrase in the row `w`, and its values."""
    terms = terms_of(phrase, table)
    if len(terms) == 1 and not phrase.prefix:
        everywhere = COUNT % "w.terms"
        values: list[Any] = [tsquery(Expression(table, [(phrase,)]))]
        in_name = COUNT % "ts_filter(w.terms, '{a}')"
    else:
        everywhere = "occurrences_of(w.terms, ?::text[], ?)"
        values = [list(terms), phrase.prefix]
        in_name = "occurrences_of(ts_filter(w.terms, '{a}'), ?::text[], ?)"
    if table != "names":
        return everywhere, values
    return f"({everywhere} + {NAME_WEIGHT - 1} * {in_name})", [*values, *values]
