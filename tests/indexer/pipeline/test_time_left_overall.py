"""How long all takes, from a minute on: made libraries of every kind, on a made clock."""

from __future__ import annotations

import random

import pytest

from indexer.pipeline import time_left
from tests.indexer.pipeline.simulated import Content, Simulated


def photo(dice: random.Random, megabytes: float, ocr_s: float = 0.25) -> Content:
    size = int(megabytes * 1e6 * dice.uniform(0.6, 1.6))
    return Content("image", 1, size, 0.008 + size * 1.5e-8, 0.02, 1, ocr_s * dice.uniform(0.3, 3))


def text(dice: random.Random, pages: int) -> Content:
    return Content("pdf", pages, int(pages * dice.uniform(20e3, 60e3)), 0.03, 0.02)


def scan(dice: random.Random, pages: int, ocr_s: float = 2.0) -> Content:
    return Content(
        "pdf", pages, int(pages * dice.uniform(150e3, 400e3)), 0.06, 0.02, pages, ocr_s * dice.uniform(0.6, 1.5)
    )


def film(dice: random.Random, minutes: float, sound: float = 1.0, hear_s: float = 0.06) -> Content:
    windows, size = round(2 * minutes), int(minutes * 10e6 * dice.uniform(0.5, 2))
    return Content("video", windows, size, dice.uniform(0.1, 0.4), 0.1, sound_s=60 * minutes * sound, hear_s=hear_s)


def library(name: str) -> list[Content]:
    dice = random.Random(name)
    if name == "scans and spoken films":
        scans = [scan(dice, dice.randint(1, 16)) for _ in range(8)]
        return [*(photo(dice, 0.4) for _ in range(40)), *scans, *(film(dice, 20) for _ in range(2))]
    if name == "one scanned book and a film that is heard":
        return [*(photo(dice, 0.4) for _ in range(30)), scan(dice, 100), film(dice, 60)]
    if name == "a camera's photos, then small ones":
        return [*(photo(dice, 5) for _ in range(1500)), *(photo(dice, 0.2) for _ in range(3000))]
    if name == "small photos, then a camera's":
        return [*(photo(dice, 0.2) for _ in range(3000)), *(photo(dice, 5) for _ in range(1500))]
    if name == "papers, then scans":
        return [
            *(text(dice, dice.randint(1, 60)) for _ in range(40)),
            *(scan(dice, dice.randint(1, 8)) for _ in range(30)),
        ]
    if name == "scans, then papers":
        return library("papers, then scans")[::-1]
    if name == "films alone":
        return [film(dice, dice.uniform(1, 60), sound=dice.choice([0, 1, 1])) for _ in range(12)]
    if name == "letters among photos":
        return [photo(dice, 1, ocr_s=dice.choice([0.1, 4.0])) for _ in range(400)]
    raise AssertionError(name)


LIBRARIES = (
    "scans and spoken films",
    "one scanned book and a film that is heard",
    "a camera's photos, then small ones",
    "small photos, then a camera's",
    "papers, then scans",
    "scans, then papers",
    "films alone",
    "letters among photos",
)


@pytest.mark.parametrize("other_load", [0, 4])
@pytest.mark.parametrize("name", LIBRARIES)
def test_from_a_minute_on_the_time_told_is_within_a_factor_of_two(
    monkeypatch: pytest.MonkeyPatch, name: str, other_load: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: clock[0])
    indexing = Simulated(clock, library(name), other_load=other_load)
    told = []
    while indexing.run(clock[0] + 5):
        told.append((clock[0], indexing.told()))
    end = clock[0]
    ratios = {round(at - 1000): (s or 0) / (end - at) for at, s in told if at >= 1060 and end - at > 10}
    assert ratios and min(ratios.values()) >= 0.5 and max(ratios.values()) <= 2, (end - 1000, ratios)
