"""Browsing: a query of filters alone lists all contents that pass, newest first, one hit per content.

Built around one SQL statement with the restriction of the query. It knows nothing of scores.
"""

from __future__ import annotations

from indexer.catalogue.dialects import Reading
from indexer.search.facets import Facets, any_label, counted, most_frequent
from indexer.search.filters import Restriction
from indexer.search.hit_facts import Facts
from indexer.search.ranking import Ranked


def browse(connection: Reading, facts: Facts, restriction: Restriction, depth: int) -> tuple[list[Ranked], int, Facets]:
    """Returns the newest `depth` contents, the number of all, and the facets: of the newest ones; labels of all."""
    condition, values = restriction.chunk
    chunks = "content c CROSS JOIN chunk k ON k.content_hash = c.hash"
    passes = f"WHERE c.orphaned_at IS NULL AND {condition}"
    # A space sorts before digits: files with only a file-system date come after all files with a date of their own.
    newest_copy = (
        "(SELECT max(CASE WHEN f.taken_from = 'file' THEN ' ' || f.taken ELSE f.taken END) FROM file f"
        f" WHERE f.content_hash = c.hash AND {restriction.file[0]})"
    )
    rows = connection.execute(
        f"SELECT min(k.id), coalesce({newest_copy}, '') AS taken FROM {chunks} {passes}"
        " GROUP BY c.hash ORDER BY taken DESC, min(k.id)",
        [*restriction.file[1], *values],
    ).fetchall()
    ids = [row[0] for row in rows]
    newest = facts.of(ids[:depth], restriction.seen)
    ranking = [Ranked(newest[i], 0.0, True, newest[i].span) for i in ids if i in newest]
    facets = counted([place.fact for place in ranking])
    if any_label(connection):
        labels = connection.execute(
            f"SELECT l.name, count(DISTINCT c.hash) FROM {chunks} JOIN label l ON l.chunk_id = k.id"
            f" {passes} GROUP BY l.name",
            values,
        )
        facets["label"] = most_frequent(dict(labels))
    return ranking, len(ids), facets
