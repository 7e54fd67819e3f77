"""A real, indexed folder for the features that build on search: videos, pictures and a PDF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from indexer.library import Library
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from tests import media
from tests.indexer.written_library import drawing

EVENT_S = (41.0, 46.0)


def shown(seed: int) -> Image.Image:
    return Image.fromarray(drawing(seed)).resize((160, 120))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 80 s in which drawing 7 is seen from 41 s to 46 s, two others, pictures and a PDF."""
    made = tmp_path_factory.mktemp("files")

    def event(t: float) -> Image.Image:
        return shown(7 if EVENT_S[0] <= t < EVENT_S[1] else 50 + int(t / 30))

    media.draw_video(made / "event.mp4", 80.0, fps=4, frame=event)
    for seed in (60, 61):
        media.draw_video(made / f"film{seed}.mp4", 12.0, fps=4, frame=lambda t, s=seed: shown(s))  # type: ignore[misc]
    for seed in range(20, 26):
        shown(seed).save(made / f"picture{seed}.png")
    pages = [
        "The blue whale is the largest animal that ever lived; whales eat krill.",
        "Bread is baked in a hot oven; this bread is made of flour and water.",
    ]
    media.draw_pdf(made / "whales.pdf", pages)
    return made


@pytest.fixture(scope="session")
def searcher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    library = Library.open(tmp_path_factory.mktemp("library"), ocr="off", nice=False)
    report = library.index([folder])
    assert report.failed == 0
    yield library.searcher()
    library.close()


def picture_of(seed: int, at: Path) -> Query:
    shown(seed).save(at / "asked.png")
    return Query((Part(file=at / "asked.png"),))
