"""Browsing: a query of filters alone lists all contents that pass, newest first, one hit per content.

Built around one SQL statement with the restriction of the query; what it returns is cached for the next page and the
timeline. It knows nothing of scores.
"""

from __future__ import annotations

import threading
from itertools import groupby
from typing import Any

from indexer.catalogue.dialects import Reading
from indexer.search.facets import Facets, any_label, counted, most_frequent
from indexer.search.filters import Restriction
from indexer.search.hit_facts import Facts
from indexer.search.ranking import Ranked
from indexer.types import Month

COUNTED = 2000
"""Contents that facets count."""

CHUNKS = "content c CROSS JOIN chunk k ON k.content_hash = c.hash"


class Browse:
    """Safe to use from many threads."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._local = threading.local()

    def page(
        self, connection: Reading, restriction: Restriction, offset: int, k: int
    ) -> tuple[list[Ranked], int, Facets]:
        """Returns contents `offset` to `offset + k`, newest first, the number of all, and the facets: of the newest
        COUNTED; labels of all."""
        ids, _ = self._list(connection, restriction)
        shown = ids[offset : offset + k]
        facts = self._facts.of(dict.fromkeys((*ids[:COUNTED], *shown)), restriction.seen)
        facets = counted([facts[i] for i in ids[:COUNTED] if i in facts])
        if any_label(connection):
            condition, values = restriction.chunk
            labels = connection.execute(
                f"SELECT l.name, count(DISTINCT c.hash) FROM {CHUNKS} JOIN label l ON l.chunk_id = k.id"
                f" WHERE c.orphaned_at IS NULL AND {condition} GROUP BY l.name",
                values,
            )
            facets["label"] = most_frequent(dict(labels))
        return [Ranked(facts[i], 0.0, True, facts[i].span) for i in shown if i in facts], len(ids), facets

    def months(self, connection: Reading, restriction: Restriction) -> list[Month]:
        """Returns how many contents each month has, in the order of the list."""
        return self._list(connection, restriction)[1]

    def total(self, connection: Reading, restriction: Restriction) -> int:
        """Returns how many contents pass."""
        return len(self._list(connection, restriction)[0])

    def _list(self, connection: Reading, restriction: Restriction) -> tuple[list[int], list[Month]]:
        """Returns the first chunk of every content, the newest content first, and the months; as this thread had them
        last, if the catalogue has not changed since."""
        key = restriction.key, restriction.hidden, connection.version()
        if getattr(self._local, "key", None) != key:
            inner, values = _contents(restriction)
            rows = connection.execute(f"{inner} ORDER BY taken DESC, first", values).fetchall()
            grouped = groupby(taken[:8] if taken.startswith(" ") else taken[:7] for _, taken in rows)
            months = [Month(month.strip(), month.startswith(" "), sum(1 for _ in same)) for month, same in grouped]
            self._local.listed, self._local.key = ([row[0] for row in rows], months), key
        listed: tuple[list[int], list[Month]] = self._local.listed
        return listed


def _contents(restriction: Restriction) -> tuple[str, list[Any]]:
    """Returns the SQL of (first chunk, when taken) of every content that passes, and its values."""
    condition, values = restriction.chunk
    # A space sorts before digits: files with only a file-system date come after all files with a date of their own.
    newest_copy = (
        "(SELECT max(CASE WHEN f.taken_from = 'file' THEN ' ' || f.taken ELSE f.taken END) FROM file f"
        f" WHERE f.content_hash = c.hash AND {restriction.file[0]})"
    )
    sql = (
        f"SELECT min(k.id) AS first, coalesce({newest_copy}, '') AS taken FROM {CHUNKS}"
        f" WHERE c.orphaned_at IS NULL AND {condition} GROUP BY c.hash"
    )
    return sql, [*restriction.file[1], *values]
