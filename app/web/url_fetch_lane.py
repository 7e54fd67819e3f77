"""The lane of fetches by address: one at a time, each ended when its visitor goes away.

Built around `UrlFetch`, which the command line hands to the server where `--web` is given. It knows nothing of how
a fetch is done or confined (`data.download.web`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")
_CHECK_S = 0.5


class FetchedFile(Protocol):
    @property
    def path(self) -> Path: ...


class UrlFetch(Protocol):
    """Fetches by address. Both raise `LibraryError` with the reason."""

    def fetch(self, address: str, folder: Path, max_bytes: int, *, is_cancelled: Callable[[], bool]) -> FetchedFile: ...

    def keep(self, address: str, *, is_cancelled: Callable[[], bool]) -> Path: ...


class Occupied(Exception):
    """Another address is being fetched."""


class UrlFetchLane:
    """`fetch`: None if this server fetches nothing."""

    def __init__(self, fetch: UrlFetch | None) -> None:
        self.fetch, self._turn = fetch, asyncio.Lock()

    async def run(self, call: Callable[[Callable[[], bool]], T], is_abandoned: Callable[[], Awaitable[bool]]) -> T:
        """The result of `call(is_cancelled)`, in a thread; cancelled as soon as `is_abandoned()`. Raises Occupied."""
        if self._turn.locked():
            raise Occupied
        async with self._turn:
            cancelled = threading.Event()
            task = asyncio.create_task(asyncio.to_thread(call, cancelled.is_set))
            try:
                while not (await asyncio.wait({task}, timeout=_CHECK_S))[0]:
                    if await is_abandoned():
                        cancelled.set()
            finally:
                cancelled.set()
            return await task
