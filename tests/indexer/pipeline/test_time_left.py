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

from indexer.catalogue.rows import ModelRow, Pictures, Work
from indexer.pipeline import time_left
from indexer.pipeline.costs import UnitCost
from indexer.pipeline.jobs import Job
from indexer.pipeline.schedule import Load
from indexer.pipeline.time_left import TimeLeft
from indexer.types import KINDS, Kind

BYTES: dict[Kind, float] = {"image": 4e6, "pdf": 60e3, "video": 20e6}
"""Bytes of a chunk in the libraries below."""


MODEL = ModelRow(1, "one", 4, "answering", "{}")


def job_of(kind: Kind, size: int, model: ModelRow = MODEL) -> Any:
    return Job(Work(b"", kind, (), size), model, None)  # type: ignore[arg-type]


class Indexing:
    """A made library that is read by two threads in the order of the work queue: one of each kind, then images, PDFs
    and videos. Each file is one piece of work of as many chunks as it has."""

    def __init__(self, clock: list[float], files: dict[Kind, int], costs: dict[Kind, float], seed: int) -> None:
        """`clock`: the second, which this moves on."""
        dice = random.Random(seed)
        self.clock, self.costs, self.left = clock, costs, TimeLeft(threads=2, cores=2)
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

    def estimates(self) -> dict[Kind, float]:
        sizes = {kind: [size for of, _, size in self.unread if of == kind] for kind in KINDS}
        told = self.left.seconds([self.left.to_read(kind, len(each), sum(each)) for kind, each in sizes.items()])
        return dict(zip(KINDS, [each for each in told if each is not None], strict=True))


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
    estimates = indexing.estimates()
    left = {kind: sum(chunks * costs[of] for of, chunks, _ in indexing.unread if of == kind) / 2 for kind in KINDS}
    indexing.until(10**9)
    rest = max(indexing.ends.values()) - 1060.0
    if rest > 120:  # less is a matter of which file is the last
        assert rest / 2 <= sum(estimates.values()) <= 2 * rest
    for kind in KINDS:
        if left[kind] > 60:
            assert left[kind] / 2 <= estimates[kind] <= 2 * left[kind], kind


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The second that it is, to be moved on."""
    now = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])
    return now


def seconds(left: TimeLeft, load: Load | None) -> float | None:
    """How long a step takes by itself."""
    return left.seconds([load])[0]


def test_chunks_of_a_film_in_progress_count_and_those_of_a_dropped_job_do_not(clock: list[float]) -> None:
    left, film = TimeLeft(cores=2), job_of("video", 1000)
    assert left.to_read("video", 1, 1000) is None, "nothing tells it yet"
    left.opened(film, 100)
    for n in range(25):
        with left.work("decode", {"video": 1}):
            clock[0] += 2
        film.sent += 1
        if n < 10:
            with left.work("embed", {"video": 1}, model=MODEL.id):
                clock[0] += 1
            film.done[n] = None
    assert seconds(left, left.to_read("video", 1, 1000)) == pytest.approx(75 * 2 + 90 * 1), (
        "each stage has its own rest"
    )
    assert seconds(left, left.to_read("video", 0, 0)) == 0
    del film
    assert seconds(left, left.to_read("video", 1, 1000)) == pytest.approx(3), "at least one of each file"
    assert seconds(left, left.to_read("video", 7, 1000)) == pytest.approx(3 * 7)


def test_a_pause_is_no_work_and_a_kind_that_was_never_read_is_compared_with_the_others(clock: list[float]) -> None:
    left = TimeLeft(cores=2)
    for _ in range(10):
        with left.work("decode", {"image": 1}):
            clock[0] += 1
    clock[0] += 3600
    with left.work("decode", {"image": 1}):
        clock[0] += 1
    assert seconds(left, left.to_read("image", 50, 0)) == pytest.approx(50)
    windows = 30e6 / time_left.BYTES["video"]
    assert seconds(left, left.to_read("video", 2, int(30e6))) == pytest.approx(windows * time_left.COST["video"])


def test_what_runs_beside_other_work_costs_no_more_than_alone(clock: list[float]) -> None:
    left = TimeLeft(threads=3, cores=2)
    left.begins(b"scan", "ocr", "pdf", 10)
    left.begins(b"film", "speech", "video", 0)
    with left.work("ocr", {"pdf": 1}, of=b"scan"):
        clock[0] += 2
    with (
        left.work("ocr", {"pdf": 1}, of=b"scan"),
        left.work("ocr", {"pdf": 1}, of=b"other"),
        left.work("speech", {"video": 30.0}, of=b"film"),
    ):
        clock[0] += 3  # three share two cores
    scan = left.to_ocr({"pdf": Pictures(1, 10, 10)})
    assert scan is not None and scan.work_s == pytest.approx(8 * 2)
    film = left.to_hear(630)
    assert film is not None and film.work_s == pytest.approx(600 * 2 / 30)
    assert left.seconds([scan, film]) == [pytest.approx(16), pytest.approx(40 - 16)], "side by side"
    assert left.seconds([scan, None, film]) == [pytest.approx(16), None, pytest.approx(24)], "beside what is not known"
    three = left.to_ocr({"pdf": Pictures(3, 28, 10)})
    assert sum(filter(None, left.seconds([three, film]))) == pytest.approx(26 * 2 / 2 + 40), "no thread is free before"


def test_a_disk_that_is_slow_is_told_by_the_cores_that_it_leaves_idle(clock: list[float]) -> None:
    left = TimeLeft(threads=3, cores=2)
    for _ in range(300):
        with left.work("decode", {"image": 1}):
            clock[0] += 0.1
        clock[0] += 0.4
    assert seconds(left, left.to_read("image", 100, 0)) == pytest.approx(50, rel=0.1)
    for _ in range(1000):  # and a disk that is quick from now on
        with left.work("decode", {"image": 1}):
            clock[0] += 0.1
    assert seconds(left, left.to_read("image", 100, 0)) == pytest.approx(10, rel=0.5)


def test_images_cost_by_their_bytes(clock: list[float]) -> None:
    left, dice = TimeLeft(cores=2), random.Random(1)
    for _ in range(100):
        size = dice.choice([2_000_000, 5_000_000])
        with left.work("decode", {"image": 1}, size=size):
            clock[0] += 0.02 + size * 4e-8
    small = seconds(left, left.to_read("image", 1000, int(1000 * 500e3)))
    assert small == pytest.approx(1000 * 0.04, rel=0.3), "a folder of small ones comes after those of a camera"


def test_the_fewer_are_left_the_more_the_latest_tell() -> None:
    cost = UnitCost(latest_units=32)
    for seconds_each in [4.0] * 100 + [1.0] * 100:
        cost.add(seconds_each, 1)
    assert cost.of(1) == pytest.approx(1.0, abs=0.2), "it is the light end of a folder"
    assert cost.of(1e6) == pytest.approx(2.5, abs=0.1), "far more is left: some of it as heavy"
    for _ in range(8):
        cost.add(10.0, 1, stands_for_all=True)
    assert cost.of(1e9) == pytest.approx(10), "a sample of all folders"


def test_text_in_pictures_is_told_by_kind_and_a_scan_in_progress_by_its_pages(clock: list[float]) -> None:
    left = TimeLeft(cores=1)
    with left.work("decode", {"image": 1}):
        clock[0] += 1
    assert left.to_ocr({"image": Pictures(5, 5, 1)}) is None and seconds(left, left.to_ocr({})) == 0
    with left.work("ocr", {"image": 1}, of=b"picture"):
        clock[0] += 3
    assert seconds(left, left.to_ocr({"image": Pictures(5, 5, 1)})) == pytest.approx(15)
    scaled = 15 * time_left.OCR_COST["pdf"]
    assert seconds(left, left.to_ocr({"pdf": Pictures(1, 5, 5)})) == pytest.approx(scaled), "as other kinds let expect"
    left.begins(b"scan", "ocr", "pdf", 100)
    for _ in range(40):
        with left.work("ocr", {"pdf": 1}, of=b"scan"):
            clock[0] += 2
    waiting: dict[Kind, Pictures] = {"image": Pictures(5, 5, 1), "pdf": Pictures(1, 100, 100)}
    assert seconds(left, left.to_ocr(waiting)) == pytest.approx(15 + 60 * 2), "40 of its pages are done"
    left.ended(b"scan")
    assert seconds(left, left.to_ocr({"pdf": Pictures(1, 100, 100)})) == pytest.approx(200)


def test_scans_in_pdfs_that_are_not_read_follow_from_the_bytes_of_those_that_were(clock: list[float]) -> None:
    left = TimeLeft(cores=1)
    text, scan = job_of("pdf", 300_000), job_of("pdf", 3_000_000)
    assert left.pictures_of("pdf", 9, 900_000) == 0
    for job, pages, scans in ((text, 30, 0), (scan, 15, 15)):
        left.opened(job, pages)
        job.sent = pages
        left.saw_pages(job, pages, scans)
    assert left.pictures_of("pdf", 2, 3_300_000) == 15, "in progress"
    del job, text, scan
    assert left.pictures_of("pdf", 20, 33_000_000) == pytest.approx(150)
    assert left.pictures_of("image", 7, 1) == 7 and left.pictures_of("video", 7, 1) == 0


def test_listening_is_told_by_seconds_of_sound_and_one_film_at_a_time(clock: list[float]) -> None:
    left = TimeLeft(cores=2)
    film = job_of("video", int(30e6))
    film.has_sound, film.facts = True, {"duration_s": 600.0}
    with left.work("decode", {"video": 1}), left.work("embed", {"video": 1}, model=1):
        clock[0] += 1
    left.opened(film, 20)
    assert left.to_hear(600) is None, "none was listened to"
    by_itself = seconds(left, left.to_hear(60, is_built_in=True))
    assert by_itself == pytest.approx(60 * time_left.SOUND_COST * 2 / time_left.COST["video"])
    left.begins(b"film", "speech", "video", 0)
    with left.work("speech", {"video": 60.0}, of=b"film"):
        clock[0] += 12
    assert seconds(left, left.to_hear(600)) == pytest.approx(540 * 0.2), "whatever else was done at once"
    left.ended(b"film")
    assert left.sound_of(1, int(30e6)) == 600, "it is not read yet, and will be listened to"
    del film
    assert left.sound_of(1, int(30e6)) == pytest.approx(600, rel=0.4)


def test_what_is_read_again_costs_what_it_cost_to_read(clock: list[float]) -> None:
    left = TimeLeft(threads=2, cores=2)
    assert left.to_reread({"pdf": 30}) is None
    with left.work("decode", {"pdf": 10.0}):
        clock[0] += 5.0
    with left.work("embed", {"pdf": 10.0}, model=1):
        clock[0] += 10.0
    again = job_of("pdf", 1)
    again.again, again.done = True, {1: None, 2: None}
    left.opened(again, 4)
    told = left.to_reread({"pdf": 30})
    assert told is not None and told.work_s == pytest.approx(28 * 1.5)


def test_another_model_s_vectors_cost_what_that_model_takes(clock: list[float]) -> None:
    left = TimeLeft(cores=2)
    for _ in range(100):
        with left.work("embed", {"image": 1}, model=1):
            clock[0] += 0.01
    assert left.to_embed({"image": 50, "pdf": 10}, 2) is None
    other = job_of("pdf", 1000, ModelRow(2, "other", 4, "building", "{}"))
    other.stored = []
    left.embeds(other, 8)
    for kind, each in (("image", 4.0), ("pdf", 3.0)):
        with left.work("embed", {kind: 1}, model=2):
            clock[0] += each
    other.done = {0: None}
    assert seconds(left, left.to_embed({"image": 50, "pdf": 10}, 2)) == pytest.approx(50 * 4 + 9 * 3)
