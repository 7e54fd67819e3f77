"""Queries go before indexing.

Built around one lock (an `Embedder` need not be thread-safe) and a count of the queries in flight. Indexing
calls `give_way` before each batch and each decoded group. It knows nothing of what is embedded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np

from model.embedder import Embedder
from model.inputs import Input
from model.ranking_profile import RankingProfile

LONGEST_WAIT_S = 5.0
"""Seconds after which indexing goes on although queries are in flight: a library under constant load must
still fill."""


class QueryPriority:
    def __init__(self) -> None:
        self.model = threading.Lock()
        """Held during each call of the model."""
        self._state = threading.Condition()
        self._queries = 0

    @contextmanager
    def query(self) -> Iterator[None]:
        """Surrounds a whole query, so that indexing leaves the processor to it."""
        with self._state:
            self._queries += 1
        try:
            yield
        finally:
            with self._state:
                self._queries -= 1
                self._state.notify_all()

    def give_way(self, longest_s: float = LONGEST_WAIT_S) -> None:
        """Wait, at most `longest_s` seconds, while queries are in flight."""
        with self._state:
            self._state.wait_for(lambda: self._queries == 0, longest_s)


class SharedEmbedder:
    """An embedder that queries and indexing share, one call at a time unless it is safe to call from several threads.
    Itself an `Embedder`."""

    def __init__(
        self, inner: Embedder, priority: QueryPriority, before_pictures: Callable[[Embedder], None] | None = None
    ) -> None:
        """`before_pictures`: called with the embedder before its first picture."""
        self.inner, self._priority, self._before_pictures = inner, priority, before_pictures
        self.id, self.dim, self.max_frames = inner.id, inner.dim, inner.max_frames
        self.profile: RankingProfile | None = getattr(inner, "profile", None)
        for name in ("max_side", "page_side", "frame_side", "query_side", "familiarity", "is_word"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))
        safe = getattr(inner, "is_thread_safe", False)
        self._turn: AbstractContextManager[object] = nullcontext() if safe else priority.model

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """See `Embedder.embed`; waits for the call of the model that runs now if the model needs that."""
        with self._turn:
            if self._before_pictures is not None and any(item.images or item.video is not None for item in inputs):
                self._before_pictures(self.inner)
                self._before_pictures = None
            return self.inner.embed(inputs)
