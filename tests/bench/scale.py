"""`make bench-scale`: one library on the embedded engines, and on servers of this machine (loopback).

Built around `LIBRARIES`: each entry opens a searcher over the same made library; a further engine is one
more entry. Queries go to all of them in turns, so that a busy moment hits all alike. An entry that cannot
be had here (no server installed) is left out and named. Knows nothing of how answers are made.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.catalogue import Catalogue
from indexer.embeddings import StoredEmbeddings
from indexer.engine import address_of
from indexer.faiss_index import FaissIndex
from indexer.milvus import MilvusIndex
from indexer.records import Part, Query
from indexer.search import Searcher
from indexer.vectors import VectorIndex
from model.inputs import Input
from model.lite import LiteEmbedder
from tests import milvus_server
from tests.bench import report
from tests.bench.made_library import make

CHUNKS = 100_000
QUERIES = 150
THINGS = ("dog", "car", "beach", "house", "invoice", "train", "children", "snow", "mountain", "river")


class NotHere(Exception):
    """What this entry needs is not installed."""


@dataclass
class Opened:
    searcher: Searcher
    index: VectorIndex
    filled_s: float


@dataclass
class Made:
    """The library of the run: a catalogue in a SQLite file, and who embeds."""

    folder: Path
    catalogue: Catalogue
    embedder: LiteEmbedder

    def source(self) -> StoredEmbeddings:
        row = self.catalogue.answering()
        assert row is not None
        return StoredEmbeddings(self.catalogue, row.id, row.dim)

    def opened(self, index: VectorIndex) -> Opened:
        begun = time.perf_counter()
        index.catch_up()
        filled = time.perf_counter() - begun
        searcher = Searcher(self.catalogue, index, self.embedder, None)  # type: ignore[arg-type]
        return Opened(searcher, index, filled)


@contextmanager
def embedded(made: Made) -> Iterator[Opened]:
    begun = time.perf_counter()
    index = FaissIndex(made.folder / "faiss", made.embedder.id, made.embedder.dim, made.source())
    opened = made.opened(index)
    opened.filled_s = time.perf_counter() - begun
    yield opened
    opened.searcher.close()
    index.close()


@contextmanager
def milvus(made: Made) -> Iterator[Opened]:
    reason = milvus_server.why_not()
    if reason is not None:
        raise NotHere(reason)
    server = milvus_server.RunningMilvus(made.folder / "milvus")
    server.start()
    try:
        made.catalogue.name_library()
        index = MilvusIndex(
            address_of(server.url("bench")), made.embedder.id, made.embedder.dim, made.source()
        )
        opened = made.opened(index)
        _wait_for_graph(index)
        yield opened
        opened.searcher.close()
        index.close()
    finally:
        server.stop()


def _wait_for_graph(index: MilvusIndex) -> None:
    """The server builds it in the background; until then it searches in another, slower and lossy way."""
    collection = index._collection
    deadline = time.monotonic() + 600
    while not collection.exact and time.monotonic() < deadline:
        told = collection._connected().describe_index(collection.name, "vector")
        if not told.get("pending_index_rows") and told.get("indexed_rows", 0) >= 0.9 * len(index):
            time.sleep(5)  # and the nodes that search take it over
            return
        time.sleep(0.5)


LIBRARIES: dict[str, Callable[[Made], AbstractContextManager[Opened]]] = {
    "embedded (SQLite, FAISS)": embedded,
    "SQLite, Milvus": milvus,
}


def measure(chunks: int = CHUNKS, queries: int = QUERIES) -> str:
    embedder = LiteEmbedder.load()
    folder = Path(tempfile.mkdtemp(prefix="sightline-scale-"))
    left_out = []
    try:
        with ExitStack() as stack:
            made = Made(folder, make(folder / "catalogue.sqlite", chunks, embedder), embedder)
            opened: dict[str, Opened] = {}
            for name, library in LIBRARIES.items():
                try:
                    opened[name] = stack.enter_context(library(made))
                except NotHere as reason:
                    left_out.append(f"{name}: not measured, {reason}.")
            text = _table(opened, _asked(queries), embedder)
            made.catalogue.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    notes = [
        f"A text query from words to hits over {chunks:,} chunks of a made library, model lite, in turns; "
        "the servers are on this machine. Target: at most twice the embedded library's p50.",
        *left_out,
    ]
    return "\n\n".join([text, *notes])


def _asked(n: int) -> list[str]:
    rng = np.random.default_rng(1)
    return [
        f"{rng.choice(THINGS)} and {rng.choice(THINGS)} w{rng.integers(50, 20_000):05} {i}" for i in range(n)
    ]


def _table(opened: dict[str, Opened], asked: list[str], embedder: LiteEmbedder) -> str:
    query_s: dict[str, list[float]] = {name: [] for name in opened}
    search_s: dict[str, list[float]] = {name: [] for name in opened}
    found: dict[str, list[set[int]]] = {name: [] for name in opened}
    for library in opened.values():  # the first queries read and fill caches
        for text in asked[:5]:
            library.searcher.search(Query((Part(text=f"{text} warm"),)))
    for text in asked:
        vector = embedder.embed([Input(text=text, role="query")])
        for name, library in opened.items():
            begun = time.perf_counter()
            library.searcher.search(Query((Part(text=text),)))
            query_s[name].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            ids = library.index.search(vector, 10)[1]
            search_s[name].append(time.perf_counter() - begun)
            found[name].append(set(ids[0].tolist()))
    base = next(iter(opened))
    base_p50 = statistics.median(query_s[base])
    rows = []
    for name, library in opened.items():
        p50 = statistics.median(query_s[name])
        same = [len(a & b) / 10 for a, b in zip(found[name], found[base], strict=True)]
        rows.append(
            [
                name,
                p50 * 1000,
                float(np.percentile(query_s[name], 99)) * 1000,
                p50 / base_p50,
                statistics.median(search_s[name]) * 1000,
                float(np.mean(same)),
                library.filled_s,
            ]
        )
    head = [
        "library",
        "query p50, ms",
        "p99, ms",
        "p50 / embedded (target ≤ 2)",
        "vector search alone, ms",
        "same best ten",
        "filled in, s",
    ]
    return report.table(head, rows)


def main() -> None:
    report.write("scale", measure())


if __name__ == "__main__":
    main()
