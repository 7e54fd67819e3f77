"""The lane of searches: threads of their own and a bounded queue, so that a burst of searches neither delays the
thumbnails nor gets lost; and a second process beside the threads while several wait.

Built around one queue of calls in order of arrival, and the places that may take them. It knows nothing of searches.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Protocol, TypeVar, overload

T = TypeVar("T")
IsAbandoned = Callable[[], Awaitable[bool]]

WAITING = 512
"""Searches that may wait at once, enough for 200 people who press Enter together; see bench-ui."""
MANY_WAITING = 8
"""Calls that wait and could go to a second process when one is started."""
MOST_AWAY = 3
"""Calls that a second process has at once: one that runs, one in its pipe, one on the way there."""
LONGEST_AWAY_S = 30.0
"""After this long a second process counts as hanging."""


class Busy(Exception):
    """Too many searches wait."""


class Gone(Exception):
    """The second process gives no answer; the call has to run here."""


class Elsewhere(Protocol):
    """A second process that takes calls as bytes; see `app.web.search_process`."""

    @property
    def is_ready(self) -> bool: ...

    def start(self, on_ready: Callable[[], object]) -> None:
        """Start it unless it runs; `on_ready` is then called from another thread."""

    def submit(self, request: bytes) -> Future[bytes]:
        """Its answer; the exception Gone if it has none."""

    def end(self) -> None:
        """End it now; what it has not answered is Gone."""

    def close(self) -> None:
        """End it for good."""


class SearchLane:
    """Runs calls in `workers` threads. At most `waiting` calls wait; further ones raise Busy. `before_indexing`
    returns a context that is held while a call waits and runs: indexing pauses meanwhile. `elsewhere`: a second
    process, started when MANY_WAITING calls wait that it could take."""

    def __init__(
        self,
        workers: int = 2,
        waiting: int = WAITING,
        before_indexing: Callable[[], AbstractContextManager[None]] = nullcontext,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="search")
        self._free, self._away = workers, 0
        self._waiting: dict[asyncio.Future[bool], bool] = {}  # in order of arrival; whether the call may go elsewhere
        self._calls, self._limit = 0, waiting + workers
        self._before_indexing = before_indexing
        self.elsewhere = elsewhere

    @overload
    async def run(
        self, call: Callable[[], T], is_abandoned: IsAbandoned | None = None, request: None = None
    ) -> T | None: ...

    @overload
    async def run(
        self, call: Callable[[], T], is_abandoned: IsAbandoned | None, request: Callable[[], bytes] | None
    ) -> T | bytes | None: ...

    async def run(
        self, call: Callable[[], T], is_abandoned: IsAbandoned | None = None, request: Callable[[], bytes] | None = None
    ) -> T | bytes | None:
        """The call's result; None if `is_abandoned()` is True before the call starts. Raises Busy.

        `request`: returns the call as bytes for a second process, whose answer may come instead; None: it runs here."""
        if self._calls >= self._limit:
            raise Busy
        self._calls += 1
        try:
            with self._before_indexing():
                async with self._place(may_go=request is not None) as is_away:
                    if is_abandoned is not None and await is_abandoned():
                        return None
                    if not is_away or request is None:
                        return await self._here(call)
                    with suppress(Gone):
                        return await self._there(request())
                async with self._place(may_go=False, first=True):
                    return await self._here(call)
        finally:
            self._calls -= 1

    @asynccontextmanager
    async def _place(self, *, may_go: bool, first: bool = False) -> AsyncIterator[bool]:
        """A place for a call, once it is its turn: True for one in the second process, False for a thread. `first`: its
        turn is the next one, as it has waited before."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting = {turn: may_go, **self._waiting}
        else:
            self._waiting[turn] = may_go
        self._hand_out()
        if self.elsewhere is not None and sum(self._waiting.values()) >= MANY_WAITING:
            loop = asyncio.get_running_loop()
            self.elsewhere.start(lambda: loop.call_soon_threadsafe(self._hand_out))
        try:
            yield await turn
        finally:
            if self._waiting.pop(turn, None) is None:  # it had its turn
                if turn.result():
                    self._away -= 1
                else:
                    self._free += 1
                self._hand_out()

    def _hand_out(self) -> None:
        """Give the free places to the calls that have waited longest."""
        room = MOST_AWAY - self._away if self.elsewhere is not None and self.elsewhere.is_ready else 0
        for turn, may_go in list(self._waiting.items()):
            if not room and not self._free:
                return
            is_away = may_go and room > 0
            if turn.done() or not (is_away or self._free):
                continue
            del self._waiting[turn]
            if is_away:
                room -= 1
                self._away += 1
            else:
                self._free -= 1
            turn.set_result(is_away)

    async def _here(self, call: Callable[[], T]) -> T:
        context = contextvars.copy_context()  # holds the request's visitor
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)

    async def _there(self, request: bytes) -> bytes:
        """Raises Gone."""
        assert self.elsewhere is not None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.elsewhere.submit(request)), LONGEST_AWAY_S)
        except TimeoutError:
            self.elsewhere.end()
            raise Gone from None

    def close(self) -> None:
        if self.elsewhere is not None:
            self.elsewhere.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
