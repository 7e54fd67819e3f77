"""Which file a content is read from: one of its copies, at its path on this machine.

Built around two kinds of program. The one that watches the folders updates the catalogue where a file
has changed or is missing; a worker only reads, and skips a file that it cannot find. Neither changes a
file.
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
        """Returns the path of a readable file that still has this content, or None. Raises MediaError if its
        files exist but cannot be reached now."""

    def on_lost(self, path: str, error: MediaError) -> None:
        """A file was removed while it was read, or may not be opened. Its content may still be readable."""

    def here(self, path: str) -> str:
        """Returns the path on this machine of a path of the library."""

    def there(self, local: str) -> str:
        """Returns the library's path of a path on this machine."""


class OwnFileAccess:
    """The access of the program that watches the folders."""

    def __init__(self, ctx: PipelineContext, files: Files) -> None:
        self._ctx, self._files = ctx, files

    def path(self, work: Work) -> str | None:
        missing, changed = [], False
        for path, stamp in work.files:
            try:
                now = os.stat(path)  # noqa: PTH116 – a path that need not be UTF-8
            except OSError:
                missing.append(path)
                continue
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == stamp:
                return path
            self._files.rehash([(path, (now.st_size, now.st_mtime_ns, now.st_ctime_ns))])
            self._ctx.files_wake.set()
            changed = True
        for path in missing:
            if _is_deleted(path):
                self._files.remove([path])
        self._ctx.missing_files.update(missing)
        if missing and not changed:
            raise MediaError("none of its files can be found", "gone")  # the scanner finds out why
        return None

    def on_lost(self, path: str, error: MediaError) -> None:
        if error.cause == "gone":
            if _is_deleted(path):
                self._files.remove([path])
        else:
            self._files.fail(path, str(error))
            self._ctx.tally.failed += 1

    def here(self, path: str) -> str:
        return path

    def there(self, local: str) -> str:
        return local


class MappedFileAccess:
    """The access of a worker. Another machine sees the same size of a file, the modification time not always
    to the nanosecond, and another ctime: where the modification times differ the file is hashed."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts
        self.here, self.there = mounts.here, mounts.there

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

    def on_lost(self, path: str, error: MediaError) -> None:
        """Nothing: the program that watches the folder sees it, and other workers may read the file."""


def _is_deleted(path: str) -> bool:
    """Whether a file is missing from a folder that has other files. An empty folder may be the mount point of
    a disconnected drive, and a folder without permission proves nothing: a scan decides about those."""
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
