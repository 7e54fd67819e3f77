"""The name of a content: the BLAKE3 hash of its bytes, read from a file that holds still.

Built around one open file: its stamp is taken before and after, and a file that changed
in between is not a content yet. Plain reads, not a memory map: a file that is cut short
while it is mapped kills the process. It knows nothing of the catalogue.
"""

from __future__ import annotations

import os
import stat
import time

from blake3 import blake3

from indexer.catalogue.rows import Stamp

PIECE = 1 << 20

QUIET_S = 0.4
"""A file written to within this time may still be on its way (a copy, a download): see again."""

CLOCK_S = 0.02
"""File times move in steps of a few milliseconds (a kernel tick). A file that was written within the
last one can change again and keep its stamp; it is given that long before it is read."""


class StillChanging(Exception):
    """The file was written to while it was read."""


def hash_file(path: str) -> tuple[bytes, Stamp]:
    """32 bytes and the stamp they belong to. Raises `StillChanging`, or OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb", buffering=0) as source:  # noqa: PTH123 – a descriptor
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise FileNotFoundError(f"{path} is not a file any more")
        age = time.time() - max(before.st_mtime, before.st_ctime)
        if 0 <= time.time() - before.st_mtime < QUIET_S:
            raise StillChanging(path)
        if 0 <= age < CLOCK_S:
            time.sleep(CLOCK_S)
            before = os.fstat(descriptor)
        hasher = blake3()
        buffer = bytearray(PIECE)
        view = memoryview(buffer)
        while count := source.readinto(buffer):
            hasher.update(view[:count])
        after = os.fstat(descriptor)
    then, now = (_stamp(s) for s in (before, after))
    if then != now:
        raise StillChanging(path)
    return hasher.digest(), now


def _stamp(s: os.stat_result) -> Stamp:
    return s.st_size, s.st_mtime_ns, s.st_ctime_ns
