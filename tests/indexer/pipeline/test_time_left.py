"""How long the rest takes: within a factor of two after a minute, for all and by kind, whatever the library is."""

from __future__ import annotations

import heapq
import random
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.catalogue.rows import Work
from indexer.pipeline import time_left
from indexer.pipeline.jobs import Job
from indexer.pipeline.time_left import TimeLeft
from indexer.types import Kind

BYTES: dict[Kind, float] = {"image": 4e6, "pdf": 60e3, "video": 20e6}
"""Bytes of a chunk in the libraries below."""


def job_of(kind: Kind, size: int) -> Any:
    return Job(Work(b"", kind, (), size), None, None)  # type: ignore[arg-type]


class Indexing:
    """A made library that is read by two threads in the order of the work queue: one of each kind, then images, PDFs
    and videos. Each file is one piece of work of as many chunks as it has."""

    def __init__(self, clock: list[float], files: dict[Kind, int], costs: dict[Kind, float], seed: int) -> None:
        """`clock`: the second, which this moves on."""
        dice = random.Random(seed)
        self.clock, self.costs, self.left = clock, costs, TimeLeft()
        jobs: list[tuple[Kind, int, int]] = []
        for kind, count in files.items():
            for _ in range(count):
                chunks = 1 if kind == "image" else dice.randint(1, 12)
                jobs.append((kind, chunks, int(chunks * BYTES[kind] * dice.uniform(0.75, 1.33))))
        firsts = {kind: next(job for job in jobs if job[0] == kind) for kind in files}
        rest = list(jobs)
        for first in firsts.values():
            rest.remove(first)
        self.waiting = deque([*firsts.values(), *rest])
        self.unread = list(jobs)
        self.running: list[tuple[float, int, tuple[Kind, int, int], Any, AbstractContextManager[None]]] = []
        self.ends: dict[Kind, float] = {}
        for n in range(2):
            self._start(n)

    def _start(self, thread: int) -> None:
        if self.waiting:
            kind, chunks, size = file = self.waiting.popleft()
            job = job_of(kind, size)
            self.left.opened(job, chunks)
            work = self.left.work("decode", {kind: chunks})
            work.__enter__()
            heapq.heappush(self.running, (self.clock[0] + chunks * self.costs[kind], thread, file, job, work))

    def until(self, second: float) -> None:
        while self.running and self.running[0][0] <= second:
            self.clock[0], thread, file, _, work = heapq.heappop(self.running)
            work.__exit__(None, None, None)
            self.unread.remove(file)
            self.ends[file[0]] = self.clock[0]
            self._start(thread)
        self.clock[0] = second

    def estimate(self, kind: Kind) -> float:
        mine = [size for of, _, size in self.unread if of == kind]
        seconds = self.left.to_read(kind, len(mine), sum(mine))
        assert seconds is not None
        return seconds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.fixed_dictionaries(
        {"image": st.integers(400, 4000), "pdf": st.integers(60, 400), "video": st.integers(40, 300)}
    ),
    costs=st.fixed_dictionaries(
        {"image": st.floats(0.05, 0.4), "pdf": st.floats(0.02, 0.6), "video": st.floats(0.2, 4.0)}
    ),
    seed=st.integers(0, 10**6),
)
def test_after_a_minute_the_estimate_is_within_a_factor_of_two(
    monkeypatch: pytest.MonkeyPatch, files: dict[Kind, int], costs: dict[Kind, float], seed: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: clock[0])
    indexing = Indexing(clock, files, costs, seed)
    indexing.until(1060.0)
    kinds: tuple[Kind, ...] = ("image", "pdf", "video")
    estimates = {kind: indexing.estimate(kind) for kind in kinds}
    left = {kind: sum(chunks * costs[of] for of, chunks, _ in indexing.unread if of == kind) / 2 for kind in kinds}
    indexing.until(10**9)
    rest = max(indexing.ends.values()) - 1060.0
    if rest > 120:  # less is a matter of which file is the last
        assert rest / 2 <= sum(estimates.values()) <= 2 * rest
    for kind in kinds:
        if left[kind] > 60:
            assert left[kind] / 2 <= estimates[kind] <= 2 * left[kind], kind


def test_chunks_of_a_film_in_progress_count_and_those_of_a_dropped_job_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: clock[0])
    left, film = TimeLeft(), job_of("video", 1000)
    assert left.to_read("video", 1, 1000) is None, "nothing tells it yet"
    left.opened(film, 100)
    for _ in range(25):
        with left.work("decode", {"video": 1}):
            clock[0] += 2
        film.sent += 1
    assert left.to_read("video", 1, 1000) == pytest.approx(75 * 2)
    assert left.to_read("video", 0, 0) == 0
    del film
    assert left.to_read("video", 1, 1000) == pytest.approx(100 * 2)


def test_a_pause_is_no_work_and_a_kind_that_was_never_read_is_compared_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: clock[0])
    left = TimeLeft()
    for _ in range(10):
        with left.work("decode", {"image": 1}):
            clock[0] += 1
    clock[0] += 3600
    with left.work("decode", {"image": 1}):
        clock[0] += 1
    assert left.to_read("image", 50, 0) == pytest.approx(50)
    windows = 30e6 / time_left.BYTES["video"]
    assert left.to_read("video", 3, int(30e6)) == pytest.approx(windows * time_left.COST["video"])
    assert left.of_stage("ocr", 5) is None and left.of_stage("ocr", 0) == 0
    with left.work("ocr", {None: 1}):
        clock[0] += 3
    assert left.of_stage("ocr", 5) == pytest.approx(15)
