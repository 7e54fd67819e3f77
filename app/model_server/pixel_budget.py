"""The budget of decoded pixels that all requests to the model server share.

Built around `PixelBudget`: a request waits until its pixels fit beside those of the requests before it. A small
file can decode to 200 MB. It knows neither formats nor models.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PixelBudget:
    """Used in one event loop."""

    def __init__(self, most_pixels: int) -> None:
        self._most, self._pixels = most_pixels, 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, pixels: int) -> AsyncIterator[None]:
        """Waits for room for `pixels`, which are in memory during the block; more than all room wait until they
        are alone."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._pixels or self._pixels + pixels <= self._most)
            self._pixels += pixels
        try:
            yield
        finally:
            async with self._changed:
                self._pixels -= pixels
                self._changed.notify_all()
