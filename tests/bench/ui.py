"""`make bench-ui`: how soon the page is there, how soon results are on it, how soon a video plays.

Everything is measured in a real Chromium against `sightline serve` in a process of its own, each figure
beside its bare part in the same run: the bare import of Gradio, the same search by bare `fetch`. The library
is 10,000 real (tiny) images written straight into a catalogue with vectors of the lite model, since indexing
is measured elsewhere (`make bench-index`), and so are the searches that come while Gradio is imported
(`make bench-ui-start`).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from data.media.image import read_image
from data.reader import to_webp
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.library import Library
from indexer.thumbnails import Thumbnails
from model.inputs import Input
from model.lite.embedder import LiteEmbedder
from tests.bench.report import table, write
from tests.media import draw_image, draw_video, picture

CHUNKS = 10_000
REPEATS = 40
PEOPLE = 200
ADJECTIVES = [
    "red",
    "old",
    "small",
    "bright",
    "wooden",
    "quiet",
    "broken",
    "golden",
    "wet",
    "distant",
    "paper",
    "green",
    "empty",
    "tall",
]
NOUNS = [
    "lighthouse",
    "boat",
    "dog",
    "bicycle",
    "mountain",
    "kitchen",
    "guitar",
    "invoice",
    "bridge",
    "forest",
    "cat",
    "train",
    "garden",
    "river",
    "clock",
    "market",
    "tower",
    "horse",
    "window",
    "street",
]


def phrases(seed: int, count: int) -> list[str]:
    dice = random.Random(seed)
    return [f"{dice.choice(ADJECTIVES)} {dice.choice(NOUNS)} near a {dice.choice(NOUNS)}" for _ in range(count)]


def fill(data_dir: Path, folder: Path, count: int) -> None:
    """A library of `count` images with text, as if they had been indexed."""
    lite = LiteEmbedder.load()
    texts = phrases(1, 400)
    vectors = np.concatenate([lite.embed([Input(text=t, kind="pdf")]) for t in texts])
    noise = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with Library.open(data_dir):
        pass
    catalogue = Catalogue(data_dir / "catalogue.sqlite")
    model = catalogue.models.add(lite.id, lite.dim, json.dumps({"name": "lite"}))
    root = catalogue.files.set_root(folder)
    thumbnails = Thumbnails(data_dir / "thumbnails")
    found = []
    for n in range(count):
        path = folder / f"IMG_{n:05}.jpg"
        picture(seed=n, size=(96, 64)).save(path)
        stat = path.stat()
        found.append(FoundFile(str(path), "image", (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)))
    catalogue.files.note(root, found)
    while works := catalogue.queue.unhashed(1000):
        catalogue.queue.hashed([(w, w.stamp, os.fsencode(w.path).rjust(32, b"0")[-32:]) for w in works])
    for n, one in enumerate(found):
        vector = vectors[n % len(texts)] + 0.05 * noise.standard_normal(lite.dim)
        chunk = NewChunk(0, (vector / np.linalg.norm(vector)).astype(np.float32), text=texts[n % len(texts)])
        digest = os.fsencode(one.path).rjust(32, b"0")[-32:]
        catalogue.contents.write(digest, {"width": 96, "height": 64}, [chunk], model.id)
        thumbnails.put(digest, 0, to_webp(read_image(Path(one.path))))
    catalogue.close()


class Served:
    """`sightline serve`, or another command that serves, in a process of its own; `began` is when it was started."""

    def __init__(self, data_dir: Path, *command: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.began = time.perf_counter()
        options = ["--data-dir", str(data_dir), "--port", str(self.port), "--no-browser", "--no-token"]
        arguments = [*(command or ("serve",)), *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def answers(self) -> float:
        """Seconds from the start until /healthz answers."""
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=5).read()
                return time.perf_counter() - self.began
            except OSError:
                assert self.process.poll() is None, "sightline serve ended"
                time.sleep(0.01)

    def gradio(self) -> float:
        """Seconds from the start until Gradio is ready."""
        while not httpx.get(f"{self.url}/api/status", timeout=30).json()["gradio"]:
            time.sleep(0.05)
        return time.perf_counter() - self.began

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def spread(values: Sequence[float]) -> str:
    """p50 / p95 in milliseconds."""
    return f"{np.percentile(values, 50):.0f} / {np.percentile(values, 95):.0f}"


def bare_import(module: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - began


def cold_start(browser: Browser, data_dir: Path, repeats: int = 3) -> list[list[object]]:
    healthy, painted, boxed, gradio = [], [], [], []
    for _ in range(repeats):
        page = browser.new_page()
        served = Served(data_dir)
        healthy.append(served.answers())
        asked = time.perf_counter() - served.began
        page.goto(served.url, wait_until="commit")
        page.get_by_role("combobox", name="Search in words").wait_for()
        boxed.append(time.perf_counter() - served.began)
        page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        paint = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
        painted.append(asked + paint / 1000)
        gradio.append(served.gradio())
        page.close()
        served.stop()
    middle = [float(np.median(v)) for v in (healthy, painted, boxed, gradio)]
    names = ("/healthz answers", "first paint", "search box usable", "Gradio ready behind it")
    bare = min(bare_import("gradio") for _ in range(2))
    rows: list[list[object]] = [
        [name, f"{seconds:.2f} s", f"{seconds / bare:.2f}"] for name, seconds in zip(names, middle, strict=True)
    ]
    rows.append(["bare `import gradio`", f"{bare:.2f} s", "1.00"])
    rows.append(
        ["bare `import fastapi, onnxruntime, faiss`", f"{bare_import('fastapi, onnxruntime, faiss'):.2f} s", ""]
    )
    return rows


ENTER = """async (words) => {
  const root = document.querySelector("#sightline").shadowRoot;
  const input = root.querySelector("input[type=search]");
  const list = root.querySelector("ul.grid");
  input.value = words;
  const began = performance.now();
  const changed = new Promise((done) => {
    const watcher = new MutationObserver(() => { watcher.disconnect(); done(); });
    watcher.observe(list, { childList: true });
  });
  input.form.requestSubmit();
  await changed;
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began;
}"""
FETCH = """async (words) => {
  const began = performance.now();
  await (await fetch("/api/search?" + new URLSearchParams({ q: words, k: "30", offset: "0" }))).json();
  return performance.now() - began;
}"""


# The pictures of the last answer are there: what a person who presses Enter has before him.
AT_REST = """() => [...document.querySelector("#sightline").shadowRoot.querySelectorAll(".picture > img")]
  .every((one) => one.getBoundingClientRect().top > innerHeight || (one.complete && one.naturalWidth))"""


def enter_to_paint(page: Page, repeats: int = REPEATS) -> tuple[list[float], list[float]]:
    """(Enter to painted, bare fetch) in milliseconds, by turns, over different words on a page at rest."""
    words = phrases(int(time.time()), 2 * repeats + 8)
    painted, fetched = [], []
    for n in range(0, len(words), 2):
        for script, times, one in ((ENTER, painted, words[n]), (FETCH, fetched, words[n + 1])):
            page.wait_for_function(AT_REST)
            page.wait_for_timeout(100)
            times.append(page.evaluate(script, one))
    return painted[4:], fetched[4:]


def big_video(folder: Path, gigabytes: float = 1.0) -> Path:
    """A playable MP4 of that size with its index at the very end: a gap between the data and the index."""
    small = draw_video(folder / "small.mp4", 180, 10, (640, 360), audio=True)
    data = small.read_bytes()
    at = 0
    while data[at + 4 : at + 8] != b"moov":
        at += int.from_bytes(data[at : at + 4], "big")
    path = folder / "long film.mp4"
    gap = int(gigabytes * 2**30)
    with path.open("wb") as out:
        out.write(data[:at])
        out.write(gap.to_bytes(4, "big") + b"free")
        out.seek(gap - 8, os.SEEK_CUR)  # a hole on the disk; the browser has to jump over it
        out.write(data[at:])
    small.unlink()
    return path


# The card of one window, as a search that finds it alone would show it.
THIRD_WINDOW = """([id, start]) => {
  const real = window.fetch;
  window.fetch = async (url, init) => {
    const answer = await real(url, init);
    if (!String(url).startsWith("/api/search")) return answer;
    const body = await answer.json();
    Object.assign(body.hits[0], { chunk_id: id, start_s: start, end_s: start + 30 });
    return new Response(JSON.stringify(body));
  };
}"""
# Milliseconds from the click (or Enter) on a card until its video plays past its second.
WATCH = """(start) => {
  const root = document.querySelector("#sightline").shadowRoot;
  window.played = new Promise((done) => root.addEventListener("click", async () => {
    const began = performance.now();
    for (;;) {
      await new Promise(requestAnimationFrame);
      const video = root.querySelector(".viewer video");
      if (video && video.readyState >= 3 && !video.paused && video.currentTime > start) break;
      if (performance.now() - began > 20000) return done(null);
    }
    done(performance.now() - began);
  }, { capture: true, once: true }));
}"""
REST_MS, PRESS_MS = 200, 70
"""A pointer comes to a card and is pressed there: no person is quicker."""


def click_to_play(browser: Browser, scratch: Path, repeats: int = 10) -> tuple[dict[str, list[float]], float, int]:
    """({how: milliseconds}, the film's GB, bytes sent)."""
    folder = scratch / "films"
    folder.mkdir()
    path = big_video(folder)
    with Library.open(scratch / "film library") as library:
        library.index([folder])
        file_id = library.search(_any()).hits[0].file_id
        chunk = library.chunks(file_id)[3]
    served = Served(scratch / "film library")
    served.answers()
    served.gradio()
    times: dict[str, list[float]] = {"mouse": [], "key": []}
    sent = 0
    for how in ["mouse", "key"] * repeats:
        page = browser.new_page()
        page.goto(f"{served.url}/?kind=video")
        page.locator("gradio-app #sightline").wait_for()
        page.locator(".card a.open").first.wait_for()
        page.evaluate(THIRD_WINDOW, [chunk.chunk_id, chunk.span.start_s])
        page.evaluate(ENTER, "film")
        card = page.locator(f'.card[data-chunk="{chunk.chunk_id}"] a.open')
        card.wait_for()
        page.wait_for_function(AT_REST)
        page.wait_for_timeout(300)
        page.evaluate(WATCH, chunk.span.start_s)
        if how == "mouse":
            card.hover()
            page.wait_for_timeout(REST_MS)
            page.mouse.down()
            page.wait_for_timeout(PRESS_MS)
            page.mouse.up()
        else:
            card.focus()
            page.keyboard.press("Enter")
        taken = page.evaluate("() => window.played")
        assert taken is not None, "the video does not play"
        times[how].append(taken)
        sent = page.evaluate(
            "() => performance.getEntriesByType('resource').filter((e) => e.name.includes('/media/'))"
            ".reduce((sum, e) => sum + e.transferSize, 0)"
        )
        page.close()
    served.stop()
    return times, path.stat().st_size / 2**30, sent


def _any() -> Any:
    from indexer.types import Query

    return Query(parts=())


def crowd(url: str, people: int = PEOPLE) -> tuple[list[float], int]:
    """(milliseconds of each of `people` searches at once, how many were not answered)."""

    def ask(words: str) -> tuple[float, int]:
        began = time.perf_counter()
        answer = client.get(f"{url}/api/search", params={"q": words})
        return (time.perf_counter() - began) * 1000, int(answer.status_code != 200)

    limits = httpx.Limits(max_connections=people)
    with httpx.Client(timeout=120, limits=limits) as client, ThreadPoolExecutor(people) as pool:
        done = list(pool.map(ask, phrases(7, people)))
    return [ms for ms, _ in done], sum(lost for _, lost in done)


def while_indexing(browser: Browser, scratch: Path, files: int) -> tuple[list[float], list[float], int]:
    """Enter to painted and bare fetch while `files` images wait to be indexed; how many still did after."""
    folder = scratch / "new photos"
    folder.mkdir()
    for n in range(files):
        draw_image(folder / f"DSC_{n:05}.jpg", seed=n, size=(640, 480))
    data_dir = scratch / "growing library"
    with Library.open(data_dir) as library:
        library.add_root(folder)
    served = Served(data_dir)
    served.answers()
    page = browser.new_page()
    page.goto(served.url)
    while httpx.get(f"{served.url}/api/status", timeout=30).json()["chunks"] < 40:
        time.sleep(0.2)
    painted, fetched = enter_to_paint(page, 20)
    pending = httpx.get(f"{served.url}/api/status", timeout=30).json()["pending"]
    page.close()
    served.stop()
    return painted, fetched, pending


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="bench-ui-"))
    path = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    try:
        data_dir = scratch / "library"
        fill(data_dir, scratch / "photos", CHUNKS)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
            )
            starts = cold_start(browser, data_dir)
            served = Served(data_dir)
            served.answers()
            served.gradio()
            page = browser.new_page()
            page.goto(served.url)
            page.locator("gradio-app #sightline").wait_for()
            painted, fetched = enter_to_paint(page)
            waited, lost = crowd(served.url)
            served.stop()
            played, size, sent = click_to_play(browser, scratch)
            busy, busy_fetch, pending = while_indexing(browser, scratch, CHUNKS)
            browser.close()
        extra = np.percentile(painted, 50) - np.percentile(fetched, 50)
        rows = [
            [f"Enter → results painted, {CHUNKS:,} chunks", spread(painted), f"{extra:+.0f} on bare fetch (50)"],
            ["the same search by bare `fetch`", spread(fetched), ""],
            [
                f"click on a card → video of {size:.1f} GB plays (pointer there {REST_MS} ms before)",
                spread(played["mouse"]),
                f"{sent / 1e6:.1f} MB sent (500)",
            ],
            ["Enter on the card instead: nothing loaded ahead", spread(played["key"]), "(500)"],
            [f"{PEOPLE} searches at once", spread(waited), f"{lost} lost"],
            [f"Enter → painted, {pending:,} files still to be indexed", spread(busy), ""],
            ["bare `fetch` while indexing", spread(busy_fetch), ""],
        ]
        write(
            "ui",
            "`sightline serve` on a library of 10,000 chunks, from the start of the process, median of 3:\n\n"
            + table(["until", "seconds", "of bare import"], starts)
            + "\n\nIn Chromium, p50 / p95, targets in brackets; the video has its index at its end:\n\n"
            + table(["what", "ms", "target"], rows),
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
