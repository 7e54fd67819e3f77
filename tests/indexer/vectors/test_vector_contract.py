"""What every vector index does, FAISS, Milvus Lite and a Milvus server alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.vectors.address import address_of
from indexer.vectors.faiss.index import FaissIndex
from indexer.vectors.index import NOWHERE, VectorIndex
from tests.indexer.vectors.vector_table import DIM, Table, assert_same, unit

Open = Callable[[Table | None], VectorIndex]

ENGINES = ("faiss", "milvus-lite", "milvus")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens the same place each time, as several programs or starts of one do.

    On the server all tests take turns on one collection, for to make one takes it three seconds.
    """
    indexes: list[VectorIndex] = []

    def open_(table: Table | None) -> VectorIndex:
        table = table or Table()
        table.name = "contract"
        if engine == "faiss":
            index: VectorIndex = FaissIndex(tmp_path, "lite@x-r1", DIM, table)
        else:
            from indexer.vectors.milvus.index import MilvusIndex

            if engine == "milvus":
                address = request.getfixturevalue("milvus").url("contract")
            else:
                pytest.importorskip("milvus_lite")
                address = f"milvus+lite://{tmp_path}/vectors.db"
            index = MilvusIndex(address_of(address), "lite@x-r1", DIM, table)
        indexes.append(index)
        return index

    yield open_
    if engine == "milvus":
        indexes[0].remove(indexes[0].ids())
        indexes[0]._collection.store_position(NOWHERE)  # type: ignore[attr-defined]
    for index in indexes:
        index.close()


def filled(n: int = 300, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    table = Table()
    table.put(rng.permutation(n * 2)[:n], unit(rng, n), rng.integers(0, 3, n).astype(np.uint8))
    return table


def some(seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed), 1)[0]


@pytest.mark.slow
def test_answers_are_those_of_a_full_scan(opened: Open) -> None:
    table = filled()
    index = opened(table)
    index.catch_up()
    assert len(index) == 300 and index.ids().tolist() == sorted(table.rows)
    for seed in range(6):
        assert_same(index, table, some(seed), 10)
        assert_same(index, table, some(seed), 10, group=seed % 3)


@pytest.mark.slow
def test_k_may_be_more_than_there_is_and_a_group_may_be_empty(opened: Open) -> None:
    table = filled(40)
    index = opened(table)
    index.catch_up()
    assert_same(index, table, some(1), 100)
    assert_same(index, table, some(1), 100, group=2)
    scores, ids = index.search(some(2)[None], 5, group=9)
    assert ids.tolist() == [[-1] * 5] and np.isneginf(scores).all()


@pytest.mark.slow
def test_many_queries_are_answered_each_in_its_row(opened: Open) -> None:
    table = filled()
    index = opened(table)
    index.catch_up()
    queries = unit(np.random.default_rng(3), 33)
    scores, ids = index.search(queries, 7)
    assert scores.shape == ids.shape == (33, 7) and scores.dtype == np.float32 and ids.dtype == np.int64
    for row, query in enumerate(queries):
        assert ids[row].tolist() == list(table.best(query, 7))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_allowed_ids_filter_inside_and_lose_nothing(opened: Open, share: float) -> None:
    table = filled()
    index = opened(table)
    index.catch_up()
    rng = np.random.default_rng(4)
    allowed = rng.choice(650, int(650 * share), replace=False)  # some of them unknown
    for seed in range(3):
        assert_same(index, table, some(seed), 10, allowed=allowed)
        assert_same(index, table, some(seed), 10, allowed=allowed, group=1)


@pytest.mark.slow
def test_ids_allowed_twice_or_unknown_come_back_once_and_never(opened: Open) -> None:
    table = filled()
    index = opened(table)
    index.catch_up()
    allowed = np.array(list(table.rows)[:40] * 2 + [5_000_000, -1])
    scores, ids = index.search(some(3)[None], 60, allowed)
    assert sorted(ids[0][:40].tolist()) == sorted(set(list(table.rows)[:40])) and (ids[0][40:] == -1).all()
    assert np.isneginf(scores[0][40:]).all()


@pytest.mark.slow
def test_more_hits_than_one_answer_holds(opened: Open, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine != "faiss":
        from indexer.vectors.milvus import index as milvus_index

        monkeypatch.setattr(milvus_index, "MOST_HITS", 50)
    table = filled()
    index = opened(table)
    index.catch_up()
    assert_same(index, table, some(1), 120)
    assert_same(index, table, some(1), 80, group=1)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_more_allowed_ids_than_one_filter_takes_lose_nothing(
    opened: Open, engine: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine != "faiss":
        from indexer.vectors.milvus import index as milvus_index

        monkeypatch.setattr(milvus_index, "IDS_AT_A_TIME", 7)
        monkeypatch.setattr(milvus_index, "COMMON", 0.5)  # so that both ways are gone
    table = filled()
    index = opened(table)
    index.catch_up()
    allowed = np.random.default_rng(5).choice(600, int(600 * share), replace=False)
    for seed in range(3):
        assert_same(index, table, some(seed), 9, allowed=allowed)
        assert_same(index, table, some(seed), 9, allowed=allowed, group=2)


@pytest.mark.slow
def test_roots_narrow_inside_and_what_moves_is_found_where_it_is_now(opened: Open) -> None:
    table = filled()
    ids = np.array(sorted(table.rows))
    table.place(ids[:100], 1)
    table.place(ids[100:200], 2)
    table.place(ids[200:220], 1, 3)
    index = opened(table)
    index.catch_up()
    for roots in ((1,), (2,), (3,), (2, 3), (1, 2, 3), (9,), ()):
        assert_same(index, table, some(1), 30, roots=roots)
        assert_same(index, table, some(2), 30, roots=roots, group=1)
    assert_same(index, table, some(3), 30, roots=(1, 3), allowed=ids[50:210])
    table.place(ids[:10], 3)
    table.place(ids[200:210], 1)
    index.catch_up()
    for roots in ((1,), (3,)):
        assert_same(index, table, some(4), 200, roots=roots)
    assert index.misplaced() == 0


@pytest.mark.slow
def test_nothing_allowed_finds_nothing(opened: Open) -> None:
    table = filled(30)
    index = opened(table)
    index.catch_up()
    for allowed in (np.zeros(0, np.int64), np.array([10_000])):
        scores, ids = index.search(some(0)[None], 4, allowed)
        assert ids.tolist() == [[-1] * 4] and np.isneginf(scores).all()


@pytest.mark.slow
def test_what_came_changed_or_went_is_seen_by_the_next_search(opened: Open) -> None:
    table = filled(60)
    index = opened(table)
    index.catch_up()
    rng = np.random.default_rng(6)
    for turn in range(4):
        table.drop(list(table.rows)[:5])
        table.put(np.arange(1000, 1010) + 3 * turn, unit(rng, 10), rng.integers(0, 3, 10))
        assert index.catch_up() > 0
        assert len(index) == len(table.rows)
        assert_same(index, table, some(turn), 20)
    assert index.catch_up() == 0


@pytest.mark.slow
def test_a_changed_group_is_found_in_the_new_one_only(opened: Open) -> None:
    table = filled(20)
    index = opened(table)
    index.catch_up()
    number, (vector, group) = next(iter(table.rows.items()))
    table.put(np.array([number]), vector[None], np.array([(group + 1) % 3]))
    index.catch_up()
    assert number in index.search(vector[None], 1, group=(group + 1) % 3)[1]
    assert number not in index.search(vector[None], 20, group=group)[1]


@pytest.mark.slow
def test_adding_twice_is_adding_once_and_of_two_the_last_holds(opened: Open) -> None:
    index = opened(None)
    x = unit(np.random.default_rng(7), 3)
    index.add(np.array([1, 2, 1]), x, np.array([0, 0, 1]))
    index.add(np.array([2]), x[1:2], np.array([0]))
    assert len(index) == 2
    scores, ids = index.search(x[2], 2)
    assert ids[0, 0] == 1 and abs(scores[0, 0] - 1) < 1e-3
    index.remove(np.array([1, 77]))
    assert len(index) == 1 and index.ids().tolist() == [2]


@pytest.mark.slow
def test_wrong_shapes_are_refused(opened: Open) -> None:
    index = opened(None)
    with pytest.raises(ValueError, match=r"expected \[n, 16\]"):
        index.add(np.arange(2), np.zeros((2, 8), np.float32))
    with pytest.raises(ValueError, match="negative"):
        index.add(np.array([-1]), np.zeros((1, DIM), np.float32))
    scores, ids = index.search(np.zeros((1, DIM), np.float32), 3)
    assert ids.tolist() == [[-1, -1, -1]] and np.isneginf(scores).all()


@pytest.mark.slow
def test_another_start_goes_on_where_the_last_one_ended(opened: Open) -> None:
    table = filled(80)
    first = opened(table)
    first.catch_up()
    if isinstance(first, FaissIndex):
        first.merge()
    first.close()
    table.drop(list(table.rows)[:7])
    table.put(np.array([5000]), some(8)[None], np.array([2]))
    again = opened(table)
    again.catch_up()
    assert len(again) == len(table.rows)
    assert_same(again, table, some(8), 12)


@pytest.mark.slow
def test_a_journal_that_does_not_reach_back_rebuilds(opened: Open) -> None:
    table = filled(50)
    index = opened(table)
    index.catch_up()
    table.drop(list(table.rows)[:20])
    table.put(np.arange(2000, 2010), unit(np.random.default_rng(9), 10), np.zeros(10, np.uint8))
    table.oldest = len(table.journal)
    index.catch_up()
    assert index.ids().tolist() == sorted(table.rows)
    assert_same(index, table, some(9), 15)


@pytest.mark.slow
def test_a_rebuild_mends_what_is_missing_wrong_or_too_much(opened: Open) -> None:
    table = filled(50)
    index = opened(table)
    index.catch_up()
    ids = index.ids()
    index.remove(ids[:5])
    index.add(ids[5:8], unit(np.random.default_rng(10), 3))
    index.add(np.array([9000]), some(1)[None])
    index.rebuild()
    assert index.ids().tolist() == sorted(table.rows)
    for seed in range(4):
        assert_same(index, table, some(seed), 10)
        assert_same(index, table, some(seed), 10, group=1)


@pytest.mark.slow
def test_its_contents_are_what_went_in(opened: Open) -> None:
    table = filled(70)
    index = opened(table)
    index.catch_up()
    table.drop(list(table.rows)[:10])
    index.catch_up()
    held = {}
    for ids, vectors, groups in index.contents():
        held.update(zip(ids.tolist(), zip(vectors, groups.tolist(), strict=True), strict=True))
    assert sorted(held) == sorted(table.rows)
    for number, (vector, group) in table.rows.items():
        assert held[number][1] == group
        np.testing.assert_allclose(np.asarray(held[number][0], np.float32), vector.astype(np.float32), atol=1e-6)


@pytest.mark.slow
def test_following_needs_no_asking(opened: Open) -> None:
    table = filled(30)
    index = opened(table)
    index.follow(30)
    assert len(index) == 30
    table.put(np.array([7777]), some(3)[None], np.array([1]))
    index.follow(30)
    assert index.search(some(3), 1)[1][0, 0] == 7777 and index.trouble is None


@pytest.mark.slow
def test_several_threads_search_while_one_writes(opened: Open) -> None:
    table = filled(100)
    index = opened(table)
    index.catch_up()
    still = list(table.rows)[:20]
    wrong: list[str] = []
    done = threading.Event()

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not done.is_set():
            number = int(rng.choice(still))
            found = index.search(table.rows[number][0].astype(np.float32), 1)[1][0, 0]
            if found != number:
                wrong.append(f"{number} not first but {found}")

    readers = [threading.Thread(target=read, args=(n,)) for n in range(2)]
    for thread in readers:
        thread.start()
    rng = np.random.default_rng(8)
    for _ in range(5):
        ids = 10_000 + rng.permutation(60)[:20]
        index.add(ids, 0.5 * unit(rng, 20))
        index.remove(ids[:6])
    done.set()
    for thread in readers:
        thread.join()
    assert not wrong
