"""The memory that C libraries keep after they have freed it, with GNU's C library; elsewhere nothing happens.

Built around malloc's own two switches, and the size of this process. It knows nothing of models.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
import time
from functools import cache
from typing import Any

GROWTH = 24 << 20
"""Bytes. A trim takes 3 to 8 ms, and the pages that it gives back are cleared again when they are needed: a photo costs
.98 of 82a8a70 with 24 MB and .95 with 40, and indexing with OCR peaks at 542 and 586 MB (one busy run each)."""
EVERY_S = 2.0
"""Seconds from one trim to the next. What a batch frees the next batch needs again: of 363 batches in which 498 PDF
pages were embedded, 151 were trimmed, which took 0.6 s and cleared 6 GB anew."""
HEAPS = 2

_lock = threading.Lock()
_size_after = 0  # of the process, when memory was last given back
_not_before = 0.0  # the earliest time of the next trim


def few_heaps() -> None:
    """Let all threads of this process allocate from two heaps. By default each thread gets one of its own, up to eight
    for each core, and each keeps what it once needed: 410 MB in place of 453 after indexing 986 chunks, one run each.

    Called before threads start, as a heap that exists stays.
    """
    if (libc := _gnu()) is not None:
        libc.mallopt(-8, HEAPS)  # M_ARENA_MAX


def give_back_growth() -> None:
    """Give freed memory back to the system if the process has grown by `GROWTH` since that was last done, `EVERY_S`
    ago or more."""
    global _size_after, _not_before
    if (libc := _gnu()) is None:
        return
    with _lock:
        if time.monotonic() >= _not_before and _private_bytes() > _size_after + GROWTH:
            libc.malloc_trim(0)
            _size_after = _private_bytes()
            _not_before = time.monotonic() + EVERY_S


@cache
def _gnu() -> Any:
    """The C library if it is GNU's on Linux, else None."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None


def _private_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * mmap.PAGESIZE
