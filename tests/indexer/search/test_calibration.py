"""The scale of one list for all kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.library import Library
from indexer.search.calibration import Background, Scale, comparable
from indexer.types import Part, Query
from indexer.vectors.source import GROUPS
from model.lite.profile import PROFILE
from model.lite.weights import TEXT_DIM
from model.ranking_profile import untuned
from tests import media

SCORES = np.array([[0.1, 0.2, 0.4]])


def test_films_stand_higher_and_pages_lower_than_each_by_itself() -> None:
    by_chance = Scale(np.array([0.1]), np.array([0.05]))
    one_list = comparable(dict.fromkeys(GROUPS.values(), by_chance), PROFILE)
    alone = by_chance.standardise(SCORES)
    assert one_list[GROUPS["image"]].standardise(SCORES) == pytest.approx(alone)
    assert one_list[GROUPS["video"]].standardise(SCORES) == pytest.approx(alone + PROFILE.video_shift)
    assert one_list[GROUPS["pdf"]].standardise(SCORES) == pytest.approx(alone * PROFILE.page_weight)


def test_a_library_of_one_kind_is_ordered_as_it_was() -> None:
    for group in GROUPS.values():
        scale = comparable({group: Scale(np.array([0.1]), np.array([0.05]))}, PROFILE)[group]
        assert (np.diff(scale.standardise(SCORES)[0]) > 0).all()


def test_for_an_untuned_model_no_kind_is_moved() -> None:
    by_chance = dict.fromkeys(GROUPS.values(), Scale(np.array([0.1]), np.array([0.05])))
    assert comparable(by_chance, untuned()) == by_chance


def test_a_score_does_not_depend_on_the_order_of_indexing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is smaller than the library, so another sample would give other scores."""
    monkeypatch.setattr("indexer.search.calibration.SAMPLE", 5)
    for number in range(20):  # a seed each, as equal bytes are one content
        media.draw_image(tmp_path / "abcd"[number % 4] / f"{number}.jpg", f"number {number}", (320, 240), seed=number)
    scores = []
    for order in ("abcd", "dbca"):
        with Library.open(tmp_path / f"library-{order}", nice=False, ocr="off") as library:
            for root in order:
                assert library.index([tmp_path / root]).failed == 0
            hits = library.search(Query((Part("a green square"),)), k=20).hits
            scores.append({hit.path: hit.score for hit in hits})
    assert len(scores[0]) == 20 and scores[0] == scores[1]


def test_the_first_hit_of_a_new_kind_is_found_at_once(tmp_path: Path) -> None:
    """One page among twenty photos does not change the library's size enough for another sample."""
    for number in range(20):
        media.draw_image(tmp_path / "files" / f"{number}.jpg", f"number {number}", (320, 240), seed=number)
    query = Query((Part("a bill for electricity"),))
    with Library.open(tmp_path / "library", nice=False, ocr="off") as library:
        library.index([tmp_path / "files"])
        assert {hit.kind for hit in library.search(query, k=30).hits} == {"image"}
        media.draw_pdf(tmp_path / "files" / "page.pdf", ["Nothing of the sort"])
        library.index()
        assert {hit.kind for hit in library.search(query, k=30).hits} == {"image", "pdf"}


class _Model:
    """A model of three numbers whose everyday queries are known."""

    id, dim, max_frames = "three@1", 3, 8
    everyday = np.array([[0.6, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.1]], np.float32)


def test_contrast_is_in_deviations_of_what_everyday_queries_score_with_the_chunk(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", ocr="off") as library:
        searcher = library.searcher()
        background = Background(searcher._connections, _Model(), -1)  # type: ignore[arg-type]
        query = np.array([[0.6, 0.7, 0.3]], np.float32)
        chunks = np.array([[0.0, 1.0, 0.0], [0.0, 0.6, 0.8], [1.0, 0.0, 0.0]], np.float32)
        contrast = background.contrast_of(query, chunks)
        assert contrast[:2] == pytest.approx([0.7 / 0.2, 0.66 / np.hypot(0.12, 0.08)])
        assert contrast[2] == 0.0  # every everyday query scores the same with it
        # of a query without the first number: everyday queries without it, at unit length too
        cut = background.contrast_of(np.array([[0.0, 1.0, 0.0]], np.float32), chunks)
        scale = np.linalg.norm(_Model.everyday) / 0.2
        assert cut[0] == pytest.approx(1.0 / (0.2 * scale))


INVOICE = "An invoice for bananas, to be paid within thirty days"


def test_the_contrast_of_a_chunk_with_a_new_vector_is_that_of_the_new_one(tmp_path: Path) -> None:
    media.draw_pdf(
        tmp_path / "files" / "letter.pdf", [INVOICE, "Greetings from the harbour, where the lighthouse stands"]
    )
    with Library.open(tmp_path / "library", nice=False, ocr="off") as library:
        library.index([tmp_path / "files"])
        searcher, contents = library.searcher(), library.catalogue.contents
        query = searcher.vectors(Query((Part(INVOICE),)))
        (digest,) = contents.hashes()
        chunks = [stored.chunk_id for stored in contents.chunks_of(digest)]
        first, second = (contents.vector(n, searcher.model_id) for n in chunks)
        assert first is not None and second is not None
        background = searcher._background
        for _ in range(2):
            before = background.contrast(query, chunks)
        assert list(before.values()) == pytest.approx(background.contrast_of(query, np.stack([first, second])))
        contents.write_ocr(digest, {}, searcher.model_id, dict(zip(chunks, (second, first), strict=True)))
        after = background.contrast(query, chunks)
        assert [after[n] for n in chunks] == pytest.approx([before[n] for n in reversed(chunks)])
        assert before[chunks[0]] > before[chunks[1]] + 1


def test_a_query_is_compared_with_ordinary_ones_that_are_read_as_it_is(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", ocr="off") as library:
        searcher = library.searcher()
        shares = []
        for text in ("a dog on the beach", "mariposa", "ein Hund am Strand", "lion"):
            rows = searcher._background.ordinary_queries(searcher.vectors(Query((Part(text),))))
            assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-3)
            shares.append(float(np.square(rows[:, :TEXT_DIM]).sum(axis=1).mean()))
    # MiniLM's share: English, maybe English, surely not
    assert shares == pytest.approx([1, 0.5, 0.3, 1], abs=0.01)
