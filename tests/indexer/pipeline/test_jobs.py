"""What the time that is left is told from: steady where the work is, whatever its pieces are."""

from __future__ import annotations

import pytest

from indexer.pipeline import jobs
from indexer.pipeline.jobs import Pace


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(jobs.time, "monotonic", lambda: self.now)

    def work(self, pace: Pace, seconds: float, chunks: int = 1) -> None:
        self.now += seconds
        pace.add(chunks, 1)


def test_a_first_burst_is_not_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    clock.work(pace, 0)
    assert pace.now() == (0.0, 0.0)
    for _ in range(40):
        clock.work(pace, 0.5)
    assert pace.now() == pytest.approx((2.0, 2.0))


def test_large_pdfs_are_told_of_by_the_last_eight_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One PDF takes 40 s: over half a minute the pace was none, or two a minute, by turns."""
    pace, clock = Pace(), Clock(monkeypatch)
    for _ in range(12):
        clock.work(pace, 40, chunks=200)
    told = []
    for _ in range(39):  # second by second through the next one
        clock.now += 1
        told.append(pace.now()[1])
    assert max(told) <= 1 / 40 and min(told) > 0.8 / 40


def test_a_new_pace_is_told_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    for _ in range(100):
        clock.work(pace, 0.1)
    for _ in range(70):
        clock.work(pace, 1)
    assert pace.now()[1] == pytest.approx(1.0, rel=0.02)


def test_a_pause_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    for _ in range(20):
        clock.work(pace, 1)
    clock.now += 3600
    clock.work(pace, 0)
    for _ in range(10):
        clock.work(pace, 1)
    assert pace.now()[1] == pytest.approx(1.0)
