"""One hit per file: which chunk stands for the others, how many there are, and how the centroid moves a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.span import Span
from indexer.search.calibration import Scale
from indexer.search.folding import by_centroid, folded
from indexer.search.hit_facts import Fact, FileRef
from indexer.search.ranking import Ranked
from indexer.types import Fold, Kind, Part, Query
from indexer.vectors.source import GROUPS
from tests.indexer.written_library import Shelf

SCALES = {
    GROUPS["pdf"]: Scale(np.array([0.1]), np.array([0.05])),
    GROUPS["image"]: Scale(np.array([0.2]), np.array([0.1])),
}


def place(
    number: int, content: str, score: float, relevant: bool = True, kind: Kind = "pdf", ordinal: int = 0
) -> Ranked:
    file = FileRef(number, f"/{content}", content, "/")
    fact = Fact(number, content.encode(), ordinal, Span(), kind, None, None, None, None, None, 0, (file,))
    return Ranked(fact, score, relevant, Span())


RANKING = [
    place(1, "a", 9.0),
    place(2, "b", 8.0),
    place(3, "a", 7.0, ordinal=1),
    place(4, "photo", 6.5, kind="image"),
    place(5, "b", 1.0, relevant=False, ordinal=1),
    place(6, "a", 0.5, relevant=False, ordinal=2),
    place(7, "c", 0.4, relevant=False),
    place(8, "c", 0.3, relevant=False, ordinal=1),
]


def test_the_best_chunk_stands_for_its_file_and_counts_those_that_are_as_relevant() -> None:
    shown = [(p.fact.chunk_id, p.folded, p.score) for p in folded(RANKING)]
    assert shown == [(1, 1, 9.0), (2, 0, 8.0), (4, 0, 6.5), (7, 1, 0.4)]


def test_a_centroid_near_the_query_lifts_a_file_and_relevant_ones_stay_first() -> None:
    query = np.eye(4, dtype=np.float32)[:1]
    vectors = {
        b"a": np.array([[0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32),  # one page about it
        b"b": np.array([[0.6, 0.8, 0, 0], [0.6, 0, 0.8, 0]], np.float32),  # all of it about it
        b"c": np.array([[1, 0, 0, 0], [1, 0, 0, 0]], np.float32),
        b"photo": np.array([[0.6, 0.8, 0, 0]], np.float32),
    }
    result = by_centroid(RANKING, query, SCALES, vectors.__getitem__)
    assert [p.fact.chunk_id for p in result] == [2, 4, 1, 7]
    moved = {p.fact.content: p.score for p in result}
    whole = np.array([0.6, 0.4, 0.4, 0])
    assert moved[b"b"] == pytest.approx(8.0 + (0.6 / np.linalg.norm(whole) - 0.6) / 0.05)
    assert moved[b"photo"] == 6.5 and moved[b"c"] == pytest.approx(0.4), "one vector is its own centroid"


@pytest.mark.slow
@pytest.mark.parametrize("fold", ["max", "centroid"])
def test_a_folded_answer_has_each_file_once(tmp_path: Path, fold: Fold) -> None:
    shelf = Shelf(tmp_path)
    shelf.document("whales.pdf", ["The blue whale eats krill.", "Whales sing in cold oceans.", "Whale watching."])
    shelf.document("bread.pdf", ["Knead the dough, let it rise, bake the loaf.", "An oven of stone."])
    query = Query((Part(text="whale"),))
    every = shelf.searcher.search(query)
    answer = shelf.searcher.search(replace(query, fold=fold))
    shelf.close()
    assert answer.total == len({hit.path for hit in every.hits}) == 2 < every.total
    first = answer.hits[0]
    assert (first.title, first.folded) == (
        "whales.pdf",
        sum(h.title == first.title and h.relevant for h in every.hits) - 1,
    )
    assert first.folded > 0 and (fold == "centroid" or first.chunk_id == every.hits[0].chunk_id)
