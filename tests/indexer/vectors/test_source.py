"""The vector index follows the real catalogue's journal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.types import Kind
from indexer.vectors.faiss.index import FaissIndex
from indexer.vectors.source import GROUPS, StoredEmbeddings

DIM = 8


def unit(seed: int, n: int = 1) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


class Shelf:
    """A catalogue with files in it, written as the pipeline writes."""

    def __init__(self, path: Path) -> None:
        self.catalogue = Catalogue(path / "catalogue.sqlite")
        self.model = self.catalogue.models.add("lite@x-r1", DIM)
        self.root = self.catalogue.files.set_root(Path("/pictures"))

    def put(self, name: str, kind: Kind, vectors: np.ndarray) -> list[int]:
        digest = name.encode().ljust(32, b"0")
        self.catalogue.files.note(self.root, [FoundFile(f"/pictures/{name}", kind, (1, 2, 3))])
        work = self.catalogue.queue.unhashed(100)
        self.catalogue.queue.hashed([(w, w.stamp, digest) for w in work])
        return self.catalogue.contents.write(digest, {}, [NewChunk(i, v) for i, v in enumerate(vectors)], self.model.id)

    def source(self) -> StoredEmbeddings:
        return StoredEmbeddings(self.catalogue.database, self.model.id, DIM)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def nearest(index: FaissIndex, vector: np.ndarray, group: int | None = None) -> int:
    return int(index.search(vector[None], 1, group=group)[1][0, 0])


@pytest.mark.slow
def test_what_is_written_deleted_and_brought_back_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    x = unit(1, 5)
    (photo,) = shelf.put("a.jpg", "image", x[:1])
    index = FaissIndex(tmp_path / "index", "lite@x-r1", DIM, shelf.source())
    assert nearest(index, x[0]) == photo
    pages = shelf.put("b.pdf", "pdf", x[1:4])
    assert index.catch_up() == 3
    assert nearest(index, x[2]) == pages[1]
    assert nearest(index, x[2], GROUPS["image"]) == photo
    shelf.catalogue.files.remove(["/pictures/b.pdf"])
    index.catch_up()
    assert len(index) == 1
    shelf.put("b.pdf", "pdf", x[1:4])  # an undone deletion
    index.catch_up()
    assert len(index) == 4
    index.close()


def test_a_vector_that_was_made_again_replaces_the_one_in_the_file(shelf: Shelf, tmp_path: Path) -> None:
    """Same id, another vector, while the index was closed: only the journal can tell."""
    x = unit(2, 4)
    ids = shelf.put("a.pdf", "pdf", x[:3])
    index = FaissIndex(tmp_path / "index", "lite@x-r1", DIM, shelf.source())
    index.merge()
    index.close()
    shelf.catalogue.contents.add_embeddings(shelf.model.id, ids[:1], [x[3]])
    again = FaissIndex(tmp_path / "index", "lite@x-r1", DIM, shelf.source())
    scores, found = again.search(x[3:4], 1)
    assert found[0, 0] == ids[0] and scores[0, 0] > 0.999
    again.close()


def test_a_deleted_index_is_made_again_with_its_kinds(shelf: Shelf, tmp_path: Path) -> None:
    x = unit(3, 6)
    film = shelf.put("a.mp4", "video", x[:3])
    page = shelf.put("b.pdf", "pdf", x[3:])
    index = FaissIndex(tmp_path / "index", "lite@x-r1", DIM, shelf.source())
    for n, i in enumerate([*film, *page]):
        assert nearest(index, x[n]) == i
    assert nearest(index, x[0], GROUPS["pdf"]) in page
    assert sorted(index.ids().tolist()) == [*film, *page]
    index.close()
