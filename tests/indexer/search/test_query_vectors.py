"""A file that is searched with becomes the inputs that it became when it was indexed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.library import Library
from indexer.types import Part, Query
from tests import media
from tests.indexer.conftest import CountingEmbedder


@pytest.mark.parametrize("kind", ["image", "pdf", "video"])
def test_a_query_shows_the_model_the_pixels_of_the_library(
    kind: str, tmp_path: Path, counted: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray] = []
    embed = counted.embed

    def watch(inputs):
        shown.extend(
            np.stack(i.images) if i.video is None else i.video for i in inputs if i.images or i.video is not None
        )
        return embed(inputs)

    monkeypatch.setattr(counted, "embed", watch)
    folder = tmp_path / "media"
    folder.mkdir()
    if kind == "image":
        file = media.draw_image(folder / "photo.jpg", "words", size=(1600, 1200))
    elif kind == "pdf":
        file = media.draw_pdf(folder / "letter.pdf", ["A letter"])
    else:
        file = media.draw_video(folder / "clip.mp4", 5.0, size=(960, 540), fps=4)
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([folder])
        indexed = shown[-1]
        shown.clear()
        library.search(Query(parts=(Part(file=file),)))
    assert np.array_equal(shown[-1], indexed)


def test_a_model_that_reads_the_words_of_a_picture_is_shown_a_larger_one(
    tmp_path: Path, counted: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, int]] = []
    embed = counted.embed

    def watch(inputs):
        shown.extend((i.role, max(i.images[0].shape)) for i in inputs if i.images)
        return embed(inputs)

    monkeypatch.setattr(counted, "embed", watch)
    monkeypatch.setattr(counted, "max_side", 400, raising=False)
    monkeypatch.setattr(counted, "query_side", 900, raising=False)
    folder = tmp_path / "media"
    folder.mkdir()
    file = media.draw_image(folder / "letter.jpg", "words", size=(1600, 1200))
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([folder])
        library.search(Query(parts=(Part(file=file),)))
    assert ("document", 400) in shown and shown[-1] == ("query", 900)
