"""The scale of one list for all kinds."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.search.calibration import FILM_SHIFT, PAGE_WEIGHT, Scale, comparable
from indexer.vectors.source import GROUPS

SCORES = np.array([[0.1, 0.2, 0.4]])


def test_films_stand_higher_and_pages_lower_than_each_by_itself() -> None:
    by_chance = Scale(np.array([0.1]), np.array([0.05]))
    one_list = comparable(dict.fromkeys(GROUPS.values(), by_chance))
    alone = by_chance.standardise(SCORES)
    assert one_list[GROUPS["image"]].standardise(SCORES) == pytest.approx(alone)
    assert one_list[GROUPS["video"]].standardise(SCORES) == pytest.approx(alone + FILM_SHIFT)
    assert one_list[GROUPS["pdf"]].standardise(SCORES) == pytest.approx(alone * PAGE_WEIGHT)


def test_a_library_of_one_kind_is_ordered_as_it_was() -> None:
    for group in GROUPS.values():
        scale = comparable({group: Scale(np.array([0.1]), np.array([0.05]))})[group]
        assert (np.diff(scale.standardise(SCORES)[0]) > 0).all()
