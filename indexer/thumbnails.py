"""The cache of thumbnails, one WebP file a chunk, by content and ordinal.

Built around files that can all be deleted: a missing one is made again. It knows nothing of how they are made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from indexer import private


class Thumbnails:
    def __init__(self, folder: Path, is_here: Callable[[], bool] = lambda: True) -> None:
        """`is_here`: whether the library's folder is there; where it is not, nothing is made in its place."""
        self.folder, self._is_here = folder, is_here

    def path(self, digest: bytes, ordinal: int) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / f"{name[2:34]}-{ordinal}.webp"

    def put(self, digest: bytes, ordinal: int, image: bytes) -> None:
        """Write a thumbnail whole: a reader never sees half of it. The next call replaces a half-written one."""
        path = self.path(digest, ordinal)
        partial = path.with_name(f"{path.name}.part")
        try:
            self._write(partial, image)
        except FileNotFoundError:
            if not self._is_here():
                return
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            self._write(partial, image)
        with contextlib.suppress(FileNotFoundError):  # another thread has just moved its own, the same one
            partial.replace(path)

    @staticmethod
    def _write(path: Path, image: bytes) -> None:
        with open(path, "wb", opener=private.opener) as file:
            file.write(image)

    def get(self, digest: bytes, ordinal: int) -> bytes | None:
        try:
            return self.path(digest, ordinal).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, digest: bytes) -> None:
        """Delete all thumbnails of a content."""
        name = digest.hex()
        for path in (self.folder / name[:2]).glob(f"{name[2:34]}-*.webp*"):
            path.unlink(missing_ok=True)

    def stale(self, hashes: Iterable[bytes]) -> list[Path]:
        """Thumbnails of contents other than these, and half-written ones."""
        prefixes = {digest.hex()[:34] for digest in hashes}
        return [
            path
            for path in self.folder.glob("*/*")
            if path.suffix != ".webp" or path.parent.name + path.name.partition("-")[0] not in prefixes
        ]

    def drop(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
