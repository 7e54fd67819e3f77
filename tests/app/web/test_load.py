"""300 searches and uploads at once while the library is indexed with OCR: none is lost, and the processes stay small.

`pytest -s` prints the figures of docs/reliability.md.
"""

from __future__ import annotations

import io
import json
import socket
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


def requests(folder: Path, url: str) -> list[bytes]:
    """Distinct requests as bytes, so that the client costs little beside the server on the same cores."""

    def raw(method: str, **arguments: Any) -> bytes:
        request = httpx.Request(method, f"{url}/api/search", **arguments)
        request.headers["Connection"] = "close"
        head = [b"%s %s HTTP/1.1" % (method.encode(), request.url.raw_path)]
        head += [b"%s: %s" % header for header in request.headers.raw]
        return b"\r\n".join([*head, b"", request.read()])

    def upload(name: str, data: bytes) -> bytes:
        return raw("POST", files={"files": (name, data)})

    def jpeg(n: int) -> bytes:
        out = io.BytesIO()
        picture(size=(1024, 768), seed=5000 + n).save(out, "JPEG")
        return out.getvalue()

    made = [raw("GET", params={"q": f"{WORDS[n % len(WORDS)]} {n}", "k": 30}) for n in range(SEARCHES)]
    made += [upload("a.jpg", jpeg(n)) for n in range(PICTURES)]
    made += [upload("a.pdf", draw_pdf(folder / f"{n}.pdf", [f"Letter {n}"]).read_bytes()) for n in range(PAGES)]
    made += [upload("a.mp4", draw_video(folder / f"{n}.mp4", 4 + n, 5).read_bytes()) for n in range(CLIPS)]
    return made


def ask(address: tuple[str, int], request: bytes) -> tuple[float, bytes]:
    """Seconds until the whole answer is there, and the answer."""
    begun = time.monotonic()
    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return time.monotonic() - begun, answer


def test_three_hundred_searches_and_uploads_at_once_while_indexing(tmp_path: Path) -> None:
    fill(tmp_path / "here", tmp_path / "new")
    library = ["--data-dir", str(tmp_path / "library")]
    index = [sys.executable, "-m", "app.cli", "index", str(tmp_path / "here"), *library]
    subprocess.run(index, check=True, capture_output=True)
    with served_program(*library) as (url, tree):
        sent = requests(tmp_path / "sent", url)
        address = (httpx.URL(url).host, httpx.URL(url).port or 80)
        httpx.post(f"{url}/api/roots", json={"path": str(tmp_path / "new")}, timeout=60).raise_for_status()
        while httpx.get(f"{url}/api/status", timeout=60).json()["chunks"] < 100:
            time.sleep(0.2)  # indexing is under way

        def burst() -> list[tuple[float, bytes]]:
            together = Barrier(len(sent), timeout=120)

            def one(request: bytes) -> tuple[float, bytes]:
                together.wait()
                return ask(address, request)

            with ThreadPoolExecutor(len(sent)) as people:
                return list(people.map(one, sent))

        begun, before_s = time.monotonic(), tree.cpu_s()
        results = [answer for _ in range(BURSTS) for answer in burst()]
        wall_s, cpu_s = time.monotonic() - begun, tree.cpu_s() - before_s
        peak = tree.peak(lambda: results.extend(burst()), 0.1)
        pending = httpx.get(f"{url}/api/status", timeout=60).json()["pending"]
    unwatched = results[: BURSTS * len(sent)]  # reading the memory costs time
    middle, last = np.percentile([took for took, _ in unwatched], [50, 100])
    answers = [answer.split(b"\r\n\r\n", 1) for _, answer in results]
    statuses = Counter(int(head.split()[1]) if json.loads(body)["hits"] else 0 for head, body in answers)
    worst = [max(took for took, _ in unwatched[n : n + len(sent)]) for n in range(0, len(unwatched), len(sent))]
    print(
        f"\n{BURSTS + 1} x {len(sent)} at once: {dict(statuses)}; without the last {len(sent)}: median {middle:.1f} s,"
        f" worst {last:.1f} s (of each: {', '.join(f'{s:.1f}' for s in worst)}), {cpu_s / BURSTS:.1f} s of CPU each on"
        f" {cpu_s / wall_s:.2f} cores; with them: {peak / MB:.0f} MB; {pending} files still to be indexed"
    )
    assert pending > 0, "nothing was indexed meanwhile"
    assert statuses == {200: len(results)}
    assert peak < 1200 * MB
