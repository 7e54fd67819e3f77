"""A folder of tiny real media, and libraries over it with the real lite model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.catalogue.dialects import place
from indexer.catalogue.schema import Where
from indexer.library import Library
from model.embedder import Embedder
from model.ranking_profile import RankingProfile
from tests import media

OpenLibrary = Callable[..., Library]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """A place for a new catalogue, on each of the databases: what holds for one holds for the other."""
    return new_place(request, request.param, tmp_path)


def new_place(request: pytest.FixtureRequest, engine: str, folder: Path) -> Where:
    if engine == "sqlite":
        return folder / "catalogue.sqlite"
    return place(request.getfixturevalue("postgresql_server").database())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, a PDF of two pages, a video of two windows: six chunks and one more."""
    folder = tmp_path / "media"
    folder.mkdir()
    for n in range(3):
        media.draw_image(folder / f"photo {n}.jpg", seed=n, size=(160, 120))
    media.draw_pdf(folder / "letter.pdf", ["An invoice for bananas", "Greetings from the harbour"])
    media.draw_video(folder / "clip.mp4", 40.0, size=(128, 96), fps=5)
    return folder


@pytest.fixture
def open_library(tmp_path: Path) -> Iterator[OpenLibrary]:
    """`Library.open` in this test's data directory, at normal priority; closed at the end."""
    opened: list[Library] = []

    def open_(**options: Any) -> Library:
        options = {"nice": False, "ocr": "off"} | options
        library = Library.open(tmp_path / "library", **options)
        opened.append(library)
        return library

    yield open_
    for library in opened:
        library.close()


def wait_for(true: Callable[[], Any], seconds: float = 120.0) -> None:
    """Until something holds; fails when it does not in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class CountingEmbedder:
    """The real lite model; how many chunks it was given (its self-check asks with queries among them), and
    the longest side of their pictures."""

    def __init__(self, inner: Embedder) -> None:
        self.inner = inner
        self.id, self.dim, self.max_frames = inner.id, inner.dim, inner.max_frames
        self.max_side: int = inner.max_side  # type: ignore[attr-defined]
        self.page_side: int = inner.page_side  # type: ignore[attr-defined]
        self.profile: RankingProfile | None = inner.profile  # type: ignore[attr-defined]
        self.embedded, self.largest = 0, 0
        self._lock = threading.Lock()

    def embed(self, inputs: Any) -> np.ndarray:
        with self._lock:
            self.embedded += len(inputs) if all(i.role == "document" for i in inputs) else 0
            pictures = [p for i in inputs for p in (*i.images, *(i.video if i.video is not None else ()))]
            self.largest = max([self.largest, *(max(p.shape[:2]) for p in pictures)])
        return self.inner.embed(inputs)


@pytest.fixture(scope="session")
def lite() -> Embedder:
    from model.lite.embedder import LiteEmbedder

    return LiteEmbedder.load()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, lite: Embedder) -> CountingEmbedder:
    """Every library of this test embeds with this one."""
    from model.lite.embedder import LiteEmbedder

    embedder = CountingEmbedder(lite)
    monkeypatch.setattr(LiteEmbedder, "load", classmethod(lambda cls: embedder))
    return embedder


def contents_of(library: Library) -> dict[tuple[bytes, int], tuple[Any, ...]]:
    """(hash, ordinal) -> all that is known of a chunk, its vector under the answering model included: in what two
    libraries over the same files must agree."""
    with library.catalogue.database.reader() as c:
        rows = c.exec_driver_sql(
            "SELECT c.hash, k.ordinal, k.start_s, k.end_s, k.page, k.text, k.same_as, c.kind, c.state,"
            " c.duration_s, c.pages, c.width, c.height, e.vector FROM content c"
            " LEFT JOIN chunk k ON k.content_hash = c.hash LEFT JOIN embedding e ON e.chunk_id = k.id"
            " AND e.model_id = (SELECT id FROM model WHERE state = 'answering')"
        ).all()
    return {(r[0], r[1]): tuple(r[2:]) for r in rows}
