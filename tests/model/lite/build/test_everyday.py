"""The everyday queries that ship with lite are those of its recipe."""

from __future__ import annotations

import numpy as np
import pytest

from model.lite.build.everyday import COMPONENTS, QUERIES, everyday
from model.lite.embedder import LiteEmbedder


@pytest.mark.slow
def test_the_file_holds_what_the_queries_look_like_to_this_recipe() -> None:
    embedder = LiteEmbedder.load()
    stored = embedder.everyday
    assert stored is not None and stored.shape == (1 + COMPONENTS, embedder.dim)
    mean, components = everyday(embedder)
    assert stored[0] == pytest.approx(mean, abs=1e-3)
    rng = np.random.default_rng(0)
    chunks = rng.standard_normal((50, embedder.dim)).astype(np.float32)
    spread = [np.sqrt(np.square(chunks @ rows.T).sum(axis=1)) for rows in (stored[1:], components)]
    assert spread[0] == pytest.approx(spread[1], rel=0.01)


def test_no_everyday_query_is_there_twice() -> None:
    lines = QUERIES.read_text("utf-8").splitlines()
    assert len(lines) == len(set(lines)) > 200 and all(line == line.strip() for line in lines)
