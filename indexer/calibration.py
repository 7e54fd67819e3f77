"""One scale for all kinds: a score in standard deviations above what the query scores by chance.

Built around a fixed random sample of the library's chunks of each kind. Raw cosines of
text to text, text to image and text to video are not comparable, nor are those of two
queries; how far a score stands out of the same query's own background is. Centre and
spread are taken from the sample's lower half, so that a library full of right answers
does not hide them. It knows nothing of words, ranks or files.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from indexer.connections import Connections
from indexer.embeddings import GROUPS
from indexer.records import KINDS

SAMPLE = 400
"""Chunks of each kind: the spread is then known to 5 %, for 0.1 ms a query."""
ENOUGH = 64
"""With fewer of a kind, what other queries score there stands in for what the sample cannot tell."""
PRIOR_WEIGHT = 16.0
LEAST_SPREAD = 1e-3
LEAST_SHARE = 0.5
"""A kind's spread is taken for at least this share of the widest kind's."""

# What a person might ask of any library. Only small libraries need them (see ENOUGH).
ORDINARY_QUERIES = (
    "a dog on the beach", "a birthday party", "a bowl of fruit", "mountains at sunset", "a red car",
    "two people talking", "an old church", "a city street at night", "a chart with bars", "a contract",
    "a train station", "children playing football", "a cup of coffee", "a page of a book", "a map",
    "a boat on a lake", "an electricity bill", "flowers in a garden", "a computer screen", "a wedding",
    "how to install software", "snow in the forest", "a cat asleep", "a mathematical proof", "a guitar",
    "an aeroplane", "handwritten notes", "a kitchen", "the history of Rome", "a horse in a field",
    "a screenshot of an error", "a bridge over a river",
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """What chance scores: float arrays [q], one entry a query vector."""

    centre: np.ndarray
    spread: np.ndarray

    def standardise(self, scores: np.ndarray) -> np.ndarray:
        """Scores [q, n] as standard deviations above the background."""
        return (scores - self.centre[:, None]) / self.spread[:, None]


class Background:
    """The sample, and what queries score against it."""

    def __init__(self, connections: Connections, model_id: int, dim: int) -> None:
        self._connections, self._model_id, self._dim = connections, model_id, dim
        self._lock = threading.Lock()
        self._sampled_at = -1
        self._samples: dict[int, np.ndarray] = {}

    def scales(self, queries: np.ndarray, size: int, ordinary: np.ndarray | None) -> dict[int, Scale]:
        """The scale of each group for queries float32 [q, dim]; `size` is the library's, in chunks.

        `ordinary`: vectors of other queries, for the small library; None: its own chunks ask.
        """
        samples = self._current(size)
        if ordinary is None and samples and self.small:
            # A picture asks as the chunks ask that are most like it: pictures ask pictures.
            ordinary = max(samples.values(), key=lambda s: float(np.median(queries @ s.T)))
        scales = {group: _scale(queries, s, ordinary) for group, s in samples.items()}
        if len(scales) > 1:
            # A kind whose chunks are all alike to a query has next to no spread, and chance would stand out.
            least = LEAST_SHARE * np.max([s.spread for s in scales.values()], axis=0)
            scales = {g: Scale(s.centre, np.maximum(s.spread, least)) for g, s in scales.items()}
        return scales

    @property
    def small(self) -> bool:
        """Some kind has too few chunks to be its own background."""
        return any(len(s) < ENOUGH for s in self._samples.values())

    def refresh(self, size: int) -> None:
        self._current(size)

    def _current(self, size: int) -> dict[int, np.ndarray]:
        if self._sampled_at >= 0 and abs(size - self._sampled_at) <= self._sampled_at // 20:
            return self._samples
        with self._lock:
            if self._sampled_at != size:
                self._samples = {GROUPS[kind]: s for kind in KINDS if len(s := self._sample(kind))}
                self._sampled_at = size
            return self._samples

    def _sample(self, kind: str) -> np.ndarray:
        """float32 [<= SAMPLE, dim]: those whose scrambled ids are the least, so that it stays the same."""
        connection = self._connections.get()
        ids = connection.execute(
            "SELECT k.id FROM content c CROSS JOIN chunk k ON k.content_hash = c.hash"
            " WHERE c.kind = ? AND c.orphaned_at IS NULL ORDER BY (k.id * 2654435761) & 4294967295 LIMIT ?",
            (kind, SAMPLE),
        ).fetchall()
        vectors = [
            row[0]
            for (number,) in ids
            if (
                row := connection.execute(
                    "SELECT vector FROM embedding WHERE chunk_id = ? AND model_id = ?",
                    (number, self._model_id),
                ).fetchone()
            )
        ]
        return np.frombuffer(b"".join(vectors), "<f2").reshape(-1, self._dim).astype(np.float32)


def _scale(queries: np.ndarray, sample: np.ndarray, ordinary: np.ndarray | None) -> Scale:
    centre, spread = _lower_half(queries @ sample.T)
    if len(sample) < ENOUGH and ordinary is not None:
        by_chance = ordinary @ sample.T
        by_chance = by_chance[by_chance < 0.999]  # not a chunk against itself, or its copy
        if by_chance.size:
            prior_centre, prior_spread = _lower_half(by_chance.reshape(1, -1))
            weight = len(sample) / (len(sample) + PRIOR_WEIGHT)
            centre = weight * centre + (1 - weight) * prior_centre
            spread = np.sqrt(weight * spread**2 + (1 - weight) * prior_spread**2)
    return Scale(centre, np.maximum(spread, LEAST_SPREAD))


def _lower_half(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median [q], and the distance down to the 16th percentile [q]: a normal distribution's mean and
    standard deviation, untouched by what stands out above."""
    low, middle = np.percentile(scores, (15.87, 50), axis=1)
    return middle, middle - low
