"""Videos that a browser cannot play (AVI, HEVC, MPEG-2 …), encoded again in stretches as they are watched.

Built around stretches of equal length: the page requests the one with the second it needs, plays it, and goes on
with the next. The last ones stay in a temporary folder until the server ends. It knows nothing of the web; the
source is only read, in the sandbox.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from app.web.render import play_stretch
from app.web.render_pool import Renderer
from data.media.clip import replacing
from indexer.types import FileInfo

STRETCH_S = 20.0
"""Short, so that playing begins soon: 1080p HEVC takes about a third of its length on two cores."""
MOST_BYTES = 256 << 20
TIMEOUT_S = 180.0


class Stretches:
    """MP4 files (H.264, AAC) of a video's stretches `[n, n + 1) * STRETCH_S`, made at their first request."""

    def __init__(self, renderer: Renderer, most_bytes: int = MOST_BYTES) -> None:
        self._renderer, self._most_bytes = renderer, most_bytes
        self._folder: Path | None = None
        self._making: dict[str, asyncio.Task[Path]] = {}

    async def get(self, file: FileInfo, number: int) -> Path:
        """The file of stretch `number` (from 0). Raises MediaError."""
        name = f"{file.file_id}-{file.path.stat().st_mtime_ns}-{number}.mp4"
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sightline-playing-"))
        target = self._folder / name
        if target.exists():
            target.touch()
            return target
        making = self._making.get(name)
        if making is None:
            making = self._making[name] = asyncio.create_task(self._make(file.path, number, target))
            making.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(making)  # shield: another request may await the same task

    async def _make(self, path: Path, number: int, target: Path) -> Path:
        begin = number * STRETCH_S
        film = target.with_suffix(".film")
        try:
            with replacing(target) as part:
                await self._renderer.make(
                    play_stretch, path, begin, begin + STRETCH_S, part, film, timeout_s=TIMEOUT_S, writes=(part, film)
                )
        finally:
            film.unlink(missing_ok=True)
        self._delete_oldest(target)
        return target

    def _delete_oldest(self, newest: Path) -> None:
        total = 0
        for file in sorted(newest.parent.glob("*.mp4"), key=lambda f: f.stat().st_mtime_ns, reverse=True):
            total += file.stat().st_size
            if total > self._most_bytes and file != newest:
                file.unlink(missing_ok=True)

    def close(self) -> None:
        self._renderer.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
