"""Boxes of the ISO base media format (ISO/IEC 14496-12), which MP4, HEIC, AVIF, JPEG XL and JPEG 2000 share.

Built around one generator over bytes or a mapped file. Knows nothing of the content of boxes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator


def boxes(data: bytes | mmap.mmap, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start and end of the content of each box in `data[start:end]`, up to the first invalid box. The
    last box is cut at the end of the data."""
    end = len(data) if end is None else min(end, len(data))
    while start + 8 <= end:
        size, name, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:  # to the end
            size = end - start
        if size < head:
            return
        yield bytes(name), start + head, min(end, start + size)
        start += size


def inside(
    data: bytes | mmap.mmap, path: tuple[bytes, ...], start: int = 0, end: int | None = None
) -> tuple[int, int] | None:
    """Returns the bounds of the content of the first box at `path`; `meta` has four bytes before its boxes."""
    for name, first, last in boxes(data, start, end):
        if name == path[0]:
            first += 4 if name == b"meta" else 0
            return (first, last) if len(path) == 1 else inside(data, path[1:], first, last)
    return None
