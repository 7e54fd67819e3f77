"""Who runs `app.web.render`: one child process, and the last of what it made.

Built around the sandbox, where a broken file costs one answer. It knows nothing of the web.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

CACHED = 48
"""Rendered pages kept in memory: about 150 kB each."""


class Renderer:
    """Runs `app.web.render` in a sandbox of its own, started at first use; keeps the last results."""

    def __init__(self) -> None:
        self._sandbox: Any = None
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    async def make(self, function: Any, *args: Any, timeout_s: float = 30, keep: tuple[Any, ...] = ()) -> Any:
        """`function(*args)` in the sandbox; kept under `keep` when given. Raises MediaError."""
        key = (function.__name__, *keep)
        if keep and key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._sandbox is None:
            from data.media.sandbox import Sandbox

            self._sandbox = Sandbox(workers=1, nice=False)
        made = await asyncio.wrap_future(self._sandbox.submit(function, *args, timeout_s=timeout_s))
        if keep:
            self._kept[key] = made
            while len(self._kept) > CACHED:
                self._kept.popitem(last=False)
        return made

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
