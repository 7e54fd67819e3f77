"""Moments: where in a video a query happens, to the second.

Built around a second, finer pass over the few best hits: short spans of the video are embedded and compared with
the query, and their vectors are cached. A hit found by a cue needs no second pass: its second is known
(`search/spoken_at.py`). It knows nothing of players or pages.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from data import reader
from data.media.kinds import MediaError
from data.span import Span
from indexer.errors import LibraryError
from indexer.types import Hit, Moment, Query
from model.embedder import side_for

if TYPE_CHECKING:
    from indexer.search.searcher import Searcher

SPAN_S = 2.0
STRIDE_S = 1.0
SPAN_FRAMES = 2
"""Spans of the refinement: an event of 2 s fills one of them. Ten such events, half of them on the edges of
windows (tests/indexer/features/test_moments.py): the player starts 0 s off in the median and 1 s at worst; with
spans of 4 s, stride 2 and 3 frames, 1.5 s and once 98 s; with events of 4 s, 1 s at worst."""
REFINED_HITS = 5
"""Hits that are refined: a 30 s window is 29 spans, about 0.6 s with lite."""
LONGEST_S = 300.0
DECODE_TIMEOUT_S = 120.0
CACHE_SIZE = 64
HITS_OF_A_VIDEO = 2000
"""Windows of a video among which one is looked up: 16 hours of film."""


class Moments:
    """Moments of one searcher's library. Safe to use from many threads."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._spans: LRUCache[tuple[int, float, float], tuple[np.ndarray, np.ndarray]] = LRUCache(CACHE_SIZE)
        self._lock = threading.Lock()

    def find(self, query: Query, k: int = 5, refine: int = REFINED_HITS) -> list[Moment]:
        """The k best moments of a query; the best `refine` hits are refined.

        Set `query.filters.file_id` for one video; without it all videos are searched. Raises LibraryError if
        the query has nothing to look for.
        """
        hits = self.searcher.search(_of_videos(query), max(k, refine)).hits
        vectors = self.searcher.vectors(query)
        if not len(vectors):
            raise LibraryError("Say what to look for in the video.")
        moments = [self.refine(hit, vectors) for hit in hits[:refine]]
        # A short event is a small part of its window's vector, so the refinement decides the order, too. Hits
        # with a spoken second come first; they need no refinement.
        moments.sort(key=lambda m: (m.hit.at_s is None, -m.closeness))
        return [*moments, *map(_moment_of, hits[refine:])][:k]

    def within(self, query: Query, chunk_id: int) -> list[Moment]:
        """The refined moment of one window of a video; empty if the query does not find the window."""
        hits = self.searcher.search(_of_videos(query), HITS_OF_A_VIDEO).hits
        vectors = self.searcher.vectors(query)
        if not len(vectors):
            return []
        return [self.refine(hit, vectors) for hit in hits if hit.chunk_id == chunk_id]

    def refine(self, hit: Hit, queries: np.ndarray) -> Moment:
        """The moment of a hit, its bounds and its second taken from the spans that score best."""
        start, end = hit.span.seconds
        if hit.at_s is not None or not 0 < end - start <= LONGEST_S:
            return _moment_of(hit)
        try:
            edges, vectors = self._vectors_of_spans(hit, start, end)
        except MediaError:
            return _moment_of(hit)  # the file is missing or unreadable; the window still holds
        if len(edges) < 2:
            return _moment_of(hit)
        scores = (queries @ vectors.T).max(axis=0)
        best = int(np.argmax(scores))
        # The bounds enclose the spans around the best whose scores are nearer to the best than to the median.
        level = (scores[best] + float(np.median(scores))) / 2
        first = last = best
        while first > 0 and scores[first - 1] >= level:
            first -= 1
        while last + 1 < len(scores) and scores[last + 1] >= level:
            last += 1
        middle = float(edges[best].mean())
        span = Span(float(edges[first][0]), float(edges[last][1]))
        return Moment(hit, span, middle, hit.score, float(scores[best]))

    def _vectors_of_spans(self, hit: Hit, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges float [n, 2] in seconds and vectors float32 [n, dim] of the spans between two seconds."""
        key = (hit.chunk_id, start, end)
        with self._lock:
            if key in self._spans:
                return self._spans[key]
        starts = np.arange(start, max(end - SPAN_S, start) + 1e-6, STRIDE_S)
        specs = [reader.ChunkSpec(n, Span(float(s), float(min(s + SPAN_S, end)))) for n, s in enumerate(starts)]
        chunks = self.searcher.sandbox.submit(
            reader.decode, Path(hit.path), "video", specs,
            max_frames=SPAN_FRAMES, max_side=side_for(self.searcher.embedder, "video"),
            timeout_s=DECODE_TIMEOUT_S, urgent=True,
        ).result()  # fmt: skip
        vectors = self.searcher.embedder.embed([reader.to_input(c, "video") for c in chunks])
        edges = np.array([c.spec.span.seconds for c in chunks], float)
        with self._lock:
            self._spans[key] = edges, vectors
        return edges, vectors


def _of_videos(query: Query) -> Query:
    return replace(query, filters=replace(query.filters, kinds=("video",)))


def _moment_of(hit: Hit) -> Moment:
    """The moment of a hit without refinement."""
    at_s = sum(hit.span.seconds) / 2 if hit.at_s is None else hit.at_s
    return Moment(hit, hit.span, at_s, hit.score)
