"""The lane of searches: threads of their own and a bounded queue, so that a burst of searches neither delays the
thumbnails nor gets lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

T = TypeVar("T")

WAITING = 512
"""Searches that may wait at once, enough for 200 people who press Enter together; see bench-ui."""


class Busy(Exception):
    """Too many searches wait."""


class SearchLane:
    """Runs calls in `workers` threads. At most `waiting` calls wait; further ones raise Busy. `before_indexing`
    returns a context that is held while a call waits and runs: indexing pauses meanwhile."""

    def __init__(
        self,
        workers: int = 2,
        waiting: int = WAITING,
        before_indexing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="search")
        self._turn = asyncio.Semaphore(workers)
        self._waiting, self._limit = 0, waiting + workers
        self._before_indexing = before_indexing

    async def run(self, call: Callable[[], T], is_abandoned: Callable[[], Awaitable[bool]] | None = None) -> T | None:
        """The call's result; None if `is_abandoned()` is True before the call starts. Raises Busy."""
        if self._waiting >= self._limit:
            raise Busy
        self._waiting += 1
        try:
            with self._before_indexing():
                async with self._turn:
                    if is_abandoned is not None and await is_abandoned():
                        return None
                    context = contextvars.copy_context()  # holds the request's visitor
                    return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
