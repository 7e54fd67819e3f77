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
import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.migrate import move
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from indexer.vectors.address import address_of
from indexer.vectors.faiss.index import FaissIndex
from indexer.vectors.index import VectorIndex
from indexer.vectors.milvus.index import MilvusIndex
from indexer.vectors.source import StoredEmbeddings
from model.inputs import Input
from model.lite.embedder import LiteEmbedder
from tests import milvus_server, postgresql
from tests.bench import report
from tests.bench.made_library import make
from tests.bench.postgresql import same_hits

CHUNKS = 100_000
QUERIES = 120
EVERY = 3
"""Of the sample set's questions, for comparing hits: all 763 take two minutes."""
THINGS = ("dog", "car", "beach", "house", "invoice", "train", "children", "snow", "mountain", "river")


class NotHere(Exception):
    """What this entry needs is not installed."""


@dataclass
class Opened:
    searcher: Searcher
    index: VectorIndex
    filled_s: float


class Made:
    """The library of the run: its catalogue in a SQLite file and, moved from there, on PostgreSQL; who
    embeds; and the servers, each started with its first use."""

    def __init__(self, folder: Path, chunks: int, embedder: LiteEmbedder, stack: ExitStack) -> None:
        self.folder, self.embedder, self._stack = folder, embedder, stack
        self.catalogue = make(folder / "catalogue.sqlite", chunks, embedder)
        self._moved: Catalogue | None = None
        self._milvus: milvus_server.RunningMilvus | None = None

    def moved(self) -> Catalogue:
        """The catalogue on a PostgreSQL server of the run's own."""
        if self._moved is None:
            try:
                server = self._stack.enter_context(postgresql.running())
            except pytest.skip.Exception as reason:
                raise NotHere(str(reason)) from reason
            self._moved = Catalogue(place(server.database()))
            self._stack.callback(self._moved.close)
            move(self.catalogue, self._moved)
            with self._moved.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
                c.exec_driver_sql("ANALYZE")  # as the server does by itself within a minute
        return self._moved

    def milvus(self) -> milvus_server.RunningMilvus:
        reason = milvus_server.why_not()
        if reason is not None:
            raise NotHere(reason)
        if self._milvus is None:
            self._milvus = milvus_server.RunningMilvus(self.folder / "milvus")
            self._milvus.start()
            self._stack.callback(self._milvus.stop)
        return self._milvus

    @contextmanager
    def on_faiss(self, catalogue: Catalogue) -> Iterator[Opened]:
        begun = time.perf_counter()
        source = _source(catalogue)
        folder = self.folder / f"faiss {catalogue.database.dialect.name}"
        with self._opened(catalogue, FaissIndex(folder, self.embedder.id, source.dim, source), begun) as opened:
            yield opened

    @contextmanager
    def on_milvus(self, catalogue: Catalogue) -> Iterator[Opened]:
        begun = time.perf_counter()
        catalogue.settings.name_library()
        source = _source(catalogue)
        address = address_of(self.milvus().url(f"bench_{catalogue.database.dialect.name}"))
        index = MilvusIndex(address, self.embedder.id, source.dim, source)
        with self._opened(catalogue, index, begun) as opened:
            _wait_for_graph(index)
            yield opened

    @contextmanager
    def _opened(self, catalogue: Catalogue, index: VectorIndex, begun: float) -> Iterator[Opened]:
        index.catch_up()
        filled = time.perf_counter() - begun
        searcher = Searcher(catalogue, index, self.embedder, None)  # type: ignore[arg-type]
        yield Opened(searcher, index, filled)
        searcher.close()
        index.close()


def _source(catalogue: Catalogue) -> StoredEmbeddings:
    row = catalogue.models.answering()
    assert row is not None
    return StoredEmbeddings(catalogue.database, row.id, row.dim)


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
    "embedded (SQLite, FAISS)": lambda made: made.on_faiss(made.catalogue),
    "PostgreSQL, FAISS": lambda made: made.on_faiss(made.moved()),
    "PostgreSQL, Milvus": lambda made: made.on_milvus(made.moved()),
}


def measure(chunks: int = CHUNKS, queries: int = QUERIES) -> str:
    embedder = LiteEmbedder.load()
    folder = Path(tempfile.mkdtemp(prefix="sightline-scale-"))
    left_out = []
    try:
        with ExitStack() as stack:
            made = Made(folder, chunks, embedder, stack)
            stack.callback(made.catalogue.close)
            opened: dict[str, Opened] = {}
            for name, library in LIBRARIES.items():
                try:
                    opened[name] = stack.enter_context(library(made))
                except NotHere as reason:
                    left_out.append(f"{name}: not measured, {reason}.")
            text = _table(opened, _asked(queries), embedder)
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
    return [f"{rng.choice(THINGS)} and {rng.choice(THINGS)} w{rng.integers(50, 20_000):05} {i}" for i in range(n)]


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


def parity(samples: Path) -> str:
    """Hits of the sample set on PostgreSQL and Milvus beside the embedded library's."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-scale-"))
    milvus = milvus_server.RunningMilvus(folder)
    milvus.start()
    try:
        with postgresql.running() as server:
            told = same_hits(samples, server, milvus.url("parity"), EVERY)
    finally:
        milvus.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return f"The sample set on PostgreSQL and Milvus beside the embedded library:\n\n{told}"


def main() -> None:
    tables = [measure(), parity(Path("samples"))]
    report.write("scale", "\n\n".join(tables))


if __name__ == "__main__":
    main()
