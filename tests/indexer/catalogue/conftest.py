"""A catalogue on each database, and what its tests do to it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, NewChunk, Unhashed
from indexer.catalogue.schema import Where
from indexer.search import text_search

VECTOR = np.array([1.0, 0.0, 0.0, 0.0], np.float32)


@pytest.fixture
def catalogue(where: Where) -> Iterator[Catalogue]:
    made = Catalogue(where)
    yield made
    made.close()


def put(catalogue: Catalogue, path: str, digest: bytes = b"a" * 32, root: str = "/r") -> Unhashed:
    root_id = catalogue.files.set_root(Path(root))
    catalogue.files.note(root_id, [FoundFile(path, "image", (10, 20, 30))])
    waiting = next(f for f in catalogue.queue.unhashed(10_000) if f.path == path)
    catalogue.queue.hashed([(waiting, waiting.stamp, digest)])
    return waiting


def take(catalogue: Catalogue, digest: bytes) -> int:
    waiting = catalogue.queue.unhashed(1)[0]
    return catalogue.queue.hashed([(waiting, waiting.stamp, digest)])


def index(catalogue: Catalogue, digest: bytes, texts: tuple[str, ...] = ("",)) -> list[int]:
    model = catalogue.models.add("m", 4)
    return catalogue.contents.write(digest, {}, [NewChunk(i, VECTOR, text=t) for i, t in enumerate(texts)], model.id)


def holding(catalogue: Catalogue, word: str, table: str = "words") -> list[int]:
    """Rows of a text table that hold a word, its other forms included."""
    with catalogue.database.reader() as c:
        asked = text_search.matching(word, table)
        return list(c.exec_driver_sql(f"SELECT rowid FROM {table} WHERE {table} MATCH ?", (asked,)).scalars())
