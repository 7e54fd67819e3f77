"""The metrics against values computed with the original's code, and against a plain second reading."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics import Relevance, metrics_at, rank, score_ranking

CASES = json.loads((Path(__file__).parent / "metrics_cases.json").read_text(encoding="utf-8"))


def _score(case: dict) -> dict[str, float]:
    grades = dict(zip(case["label"], case["rel_scores"], strict=True)) if case["rel_scores"] else None
    return score_ranking(case["prediction"], case["label"], grades, ks=CASES["k"])


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda c: f"{c['id']}-{c['kind']}")
def test_every_case_of_the_original_comes_out_to_1e_8(case: dict) -> None:
    got = _score(case)
    assert got.keys() == case["expected"].keys()
    for name, value in case["expected"].items():
        assert got[name] == pytest.approx(value, abs=CASES["tolerance"]), name


def test_the_mean_over_cases_comes_out_too() -> None:
    wanted = CASES["aggregate"]
    scored = [_score(c) for c in CASES["cases"] if c["id"] in wanted["case_ids"]]
    for name, value in wanted["expected_mean"].items():
        assert np.mean([s[name] for s in scored]) == pytest.approx(value, abs=CASES["tolerance"]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c for c in CASES["cases"] if "evaluate_range_due_to_label_reordering" in c], ids=lambda c: c["id"]
)
def test_grades_moved_to_other_items_explain_the_originals_range(case: dict) -> None:
    for name, (low, high) in case["evaluate_range_due_to_label_reordering"].items():
        values = [
            score_ranking(case["prediction"], case["label"], dict(zip(labels, case["rel_scores"], strict=True)))[name]
            for labels in itertools.permutations(case["label"])
        ]
        assert min(values) == pytest.approx(low, abs=1e-8)
        assert max(values) == pytest.approx(high, abs=1e-8)


def _plainly(ranking: list, relevant: list, grades: dict, k: int) -> dict[str, float]:
    """The definitions read off the page once more, one item after another."""
    top = ranking[:k]
    found = set(top) & set(relevant)
    precision, recall = len(found) / k, len(found) / len(relevant) if relevant else 1.0
    seen, total, first = 0, 0.0, 0.0
    for place, item in enumerate(top, 1):
        if item in found:
            seen += 1
            total += seen / place
            first = first or 1 / place
    best = sorted((grades[r] for r in relevant), reverse=True)[:k]

    def dcg(gains: list[float]) -> float:
        return sum(g / math.log2(place + 1) for place, g in enumerate(gains, 1))

    out = {
        f"hit@{k}": float(bool(found)),
        f"precision@{k}": precision,
        f"recall@{k}": recall,
        f"f1@{k}": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        f"map@{k}": total / min(len(relevant), k) if relevant else 0.0,
        f"mrr@{k}": first,
    }
    for name, gain in (("linear", lambda g: g), ("exponential", lambda g: 2**g - 1)):
        ideal = dcg([gain(g) for g in best])
        have = dcg([gain(grades[i]) if i in found else 0.0 for i in top])
        out[f"ndcg_{name}@{k}"] = have / ideal if ideal else 0.0
    return out


@pytest.mark.slow
@given(
    ranking=st.lists(st.integers(0, 14), max_size=20),
    grades=st.dictionaries(st.integers(0, 19), st.integers(0, 4), max_size=12),
    ks=st.lists(st.integers(1, 15), min_size=1, max_size=4, unique=True),
)
def test_any_ranking_with_any_grades_scores_as_the_definitions_say(ranking: list, grades: dict, ks: list) -> None:
    got = score_ranking(ranking, list(grades), grades, ks=ks)
    for k in ks:
        for name, value in _plainly(ranking, list(grades), grades, k).items():
            assert got[name] == pytest.approx(value, abs=1e-12), name


@st.composite
def _score_tables(draw: st.DrawFn) -> tuple[np.ndarray, list[dict[int, float]], int]:
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    # Few distinct values, so that ties abound.
    scores = draw(st.lists(st.lists(st.integers(0, 6), min_size=m, max_size=m), min_size=n, max_size=n))
    relevant = [
        draw(st.dictionaries(st.integers(0, m - 1), st.integers(1, 3).map(float), max_size=m)) for _ in range(n)
    ]
    return np.array(scores, dtype=np.float32) / 7, relevant, draw(st.integers(1, 12))


@pytest.mark.slow
@settings(max_examples=300)
@given(_score_tables())
def test_the_ranking_of_many_queries_is_the_pessimistic_sort_of_each(table: tuple) -> None:
    scores, relevant, depth = table
    got = rank(scores.copy(), Relevance.of(relevant), depth)
    for i, grades in enumerate(relevant):
        order = sorted(range(scores.shape[1]), key=lambda c: (-scores[i, c], grades.get(c, 0.0), c))[:depth]
        assert [c for c in got.columns[i] if c >= 0] == order
        assert [bool(h) for h in got.hits[i][: len(order)]] == [c in grades for c in order]
    values = metrics_at(
        got.hits, got.grades, Relevance.of(relevant).counts, Relevance.of(relevant).ideal(depth), (depth,)
    )
    for i, grades in enumerate(relevant):
        one = score_ranking([c for c in got.columns[i] if c >= 0], list(grades), grades, ks=(depth,))
        assert {name: pytest.approx(v[i]) for name, v in values.items()} == one


def test_the_best_of_very_many_columns_are_found_without_sorting_them() -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.standard_normal((40, 20_011)).astype(np.float32), 2)  # plenty of equal ones
    relevant = [{int(c): 1.0 for c in rng.choice(20_011, 3, replace=False)} for _ in range(40)]
    got = rank(scores.copy(), Relevance.of(relevant), 10)
    for i in range(40):
        key = scores[i] * 1000
        order = np.lexsort((np.arange(20_011), [c in relevant[i] for c in range(20_011)], -key))[:10]
        assert got.columns[i].tolist() == order.tolist()


@pytest.mark.parametrize("width", [2, 10, 1000, 5000])
def test_a_collapsed_model_gets_chance_or_less(width: int) -> None:
    vector = np.random.default_rng(1).standard_normal(1536).astype(np.float32)
    vector /= np.linalg.norm(vector)
    scores = np.tile(vector, (64, 1)) @ np.tile(vector, (width, 1)).T  # equal up to the product's own rounding
    relevance = Relevance.of([{0: 1.0}] * 64)
    got = rank(scores, relevance, 10)
    values = metrics_at(got.hits, got.grades, relevance.counts, relevance.ideal(10))
    for k in (1, 5, 10):
        assert values[f"hit@{k}"].mean() <= k / width
    assert values["hit@1"].mean() == 0.0


def test_with_the_originals_tie_rule_the_first_stored_item_wins() -> None:
    relevance = Relevance.of([{0: 1.0}])
    assert rank(np.ones((1, 10), np.float32), relevance, 5, ties="stored").columns[0].tolist() == [0, 1, 2, 3, 4]
    assert rank(np.ones((1, 10), np.float32), relevance, 5).columns[0].tolist() == [1, 2, 3, 4, 5]


def test_a_score_that_is_not_a_number_ranks_last_and_helps_nobody() -> None:
    scores = np.array([[np.nan, 0.1, 0.2, np.inf]], dtype=np.float32)
    got = rank(scores, Relevance.of([{3: 1.0}]), 4)
    assert got.columns[0].tolist() == [2, 1, 0, 3]


def test_columns_that_were_not_offered_are_never_ranked() -> None:
    scores = np.array([[0.9, 0.1, 0.8, 0.2]], dtype=np.float32)
    allowed = np.array([[False, True, False, True]])
    got = rank(scores, Relevance.of([{0: 1.0, 1: 1.0}]), 4, allowed=allowed)
    assert got.columns[0].tolist() == [3, 1, -1, -1]
    assert got.hits[0].tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((["a"], ["a", "b"], {"a": 1}), "no grade for 1 relevant item"),
        ((["a"], ["a"], {"a": -1}), "negative"),
        ((["a"], ["a"], None, (0,)), "k must be 1 or more"),
        ((["a"], ["a"], None, ()), "k must be 1 or more"),
    ],
)
def test_impossible_questions_are_refused(arguments: tuple, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        score_ranking(*arguments)
