"""A video's duration to windows: pure arithmetic on seconds.

Built around a regular grid of window ends; each end may move to a scene cut nearby, so that a scene is not
split. Knows nothing of frames: the cuts come from `data.media.video.scene_cuts`.
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
    """Returns windows [start, end) in seconds that cover [0, duration_s] in order, without a gap.

    Without `cuts` every window but the last is `window_s` long. A window's end moves to the nearest of `cuts`
    within `SNAP_S` (at most a tenth of a window, measured from the grid, so moves never add up). Each window
    starts `overlap_s` before the end of the previous window. A last window shorter than `min_rest_s` is merged
    into the previous window. Raises `ValueError` for an overlap that leaves no progress.
    """
    reach = snap_reach(window_s)
    if not (window_s > 0 and 0 <= overlap_s < window_s - 2 * reach and min_rest_s >= 0):
        raise ValueError(f"windows of {window_s} s cannot overlap by {overlap_s} s")
    if not 0 < duration_s < float("inf"):
        raise ValueError(f"a video of {duration_s} s has no windows")
    ordered = sorted(cuts)
    result: list[tuple[float, float]] = []
    start = 0.0
    for end in grid(duration_s, window_s, overlap_s):
        end = _snapped(end, ordered, reach)
        if duration_s - end < max(min_rest_s, 1e-9):
            break
        result.append((start, end))
        start = end - overlap_s
    return [*result, (start, duration_s)]


def grid(duration_s: float, window_s: float, overlap_s: float = 0.0) -> list[float]:
    """Returns the window ends inside the video before they move to cuts, in seconds."""
    step = window_s - overlap_s
    count = max(0, int((duration_s - window_s) / step) + 1)
    ends = (window_s + step * i for i in range(count))
    return [end for end in ends if end < duration_s]


def snap_reach(window_s: float) -> float:
    """Returns how far a window's end may move, in seconds."""
    return min(SNAP_S, window_s / 10)


def _snapped(end: float, cuts: Sequence[float], reach: float) -> float:
    at = bisect.bisect_left(cuts, end)
    near_cuts = [cut for cut in cuts[max(0, at - 1) : at + 1] if abs(cut - end) <= reach]
    return min(near_cuts, key=lambda cut: abs(cut - end)) if near_cuts else end
