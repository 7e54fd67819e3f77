"""The cache of small pictures, one WebP file a chunk, by content and ordinal.

Built around files that can all be deleted: whoever asks for one that is missing has it made
again. It knows nothing of how they are made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


class Thumbnails:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: bytes, ordinal: int) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / f"{name[2:34]}-{ordinal}.webp"

    def put(self, digest: bytes, ordinal: int, picture: bytes) -> None:
        """Whole or not at all: a reader never sees half a picture. One that was left half-written is
        written over by the next attempt."""
        path = self.path(digest, ordinal)
        partial = path.with_name(f"{path.name}.part")
        try:
            partial.write_bytes(picture)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(picture)
        with contextlib.suppress(FileNotFoundError):  # another thread has just put the same picture there
            partial.replace(path)

    def get(self, digest: bytes, ordinal: int) -> bytes | None:
        try:
            return self.path(digest, ordinal).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, digest: bytes) -> None:
        """All pictures of a content."""
        name = digest.hex()
        for path in (self.folder / name[:2]).glob(f"{name[2:34]}-*.webp*"):
            path.unlink(missing_ok=True)

    def not_among(self, hashes: set[str]) -> list[Path]:
        """Pictures of contents other than these (64 hex digits each), and half-written ones."""
        known = {h[:34] for h in hashes}
        return [
            path
            for path in self.folder.glob("*/*")
            if path.suffix != ".webp" or path.parent.name + path.name.partition("-")[0] not in known
        ]

    def drop(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
