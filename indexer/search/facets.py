"""Facets: the counts of an answer by kind, folder, year, length and label.

Built around the facts of the counted chunks. It knows nothing of scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from indexer.catalogue.dialects import Reading
from indexer.search.hit_facts import Fact
from indexer.search.ranking import Ranked

SHOWN = 30

Facets = dict[str, dict[str, int]]


def facets_of(connection: Reading, ranking: Sequence[Ranked]) -> Facets:
    """Returns the facets of the relevant places of a ranking; of all places if none is relevant."""
    facts = [r.fact for r in ranking if r.relevant] or [r.fact for r in ranking]
    ids = [fact.chunk_id for fact in facts]
    condition = f"chunk_id IN ({', '.join('?' * len(ids))})"
    labels = (
        connection.execute(f"SELECT name, count(*) FROM label WHERE {condition} GROUP BY name", ids)
        if ids and any_label(connection)
        else ()
    )
    return counted(facts) | {"label": most_frequent(dict(labels))}


def counted(facts: Sequence[Fact]) -> Facets:
    """Returns all facets except labels."""
    years = Counter([taken[:4] for f in facts if (taken := f.newest.taken)])
    return {
        "kind": most_frequent(Counter([f.kind for f in facts])),
        "folder": most_frequent(Counter([f.files[0].folder for f in facts])),
        "year": dict(sorted(years.items(), reverse=True)),
        "length": Counter([_length(f.duration_s) for f in facts if f.duration_s is not None]),
    }


def any_label(connection: Reading) -> bool:
    return connection.execute("SELECT 1 FROM label LIMIT 1").fetchone() is not None


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:SHOWN])


def _length(duration_s: float) -> str:
    return "short" if duration_s < 60 else "medium" if duration_s < 600 else "long"
