"""The yardstick itself: ranks, ties, halves, and labels that name what the sample set holds."""

import json

import numpy as np
import pytest

from model.inputs import Input
from tests.quality.ranking import Row, rank_of
from tests.quality.samples import SET
from tests.quality.sampleset import ROWS, Question


def test_the_rank_is_that_of_the_best_right_item() -> None:
    scores, items = np.array([0.9, 0.8, 0.7, 0.1]), np.array(["a", "b", "c", "d"])
    assert rank_of(scores, items, frozenset("b")) == 2
    assert rank_of(scores, items, frozenset("dc")) == 3
    assert rank_of(scores, items, frozenset("x")) == np.inf


def test_a_tie_counts_against_the_system() -> None:
    assert rank_of(np.zeros(5), np.array(list("abcde")), frozenset("c")) == 5


def test_what_was_not_found_is_not_ranked() -> None:
    assert rank_of(np.array([-np.inf, 1.0]), np.array(["a", "b"]), frozenset("a")) == np.inf


def test_a_clip_of_several_windows_counts_once() -> None:
    scores, items = np.array([0.9, 0.8, 0.7, 0.6]), np.array(["clip", "clip", "clip", "photo"])
    assert rank_of(scores, items, frozenset(["photo"])) == 2


def test_a_row_is_hits_and_mean_reciprocal_rank() -> None:
    row = Row.of([1, 2, 10, np.inf])
    assert (row.n, row.hit_1, row.hit_5) == (4, 0.25, 0.5)
    assert row.mrr == pytest.approx((1 + 0.5 + 0.1 + 0) / 4)


def test_halves_are_fixed_and_about_even() -> None:
    asked = [Question("text→photo", Input(text=f"query {n}"), frozenset("a")) for n in range(200)]
    halves = [question.half for question in asked]
    assert halves == [question.half for question in asked]
    assert 70 < halves.count("tune") < 130


def test_every_label_names_an_item_of_the_set() -> None:
    entries = json.loads(SET.read_text("utf-8"))
    for key, group in (("text_to_image", "images"), ("text_to_video", "videos")):
        for text, items in entries[key].items():
            assert items and set(items) <= set(entries[group]), text
    for text, items in entries["text_to_page"].items():
        assert all(item.rpartition("_")[0] in entries["documents"] for item in items), text
    for pair in entries["image_to_near_duplicate"]:
        assert set(pair) <= set(entries["images"])


def test_the_prototypes_figures_are_of_rows_that_exist() -> None:
    from tests.bench.quality import PROTOTYPE

    assert {row for row, _ in PROTOTYPE} == set(ROWS)
