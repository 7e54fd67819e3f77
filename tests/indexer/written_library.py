"""A small library written straight into a catalogue, with the real lite model, for tests of search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image, ImageDraw

from data.copies import facts_of_name
from data.media.kinds import Kind
from data.media.metadata import NOTHING
from data.media.sandbox import Sandbox
from data.span import Span
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.files import under
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.catalogue.schema import Where, file
from indexer.search.searcher import Searcher
from indexer.types import Answer, Filters, Part, Query
from indexer.vectors.address import address_of
from indexer.vectors.faiss.index import FaissIndex
from indexer.vectors.index import VectorIndex
from indexer.vectors.source import GROUPS, StoredEmbeddings
from model.embedder import Embedder
from model.inputs import Input
from model.lite.embedder import LiteEmbedder


@lru_cache(maxsize=1)
def lite() -> LiteEmbedder:
    return LiteEmbedder.load(threads=1)


class Shelf:
    """`page`, `photo` and `film` put files on it; `ask` searches them. `vectors`: the address of a Milvus."""

    def __init__(
        self, folder: Path, embedder: Embedder | None = None, where: Where | None = None, vectors: str | None = None
    ) -> None:
        self.folder = folder / "files"
        self.embedder = embedder or lite()
        self.catalogue = Catalogue(where or folder / "catalogue.sqlite")
        self.model = self.catalogue.models.add(self.embedder.id, self.embedder.dim)
        self.root = self.catalogue.files.set_root(self.folder)
        source = StoredEmbeddings(self.catalogue.database, self.model.id, self.embedder.dim)
        self.index: VectorIndex = FaissIndex(folder / "index", self.embedder.id, self.embedder.dim, source)
        if vectors is not None:
            from indexer.vectors.milvus.index import MilvusIndex

            self.index.close()
            self.catalogue.settings.name_library()
            self.index = MilvusIndex(address_of(vectors), self.embedder.id, self.embedder.dim, source)
        self.sandbox = Sandbox(workers=1)
        self.searcher = Searcher(self.catalogue, self.index, self.embedder, self.sandbox)

    def close(self) -> None:
        self.searcher.close()
        self.index.close()
        self.sandbox.close()
        self.catalogue.close()

    def document(self, name: str, pages: Sequence[str], **facts: Any) -> list[int]:
        """A PDF with a text on each page (its looks do not matter here)."""
        inputs = [Input(text=text, kind="pdf") for text in pages]
        chunks = [
            NewChunk(n, v, span=Span(page=n + 1), text=t)
            for n, (t, v) in enumerate(zip(pages, self.embedder.embed(inputs), strict=True))
        ]
        return self.put(name, "pdf", chunks, pages=len(pages), **facts)

    def photo(self, name: str, picture: np.ndarray, text: str = "", **facts: Any) -> int:
        (vector,) = self.embedder.embed([Input(images=(picture,), text=text or None, kind="image")])
        return self.put(name, "image", [NewChunk(0, vector, text=text)], **facts)[0]

    def film(self, name: str, windows: Sequence[np.ndarray], window_s: float = 30.0, **facts: Any) -> list[int]:
        """A video of one window for each stack of frames [T, H, W, 3]."""
        vectors = self.embedder.embed([Input(video=frames, kind="video") for frames in windows])
        chunks = [NewChunk(n, v, Span(n * window_s, (n + 1) * window_s)) for n, v in enumerate(vectors)]
        return self.put(name, "video", chunks, duration_s=len(windows) * window_s, **facts)

    def put(self, name: str, kind: Kind, chunks: Sequence[NewChunk], **facts: Any) -> list[int]:
        path = f"{self.folder}/{name}"
        digest = os.fsencode(path).rjust(32, b"0")[-32:]
        mtime = int(facts.pop("mtime", 1_500_000_000) * 1e9)
        size = int(facts.pop("size", 1000))
        self.catalogue.files.note(self.root, [FoundFile(path, kind, (size, mtime, 0))])
        self.catalogue.queue.hashed([(work, work.stamp, digest) for work in self.catalogue.queue.unhashed(100)])
        ids = self.catalogue.contents.write(digest, facts, chunks, self.model.id)
        self.take_facts()
        self.index.catch_up()
        return ids

    def take_facts(self) -> None:
        """What the facts stage does, for files that are not on a disk."""
        due = self.catalogue.copies.due(1000)
        facts = [facts_of_name(Path(c.path), c.mtime_ns, c.inside or NOTHING) for c in due]
        self.catalogue.copies.write(list(zip(due, facts, strict=True)))

    def ask(self, text: str = "", k: int = 10, offset: int = 0, **options: Any) -> Answer:
        parts = options.pop("parts", ())
        own = (Part(text=text),) if text else ()
        sort = options.pop("sort", "relevance")
        return self.searcher.search(Query((*own, *parts), Filters(**options), sort), k, offset)

    def titles(self, text: str = "", **options: Any) -> list[str]:
        """The names of the relevant hits, best first."""
        return [h.title for h in self.ask(text, **options).hits if h.relevant]


def drawing(seed: int, side: int = 96) -> np.ndarray:
    """A picture unlike those of other seeds: uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(rng.integers(0, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, w = rng.integers(0, side, 3).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w // 2 + 4, y + w // 2 + 4), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return np.asarray(image)


def paths_under(catalogue: Catalogue, folder: str) -> list[str]:
    with catalogue.database.reader() as c:
        return list(c.execute(sa.select(file.c.path).where(under(file.c.path, folder))).scalars())


def found_vectors(catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """What can be found under the model that answers: int64 ids [n] and float16 vectors [n, dim]."""
    row = catalogue.models.answering()
    if row is None:
        return np.empty(0, np.int64), np.empty((0, 0), np.float16)
    source = StoredEmbeddings(catalogue.database, row.id, row.dim)
    batches = [(np.empty(0, np.int64), np.empty((0, row.dim), np.float16))]
    batches += [batch for group in GROUPS.values() for batch in source.vectors(group)]
    return np.concatenate([ids for ids, _ in batches]), np.concatenate([vectors for _, vectors in batches])
