"""Work beside a query's own thread: the search by words during the embedding, one kind beside another.

Built around a block that the other thread never outlives. It knows nothing of what runs in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

THREADS = 4
"""All of them leave Python's lock to others: they wait for SQLite or a vector index."""

T = TypeVar("T")


@contextmanager
def beside(function: Callable[..., T], *values: Any, wanted: bool) -> Iterator[Future[T] | None]:
    """`function` in another thread while the block runs, or None. It does not outlive the block, whatever
    ends that, for what it reads may be closed right after; one that had no turn by then is cancelled."""
    if not wanted:
        yield None
        return
    running = _threads().submit(function, *values)
    try:
        yield running
    finally:
        if not running.cancel():
            wait([running])


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """One for all searchers: one that gives way to another model's may have queries in flight."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="search")
