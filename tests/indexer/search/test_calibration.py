"""The scale of one list for all kinds."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.search.calibration import Scale, comparable
from indexer.vectors.source import GROUPS
from model.lite.profile import PROFILE
from model.ranking_profile import untuned

SCORES = np.array([[0.1, 0.2, 0.4]])


def test_films_stand_higher_and_pages_lower_than_each_by_itself() -> None:
    by_chance = Scale(np.array([0.1]), np.array([0.05]))
    one_list = comparable(dict.fromkeys(GROUPS.values(), by_chance), PROFILE)
    alone = by_chance.standardise(SCORES)
    assert one_list[GROUPS["image"]].standardise(SCORES) == pytest.approx(alone)
    assert one_list[GROUPS["video"]].standardise(SCORES) == pytest.approx(alone + PROFILE.video_shift)
    assert one_list[GROUPS["pdf"]].standardise(SCORES) == pytest.approx(alone * PROFILE.page_weight)


def test_a_library_of_one_kind_is_ordered_as_it_was() -> None:
    for group in GROUPS.values():
        scale = comparable({group: Scale(np.array([0.1]), np.array([0.05]))}, PROFILE)[group]
        assert (np.diff(scale.standardise(SCORES)[0]) > 0).all()


def test_for_an_untuned_model_no_kind_is_moved() -> None:
    by_chance = dict.fromkeys(GROUPS.values(), Scale(np.array([0.1]), np.array([0.05])))
    assert comparable(by_chance, untuned(100)) == by_chance
