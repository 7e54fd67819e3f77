"""Who runs `app.web.render`: one child process, and the last of what it made.

Built around the sandbox, where a broken file costs one answer. It knows nothing of the web.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from cachetools import LRUCache

CACHED = 48
"""Rendered pages kept in memory: about 150 kB each."""


class Renderer:
    """Runs `app.web.render` in a sandbox of its own, started at first use; keeps the last results."""

    def __init__(self) -> None:
        self._sandbox: Any = None
        self._results: LRUCache[tuple[Any, ...], Any] = LRUCache(CACHED)

    async def make(
        self, function: Any, *args: Any, timeout_s: float = 30, keep: tuple[Any, ...] = (), writes: Path | None = None
    ) -> Any:
        """`function(*args)` in the sandbox; kept under `keep` when given. It writes to the folder `writes`
        alone. Raises MediaError."""
        key = (function.__name__, *keep)
        if keep and key in self._results:
            return self._results[key]
        if self._sandbox is None:
            from data.media.sandbox import Sandbox

            self._sandbox = Sandbox(workers=1, nice=False)
        made = await asyncio.wrap_future(self._sandbox.submit(function, *args, timeout_s=timeout_s, writes=writes))
        if keep:
            self._results[key] = made
        return made

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
