"""The lane of searches: a few threads of their own and a bounded queue, so that a burst of searches neither
starves the thumbnails nor is lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

WAITING = 512
"""Searches that may wait at once. 200 people pressing Enter together is the measure; see bench-ui."""


class Busy(Exception):
    """Too many searches wait already."""


class SearchLane:
    """Runs calls in `workers` threads; at most `waiting` calls wait, more are refused with Busy."""

    def __init__(self, workers: int = 2, waiting: int = WAITING) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="search")
        self._turn = asyncio.Semaphore(workers)
        self._waiting, self._limit = 0, waiting + workers

    async def run(self, call: Callable[[], T], is_abandoned: Callable[[], Awaitable[bool]] | None = None) -> T | None:
        """The call's result; None if `is_abandoned()` says that nobody waits for it any more. Raises Busy."""
        if self._waiting >= self._limit:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                if is_abandoned is not None and await is_abandoned():
                    return None
                context = contextvars.copy_context()  # holds the request's visitor
                return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
