"""Where the bytes of a content are read: one of the files that hold it, as this program sees them.

Built around two kinds of program. The one that watches the folders notes what is not as it was; a
worker only reads, and leaves to others what it cannot find. Neither changes a file.
"""

from __future__ import annotations

import os
from typing import Protocol

from data.media.kinds import MediaError
from indexer.catalogue.files import Files
from indexer.catalogue.rows import Work
from indexer.files.hashing import StillChanging, hash_file
from indexer.files.mounts import Mounts
from indexer.pipeline.context import PipelineContext


class FileAccess(Protocol):
    def path(self, work: Work) -> str | None:
        """Path of a readable file that still has this content, or None. Raises MediaError if its files exist
        but cannot be reached now."""

    def lost(self, path: str, error: MediaError) -> None:
        """A file went away while it was read, or cannot be opened by us: the content may be good."""


class OwnFileAccess:
    """Of the program that watches the folders."""

    def __init__(self, ctx: PipelineContext, files: Files) -> None:
        self._ctx, self._files = ctx, files

    def path(self, work: Work) -> str | None:
        gone, changed = [], False
        for path, stamp in work.files:
            try:
                now = os.stat(path)  # noqa: PTH116 – a path that need not be UTF-8
            except OSError:
                gone.append(path)
                continue
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == stamp:
                return path
            self._files.rehash([(path, (now.st_size, now.st_mtime_ns, now.st_ctime_ns))])
            self._ctx.files_wake.set()
            changed = True
        for path in gone:
            if _is_deleted(path):
                self._files.remove([path])
        self._ctx.missed.update(gone)
        if gone and not changed:
            raise MediaError("none of its files is to be seen", "gone")  # the scanner finds out why
        return None

    def lost(self, path: str, error: MediaError) -> None:
        if error.cause == "gone":
            if _is_deleted(path):
                self._files.remove([path])
        else:
            self._files.fail(path, str(error))
            self._ctx.tally.failed += 1


class MappedFileAccess:
    """Of a worker. Another machine's view of a file has its size and its time of change, not always to the
    nanosecond, and no inode's; where the times differ the bytes are hashed."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def path(self, work: Work) -> str | None:
        for path, (size, mtime_ns, _) in work.files:
            local = self._mounts.here(path)
            try:
                now = os.stat(local)  # noqa: PTH116
                if now.st_size != size:
                    continue
                if now.st_mtime_ns == mtime_ns or hash_file(local)[0] == work.hash:
                    return local
            except (OSError, StillChanging):
                continue
        return None

    def lost(self, path: str, error: MediaError) -> None:
        """Who watches the folder will see it; others may be able to read it."""


def _is_deleted(path: str) -> bool:
    """Whether a file is not there and its folder is. An empty folder may be the mount point of a drive that
    is away, and one that may not be entered tells nothing: a scan decides."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        try:
            with os.scandir(os.path.dirname(path)) as entries:  # noqa: PTH120
                return next(entries, None) is not None
        except OSError:
            return False
    except OSError:
        return False
    return False
