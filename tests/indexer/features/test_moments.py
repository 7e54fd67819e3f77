"""Moments: the stretch of a video that a query means, and whole files by their chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.features import moments
from indexer.library import Library
from indexer.search.searcher import Searcher
from indexer.types import Filters, Part, Query
from tests.indexer.features.conftest import EVENT_S, picture_of
from tests.indexer.written_library import drawing
from tests.media import draw_video


def scene(seed: int) -> Image.Image:
    return Image.fromarray(drawing(seed)).resize((160, 120))


def test_a_moment_is_sharpened_to_the_event(searcher: Searcher, tmp_path: Path) -> None:
    first = moments.Moments(searcher).find(picture_of(7, tmp_path), k=3)[0]
    assert first.hit.title == "event.mp4"
    assert EVENT_S[0] - 2 <= first.at_s <= EVENT_S[1] + 2
    assert all(abs(a - b) <= 4 for a, b in zip(first.span.seconds, EVENT_S, strict=True))


def test_asking_again_about_a_place_decodes_nothing(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = moments.Moments(searcher)
    (hit, *_) = searcher.search(picture_of(7, tmp_path)).hits
    vectors = searcher.vectors(picture_of(7, tmp_path))
    first = finder.sharpened(hit, vectors)
    monkeypatch.setattr(searcher.sandbox, "submit", None)  # any call would raise
    assert finder.sharpened(hit, vectors) == first


def test_a_film_that_has_gone_keeps_its_window(searcher: Searcher, tmp_path: Path, folder: Path) -> None:
    hit = searcher.search(picture_of(7, tmp_path)).hits[0]
    (folder / "event.mp4").rename(tmp_path / "away.mp4")
    try:
        moment = moments.Moments(searcher).sharpened(hit, searcher.vectors(picture_of(7, tmp_path)))
    finally:
        (tmp_path / "away.mp4").rename(folder / "event.mp4")
    assert moment.span == hit.span


def test_files_are_ranked_by_their_best_piece_or_their_centroid(searcher: Searcher, tmp_path: Path) -> None:
    query = picture_of(60, tmp_path)
    for by in ("max", "centroid"):
        best = moments.rank_files(searcher, query, by)  # type: ignore[arg-type]
        assert Path(best[0].path).name == "film60.mp4"
    paths = [s.path for s in moments.rank_files(searcher, query)]
    assert len(paths) == len(set(paths))


EVENTS_AT = (29.0, 59.0, 30.0, 60.5, 117.0, 1.0)
"""Seconds: across the edges of windows, at them, at both ends of the film, in the middle."""
LASTS_S = 2.0


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Films of two minutes in which another picture is seen for two seconds."""
    place = tmp_path_factory.mktemp("moments")
    for film, at in enumerate(EVENTS_AT):

        def frame(t: float, film: int = film, at: float = at) -> Image.Image:
            event = at <= t < at + LASTS_S
            return scene(500 + film if event else 510 + (film * 7 + int(t // 20)) % 70)

        draw_video(place / "films" / f"film{film}.mp4", 120.0, fps=5, frame=frame)
    with Library.open(place / "library", ocr="off") as library:
        library.index([place / "films"])
        yield library


def test_a_moment_is_found_to_the_second_also_on_the_edges_of_windows(films: Library, tmp_path: Path) -> None:
    """Events of 2 s: median error ≤ 3 s, 95 % ≤ 10 s."""
    missed = []
    for film, at in enumerate(EVENTS_AT):
        asked = tmp_path / "asked.png"
        scene(500 + film).resize((320, 240)).save(asked)
        path = Path(films.status().roots[0]) / f"film{film}.mp4"
        held = films.file_at(path)
        assert held is not None
        (moment,) = films.moments(Query((Part(file=asked),), Filters(file_id=held.file_id)), k=1)
        missed.append(abs(moment.at_s - (at + LASTS_S / 2)))
    assert np.median(missed) <= 3 and np.percentile(missed, 95) <= 10, missed
