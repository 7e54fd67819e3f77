"""The mixing table: the paper's interleaving, alike on every rank, the same again after a stop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sources.recipe import subsets
from train.mixing import Ingredient, MixingError, MixingTable, shuffle

RECIPE = [Ingredient(s.name, rows=s.limit or 100_000, weight=s.weight) for s in subsets().values()]


@pytest.mark.parametrize("world", [1, 4, 8])
def test_every_global_batch_is_16_blocks_of_64_each_from_one_source(world: int) -> None:
    """The released code fills four batches in a row from one source; here every batch has many."""
    table = MixingTable(RECIPE, batch=1024, sub_batch=64)
    distinct = []
    for step in range(40):
        rows = [row for rank in range(world) for row in table.share(step, rank, world)]
        assert len(rows) == 1024
        by_source = Counter(source for source, _ in rows)
        assert all(count % 64 == 0 for count in by_source.values())
        assert sum(by_source.values()) // 64 == 16
        distinct.append(len(by_source))
        for rank in range(world):  # and every rank sees all of the batch's sources, in the same shares
            mine = Counter(source for source, _ in table.share(step, rank, world))
            assert {s: n * world for s, n in mine.items()} == dict(by_source)
    assert min(distinct) >= 5
    assert 8 <= np.mean(distinct) <= 14


def test_sources_come_as_often_as_their_weights_say() -> None:
    table = MixingTable(RECIPE, batch=1024, sub_batch=64)
    counts = Counter(block.source for step in range(1000) for block in table.blocks(step))
    for number, one in enumerate(RECIPE):
        expected = 16_000 * one.weight / 52
        assert abs(counts[number] - expected) < 5 * expected**0.5, one.name
    assert table.probabilities.sum() == pytest.approx(1.0)


def test_the_table_is_the_same_after_a_stop_as_without_one() -> None:
    whole = MixingTable(RECIPE, 1024, 64, seed=7)
    straight = [whole.share(step, 1, 4) for step in range(12)]
    resumed = MixingTable(RECIPE, 1024, 64, seed=7)
    assert list(resumed.shares(5, 12, 1, 4)) == straight[5:]
    assert MixingTable(RECIPE, 1024, 64, seed=8).share(5, 1, 4) != straight[5]


def test_drawing_far_ahead_changes_nothing() -> None:
    near, far = MixingTable(RECIPE, 1024, 64), MixingTable(RECIPE, 1024, 64)
    far.blocks(4999)
    for step in (0, 300, 4999):
        assert near.share(step) == far.share(step)


sizes = st.lists(st.integers(4, 60), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 4), st.integers(1, 3), st.integers(0, 100))
def test_every_row_comes_once_before_any_comes_twice(rows: list[int], sub: int, world: int, seed: int) -> None:
    table = MixingTable([Ingredient(f"s{i}", n) for i, n in enumerate(rows)], sub, sub, seed)
    seen: list[list[int]] = [[] for _ in rows]
    for step in range(80):
        shares = [table.share(step, rank, world) for rank in range(world)]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        for block in table.blocks(step):
            seen[block.source] += block.rows.tolist()
    for n, drawn in zip(rows, seen, strict=True):
        for epoch in range(len(drawn) // n):
            assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_sources_are_shuffled_anew_each_time_round() -> None:
    table = MixingTable([Ingredient("one", 100)], 100, 100)
    first, second = (table.blocks(step)[0].rows.tolist() for step in (0, 1))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first != list(range(100))


def test_a_source_keeps_its_order_when_others_join() -> None:
    alone = MixingTable([Ingredient("a", 500)], 50, 50).blocks(0)[0].rows
    joined = MixingTable([Ingredient("b", 500), Ingredient("a", 500)], 50, 50)
    first_of_a = next(b for step in range(50) for b in joined.blocks(step) if b.source == 1)
    assert first_of_a.rows.tolist() == alone.tolist()


def test_held_out_rows_are_never_trained_on() -> None:
    table = MixingTable([Ingredient("a", 60, held_out=12)], 8, 8)
    held = set(table.held_out(0).tolist())
    assert len(held) == 12
    drawn = [int(r) for step in range(30) for r in table.blocks(step)[0].rows]
    assert not held & set(drawn)
    assert set(drawn) | held == set(range(60))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 50))
def test_a_row_group_is_opened_once_and_few_are_open_at_a_time(groups: list[int], open_: int, seed: int) -> None:
    one = Ingredient("g", sum(groups), groups=np.array(groups), open_groups=open_)
    order = shuffle(one, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(sum(groups)))
    group_of = np.repeat(np.arange(len(groups)), groups)[order]
    first = {g: int(np.flatnonzero(group_of == g)[0]) for g in range(len(groups))}
    last = {g: int(np.flatnonzero(group_of == g)[-1]) for g in range(len(groups))}
    for at in range(len(order)):
        assert sum(first[g] <= at <= last[g] for g in first) <= open_


def test_uniform_mixing_draws_a_source_for_every_row() -> None:
    table = MixingTable(RECIPE, batch=1024, sub_batch=1)
    assert len({source for source, _ in table.share(0)}) > 20


@pytest.mark.parametrize(
    "ingredients, batch, sub, message",
    [
        ([], 8, 4, "nothing to mix"),
        ([Ingredient("a", 100)], 10, 4, "batch_size 10 is no multiple of sub_batch_size 4"),
        ([Ingredient("tiny", 10)], 64, 16, "tiny has 10 rows .* set sub_batch_size to 10 or less"),
        ([Ingredient("a", 40), Ingredient("b", 50)], 128, 16, "together have 90 rows .* batch_size to 80"),
        ([Ingredient("a", 40, weight=0)], 16, 16, "a: weight 0 is not above 0"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(
    ingredients: list[Ingredient], batch: int, sub: int, message: str
) -> None:
    with pytest.raises(MixingError, match=message):
        MixingTable(ingredients, batch, sub)
