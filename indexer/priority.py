"""Whose turn it is at the model: a query goes before indexing, always.

Built around one lock (an `Embedder` is not promised to be thread-safe) and a count of the
queries in flight. Indexing asks before each batch and each decoded group; while anybody is
searching it waits. It knows nothing of what is embedded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from model.embedder import Embedder
from model.inputs import Input
from model.ranking_profile import RankingProfile

LONGEST_WAIT_S = 5.0
"""Indexing goes on after so long, however many ask: a library under a load test must still fill."""


class QueryPriority:
    def __init__(self) -> None:
        self._model = threading.Lock()
        self._state = threading.Condition()
        self._queries = 0

    @contextmanager
    def query(self) -> Iterator[None]:
        """Around a whole query, so that indexing leaves the processor to it."""
        with self._state:
            self._queries += 1
        try:
            yield
        finally:
            with self._state:
                self._queries -= 1
                self._state.notify_all()

    def give_way(self, longest_s: float = LONGEST_WAIT_S) -> None:
        """Wait while queries are in flight. For indexing, between two pieces of work."""
        with self._state:
            self._state.wait_for(lambda: self._queries == 0, longest_s)

    @contextmanager
    def at_model(self) -> Iterator[None]:
        with self._model:
            yield


class SharedEmbedder:
    """An embedder that queries and indexing share, one call at a time. Itself an `Embedder`."""

    def __init__(self, inner: Embedder, priority: QueryPriority) -> None:
        self.inner, self._priority = inner, priority
        self.id, self.dim, self.max_frames = inner.id, inner.dim, inner.max_frames
        self.profile: RankingProfile | None = getattr(inner, "profile", None)

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """As `Embedder.embed`; waits for a batch that is at the model now, not for any after it."""
        with self._priority.at_model():
            return self.inner.embed(inputs)
