"""The hash of a content: BLAKE3 over the bytes of a file that does not change meanwhile.

Built around one open file: its stamp is taken before and after, and a file that changed in between is hashed
again later. It uses plain reads, not a memory map: truncating a mapped file kills the process. It knows
nothing of the catalogue.
"""

from __future__ import annotations

import os
import stat
import time

from blake3 import blake3

from indexer.catalogue.rows import Stamp

BLOCK_BYTES = 1 << 20

QUIET_S = 0.4
"""A file with a write within the last QUIET_S seconds may still be incomplete (a copy, a download)."""

CLOCK_S = 0.02
"""Seconds to wait before a file is read that was just written. File times have a resolution of some milliseconds (a
kernel tick): within one, a file can change and keep its stamp."""


class StillChanging(Exception):
    """The file was written to while it was read."""


def hash_file(path: str) -> tuple[bytes, Stamp]:
    """Returns the hash (32 bytes) of a file and its stamp. Raises `StillChanging` or OSError."""
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
        buffer = bytearray(BLOCK_BYTES)
        view = memoryview(buffer)
        while count := source.readinto(buffer):
            hasher.update(view[:count])
        after = os.fstat(descriptor)
    stamp = _stamp(after)
    if stamp != _stamp(before):
        raise StillChanging(path)
    return hasher.digest(), stamp


def _stamp(s: os.stat_result) -> Stamp:
    return s.st_size, s.st_mtime_ns, s.st_ctime_ns
