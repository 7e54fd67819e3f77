"""The owner lock: at most one program indexes a library; the lock ends with its process, also after a crash.

Built around the operating system's file lock (a catalogue on a server has its lock there: `dialects/`).
Readers do not need it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Protocol


class OwnerLock(Protocol):
    @property
    def is_held(self) -> bool: ...

    def acquire(self) -> bool:
        """Returns whether this program has the lock now (or had it already)."""

    def holder(self) -> str:
        """Returns the owner for a message: 'process 4711'."""

    def release(self) -> None: ...


class FileLock:
    def __init__(self, path: Path, text: str = "") -> None:
        """`text`: what the file says while the lock is held; default: the id of the process."""
        self._path, self._text = path, text or str(os.getpid())
        self._descriptor: int | None = None
        self._guard = threading.Lock()

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> bool:
        with self._guard:
            if self._descriptor is not None and not self._was_replaced():
                return True
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _try_lock(descriptor):
                os.close(descriptor)
                return False
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{self._text}\n".encode())
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = descriptor
            return True

    def _was_replaced(self) -> bool:
        """Whether the file at the path is another than the locked one: a copy of the folder has taken its place. While
        no file is there, the lock is held."""
        assert self._descriptor is not None
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def holder(self) -> str:
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

            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which other programs read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
