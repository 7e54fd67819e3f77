"""A video's length to windows: pure arithmetic on seconds, without a file in sight.

Built around the regular grid of window ends; each end may give way to a scene cut nearby, so that an event is
not cut in two. Knows nothing of frames: the cuts come from whoever looked (`data.media.video.scene_cuts`).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

SNAP_S = 3.0


def windows(
    duration_s: float,
    window_s: float = 30.0,
    overlap_s: float = 0.0,
    min_rest_s: float = 5.0,
    cuts: Sequence[float] = (),
) -> list[tuple[float, float]]:
    """Windows [start, end) in seconds that cover [0, duration_s] in order, without a gap.

    Without `cuts` all are `window_s` long but the last. A window's end moves to the nearest of `cuts` within
    `SNAP_S` (at most a tenth of a window, measured from the grid, so moves never add up). Each window starts
    `overlap_s` before the end of the one before it. What is left at the end belongs to the window before it
    if it is shorter than `min_rest_s`. Raises `ValueError` for an overlap that leaves no progress.
    """
    reach = snap_reach(window_s)
    if not (window_s > 0 and 0 <= overlap_s < window_s - 2 * reach and min_rest_s >= 0):
        raise ValueError(f"windows of {window_s} s cannot overlap by {overlap_s} s")
    if not 0 < duration_s < float("inf"):
        raise ValueError(f"a video of {duration_s} s has no windows")
    ordered = sorted(cuts)
    found: list[tuple[float, float]] = []
    start = 0.0
    for end in grid(duration_s, window_s, overlap_s):
        end = _snapped(end, ordered, reach)
        if duration_s - end < max(min_rest_s, 1e-9):
            break
        found.append((start, end))
        start = end - overlap_s
    return [*found, (start, duration_s)]


def grid(duration_s: float, window_s: float, overlap_s: float = 0.0) -> list[float]:
    """The ends of the windows before any snapping, those inside the video only: where cuts are worth a
    look."""
    step = window_s - overlap_s
    count = max(0, int((duration_s - window_s) / step) + 1)
    ends = (window_s + step * i for i in range(count))
    return [end for end in ends if end < duration_s]


def snap_reach(window_s: float) -> float:
    """How far an end may move, in seconds."""
    return min(SNAP_S, window_s / 10)


def _snapped(end: float, cuts: Sequence[float], reach: float) -> float:
    at = bisect.bisect_left(cuts, end)
    near = [cut for cut in cuts[max(0, at - 1) : at + 1] if abs(cut - end) <= reach]
    return min(near, key=lambda cut: abs(cut - end)) if near else end
