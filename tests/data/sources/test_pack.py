"""Packed rows: the same rows, each read at the cost of one, in any number of loader processes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sources import rows
from data.sources.pack import main
from data.sources.packed import PackedRows, is_packed, pack
from data.sources.pair import SourceError
from data.sources.recipe import open_subset
from data.sources.rows import ParquetRows
from train.loading import split
from train.mixing import Ingredient, MixingTable

ROWS, GROUP, IMAGE = 1600, 100, 3000


def _table(path: Path, first: int = 0, count: int = ROWS) -> Path:
    """The shape of visrag-indomain: an image in a struct, two texts; row groups of 100 rows."""
    random = np.random.default_rng(first)
    images = [
        {"bytes": random.bytes(int(n)), "path": f"{i}.png"}
        for i, n in enumerate(random.integers(IMAGE, 2 * IMAGE, count))
    ]
    columns = {"query": [f"question {first + i}" for i in range(count)], "image": images, "source": ["PlotQA"] * count}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=GROUP)
    return path


def _bytes_read() -> int:
    """What this process has read by system calls, from the disk or its cache."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def _amplification(source: Any, monkeypatch: pytest.MonkeyPatch, ranks: int = 8, workers: int = 8) -> float:
    """Bytes read over bytes needed: three steps of 512 rows in blocks of 64, on 8 ranks with 8 loader processes each.

    A loader process takes every eighth part of its rank's share; here a copy of the source is in its place.
    """
    monkeypatch.setattr(rows, "OPEN_BYTES", 5 * GROUP * 2 * IMAGE)  # five groups, as with the real ones of 50 MB
    ingredient = Ingredient("pages", len(source), groups=source.groups, open_groups=source.open_groups)
    mixing = MixingTable([ingredient], 512, 64)
    processes = [[pickle.loads(pickle.dumps(source)) for _ in range(workers)] for _ in range(ranks)]
    need, before = 0, _bytes_read()
    for step in range(3):
        for rank in range(ranks):
            for number, part in enumerate(split(mixing.share(step, rank, ranks), 8)):
                for _, row in part:
                    got = processes[rank][number % workers][row]
                    need += len(got["image"]["bytes"]) + len(got["query"])
    return (_bytes_read() - before) / need


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what a process reads")
def test_a_step_on_64_loader_processes_reads_at_most_twice_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _table(tmp_path / "a.parquet")
    pack([file], tmp_path / "packed")
    assert _amplification(PackedRows(tmp_path / "packed"), monkeypatch) < 1.5
    monkeypatch.setattr(rows, "OPEN_BYTES", 5 * GROUP * 2 * IMAGE)
    assert _amplification(ParquetRows([file]), monkeypatch) > 8


def test_packed_rows_are_the_rows_of_the_files_in_order_and_their_memory_is_the_index(tmp_path: Path) -> None:
    files = [_table(tmp_path / "a.parquet", 0, 150), _table(tmp_path / "b.parquet", 150, 70)]
    pack(files, tmp_path / "packed", ["query", "image"])
    packed, plain = PackedRows(tmp_path / "packed"), ParquetRows(files, ["query", "image"])
    assert len(packed) == 220 and [packed[i] for i in range(220)] == [plain[i] for i in range(220)]
    assert len(PackedRows(tmp_path / "packed", limit=160)) == 160
    for _ in range(3):
        [packed[i] for i in range(220)]
    assert len(pickle.dumps(packed)) < 8 * 2 * 221 + 4000
    assert len(packed.groups) == 220 == packed.open_groups


def test_files_that_changed_are_read_as_they_are_and_not_from_their_packed_rows(tmp_path: Path) -> None:
    file, folder = _table(tmp_path / "a.parquet", 0, 20), tmp_path / "packed"
    assert not is_packed(folder, [file], None)
    pack([file], folder)
    assert is_packed(folder, [file], None) and not is_packed(folder, [file], ["query"])
    _table(file, 5, 20)
    assert not is_packed(folder, [file], None)


def test_a_subset_of_the_recipe_is_packed_by_command_and_then_read_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = tmp_path / "openbmb" / "VisRAG-Ret-Train-In-domain-data"
    _table(repo / "data" / "train-00000.parquet", 0, 30)
    before = open_subset("visrag-indomain", tmp_path)
    assert main(["--root", str(tmp_path), "visrag-indomain"]) == 0
    after = open_subset("visrag-indomain", tmp_path)
    assert isinstance(after._rows, PackedRows) and [after[i] for i in range(30)] == [before[i] for i in range(30)]
    assert main(["--root", str(tmp_path), "visrag-indomain"]) == 0
    assert "packed already" in capsys.readouterr().err
    assert main(["--root", str(tmp_path), "colpali_train_set"]) == 1
    assert "colpali_train_set: nothing at" in capsys.readouterr().err


def test_a_run_that_was_killed_leaves_no_rows_and_damage_is_named(tmp_path: Path) -> None:
    file, folder = _table(tmp_path / "a.parquet", 0, 20), tmp_path / "packed"
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(SourceError, match="cannot be packed"):
        pack([file, tmp_path / "bad.parquet"], folder)
    assert not folder.exists() and not list(tmp_path.glob("*.part"))
    pack([file], folder)
    with (folder / "rows.bin").open("r+b") as out:
        out.truncate(100)
    with pytest.raises(SourceError, match="cut short or damaged"):
        PackedRows(folder)
    (folder / "about.json").write_text(json.dumps({}))
    assert not is_packed(folder, [file], None)
