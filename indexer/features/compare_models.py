"""The last queries of a person under two models of one library, side by side: which one to keep after a switch.

Built around two searchers, one for each model. Only chunks with a vector under both count, so that a model that is
still being built is compared on what it has. A list has one hit per file. The agreement of two lists says how
different the models are, not which is better; what the person opened after a query, where the click log has it, tells
more. It knows nothing of how models are loaded or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from indexer.errors import LibraryError
from indexer.features.click_log import Clicks
from indexer.search.searcher import Searcher
from indexer.types import ComparedQuery, Hit, ModelComparison, Part, Query, SavedSearch

FIRST = 5
"""Hits of a list that are compared."""
DEPTH = 10 * FIRST
"""Hits that are searched for, as those without a vector under the other model do not count."""
MOST_QUERIES = 10


def last_queries(clicks: Clicks, saved: Sequence[SavedSearch]) -> list[str]:
    """Returns the words of the last searches with a click, the newest first, then of saved searches; MOST_QUERIES at
    most. Raises `LibraryError` if there are none."""
    clicked = [row["query"] for row in clicks.rows()][::-1] if len(clicks) else []
    words = [parse_qs(one.query).get("q", [""])[0] for one in saved]
    queries = [query for query in dict.fromkeys([*clicked, *words]) if query.strip()]
    if not queries:
        raise LibraryError(
            'This library keeps no queries: name some, as in sightline models compare "a dog in snow" "an invoice";'
            " sightline clicks --keep keeps those that you open a hit of."
        )
    return queries[:MOST_QUERIES]


def compare_models(queries: Sequence[str], answering: Searcher, other: Searcher, clicks: Clicks) -> ModelComparison:
    """Search for each query with both searchers."""
    opened: dict[str, set[str]] = {}
    for row in clicks.rows() if len(clicks) else ():
        opened.setdefault(row["query"], set()).add(row["content"])
    compared = []
    for query in queries:
        hits = (_first_hits(query, answering, other), _first_hits(query, other, answering))
        places = None
        if contents := opened.get(query):
            places = _place(answering, hits[0], contents), _place(other, hits[1], contents)
        compared.append(ComparedQuery(query, hits, places))
    names, chunks = (answering.embedder.id, other.embedder.id), (len(answering.index), len(other.index))
    return ModelComparison(names, chunks, tuple(compared))


def _first_hits(query: str, searcher: Searcher, other: Searcher) -> list[Hit]:
    answer = searcher.search(Query((Part(text=query),), fold="max"), DEPTH)
    vector = searcher.catalogue.contents.vector
    return [
        hit for hit in answer.hits if all(vector(hit.chunk_id, side.model_id) is not None for side in (searcher, other))
    ][:FIRST]


def _place(searcher: Searcher, hits: Sequence[Hit], contents: set[str]) -> int | None:
    for place, hit in enumerate(hits, 1):
        where = searcher.catalogue.contents.of_chunk(hit.chunk_id)
        if where is not None and where[0].hex() in contents:
            return place
    return None
