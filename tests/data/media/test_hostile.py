"""Broken and malicious files: each ends as chunks or as a plain, classified reason; nothing else happens.

A slice of `tests/bench/hostile.py`, which tries thousands.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.media.sandbox import Sandbox
from tests.bench import hostile


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as box:
        yield box


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, hostile.Kind]]:
    return hostile.bombs(tmp_path_factory.mktemp("bombs"), heavy=False)


def spotless(outcome: hostile.Outcome) -> None:
    assert outcome.hangs == [] and outcome.unclassified == []
    assert outcome.read + sum(outcome.causes.values()) == outcome.tried


def test_the_files_that_are_damaged_are_good_before(tmp_path: Path, sandbox: Sandbox) -> None:
    good = hostile.originals(tmp_path)
    outcome = hostile.run([(one.describes or one.path, one.kind) for one in good], sandbox)
    spotless(outcome)
    assert outcome.read == len(good) - 1 and outcome.causes == {"encrypted": 1}


def test_damaged_copies_cost_a_reason_each(tmp_path: Path, sandbox: Sandbox) -> None:
    files = hostile.damaged(tmp_path, {"video": 60, "image": 60, "pdf": 20}, seed=2)
    outcome = hostile.run(files, sandbox)
    spotless(outcome)
    assert outcome.read > 20 and outcome.causes["damaged"] > 5 and outcome.causes["cut off"] > 1


def test_bombs_are_defused(bombs: list[tuple[Path, hostile.Kind]], sandbox: Sandbox) -> None:
    outcome = hostile.run(bombs, sandbox)
    spotless(outcome)
    assert outcome.causes["too large"] >= 6
    assert outcome.read <= 1, "a form that draws itself is a page all the same"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("50000x50000.png", "50,000 x 50,000 pixels are more than Sightline opens"),
        ("million-pages.pdf", "pages"),
        ("billion-frames.mp4", "damaged"),
        ("playlist.mp4", "holds text"),
    ],
)
def test_each_bomb_is_named_for_what_it_is(
    bombs: list[tuple[Path, hostile.Kind]], sandbox: Sandbox, name: str, reason: str
) -> None:
    (told,) = hostile.run([item for item in bombs if item[0].name == name], sandbox).reasons
    assert reason in told


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_thousands_of_damaged_files_and_every_bomb(tmp_path: Path, sandbox: Sandbox) -> None:
    files = hostile.damaged(tmp_path / "damaged", {"video": 2000, "image": 800, "pdf": 200})
    spotless(hostile.run([*files, *hostile.bombs(tmp_path / "bombs")], sandbox))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_more_damaged_files(tmp_path: Path, sandbox: Sandbox, seed: int) -> None:
    """1,000 for each seed. Of those that go wrong only names (the way, the number, the original) are reported; the
    files are deleted."""
    folder = tmp_path / "damaged"
    outcome = hostile.run(hostile.damaged(folder, {"video": 430, "image": 430, "pdf": 140}, seed=100 + seed), sandbox)
    shutil.rmtree(folder)
    print(f"\nseed {100 + seed}: {outcome.tried} tried, {outcome.read} read, {dict(outcome.causes)}")
    spotless(outcome)
