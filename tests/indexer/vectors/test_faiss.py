"""The vector index against a model that cannot be wrong: a dictionary and a full scan."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from indexer.vectors.faiss import segment, segment_files, snapshot
from indexer.vectors.faiss.index import FaissIndex
from tests.indexer.vectors.vector_table import DIM, Table, assert_same, unit

KEY = "lite@test-r1"


class IndexMachine(RuleBasedStateMachine):
    """Any sequence of adding, removing, merging, closing and searching answers as a full scan does."""

    exact_bytes = segment.EXACT_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.index: FaissIndex | None = None

    @initialize()
    def begin(self) -> None:
        self.block_rows, snapshot.OPEN_ROWS = snapshot.OPEN_ROWS, 8  # a few vectors go through freezing
        self.folder = Path(tempfile.mkdtemp())
        self.open()

    def open(self) -> None:
        self.index = FaissIndex(self.folder, KEY, DIM, self.table, exact_bytes=self.exact_bytes)

    @rule(seed=st.integers(0, 10_000), n=st.integers(0, 40), far=st.booleans())
    def add(self, seed: int, n: int, far: bool) -> None:
        rng = np.random.default_rng(seed)
        ids = rng.choice(60, n, replace=False) + (1_000_000_000 if far and seed % 7 == 0 else 0)
        self.table.put(ids, unit(rng, n), rng.integers(0, 3, n))
        self.catch_up()

    @rule(seed=st.integers(0, 10_000), n=st.integers(0, 30))
    def remove(self, seed: int, n: int) -> None:
        self.table.drop(np.random.default_rng(seed).choice(80, n, replace=False))
        self.catch_up()

    @rule()
    def forget_the_journal(self) -> None:
        self.table.oldest = len(self.table.journal)

    def catch_up(self) -> None:
        assert self.index is not None
        self.index.catch_up()

    @rule()
    def merge(self) -> None:
        assert self.index is not None
        self.index.merge()

    @rule()
    def rebuild(self) -> None:
        assert self.index is not None
        self.index.rebuild()

    @rule(seed=st.integers(0, 10_000))
    def close_change_and_open(self, seed: int) -> None:
        """What the catalogue saw while the index was closed is caught up with."""
        assert self.index is not None
        self.index.close()
        rng = np.random.default_rng(seed)
        self.table.drop(rng.choice(60, 5, replace=False))
        self.table.put(rng.choice(60, 2, replace=False), unit(rng, 2), np.array([1, 2]))
        self.open()

    @precondition(lambda self: self.index is not None)
    @rule(seed=st.integers(0, 10_000), k=st.integers(1, 30), narrow=st.sampled_from(["", "allowed", "group", "both"]))
    def search(self, seed: int, k: int, narrow: str) -> None:
        rng = np.random.default_rng(seed)
        narrowed: dict[str, object] = {}
        if narrow in ("allowed", "both"):
            narrowed["allowed"] = rng.choice(90, rng.integers(0, 40), replace=False)
        if narrow in ("group", "both"):
            narrowed["group"] = int(rng.integers(0, 4))
        assert self.index is not None
        assert_same(self.index, self.table, unit(rng, 1)[0], k, **narrowed)

    @invariant()
    def same_size(self) -> None:
        if self.index is not None:
            assert len(self.index) == len(self.table.rows)
            assert set(self.index.ids().tolist()) == set(self.table.rows)

    def teardown(self) -> None:
        if self.index is not None:
            snapshot.OPEN_ROWS = self.block_rows
            self.index.close()
            shutil.rmtree(self.folder)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of eight rows, so that a few vectors go through freezing and merging."""
    monkeypatch.setattr(snapshot, "OPEN_ROWS", 8)


def filled(folder: Path, n: int, seed: int = 0, **options: object) -> tuple[FaissIndex, Table]:
    rng = np.random.default_rng(seed)
    table = Table()
    index = FaissIndex(folder, KEY, DIM, table, **options)  # type: ignore[arg-type]
    ids, x = rng.permutation(n * 2)[:n], unit(rng, n)
    groups = rng.integers(0, 3, n).astype(np.uint8)
    table.put(ids, x, groups)
    index.catch_up()
    return index, table


@pytest.mark.usefixtures("small_blocks")
def test_vectors_go_through_frozen_blocks_unchanged(tmp_path: Path) -> None:
    index, table = filled(tmp_path, 100)
    rng = np.random.default_rng(5)
    for _ in range(20):
        assert_same(index, table, unit(rng, 1)[0], 9)
        assert_same(index, table, unit(rng, 1)[0], 9, group=1)
    table.drop(list(table.rows)[:50])
    index.catch_up()
    for _ in range(20):
        assert_same(index, table, unit(rng, 1)[0], 9)
    index.close()


@pytest.mark.slow
def test_an_inverted_file_answers_with_filters_and_survives_a_merge(tmp_path: Path) -> None:
    """Clustered vectors, so that lists mean something; recall against a full scan, filtered or not."""
    rng = np.random.default_rng(3)
    centres = unit(rng, 40)
    x = centres[rng.integers(0, 40, 6000)] + 0.35 * unit(rng, 6000)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    table = Table()
    table.put(np.arange(6000), x, np.zeros(6000))
    index = FaissIndex(tmp_path, KEY, DIM, table, exact_bytes=1000)
    assert not index._view.segments[0].exact
    more = unit(rng, 500)
    table.put(np.arange(6000, 6500), more, np.zeros(500))
    table.drop(range(1000))
    index.catch_up()
    index.merge()
    assert not index._view.segments[0].exact and len(index) == 5500
    for share in (None, 0.5, 0.1, 0.01):
        allowed = None if share is None else rng.choice(6500, int(6500 * share), replace=False)
        found = wanted = 0
        for query in x[1000:1050] + 0.1 * unit(rng, 50):
            best = table.best(query, 10, allowed)
            ids = index.search(query[None], 10, allowed)[1][0]
            found += len(set(best) & set(ids.tolist()))
            wanted += len(best)
        assert found / wanted >= 0.98, share
    index.close()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "inverted"])
def test_of_a_large_segment_few_and_many_allowed_rows_are_found_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    """Scanned in parts by several cores, by mask, and fetched row by row."""
    monkeypatch.setattr(segment, "ALONE_BYTES", 1 << 14)
    monkeypatch.setattr(segment, "FETCHED_ROWS", 100)
    rng = np.random.default_rng(4)
    centres, n = unit(rng, 60), segment.FEW_FROM + 4000
    x = centres[rng.integers(0, 60, n)] + 0.35 * unit(rng, n)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    table = Table()
    table.put(np.arange(n), x, np.zeros(n))
    index = FaissIndex(tmp_path, KEY, DIM, table, exact_bytes=1 << 30 if exact else 1000)
    assert index._view.segments[0].exact == exact
    for share in (None, 0.3, 0.2, 0.03, 0.01, 0.001, 4 / n):
        allowed = None if share is None else rng.choice(n, round(n * share), replace=False)
        found = wanted = 0
        for query in x[:40] + 0.1 * unit(rng, 40):
            scores, ids = index.search(query[None], 10, allowed)
            best = table.best(query, 10, allowed)
            assert np.allclose(scores[0][ids[0] >= 0], x[ids[0][ids[0] >= 0]] @ query, atol=2e-3)
            found += len(set(best) & set(ids[0].tolist()))
            wanted += len(best)
        assert found / wanted >= (0.995 if exact else 0.98), share
    index.close()


def test_a_missing_file_is_built_again_from_the_source(tmp_path: Path) -> None:
    index, table = filled(tmp_path, 300)
    index.merge()
    index.close()
    (file,) = tmp_path.glob("*.vec")
    file.unlink()
    again = FaissIndex(tmp_path, KEY, DIM, table)
    assert_same(again, table, unit(np.random.default_rng(1), 1)[0], 10)
    again.close()


@pytest.mark.parametrize("harm", ["truncate", "header", "ids", "other model", "empty"])
def test_a_damaged_file_is_seen_at_opening_and_replaced(tmp_path: Path, harm: str) -> None:
    index, table = filled(tmp_path, 300)
    index.merge()
    index.close()
    (file,) = tmp_path.glob("*.vec")
    data = bytearray(file.read_bytes())
    if harm == "truncate":
        data = data[:-100]
    elif harm == "header":
        data[40] ^= 1
    elif harm == "ids":
        data[segment_files.HEADER_BYTES + 3] ^= 1
    elif harm == "empty":
        data = bytearray()
    file.write_bytes(data)
    key = "another@model-r1" if harm == "other model" else KEY
    with pytest.raises(segment.SegmentError):
        segment_files.read(file, key, DIM)
    again = FaissIndex(tmp_path, key, DIM, table)
    for seed in range(5):
        assert_same(again, table, unit(np.random.default_rng(seed), 1)[0], 10)
    again.close()


def test_bits_that_flipped_in_the_vectors_are_found_in_the_background(tmp_path: Path) -> None:
    index, table = filled(tmp_path, 300)
    index.merge()
    index.close()
    (file,) = tmp_path.glob("*.vec")
    data = bytearray(file.read_bytes())
    data[-DIM * 2 * 50 :] = bytes(DIM * 2 * 50)
    file.write_bytes(data)
    assert not segment_files.is_undamaged(file)
    again = FaissIndex(tmp_path, KEY, DIM, table)
    deadline = time.monotonic() + 30
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    again.close()
    (newer,) = tmp_path.glob("*.vec")
    assert newer != file and segment_files.is_undamaged(newer)
    for seed in range(5):
        assert_same(again, table, unit(np.random.default_rng(seed), 1)[0], 10)


def test_a_merge_that_cannot_be_written_leaves_the_old_file_and_every_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, table = filled(tmp_path, 200)
    index.merge()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segment_files.os, "fsync", full)
    more = unit(np.random.default_rng(9), 50)
    table.put(np.arange(1000, 1050), more, np.zeros(50))
    index.catch_up()
    with pytest.raises(OSError, match="No space"):
        index.merge()
    assert [p.suffix for p in tmp_path.iterdir()] == [".vec"]
    assert_same(index, table, more[3], 10)
    index.close()


def test_what_changes_during_a_merge_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal, a replacement and an addition land while the file is being written."""
    index, table = filled(tmp_path, 200)
    first, second = list(table.rows)[:2]
    real = segment_files.write

    def write_slowly(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)  # type: ignore[arg-type]
        table.drop([first])
        table.put(np.array([second, 5000]), unit(np.random.default_rng(4), 2), np.array([0, 2]))
        index.catch_up()

    monkeypatch.setattr(segment_files, "write", write_slowly)
    index.merge()
    assert len(index) == len(table.rows)
    for seed in range(20):
        assert_same(index, table, unit(np.random.default_rng(seed), 1)[0], 20)
    index.close()
    again = FaissIndex(tmp_path, KEY, DIM, table)
    for seed in range(20):
        assert_same(again, table, unit(np.random.default_rng(seed), 1)[0], 20)
    again.close()


@pytest.mark.slow
def test_searches_go_on_while_others_write_and_merge(tmp_path: Path) -> None:
    """Readers in two threads see, at every moment, every vector that was never touched."""
    index, table = filled(tmp_path, 400)
    still = np.array(list(table.rows)[:50])
    failures: list[str] = []
    done = threading.Event()

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not done.is_set():
            i = int(rng.choice(still))
            ids = index.search(table.rows[i][0].astype(np.float32)[None], 1)[1]
            if ids[0, 0] != i:
                failures.append(f"{i} not first but {ids[0, 0]}")

    readers = [threading.Thread(target=read, args=(n,)) for n in range(2)]
    for thread in readers:
        thread.start()
    rng = np.random.default_rng(8)
    for round_ in range(15):
        ids = 10_000 + rng.permutation(300)[:100]
        index.add(ids, 0.5 * unit(rng, 100))
        index.remove(ids[:30])
        if round_ % 3 == 0:
            index.merge()
    done.set()
    for thread in readers:
        thread.join()
    index.close()
    assert not failures


def test_a_reader_of_another_process_writes_nothing(tmp_path: Path) -> None:
    index, table = filled(tmp_path, 300)
    index.merge()
    index.close()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir())
    reader = FaissIndex(tmp_path, KEY, DIM, table, writable=False)
    table.put(np.array([9999]), unit(np.random.default_rng(2), 1), np.array([1]))
    assert reader.catch_up() == 1
    assert_same(reader, table, unit(np.random.default_rng(2), 1)[0], 5)
    reader.close()
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir()) == before


def test_a_reader_of_few_vectors_finds_without_faiss_what_faiss_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, table = filled(tmp_path, 300)
    index.merge()
    queries = unit(np.random.default_rng(3), 7)
    expected = {group: index.search(queries, 20, group=group) for group in (None, 0, 1, 2)}
    index.close()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "faiss", None)
        reader = FaissIndex(tmp_path, KEY, DIM, table, writable=False)
        for group, (scores, ids) in expected.items():
            found = reader.search(queries, 20, group=group)
            assert np.array_equal(found[1], ids) and np.allclose(found[0], scores, atol=1e-6)
        assert len(reader) == len(index)
    many = unit(np.random.default_rng(4), snapshot.OPEN_ROWS)
    table.put(np.arange(10_000, 10_000 + len(many)), many, np.ones(len(many), np.uint8))
    assert reader.catch_up() == len(many)
    assert_same(reader, table, queries[0], 20)
    reader.close()


def test_damage_in_a_vector_is_noticed_where_few_are_read(tmp_path: Path) -> None:
    index, _ = filled(tmp_path, 300)
    index.merge()
    index.close()
    (path,) = tmp_path.glob("*.vec")
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(segment.SegmentError, match="damaged"):
        segment_files.read_few(path, KEY, DIM, 1000)


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    index = FaissIndex(tmp_path, KEY, DIM)
    with pytest.raises(ValueError, match=r"expected \[n, 16\]"):
        index.add(np.arange(2), np.zeros((2, 8), np.float32))
    with pytest.raises(ValueError, match="negative"):
        index.add(np.array([-1]), np.zeros((1, DIM), np.float32))
    scores, ids = index.search(np.zeros((1, DIM), np.float32), 3)
    assert ids.tolist() == [[-1, -1, -1]] and np.isneginf(scores).all()
    index.close()
