"""300 searches and uploads at once while the library is indexed with OCR: none is lost, and the processes stay small.

`pytest -s` prints the figures of docs/reliability.md.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.process_tree import MB, served_program
from tests.media import draw_image, draw_pdf, draw_video, picture

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

SEARCHES, PICTURES, PAGES, CLIPS = 210, 70, 10, 10
BURSTS = 3
NEW_FILES = 600
WORDS = ("lighthouse", "harbour", "red boat", "a dog in snow", "invoice", "green circle", "night", "old letter")


def fill(folder: Path, new: Path) -> None:
    """A library's files, and more that are still to be indexed."""
    for n in range(40):
        draw_image(folder / f"{n}.jpg", seed=n, size=(640, 480))
    draw_pdf(folder / "report.pdf", [f"Page {n}: the lighthouse of the harbour" for n in range(20)])
    draw_video(folder / "boat.mp4", 60, 5, size=(320, 240))
    for n in range(NEW_FILES):
        draw_image(new / f"{n}.jpg", f"Sign {n}" if n % 3 == 0 else "", seed=1000 + n, size=(1024, 768))
    for n in range(10):
        draw_pdf(new / f"{n}.pdf", [f"Page {k} of book {n}" for k in range(20)])
        draw_video(new / f"{n}.mp4", 60 + n, 5, size=(320, 240))


def requests(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(method, what `httpx.Client.request` takes) of distinct requests."""

    def upload(name: str, data: bytes) -> tuple[str, dict[str, Any]]:
        return "POST", {"files": {"files": (name, data)}}

    def jpeg(n: int) -> bytes:
        out = io.BytesIO()
        picture(size=(1024, 768), seed=5000 + n).save(out, "JPEG")
        return out.getvalue()

    made: list[tuple[str, dict[str, Any]]] = [
        ("GET", {"params": {"q": f"{WORDS[n % len(WORDS)]} {n}", "k": 30}}) for n in range(SEARCHES)
    ]
    made += [upload("a.jpg", jpeg(n)) for n in range(PICTURES)]
    made += [upload("a.pdf", draw_pdf(folder / f"{n}.pdf", [f"Letter {n}"]).read_bytes()) for n in range(PAGES)]
    made += [upload("a.mp4", draw_video(folder / f"{n}.mp4", 4 + n, 5).read_bytes()) for n in range(CLIPS)]
    return made


def test_three_hundred_searches_and_uploads_at_once_while_indexing(tmp_path: Path) -> None:
    fill(tmp_path / "here", tmp_path / "new")
    library = ["--data-dir", str(tmp_path / "library")]
    index = [sys.executable, "-m", "app.cli", "index", str(tmp_path / "here"), *library]
    subprocess.run(index, check=True, capture_output=True)
    sent = requests(tmp_path / "sent")
    with served_program(*library) as (url, tree):
        httpx.post(f"{url}/api/roots", json={"path": str(tmp_path / "new")}, timeout=60).raise_for_status()
        while httpx.get(f"{url}/api/status", timeout=60).json()["chunks"] < 100:
            time.sleep(0.2)  # indexing is under way
        seconds: list[float] = []
        statuses: Counter[int] = Counter()

        def burst() -> None:
            together = Barrier(len(sent), timeout=120)

            def ask(request: tuple[str, dict[str, Any]]) -> tuple[float, int, bool]:
                together.wait()
                begun = time.monotonic()
                answer = client.request(request[0], "/api/search", **request[1])
                return time.monotonic() - begun, answer.status_code, bool(answer.json().get("hits"))

            with ThreadPoolExecutor(len(sent)) as people:
                for took, status, has_hits in people.map(ask, sent):
                    seconds.append(took)
                    statuses[status if has_hits or status != 200 else 0] += 1

        # A connection of its own for each: one that the server has just closed as idle would count as a lost request.
        limits = httpx.Limits(max_connections=len(sent), max_keepalive_connections=0)
        with httpx.Client(base_url=url, timeout=120, limits=limits) as client:
            peaks = [tree.peak(burst, 0.1) for _ in range(BURSTS)]
        pending = httpx.get(f"{url}/api/status", timeout=60).json()["pending"]
    middle, last = np.percentile(seconds, [50, 100])
    print(
        f"\n{BURSTS} x {len(sent)} at once: {dict(statuses)}, median {middle:.1f} s, worst {last:.1f} s,"
        f" {max(peaks) / MB:.0f} MB, {pending} files still to be indexed"
    )
    assert pending > 0, "nothing was indexed meanwhile"
    assert statuses == {200: BURSTS * len(sent)}
    assert max(peaks) < 1200 * MB
