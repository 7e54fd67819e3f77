"""The library and answers for other programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from indexer.features import export
from indexer.search.searcher import Searcher
from indexer.types import Part, Query


@pytest.mark.slow
def test_an_export_holds_every_chunk_with_its_vector(searcher: Searcher, tmp_path: Path) -> None:
    count = export.export(searcher, tmp_path / "all.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert count == len(rows) == len(searcher.index)
    page = next(r for r in rows if r["page"] == 1)
    stored = searcher.catalogue.contents.vector(page["chunk_id"], searcher.model_id)
    assert stored is not None
    np.testing.assert_allclose(page["vector"], stored, atol=1e-6)
    assert "blue whale" in page["text"]
    assert export.export(searcher, tmp_path / "all.csv", "csv") == count
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export.export(searcher, tmp_path / "all.parquet", "parquet") == count
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.num_rows == count and table.schema.metadata[b"model"].decode() == searcher.embedder.id
    np.testing.assert_allclose(table["vector"][0].as_py(), rows[0]["vector"], atol=1e-5)


def test_an_answer_as_csv_has_a_line_a_hit(searcher: Searcher) -> None:
    answer = searcher.search(Query((Part(text="whale"),)), 5)
    rows = list(csv.DictReader(export.answer_csv(answer).splitlines()))
    assert len(rows) == len(answer.hits) and rows[0]["title"] == "whales.pdf"
    assert "\ue000" not in rows[0]["snippet"]
