"""`make bench-ui-start`: the first searches, while Gradio is imported behind the page, and an idle server's memory.

Built around starts of `sightline serve` in processes of their own on the library of `make bench-ui`. Searches come one
after the other until Gradio is ready, and as many right after, in the same process: what counts is the ratio of their
95th percentiles, without a pause between searches and with one as long as between two words typed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil

from tests.bench.baseline import pss
from tests.bench.report import table, write
from tests.bench.ui import CHUNKS, Served, fill, phrases, spread

STARTS = 5
PAUSES_S = (0.0, 0.15)
MEMORY_MB = 300


def first_searches(data_dir: Path, pause_s: float) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of searches while Gradio is imported, and of as many right after, of all starts together; seconds
    until Gradio was ready of each."""
    early, late, ready = [], [], []
    for start in range(STARTS):
        served = Served(data_dir)
        served.answers()
        with httpx.Client(base_url=served.url, timeout=60) as client:
            words = iter(phrases(20 + start, 4000))

            def search(client: httpx.Client = client, words: Iterator[str] = words) -> float:
                time.sleep(pause_s)
                began = time.perf_counter()
                client.get("/api/search", params={"q": next(words), "k": "30"}).raise_for_status()
                return (time.perf_counter() - began) * 1000

            for _ in range(5):  # the model is loaded
                search()
            while not client.get("/api/status").json()["gradio"]:  # the first request begins the import
                early += [search() for _ in range(5)]
            ready.append(time.perf_counter() - served.began)
            time.sleep(2)
            late += [search() for _ in range(max(50, len(early) // (start + 1)))]
        served.stop()
    return early, late, ready


def row(data_dir: Path, pause_s: float) -> list[object]:
    early, late, ready = first_searches(data_dir, pause_s)
    ratio = np.percentile(early, 95) / np.percentile(late, 95)
    pause = f"{pause_s * 1000:.0f} ms between them" if pause_s else "no pause between them"
    return [pause, len(early), spread(early), spread(late), f"{ratio:.2f}", f"{np.median(ready):.1f}"]


def memory(data_dir: Path) -> tuple[float, float]:
    """MB of a server that has answered one search: before Gradio is imported, and once Gradio is ready."""

    def of_tree() -> float:
        root = psutil.Process(served.process.pid)
        return sum(map(pss, [root, *root.children(recursive=True)])) / 2**20

    served = Served(data_dir)
    served.answers()
    httpx.get(f"{served.url}/api/search", params={"q": "a red car"}, timeout=30).raise_for_status()
    before = of_tree()
    served.gradio()
    time.sleep(2)
    after = of_tree()
    served.stop()
    return before, after


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench-ui-start-") as scratch:
        data_dir = Path(scratch) / "library"
        fill(data_dir, Path(scratch) / "photos", CHUNKS)
        rows = [row(data_dir, pause_s) for pause_s in PAUSES_S]
        before, after = memory(data_dir)
    write(
        "ui-start",
        f"Searches one after the other while Gradio is imported behind the page, on {CHUNKS:,} chunks, {STARTS} starts;"
        " ms, p50 / p95. Target of the ratio: at most 2.\n\n"
        + table(["searches", "while it is imported", "ms", "after it, ms", "ratio of p95", "ready after, s"], rows)
        + f"\n\nMemory of the idle server (PSS of its tree): {before:.0f} MB before Gradio is imported (target"
        f" {MEMORY_MB}), {after:.0f} MB after.",
    )


if __name__ == "__main__":
    main()
