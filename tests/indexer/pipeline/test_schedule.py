"""When steps end that share threads and cores, beside the same contents given to threads one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.pipeline.schedule import Load, ends


def one_by_one(steps: list[list[float]], threads: int, cores: int) -> list[float]:
    """When each step ends, if a free thread takes the next content and running ones share the cores equally."""
    waiting = [(n, work) for n, step in enumerate(steps) for work in step]
    running: list[list[float]] = []
    ended, now = [0.0] * len(steps), 0.0
    while waiting or running:
        while waiting and len(running) < threads:
            n, work = waiting.pop(0)
            running.append([work, n])
        share = min(1.0, cores / len(running))
        seconds = min(running)[0] / share
        now += seconds
        for each in running:
            each[0] -= seconds * share
        for _, n in (each for each in running if each[0] < 1e-9):
            ended[int(n)] = now
        running = [each for each in running if each[0] >= 1e-9]
    return ended


def test_one_step_has_all_cores_while_it_has_contents_for_them() -> None:
    assert ends([Load(100, contents=100)], threads=3, cores=2) == [pytest.approx(50)]
    assert ends([Load(100, contents=1)], threads=3, cores=2) == [pytest.approx(100)]
    assert ends([Load(100, contents=1, width=1.5)], threads=3, cores=2) == [pytest.approx(100 / 1.5)]
    assert ends([Load(100, contents=100, cores=0.5)], threads=3, cores=2) == [pytest.approx(200)], "it waits for a disk"
    assert ends([Load(100, contents=100, at_once=1)], threads=3, cores=2) == [pytest.approx(100)]
    assert ends([], threads=3, cores=2) == [] and ends([Load(0)], threads=3, cores=2) == [0]


def test_the_next_step_begins_beside_the_last_contents_of_the_one_before() -> None:
    scan, film = Load(100, contents=1), Load(60, at_once=1)
    assert ends([scan, film], threads=3, cores=2) == [pytest.approx(100), pytest.approx(60)], "a core for each"
    assert ends([scan, film], threads=1, cores=2) == [pytest.approx(100), pytest.approx(160)]
    assert ends([scan, film], threads=3, cores=1) == [pytest.approx(160), pytest.approx(120)], "they share one"
    two_scans = Load(200, contents=2)
    assert ends([two_scans, film], threads=3, cores=2) == [pytest.approx(130), pytest.approx(90)]


def test_a_long_content_keeps_one_thread_to_the_end() -> None:
    assert ends([Load(130, contents=31, longest_s=100)], threads=3, cores=2) == [pytest.approx(107.5)]
    assert ends([Load(130, contents=31, longest_s=10)], threads=3, cores=2) == [pytest.approx(65, rel=0.1)]
    scan_and_photos, film = Load(130, contents=31, longest_s=100), Load(60, at_once=1)
    assert ends([scan_and_photos, film], threads=3, cores=2) == [pytest.approx(107.5), pytest.approx(82.5, rel=0.05)]


@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0.5, 30)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_it_is_as_if_contents_were_taken_one_by_one(steps: list[tuple[int, float]], threads: int, cores: int) -> None:
    exactly = one_by_one([[work] * count for count, work in steps], threads, cores)
    told = ends([Load(count * work, count) for count, work in steps], threads, cores)
    one = max(work for _, work in steps) * max(1.0, threads / cores)
    for mine, theirs in zip(told, exactly, strict=True):
        assert abs(mine - theirs) <= len(steps) * one + 1e-6, "less than a content of each step"


LOADS = st.lists(
    st.builds(
        Load,
        st.floats(0.01, 1e4),
        st.integers(1, 10**5).map(float),
        st.floats(0, 1e4),
        st.integers(1, 4),
        st.floats(1, 2),
        st.floats(0.1, 8),
    ),
    max_size=8,
)


@given(LOADS, st.integers(1, 9), st.integers(1, 8))
def test_no_time_is_lost_or_won(loads: list[Load], threads: int, cores: int) -> None:
    ended = ends(loads, threads, cores)
    alone = [ends([load], threads, cores)[0] for load in loads]
    work = sum(load.work_s for load in loads)
    assert max(ended, default=0.0) <= sum(alone) * 1.001 + 1e-6, "not longer than one after the other"
    assert max(ended, default=0.0) >= work / cores * 0.999, "nor shorter than on all cores"
    for load, end, by_itself in zip(loads, ended, alone, strict=True):
        assert end >= by_itself * 0.5 and end >= load.work_s / load.cores * 0.999
