"""The multilingual reading's table: half the bytes, the same numbers."""

from pathlib import Path

import numpy as np

from model.lite import weights
from model.lite.multilingual import CHUNKS, Multilingual, Rows, packed


def test_packed_rows_come_out_as_they_went_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table = np.clip(rng.normal(26, 4, (100, 512)), 0, 255).astype(np.uint8)
    table[rng.random(table.shape) < 0.01] = 255
    table[40] = 0
    halves, rare, base = packed(table)
    assert halves.nbytes * 2 == table.nbytes and rare.size > 0
    reader = Multilingual(weights.find())
    reader._table, (reader._rare_at, reader._rare) = halves, rare
    ids = rng.permutation(len(table)).repeat(2)
    assert (reader._rows(ids, base[:, None][ids % CHUNKS]) == table[ids]).all()
    assert reader._rows(ids[:0], base[:, None][ids[:0]]).shape == (0, 512)


def test_rows_are_read_from_the_file_as_they_stand(tmp_path: Path) -> None:
    table = np.random.default_rng(1).integers(0, 256, (50, 8), np.uint8)
    np.save(tmp_path / "table.npy", table)
    ids = np.array([7, 49, 0, 7, 3])
    assert np.array_equal(Rows(tmp_path / "table.npy")[ids], table[ids])
