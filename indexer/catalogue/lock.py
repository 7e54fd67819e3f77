"""One indexer a library: a lock that ends with the process that holds it, however it ends.

Built around the operating system's file lock (a catalogue on a server has a lock there:
`dialects/`). Readers never need it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Protocol


class OwnerLock(Protocol):
    @property
    def held(self) -> bool: ...

    def acquire(self) -> bool:
        """True when this program is the indexer now (or was already)."""

    def holder(self) -> str:
        """Who holds it, for a message: 'process 4711'."""

    def release(self) -> None: ...


class FileLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._guard = threading.Lock()

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> bool:
        """True when this program is the indexer now (or was already)."""
        with self._guard:
            if self._descriptor is not None:
                return True
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _try_lock(descriptor):
                os.close(descriptor)
                return False
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            self._descriptor = descriptor
            return True

    def holder(self) -> str:
        """Who holds it, for a message: 'process 4711'."""
        try:
            return f"process {int(self._path.read_text())}"
        except (OSError, ValueError):
            return "another program"

    def release(self) -> None:
        with self._guard:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others may read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
