"""`python -m tests.bench.ui_large`: how long the page's tasks are at 100,000 chunks.

Built around a made library (`made_library.py`) behind `sightline serve`, and Chromium's own trace: of every task of the
page's main thread its processor time, which a busy machine does not stretch, beside its time by the clock. The
timeline is scrubbed from end to end, 5,000 results are selected and cleared, and Enter → painted is compared with the
same search by bare `fetch`. `--chunks N` for another size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from data.reader import to_webp
from indexer.thumbnails import Thumbnails
from model.lite.embedder import LiteEmbedder
from tests.bench.made_library import make
from tests.bench.report import table, write
from tests.bench.ui import Served, enter_to_paint, spread
from tests.indexer.written_library import drawing

APART = timedelta(minutes=160)
"""Between two chunks: 100,000 of them make thirty years, 365 months on the timeline."""

REPEATS = 3
STEPS = 80
"""Places at which the dragged scrubber stops."""

TRACED = ["toplevel", "devtools.timeline", "blink.user_timing"]


def fill(data_dir: Path, chunks: int) -> None:
    """A library of that many chunks with a thumbnail each, and no files."""
    data_dir.mkdir(mode=0o700)
    catalogue = make(data_dir / "catalogue.sqlite", chunks, LiteEmbedder.load(), apart=APART)
    pictures = [to_webp(drawing(seed, 240)) for seed in range(50)]
    thumbnails = Thumbnails(data_dir / "thumbnails")
    with catalogue.database.reader() as connection:
        rows = connection.exec_driver_sql("SELECT content_hash, ordinal FROM chunk").fetchall()
    for n, (digest, ordinal) in enumerate(rows):
        thumbnails.put(bytes(digest), ordinal, pictures[n % len(pictures)])
    catalogue.close()


def tasks(browser: Browser, page: Page, act: Callable[[Page], None]) -> list[tuple[float, float]]:
    """(processor time, time by the clock) in milliseconds of each task of the page's main thread while `act` runs."""
    page.wait_for_timeout(500)
    browser.start_tracing(page=page, categories=TRACED)
    act(page)
    page.wait_for_timeout(500)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {
        (e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"
    }
    ours = {(e["pid"], e["tid"]) for e in events if e["name"] in ("EvaluateScript", "FunctionCall", "EventDispatch")}
    return [
        (e.get("tdur", e["dur"]) / 1000, e["dur"] / 1000)
        for e in events
        if e.get("ph") == "X" and e["name"].endswith("RunTask") and (e["pid"], e["tid"]) in mains & ours
    ]


def scrub(page: Page) -> None:
    """Drag the scrubber from its top to its end and let it go there: the list follows."""
    box = page.locator(".scrubber").bounding_box()
    assert box is not None
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 2)
    page.mouse.down()
    for step in range(STEPS):
        page.mouse.move(x, box["y"] + 2 + (box["height"] - 4) * step / (STEPS - 1))
        page.wait_for_timeout(16)
    page.wait_for_timeout(400)
    page.mouse.up()
    expect(page.locator(".card").first).to_be_visible()


def select(page: Page) -> None:
    page.locator(".card .pick").first.click(force=True)
    page.get_by_role("button", name="Select all results").click()
    expect(page.locator(".selection strong")).to_have_text("5,000 results selected", timeout=120_000)


def clear(page: Page) -> None:
    page.keyboard.press("Escape")
    expect(page.locator(".selection")).to_be_hidden()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    chunks = parser.parse_args().chunks
    scratch = Path(tempfile.mkdtemp(prefix="bench-ui-large-"))
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    longest: dict[str, list[tuple[float, float]]] = {}
    try:
        fill(scratch / "library", chunks)
        served = Served(scratch / "library")
        served.answers()
        served.gradio()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            for _ in range(REPEATS):
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(served.url)
                page.locator("gradio-app #sightline").wait_for()
                page.locator(".scrubber").wait_for(timeout=60_000)
                deeds = {
                    "the timeline scrubbed from end to end": scrub,
                    "5,000 results selected": select,
                    "the selection cleared": clear,
                }
                for name, deed in deeds.items():
                    if name.startswith("5,000"):
                        page.reload()
                        page.locator(".card").first.wait_for()
                    longest.setdefault(name, []).append(max(tasks(browser, page, deed)))
                page.close()
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(served.url)
            page.locator("gradio-app #sightline").wait_for()
            painted, fetched = enter_to_paint(page)
            browser.close()
        served.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows = [
        [name, *(f"{np.median(times):.0f}" for times in zip(*pairs, strict=True)), "50"]
        for name, pairs in longest.items()
    ]
    extra = np.percentile(painted, 50) - np.percentile(fetched, 50)
    write(
        "ui-large",
        f"`sightline serve` on {chunks:,} chunks in Chromium: the longest task of the page's main thread in ms, median"
        f" of {REPEATS}.\n\n"
        + table(["while", "processor time", "by the clock", "target"], rows)
        + f"\n\nEnter → results painted {spread(painted)} ms (p50 / p95), the same search by bare `fetch`"
        f" {spread(fetched)} ms: {extra:+.0f} ms at the median (40).",
    )


if __name__ == "__main__":
    main()
