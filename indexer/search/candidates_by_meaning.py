"""Candidates by meaning: the best chunks of each kind for the query vectors, on one scale.

Built around the vector index, one kind at a time, and the background that makes the kinds comparable
(`calibration.py`). It knows nothing of text search.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

import numpy as np
from cachetools import LRUCache

from indexer.catalogue.connections import Connections
from indexer.search.calibration import Background, Scale
from indexer.search.filters import Restriction
from indexer.search.side_thread import beside
from indexer.types import KINDS
from indexer.vectors.index import VectorIndex
from indexer.vectors.source import GROUPS
from model.ranking_profile import RankingProfile

FILTERS_CACHED, FILTER_CACHED_S = 8, 5


class MeaningSearch:
    """Safe to use from many threads as far as the background is."""

    def __init__(self, connections: Connections, index: VectorIndex, background: Background) -> None:
        self._connections, self._index, self._background = connections, index, background
        self._allowed: LRUCache[object, np.ndarray] = LRUCache(FILTERS_CACHED)
        self._lock = threading.Lock()

    def candidates(
        self, queries: np.ndarray, restriction: Restriction, depth: int, profile: RankingProfile
    ) -> tuple[dict[int, float], dict[int, Scale]]:
        """Returns chunk id -> standardised score, for the best `depth` chunks of each kind, each by its best of the
        `queries` [n, dim]; and the scales by group."""
        best: dict[int, float] = {}
        if not len(queries):
            return best, {}
        allowed, roots = self._narrowed(restriction)
        groups = [GROUPS[kind] for kind in restriction.query.filters.kinds or KINDS]
        waiting: SimpleQueue[int | None] = SimpleQueue()  # shared by two threads
        for group in (*groups, None, None):  # one end mark for each thread
            waiting.put(group)

        def search() -> list[tuple[int, np.ndarray, np.ndarray]]:
            next_groups = iter(waiting.get, None)
            return [(g, *self._index.search(queries, depth, allowed, g, roots)) for g in next_groups]

        scale_arguments = (queries, len(self._index), restriction.query.text_alone, profile)
        with beside(search, enabled=len(groups) > 1) as other:
            scales = self._background.of_query(*scale_arguments)
            results = search()
        if other is not None and not other.cancelled():
            results += other.result()
        unscaled = [group for group, _, ids in results if group not in scales and (ids >= 0).any()]
        if unscaled and self._background.sample_new(unscaled):
            scales = self._background.of_query(*scale_arguments)
        for group, scores, ids in results:
            if group not in scales:  # the library has no chunk of the kind
                continue
            standard = scales[group].standardise(scores)
            for number, score in zip(ids.ravel().tolist(), standard.ravel().tolist(), strict=True):
                if number >= 0 and score > best.get(number, -np.inf):
                    best[number] = score
        return best, scales

    def _narrowed(self, restriction: Restriction) -> tuple[np.ndarray | None, frozenset[int] | None]:
        """Returns (ids of chunks that pass, ids of roots); None means all. The index filters by roots itself."""
        if restriction.by_kind_alone:
            return None, None
        connection = self._connections.get()
        roots = restriction.roots(connection)
        if roots is not None:
            return None, roots
        if restriction.query.filters.albums:  # an album changes without a change of chunks
            return restriction.chunk_ids(connection), None
        version = connection.execute("SELECT max(id) FROM change").fetchone()
        key = (restriction.key, version, int(time.monotonic()) // FILTER_CACHED_S)
        with self._lock:
            allowed: np.ndarray | None = self._allowed.get(key)
        if allowed is None:
            allowed = restriction.chunk_ids(connection)
            with self._lock:
                self._allowed[key] = allowed
        return allowed, None
