"""Near-equal images: one picture twice (resized, compressed again, trimmed), and shots of one burst.

Built around the picture hashes of images (`data/media/picture_hash.py`) and the time when they were taken. It knows
nothing of how hits are found or shown.

The bounds were chosen on the sample set: 75 photographs and test pictures, 404 stamps and 600 drawings, each image with
versions of it. In 95 of 100, half the size differs in at most 2 bits of the waves (photographs; drawings 10), JPEG at
quality 40 in 2 (5), 2 % trimmed in 6 (9), 15 % more light in 6 (7), 4 % moved in 16; in the steps in 33, moved in 83.
Of 113,000 pairs of different images with one shape, 26 are within `SAME`: one drawing with another letter or hand each,
and two frames of one film; of 78 pairs of pages none. The cosine of the lite model's vectors does not tell them: it is
.904 to .93 for one in twenty of JPEG at quality 40, and up to .965 for different photographs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from data.media.dates import unix
from data.media.picture_hash import COLOURS, STEPS, WAVES

SAME = 6, 48
"""One picture: so many of the 64 bits of the waves may differ, and of the 256 of the steps."""
BURST = 16, 100
"""Shots of one burst, as `SAME`."""
BURST_S = 3.0
"""Seconds between two shots of one burst."""
COLOUR = 12
"""The colours of no quarter differ by more, of 255."""
SHAPE = 0.1
"""Nor do the shapes (the logarithm of width over height)."""


class Picture(Protocol):
    """What is compared: the hash (None or empty: nothing is near it), the size, and when it was taken by its own
    account, as local ISO 8601 text."""

    @property
    def picture_hash(self) -> bytes | None: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def own_time(self) -> str | None: ...


def first_of_each(pictures: Iterable[tuple[int, Picture]]) -> dict[int, int]:
    """Returns number -> the number of the first picture before it that it is near to, of those that are near to none
    before them."""
    firsts: list[tuple[int, Picture]] = []
    result = {}
    for number, picture in pictures:
        if not picture.picture_hash:
            continue
        first = next((n for n, other in firsts if is_near(other, picture)), None)
        if first is None:
            firsts.append((number, picture))
        else:
            result[number] = first
    return result


def is_near(a: Picture, b: Picture) -> bool:
    """Whether two pictures are near-equal."""
    one, other = a.picture_hash or b"", b.picture_hash or b""
    if not one or not other:
        return False
    waves = _bits(one[WAVES], other[WAVES])
    if waves > BURST[0]:
        return False
    steps = _bits(one[STEPS], other[STEPS])
    if steps > BURST[1] or not _one_shape(a, b):
        return False
    if any(abs(x - y) > COLOUR for x, y in zip(one[COLOURS], other[COLOURS], strict=True)):
        return False
    if waves <= SAME[0] and steps <= SAME[1]:
        return True
    times = seconds(a.own_time), seconds(b.own_time)
    return times[0] is not None and times[1] is not None and abs(times[0] - times[1]) <= BURST_S


def seconds(own_time: str | None) -> float | None:
    """Returns the UNIX seconds of a time; None without a time of day."""
    return unix(own_time) if own_time and "T" in own_time else None


def candidate_pairs(hashes: Sequence[bytes], times: Sequence[float | None]) -> set[tuple[int, int]]:
    """Returns the places (smaller, larger) of pictures that may be near-equal: the first of each set of those with the
    same waves with all others of the set and of every set with nearly its waves. No hash is empty."""
    members: dict[bytes, list[int]] = {}
    for place, one in enumerate(hashes):
        members.setdefault(one[WAVES], []).append(place)
    pairs = {(rows[0], other) for rows in members.values() for other in rows[1:]}
    # Waves that differ in at most 6 bits are equal in at least two of their eight bytes.
    distinct = list(members)
    parts = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, 8).astype(np.int64)
    for left in range(8):
        for right in range(left + 1, 8):
            for a, b in _equal(parts[:, left] * 256 + parts[:, right]):
                if _bits(distinct[a], distinct[b]) <= SAME[0]:
                    first, second = sorted((members[distinct[a]], members[distinct[b]]))
                    pairs.update((first[0], other) for other in second)
    timed = sorted((time, place) for place, time in enumerate(times) if time is not None)
    for n, (time, place) in enumerate(timed):
        for later, other in timed[n + 1 :]:
            if later - time > BURST_S:
                break
            pairs.add((place, other))
    return {(min(pair), max(pair)) for pair in pairs}


def _equal(keys: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yields the pairs of places with equal keys."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    for step in range(1, len(keys)):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        if not len(same):
            return
        yield from zip(order[same].tolist(), order[same + step].tolist(), strict=True)


def _bits(a: bytes, b: bytes) -> int:
    """Returns in how many bits two texts of one length differ."""
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def _one_shape(a: Picture, b: Picture) -> bool:
    if not (a.width and a.height and b.width and b.height):
        return True
    return abs(math.log(a.width * b.height / (a.height * b.width))) <= SHAPE
