"""The vector index at size: rows of `make bench-index`, each beside a bare baseline of the same run.

Vectors are those of real texts and pictures under lite, mixed and disturbed (`made_library.mixed`);
queries are further mixtures that are not stored. 1,536 dimensions: the same, projected at random.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from indexer.vectors.faiss import segment
from indexer.vectors.faiss.index import FaissIndex
from indexer.vectors.index import Changes

Row = tuple[str, object, str, str]
QUERIES = 100
SIZES = {"1 M x 384": (1_000_000, 384), "200 k x 1,536": (200_000, 1536)}


class Rows:
    """A source whose vectors are rows of an array, ids ascending from 0; all of one group."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def position(self) -> int:
        return len(self.x)

    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(self.x)), np.zeros(len(self.x), np.uint8)

    def vectors(self, group: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for at in range(0, len(self.x), 4096):
            yield np.arange(at, min(at + 4096, len(self.x))), self.x[at : at + 4096]

    def changes(self, since: int) -> Changes:
        none = np.zeros(0, np.int64)
        return Changes(len(self.x), none, np.zeros((0, self.x.shape[1])), none, none)


@lru_cache(maxsize=1)
def _seeds() -> np.ndarray:
    from model.lite.embedder import LiteEmbedder
    from tests.bench.made_library import seeds

    return seeds(LiteEmbedder.load())


@lru_cache(maxsize=1)
def _made(name: str) -> tuple[np.ndarray, np.ndarray]:
    """float16 [n, dim] stored and float32 [QUERIES, dim] asked."""
    from tests.bench.made_library import mixed

    n, dim = SIZES[name]
    rng = np.random.default_rng(0)
    turn = rng.standard_normal((_seeds().shape[1], dim)).astype(np.float32)
    seeds = _seeds() @ turn
    seeds /= np.linalg.norm(seeds, axis=1, keepdims=True)
    stored = np.empty((n, dim), np.float16)
    for at in range(0, n, 20_000):
        stored[at : at + 20_000] = mixed(seeds, min(20_000, n - at), rng)
    return stored, mixed(seeds, QUERIES, rng)


@contextmanager
def _index(name: str, exact: bool) -> Iterator[tuple[FaissIndex, np.ndarray, np.ndarray, Path, float]]:
    stored, asked = _made(name)
    folder = Path(tempfile.mkdtemp(prefix="sightline-bench-"))
    begun = time.perf_counter()
    limit = segment.EXACT_BYTES * 10 if exact else 1
    index = FaissIndex(folder, name, stored.shape[1], Rows(stored), exact_bytes=limit)
    built = time.perf_counter() - begun
    try:
        yield index, stored, asked, folder, built
    finally:
        index.close()
        shutil.rmtree(folder, ignore_errors=True)


def _truth(stored: np.ndarray, asked: np.ndarray, k: int = 10, among: np.ndarray | None = None) -> np.ndarray:
    """ids [q, k] of a float32 scan in NumPy."""
    rows = np.arange(len(stored)) if among is None else among
    best_scores = np.full((len(asked), 0), -np.inf, np.float32)
    best_ids = np.zeros((len(asked), 0), np.int64)
    for at in range(0, len(rows), 50_000):
        part = rows[at : at + 50_000]
        best_scores = np.concatenate([best_scores, asked @ stored[part].astype(np.float32).T], 1)
        best_ids = np.concatenate([best_ids, np.broadcast_to(part, (len(asked), len(part)))], 1)
        keep = np.argsort(-best_scores, 1)[:, :k]
        best_scores = np.take_along_axis(best_scores, keep, 1)
        best_ids = np.take_along_axis(best_ids, keep, 1)
    return best_ids


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth, strict=True)]))


def _times(ask: Callable[[np.ndarray], object], asked: np.ndarray, n: int = QUERIES) -> list[float]:
    took = []
    for number in range(n):
        begun = time.perf_counter()
        ask(asked[number % len(asked)][None])
        took.append(time.perf_counter() - begun)
    return took


def _flat32_p50(stored: np.ndarray, asked: np.ndarray) -> float:
    import faiss

    flat = faiss.IndexFlatIP(stored.shape[1])
    for at in range(0, len(stored), 50_000):
        flat.add(stored[at : at + 50_000].astype(np.float32))
    return statistics.median(_times(lambda q: flat.search(q, 10), asked, 20))


def at_size(name: str) -> list[Row]:
    """Exact and approximate: recall, speed beside a float32 scan and beside a bare read, filters, opening."""
    stored, asked = _made(name)
    truth = _truth(stored, asked)
    flat_s = _flat32_p50(stored, asked)
    words = stored.reshape(-1).view(np.uint64)
    read_s = min(_times(lambda _: np.bitwise_or.reduce(words), asked, 5))
    rows: list[Row] = []
    for exact in (True, False):
        mode = "exact" if exact else "approximate"
        with _index(name, exact) as (index, _, _, folder, built):
            index.search(asked[:1], 10)
            found = index.search(asked, 10)[1]
            took = _times(lambda q, i=index: i.search(q, 10), asked)  # type: ignore[misc]
            p50 = statistics.median(took)
            wanted = "≤ 0.5" if exact else "≤ 0.1"
            rows.append((f"{name}, {mode}: recall@10", _recall(found, truth), "≥ 0.98", f"built in {built:.0f} s"))
            rows.append(
                (
                    f"{name}, {mode}: p50 / float32 flat scan p50",
                    p50 / flat_s,
                    wanted,
                    f"{p50 * 1000:.2f} ms, float32 {flat_s * 1000:.1f} ms",
                )
            )
            if exact:
                rows.append(
                    (
                        f"{name}: bytes scanned a second / bare memory read",
                        read_s / p50,
                        "≥ 0.8",
                        f"{stored.nbytes / p50 / 1e9:.1f} GB/s of {stored.nbytes / read_s / 1e9:.1f} GB/s",
                    )
                )
            rows += _filtered(name, mode, index, stored, asked, p50)
            if exact:
                rows += [_while_adding(name, index, asked), _opening(name, index, folder, asked, read_s)]
    return rows


def _filtered(name: str, mode: str, index: FaissIndex, stored: np.ndarray, asked: np.ndarray, p50: float) -> list[Row]:
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for share in (0.001, 0.01, 0.1, 0.5):
        allowed = np.sort(rng.choice(len(stored), int(share * len(stored)), replace=False))
        truth = _truth(stored, asked[:30], among=allowed)
        found = index.search(asked[:30], 10, allowed)[1]
        took = statistics.median(_times(lambda q, a=allowed: index.search(q, 10, a), asked, 20))  # type: ignore[misc]
        wanted = "≤ 1.5" if share == 0.01 else "–"
        detail = f"recall {_recall(found, truth):.3f}, {took * 1000:.2f} ms"
        rows.append((f"{name}, {mode}: filtered at {share:.1%} / unfiltered", took / p50, wanted, detail))
    return rows


def _while_adding(name: str, index: FaissIndex, asked: np.ndarray) -> Row:
    """Search p99 while another thread adds batches of 64 as fast as it can."""
    idle = _times(lambda q: index.search(q, 10), asked, 60)
    stop = threading.Event()
    added = 0

    def add() -> None:
        nonlocal added
        rng = np.random.default_rng(9)
        batch = rng.standard_normal((64, asked.shape[1])).astype(np.float32)
        batch /= np.linalg.norm(batch, axis=1, keepdims=True)
        while not stop.is_set():
            index.add(10_000_000 + added + np.arange(64), batch)
            added += 64

    writer = threading.Thread(target=add)
    writer.start()
    begun = time.perf_counter()
    busy = _times(lambda q: index.search(q, 10), asked, 60)
    seconds = time.perf_counter() - begun
    stop.set()
    writer.join()
    p99, idle_p99 = np.percentile(busy, 99), np.percentile(idle, 99)
    detail = f"{p99 * 1000:.1f} ms, idle {idle_p99 * 1000:.1f} ms, {added / seconds:.0f} vectors/s added"
    return (f"{name}: search p99 while adding / idle p99", float(p99 / idle_p99), "≤ 2", detail)


def _opening(name: str, index: FaissIndex, folder: Path, asked: np.ndarray, read_s: float) -> Row:
    """A start with the file there, to the first answer, beside reading its bytes once."""
    stored, _ = _made(name)
    (file, *_) = sorted(folder.glob("*.vec"))
    begun = time.perf_counter()
    with file.open("rb") as opened:
        while opened.read(1 << 24):
            pass
    once = time.perf_counter() - begun
    begun = time.perf_counter()
    again = FaissIndex(folder, name, stored.shape[1], Rows(stored), writable=False)
    again.search(asked[:1], 10)
    took = time.perf_counter() - begun
    again.close()
    detail = f"{took * 1000:.0f} ms; the file read once {once * 1000:.0f} ms"
    return (f"{name}: start-up to first answer / reading the bytes once", took / once, "≤ 3", detail)


def million() -> list[Row]:
    return at_size("1 M x 384")


def wide() -> list[Row]:
    return at_size("200 k x 1,536")
