"""Where in a film it is: windows merged to moments, their bounds sharpened by a closer look.

Built around a second, finer pass over the few best moments only: short spans at a stride
below the window's are embedded and compared with the query; where the words of the query are
said, their second is known (`search/spoken_at.py`). Their vectors are kept, so a
second question about the same place costs nothing. `rank_files` scores whole files, by
their best window or by the centroid of all. It knows nothing of players or pages.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from cachetools import LRUCache

from data import reader
from data.media.kinds import MediaError
from data.span import Span
from indexer.errors import LibraryError
from indexer.types import Hit, Moment, Query

if TYPE_CHECKING:
    from indexer.search.searcher import Searcher

SPAN_S = 2.0
STRIDE_S = 1.0
SPAN_FRAMES = 2
"""Spans of the closer look: an event of 2 s fills one of them. Ten such events, half of them on the edges of
windows (tests/indexer/features/test_moments.py): jumps miss by 0 s in the median and 1 s at worst; with spans
of 4 s, stride 2 and 3 frames, by 1.5 s and one by 98 s; events of 4 s alike by 1 s at worst."""
LOOKED_AT = 5
"""Moments that get the closer look: a 30 s window is 29 spans, about 0.6 s with lite."""
LONGEST_S = 300.0
READ_S = 120.0
CACHED = 64
HITS_OF_A_FILM = 200


@dataclass(frozen=True)
class FileScore:
    file_id: int
    path: str
    score: float
    chunk_id: int
    """The best window or page."""


class Moments:
    """Moments of one searcher's library. Safe to use from many threads."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._spans: LRUCache[tuple[int, float, float], tuple[np.ndarray, np.ndarray]] = LRUCache(CACHED)
        self._lock = threading.Lock()

    def find(self, query: Query, k: int = 5, looked_at: int = LOOKED_AT) -> list[Moment]:
        """The k best moments for a query, the best `looked_at` of them sharpened.

        Set `query.filters.file_id` for one video; without it all videos are searched.
        """
        answer = self.searcher.search(_of_videos(query), max(k, looked_at))
        vectors = self.searcher.vectors(query)
        if not len(vectors):
            raise LibraryError("Say what to look for in the film.")
        seen = [self.sharpened(hit, vectors) for hit in answer.hits[:looked_at]]
        # A short event is a small part of its window's vector: the closer look decides the order, too.
        # Hits with a spoken second come first; they need no closer look.
        seen.sort(key=lambda m: (m.hit.at_s is None, -m.closeness))
        return [*seen, *(_unsharpened(hit) for hit in answer.hits[looked_at:])][:k]

    def within(self, query: Query, chunk_id: int) -> list[Moment]:
        """The moment that a window of a film is part of, sharpened; none when the query does not find it."""
        hits = self.searcher.search(_of_videos(query), HITS_OF_A_FILM).hits
        vectors = self.searcher.vectors(query)
        if not len(vectors):
            return []
        return [self.sharpened(hit, vectors) for hit in hits if hit.chunk_id == chunk_id]

    def sharpened(self, hit: Hit, queries: np.ndarray) -> Moment:
        """The moment of a hit with the bounds and the point that a closer look gives it."""
        start, end = hit.span.seconds
        if hit.at_s is not None or not 0 < end - start <= LONGEST_S:
            return _unsharpened(hit)
        try:
            edges, vectors = self._vectors_of_spans(hit, start, end)
        except MediaError:
            return _unsharpened(hit)  # the file went or cannot be read here any more; the window still holds
        if len(edges) < 2:
            return _unsharpened(hit)
        scores = (queries @ vectors.T).max(axis=0)
        best = int(np.argmax(scores))
        # Everything around the best that is nearer to it than to what the rest of the moment scores.
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
        """Edges float [n, 2] in seconds and vectors float32 [n, dim] of the spans of a stretch."""
        key = (hit.chunk_id, start, end)
        with self._lock:
            if key in self._spans:
                return self._spans[key]
        starts = np.arange(start, max(end - SPAN_S, start) + 1e-6, STRIDE_S)
        specs = [reader.ChunkSpec(n, Span(float(s), float(min(s + SPAN_S, end)))) for n, s in enumerate(starts)]
        job = self.searcher.sandbox.submit(
            reader.decode, Path(hit.path), "video", specs, max_frames=SPAN_FRAMES, timeout_s=READ_S, urgent=True
        )
        chunks = job.result()
        vectors = self.searcher.embedder.embed([reader.to_input(c, "video") for c in chunks])
        edges = np.array([c.spec.span.seconds for c in chunks], float)
        with self._lock:
            self._spans[key] = edges, vectors
        return edges, vectors


def rank_files(
    searcher: Searcher, query: Query, by: Literal["max", "centroid"] = "max", k: int = 10
) -> list[FileScore]:
    """Whole files by their best chunk, or by the mean of all their chunks' vectors."""
    ranking = searcher.rank(query, depth=max(200, 10 * k))
    best: dict[bytes, FileScore] = {}
    for place in ranking:
        file, fact = place.fact.files[0], place.fact
        best.setdefault(fact.content, FileScore(file.file_id, file.path, place.score, fact.chunk_id))
    if by == "centroid":
        queries = searcher.vectors(query)
        if not len(queries):
            raise LibraryError("Say what to look for; filters alone rank nothing.")
        for content, score in best.items():
            own = searcher.vectors_of(content)
            centroid = own.mean(axis=0)
            centroid = centroid / max(float(np.linalg.norm(centroid)), 1e-9)
            best[content] = replace(score, score=float((queries @ centroid).max()))
    return sorted(best.values(), key=lambda s: (-s.score, s.file_id))[:k]


def _of_videos(query: Query) -> Query:
    return replace(query, filters=replace(query.filters, kinds=("video",)))


def _unsharpened(hit: Hit) -> Moment:
    at_s = sum(hit.span.seconds) / 2 if hit.at_s is None else hit.at_s
    return Moment(hit, hit.span, at_s, hit.score)
