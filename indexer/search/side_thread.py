"""A second thread for a query: text search during the embedding, two kinds of vectors at once.

Built around a block that waits at its end for the second thread. It knows nothing of what runs there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

THREADS = 4
"""Threads for all queries. They release the GIL while they wait for SQLite or a vector index."""

T = TypeVar("T")


@contextmanager
def beside(function: Callable[..., T], *values: Any, enabled: bool) -> Iterator[Future[T] | None]:
    """Run `function` in another thread during the block; yields None, and does not run it, if not `enabled`. The block
    ends after the function, also on an error, as the caller may then close what the function reads; a function that
    has not begun by then is cancelled."""
    if not enabled:
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
    """Returns the pool of all searchers: a searcher that is replaced may still have queries in progress."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="search")
