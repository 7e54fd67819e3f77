"""From the table to pieces: the paper's blocks arrive, whatever the ranks and workers."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from data.sources import rows
from data.sources.pair import LoadedSide
from data.sources.pairs import Pairs
from data.sources.rows import ParquetRows
from train.loading import DataError, Loader, Missing, PairBatch, pair_batches
from train.mixing import Ingredient, MixingTable

BATCH, SUB = 64, 4
ROOT = Path(__file__).parents[2]


def texts(sides: Sequence[LoadedSide]) -> list[str]:
    """In a model's place: what it would be given."""
    return [side.text for side in sides]


@pytest.fixture
def sources(tmp_path: Path) -> list[Pairs]:
    """Eight sources of 100 rows of words."""
    made = []
    for source in range(8):
        lines = [json.dumps({"query": f"{source} {row}", "positive": f"{source} {row}"}) for row in range(100)]
        path = tmp_path / f"s{source}.jsonl"
        path.write_text("\n".join(lines))
        made.append(Pairs(path))
    return made


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_global_batches_are_blocks_of_one_source_for_any_ranks_and_workers(
    sources: list[Pairs], world: int, workers: int
) -> None:
    table = MixingTable([Ingredient(s.name, len(s), weight=1 + i) for i, s in enumerate(sources)], BATCH, SUB)
    loader = Loader(sources, texts, max_frames=1)
    ranks = [list(pair_batches(loader, table.shares(0, 6, rank, world), 3, workers)) for rank in range(world)]
    for step in range(6):
        said = [text for rank in ranks for piece in rank[step] for text in piece.queries]
        by_source = Counter(text.split()[0] for text in said)
        assert len(said) == len(set(said)) == BATCH
        assert all(count % SUB == 0 for count in by_source.values())
        assert len(by_source) >= 4
        expected = [f"{s} {r}" for s, r in table.share(step)]
        assert sorted(said) == sorted(expected)
        shares = [sum(len(piece) for piece in rank[step]) for rank in ranks]
        assert shares == [BATCH // world] * world


def tensors(sides: Sequence[LoadedSide]) -> torch.Tensor:
    return torch.tensor([side.key % 1000 for side in sides])


def test_a_step_of_many_pieces_needs_few_open_files(sources: list[Pairs]) -> None:
    """Each tensor from a loader process is an open file until it is copied; a process may have 1,024."""
    loader = Loader(sources, tensors, max_frames=1)
    share = [(row % 8, row % 100) for row in range(400)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 150, hard))
    try:
        steps = list(pair_batches(loader, iter([share, share]), 1, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [len(step) for step in steps] == [400, 400]


def with_pictures(folder: Path, lost: set[int]) -> Pairs:
    from PIL import Image

    lines = []
    for row in range(60):
        if row not in lost:
            Image.new("RGB", (30, 30), (row, row, row)).save(folder / f"{row}.png")
        lines.append(json.dumps({"query": str(row), "positive": {"image": f"{row}.png"}}))
    (folder / "p.jsonl").write_text("\n".join(lines))
    return Pairs(folder / "p.jsonl")


@pytest.mark.slow
def test_a_program_that_fails_while_rows_are_loaded_ends(sources: list[Pairs], tmp_path: Path) -> None:
    """Its loader processes get no SIGTERM, which Python sends them at the end of a program before it waits for them."""
    program = f"""
from data.sources.pairs import Pairs
from train.loading import Loader, pair_batches
from tests.train.test_loading import texts
loader = Loader([Pairs({str(tmp_path / "s0.jsonl")!r})], texts, max_frames=1)
batches = pair_batches(loader, iter([[(0, n)] for n in range(100)]), 1, workers=2)
next(batches)
raise SystemExit(3)  # `batches` stays open
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 3


def test_a_lost_row_is_replaced_by_the_same_row_on_any_rank_and_worker(tmp_path: Path) -> None:
    source = with_pictures(tmp_path, lost={3, 7})
    loader = Loader([source], texts, max_frames=1, held_out=[np.array([0, 1, 2])])
    share = [(0, row) for row in range(3, 11)]
    seen = []
    for size, workers in ((8, 0), (1, 0), (3, 2)):
        (step,) = pair_batches(loader, iter([share]), size, workers)
        seen.append([text for piece in step for text in piece.queries])
        assert {m[:2] for piece in step for m in piece.missing} == {(0, 3), (0, 7)}
    assert seen[0] == seen[1] == seen[2]
    assert not set(seen[0]) & {"3", "7", "0", "1", "2"}, "neither lost nor held out"


def test_a_source_without_any_media_is_given_up_by_name(tmp_path: Path) -> None:
    source = with_pictures(tmp_path, lost=set(range(60)))
    with pytest.raises(DataError, match=r"p: 20 rows in a row have no readable media, the last is .*\.png"):
        list(pair_batches(Loader([source], texts, max_frames=1), iter([[(0, 5)]]), 1, 0))


def test_missing_rows_are_counted_once_and_told_once() -> None:
    missing = Missing(["a"], [1000], limit=0.01)
    assert missing.add([(0, 5, "a.png: gone")]) == ["a row 5: a.png: gone"]
    assert missing.add([(0, 5, "a.png: gone")]) == []
    assert missing.count == 1
    with pytest.raises(DataError, match="11 of 1000 rows"):
        missing.add([(0, row, "gone") for row in range(10, 20)])


def test_no_source_is_copied_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet source holds a few row groups, however long it is and in whatever order it is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    group, size = 20, 10_000
    table = pa.table({"query": [str(i) for i in range(400)], "image": [bytes([i % 256]) * size for i in range(400)]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=group, compression="none", use_dictionary=False)
    monkeypatch.setattr(rows, "OPEN_BYTES", 5 * group * size)
    source = ParquetRows([tmp_path / "p.parquet"])
    mixing = MixingTable([Ingredient("p", 400, groups=source.groups, open_groups=source.open_groups)], 40, 40)
    reads = Counter()
    read = source._group

    def counted(number: int) -> object:
        reads[number] += number not in source._cache
        return read(number)

    monkeypatch.setattr(source, "_group", counted)
    for step in range(10):
        for _, row in mixing.share(step):
            assert source[row]["query"] == str(row)
            assert sum(t.nbytes for t in source._cache.values()) <= 2 * rows.OPEN_BYTES
    assert set(reads.values()) == {1}, "each group is read from disk once an epoch"


def padding(batches: list[PairBatch]) -> float:
    """Letters that batches of texts are padded to, by letters that they have."""
    sides = [side for batch in batches for side in (batch.queries, batch.positives)]
    return sum(len(side) * max(map(len, side)) for side in sides) / sum(len(text) for side in sides for text in side)


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_that_are_filled_together_hold_rows_of_similar_length(tmp_path: Path, workers: int) -> None:
    """Lengths from 4 to 400 letters: chunks of 4 in the drawn order are padded by half, four together much less."""
    lengths = np.random.default_rng(0).geometric(0.02, 64).clip(4, 400)
    lines = [json.dumps({"query": f"{row}", "positive": f"{row} " + "x" * int(n)}) for row, n in enumerate(lengths)]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    loader = Loader([Pairs(tmp_path / "p.jsonl")], texts, max_frames=1)
    share = [(0, row) for row in range(64)]
    (plain,) = pair_batches(loader, iter([share]), 4, workers)
    (bucketed,) = pair_batches(loader, iter([share]), 4, workers, together=4)
    assert [len(batch) for batch in bucketed] == [4] * 16
    assert [name for batch in plain for name in batch.names] == [f"p row {row}" for row in range(64)]
    for batch in bucketed:
        assert batch.queries == [positive.split()[0] for positive in batch.positives]
        assert batch.names == tuple(f"p row {query}" for query in batch.queries)
    names = [[name for batch in bucketed[at : at + 4] for name in batch.names] for at in range(0, 16, 4)]
    assert [set(part) for part in names] == [{f"p row {row}" for row in range(at, at + 16)} for at in range(0, 64, 16)]
    assert padding(bucketed) - 1 < 0.5 * (padding(plain) - 1)
