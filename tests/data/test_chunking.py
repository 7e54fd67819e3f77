"""The algebra of windows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.chunking import grid, snap_reach, windows

DURATIONS = st.floats(0.05, 20_000, allow_nan=False)
WINDOWS = st.floats(5, 120)


def test_the_customary_cases() -> None:
    assert windows(30) == [(0.0, 30)], "a video of at most 30 s is one window"
    assert windows(0.2) == [(0.0, 0.2)]
    assert windows(95) == [(0.0, 30.0), (30.0, 60.0), (60.0, 90.0), (90.0, 95)]
    assert windows(94.9) == [(0.0, 30.0), (30.0, 60.0), (60.0, 94.9)], "a rest under 5 s joins"
    assert windows(61, overlap_s=5) == [(0.0, 30.0), (25.0, 55.0), (50.0, 61)]


def test_an_end_moves_to_a_cut_nearby_and_the_grid_stays() -> None:
    assert windows(100, cuts=[28.0, 45.0, 61.5]) == [(0.0, 28.0), (28.0, 61.5), (61.5, 90.0), (90.0, 100)]
    assert windows(100, cuts=[26.9, 33.1]) == windows(100), "further than 3 s is another event"


def test_a_cut_that_leaves_a_short_rest_joins_it() -> None:
    assert windows(66, cuts=[62.0]) == [(0.0, 30.0), (30.0, 66)]
    assert windows(66) == [(0.0, 30.0), (30.0, 60.0), (60.0, 66)]


@pytest.mark.slow
@given(DURATIONS, WINDOWS, st.floats(0, 0.7), st.lists(st.floats(0, 20_000), max_size=40))
def test_windows_cover_the_video_in_order_without_a_gap(
    duration: float, window: float, share: float, cuts: list[float]
) -> None:
    overlap = share * window
    found = windows(duration, window, overlap, cuts=cuts)
    assert found[0][0] == 0 and found[-1][1] == duration
    reach = snap_reach(window)
    for (start, end), (later_start, later_end) in itertools.pairwise(found):
        assert start < later_start <= end < later_end
        assert end - later_start == pytest.approx(overlap, abs=1e-6)
    for start, end in found[:-1]:
        assert window - 2 * reach - 1e-6 <= end - start <= window + 2 * reach + 1e-6
    assert found[-1][1] - found[-1][0] <= window + 2 * reach + 5 + 1e-6
    if len(found) > 1:
        assert found[-1][1] - found[-2][1] >= 5 - 1e-6


@pytest.mark.slow
@given(DURATIONS, WINDOWS)
def test_without_cuts_every_window_but_the_last_has_its_length(duration: float, window: float) -> None:
    found = windows(duration, window)
    assert all(end - start == pytest.approx(window) for start, end in found[:-1])
    assert duration > window or len(found) == 1


@pytest.mark.slow
@given(DURATIONS, WINDOWS, st.lists(st.floats(0, 20_000), max_size=40))
def test_only_cuts_matter_that_are_near_the_grid(duration: float, window: float, cuts: list[float]) -> None:
    ends = grid(duration, window)
    near = [cut for cut in cuts if any(abs(cut - end) <= snap_reach(window) for end in ends)]
    assert windows(duration, window, cuts=near) == windows(duration, window, cuts=cuts)


@pytest.mark.parametrize("wrong", [{"overlap_s": 30.0}, {"overlap_s": -1.0}, {"window_s": 0.0}])
def test_windows_that_make_no_progress_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot overlap"):
        windows(100, **wrong)


@pytest.mark.parametrize("duration", [0.0, -1.0, float("inf"), float("nan")])
def test_a_length_that_is_none_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="no windows"):
        windows(duration)
