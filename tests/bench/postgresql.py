"""The catalogue on PostgreSQL beside the embedded one: `make bench-postgresql`.

The same library in both (moved there with `indexer.catalogue.migrate`): whether the same queries give the
same hits and scores over the sample set, and what a text query costs over 100,000 chunks. The vectors
are searched by the same engine in both, so what differs is the catalogue's. Queries are asked in
turns, so that a machine's mood meets both.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.migrate import move
from indexer.library import Library
from indexer.types import Answer, Part, Query
from tests import postgresql
from tests.bench import report

K = 10
EDITED = 40
"""Queries with a slip of the fingers in their longest word, beside those of the sample set."""
TYPED = ("kind:pdf", "kind:image", "-the", "name:*a*", "after:2000", "under:images", "ext:png")


def questions(samples: Path) -> list[str]:
    """The texts of the sample set, the unanswerable ones, some with slips, some quoted, some with filters."""
    from tests.quality.answers import UNANSWERABLE
    from tests.quality.sampleset import SampleSet

    asked = [q.asked.text for q in SampleSet(samples).questions() if q.asked.text]
    asked += UNANSWERABLE.read_text("utf-8").splitlines()
    asked = list(dict.fromkeys(t.strip() for t in asked if t.strip()))
    rng = random.Random(1)
    some = rng.sample([t for t in asked if len(max(t.split(), key=len)) > 6], EDITED)
    slips = [_slip(t, rng) for t in some]
    quoted = [f'"{" ".join(t.split()[:2])}"' for t in rng.sample(asked, EDITED)]
    filtered = [f"{t} {rng.choice(TYPED)}" for t in rng.sample(asked, 2 * EDITED)]
    return [*asked, *slips, *quoted, *filtered]


def _slip(text: str, rng: random.Random) -> str:
    """Two neighbours swapped inside the longest word."""
    word = max(text.split(), key=len)
    at = rng.randrange(1, len(word) - 2)
    return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :])


def compared(embedded: Library, on_server: Library, asked: Sequence[str]) -> tuple[str, list[str]]:
    """A table of how far the answers agree, and the queries whose hits are not the same."""
    same_set = same_order = same_snippets = 0
    farthest = 0.0
    differing = []
    for text in asked:
        query = Query((Part(text=text),))
        a, b = embedded.search(query, K), on_server.search(query, K)
        mine, theirs = _hits(a), _hits(b)
        same_order += mine == theirs
        if set(mine) == set(theirs):
            same_set += 1
        else:
            differing.append(text)
        scores = {(h.path, h.span.start_s, h.span.page): h.score for h in b.hits}
        both = [abs(h.score - scores[key]) for h in a.hits if (key := (h.path, h.span.start_s, h.span.page)) in scores]
        farthest = max([farthest, *both])
        same_snippets += [h.snippet for h in a.hits] == [h.snippet for h in b.hits]
    n = len(asked)
    row = [n, f"{same_set / n:.4f}", f"{same_order / n:.4f}", f"{same_snippets / n:.4f}", f"{farthest:.5f}"]
    head = ["queries", f"same hits at {K}", "same order", "same snippets", "farthest scores, ≤ 0.001"]
    return report.table(head, [row]), differing


def _hits(answer: Answer) -> list[tuple[Any, ...]]:
    return [(h.path, h.span.start_s, h.span.page) for h in answer.hits]


def same_hits(samples: Path, server: postgresql.Server, vectors: str | None = None, every: int = 1) -> str:
    """The embedded library beside one with its catalogue on the server (and its vectors at `vectors`)."""
    from tests.quality.answers import FOLDERS

    folder = Path(tempfile.mkdtemp(prefix="sightline-parity-"))
    try:
        with Library.open(folder / "embedded", nice=False, ocr="off", speech="off") as embedded:
            embedded.index([samples / name for name in FOLDERS.values()])
            address = server.database()
            there = Catalogue(place(address))
            begun = time.monotonic()
            moved = move(embedded.catalogue, there)
            print(f"moved {moved.rows} in {time.monotonic() - begun:.1f} s", file=sys.stderr)
            there.close()
            place_ = {"catalogue": address, "vectors": vectors}
            with Library.open(folder / "there", nice=False, ocr="off", speech="off", **place_) as on_server:
                told, differing = compared(embedded, on_server, questions(samples)[::every])
        for text in differing:
            print(f"other hits: {text}", file=sys.stderr)
        return told
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cost(server: postgresql.Server, size: int = 100_000, queries: int = 200) -> str:
    """A text query over the same chunks with the catalogue in SQLite and on the server (loopback)."""
    from indexer.search.searcher import Searcher
    from indexer.vectors.faiss.index import FaissIndex
    from indexer.vectors.source import StoredEmbeddings
    from model.lite.embedder import LiteEmbedder
    from tests.bench.made_library import make

    embedder = LiteEmbedder.load()
    folder = Path(tempfile.mkdtemp(prefix="sightline-cost-"))
    rng = np.random.default_rng(1)
    things = ("dog", "car", "beach", "house", "invoice", "train", "children", "snow", "mountain", "river")
    try:
        embedded = make(folder / "catalogue.sqlite", size, embedder)
        address = place(server.database())
        begun = time.monotonic()
        move(embedded, on_server := Catalogue(address))
        moved_s = time.monotonic() - begun
        server.sql("ANALYZE", database=address.database)  # type: ignore[union-attr]
        model = embedded.models.answering()
        assert model is not None
        index = FaissIndex(
            folder / "index", model.name, model.dim, StoredEmbeddings(embedded.database, model.id, model.dim)
        )
        searchers = [Searcher(c, index, embedder, None) for c in (embedded, on_server)]  # type: ignore[arg-type]
        took: list[list[float]] = [[], []]
        for number in range(queries + 20):
            text = f"{rng.choice(things)} and {rng.choice(things)} w{rng.integers(50, 20_000):05} {number}"
            for which in (0, 1) if number % 2 else (1, 0):
                begun = time.perf_counter()
                searchers[which].search(Query((Part(text=text),)))
                took[which].append((time.perf_counter() - begun) * 1000)
        p50 = [statistics.median(t[20:]) for t in took]
        p95 = [float(np.percentile(t[20:], 95)) for t in took]
        for each in searchers:
            each.close()
        index.close()
        embedded.close()
        on_server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    head = ["chunks", "embedded p50, ms", "p95", "PostgreSQL p50, ms", "p95", "ratio of p50, ≤ 2", "moved in, s"]
    row = [f"{size:,}", p50[0], p95[0], p50[1], p95[1], p50[1] / p50[0], f"{moved_s:.0f}"]
    return report.table(head, [row])


def main() -> None:
    samples = Path("samples")
    with postgresql.running() as server:
        report.write("postgresql", "\n\n".join([same_hits(samples, server), cost(server)]))


if __name__ == "__main__":
    main()
