"""Runs `app.web.render` in one child process, and caches its last results.

Built around the sandbox, where a broken file costs one answer. It knows nothing of the web.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cachetools import LRUCache

CACHE_SIZE = 48
"""Results in memory: about 150 kB each."""


class Renderer:
    """Runs functions in a sandbox of its own, which starts at the first use."""

    def __init__(self) -> None:
        self._sandbox: Any = None
        self._results: LRUCache[tuple[Any, ...], Any] = LRUCache(CACHE_SIZE)

    async def make(
        self, function: Any, *args: Any, timeout_s: float = 30, keep: tuple[Any, ...] = (), writes: Sequence[Path] = ()
    ) -> Any:
        """`function(*args)` in the sandbox, where it writes the files `writes`; cached under the key `keep` if that is
        not empty. Raises MediaError."""
        key = (function.__name__, *keep)
        if keep and key in self._results:
            return self._results[key]
        if self._sandbox is None:
            from data.media.sandbox import Sandbox

            self._sandbox = Sandbox(workers=1, nice=False)
        result = await asyncio.wrap_future(self._sandbox.submit(function, *args, timeout_s=timeout_s, writes=writes))
        if keep:
            self._results[key] = result
        return result

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
