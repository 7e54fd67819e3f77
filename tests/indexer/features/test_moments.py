"""Moments: the stretch of a video that a query means."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.features import moments
from indexer.search.searcher import Searcher
from tests.indexer.features.conftest import EVENT_S, picture_of


@pytest.mark.slow
def test_a_moment_is_sharpened_to_the_event(searcher: Searcher, tmp_path: Path) -> None:
    first = moments.Moments(searcher).find(picture_of(7, tmp_path), k=3)[0]
    assert first.hit.title == "event.mp4"
    assert EVENT_S[0] - 2 <= first.at_s <= EVENT_S[1] + 2
    assert all(abs(a - b) <= 4 for a, b in zip(first.span.seconds, EVENT_S, strict=True))


@pytest.mark.slow
def test_asking_again_about_a_place_decodes_nothing(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = moments.Moments(searcher)
    (hit, *_) = searcher.search(picture_of(7, tmp_path)).hits
    vectors = searcher.vectors(picture_of(7, tmp_path))
    first = finder.refine(hit, vectors)
    monkeypatch.setattr(searcher.sandbox, "submit", None)  # any call would raise
    assert finder.refine(hit, vectors) == first


def test_a_film_that_has_gone_keeps_its_window(searcher: Searcher, tmp_path: Path, folder: Path) -> None:
    hit = searcher.search(picture_of(7, tmp_path)).hits[0]
    (folder / "event.mp4").rename(tmp_path / "away.mp4")
    try:
        moment = moments.Moments(searcher).refine(hit, searcher.vectors(picture_of(7, tmp_path)))
    finally:
        (tmp_path / "away.mp4").rename(folder / "event.mp4")
    assert moment.span == hit.span
