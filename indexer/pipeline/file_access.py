"""Where the bytes of a content are read: one of the files that hold it, as this program sees them.

Built around two kinds of program. The one that watches the folders notes what is not as it was; a
worker only reads, and leaves to others what it cannot find. Neither changes a file.
"""

from __future__ import annotations

import os
from typing import Protocol

from data.media.kinds import MediaError
from indexer.catalogue.rows import Work
from indexer.files.hashing import StillChanging, hash_file
from indexer.files.mounts import Mounts
from indexer.pipeline.context import Workshop


class Places(Protocol):
    def path(self, work: Work) -> str | None:
        """A file that holds these bytes still; None: none does as far as is known here. Raises MediaError:
        those that should are not to be seen."""

    def lost(self, path: str, error: MediaError) -> None:
        """A file went away while it was read, or cannot be opened by us: the content may be good."""


class OwnPlaces:
    """Of the program that watches the folders."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    def path(self, work: Work) -> str | None:
        catalogue = self._shop.catalogue
        gone, changed = [], False
        for path, stamp in work.files:
            try:
                now = os.stat(path)  # noqa: PTH116 – a path that need not be UTF-8
            except OSError:
                gone.append(path)
                continue
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == stamp:
                return path
            catalogue.rehash(path, (now.st_size, now.st_mtime_ns, now.st_ctime_ns))
            self._shop.files_bell.ring()
            changed = True
        for path in gone:
            if _is_deleted(path):
                catalogue.remove_files([path])
        self._shop.missed.update(gone)
        if gone and not changed:
            raise MediaError("none of its files is to be seen", "gone")  # the scanner finds out why
        return None

    def lost(self, path: str, error: MediaError) -> None:
        if error.cause == "gone":
            if _is_deleted(path):
                self._shop.catalogue.remove_files([path])
        else:
            self._shop.catalogue.fail_path(path, str(error))
            self._shop.tally.failed += 1


class MappedPlaces:
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
