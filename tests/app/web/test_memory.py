"""The memory that requests cost: one adds at most 300 MB to the server and its children, forty at once 800 MB.

Each request is within what a client may send, or tries to be; most are refused. The server is a process of its own.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.app.process_tree import MB, ProcessTree, served_program
from tests.media import draw_image, draw_pdf, draw_video

ONE, FORTY = 300 * MB, 800 * MB
JSON = {"content-type": "application/json"}

Request = tuple[str, dict[str, Any]]
"""A path, and what `httpx.Request` takes; nothing of it for a GET."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ProcessTree]]:
    """(address, processes) of a server with its model, decoders and Gradio loaded."""
    base = tmp_path_factory.mktemp("memory")
    draw_image(base / "in" / "lake.png", color=(20, 60, 220))
    draw_video(base / "in" / "boat.mp4", 60, 2, size=(1920, 1080))
    draw_pdf(base / "in" / "report.pdf", ["The lighthouse of the harbour"])
    library = ["--data-dir", str(base / "library"), "--model", "lite"]
    program = [sys.executable, "-m", "app.cli"]
    subprocess.run([*program, "index", str(base / "in"), "--ocr", "off", *library], check=True, capture_output=True)
    with served_program(*library) as (url, tree):
        draw_video(base / "a.mp4", 4, 2)
        for name, data in (("a.png", picture(640, 480)), ("a.mp4", (base / "a.mp4").read_bytes())) * 3:
            httpx.post(f"{url}/api/search", files=[("files", (name, data))], timeout=120)
        path, options = for_gradio(b'""')
        httpx.post(url + path, **options, timeout=60).raise_for_status()
        yield url, tree


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 199)).save(out, "PNG")
    return out.getvalue()


def for_gradio(argument: bytes) -> Request:
    body = b'{"data": ["lake", %s, "", [], "", "", "", [], 10, 0]}' % argument
    return "/gradio_api/run/search", {"content": body, "headers": JSON}


def files(suffix: str, *data: bytes) -> Request:
    return "/api/search", {"files": [("files", (f"{n}.{suffix}", one)) for n, one in enumerate(data)]}


def film(folder: Path) -> bytes:
    draw_video(folder / "film.mp4", 120, 2, size=(1920, 1080))
    return (folder / "film.mp4").read_bytes()


def part_with_a_long_header() -> Request:
    body = b'--x\r\nContent-Disposition: form-data; name="q"\r\nX: ' + b"a" * 30 * MB + b"\r\n\r\nx\r\n--x--\r\n"
    return "/api/search", {"content": body, "headers": {"content-type": "multipart/form-data; boundary=x"}}


def form_of_many_fields() -> Request:
    return "/api/search", {"data": {f"f{n}": "a" * 900_000 for n in range(99)}, "files": [("files", ("a.png", b"x"))]}


def form_without_files() -> Request:
    form = {"content-type": "application/x-www-form-urlencoded"}
    return "/api/search", {"content": b"q=" + b"a" * 30 * MB, "headers": form}


REQUESTS: dict[str, Callable[[Path], Request]] = {
    "the last hits": lambda _: ("/api/search?q=lake&k=200&offset=10000", {}),
    "moments": lambda _: ("/api/moments?q=boat", {}),
    "a list of numbers": lambda _: for_gradio(b"[0" + b",0" * 15 * MB + b"]"),
    "a list of objects": lambda _: for_gradio(b"[{}" + b",{}" * 10 * MB + b"]"),
    "a file of wide characters": lambda _: for_gradio(b'"\\ud83d\\ude00' + b"A" * 30 * MB + b'"'),
    "a file that is no picture": lambda _: for_gradio(b'"' + b"A" * 30 * MB + b'"'),
    "a large picture for an agent": lambda _: for_gradio(b'"%s"' % base64.b64encode(picture(16000, 12000))),
    "a folder that is a list": lambda _: (
        "/api/roots",
        {"content": b'{"path": [' + b"{}," * 10 * MB + b"0]}", "headers": JSON},
    ),
    "a form without files": lambda _: form_without_files(),
    "a form of many fields": lambda _: form_of_many_fields(),
    "a part with a long header": lambda _: part_with_a_long_header(),
    "eight large pictures": lambda _: files("png", *[picture(10000, 8000)] * 8),
    "a film": lambda folder: files("mp4", film(folder)),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("count, most", [(1, ONE), (40, FORTY)])
def test_the_memory_of_requests_is_bounded(
    server: tuple[str, ProcessTree], tmp_path: Path, name: str, count: int, most: int
) -> None:
    url, tree = server
    path, options = REQUESTS[name](tmp_path)
    prepared = httpx.Request("POST" if options else "GET", url + path, **options)
    prepared.read()

    def send(_: int = 0) -> int:
        with httpx.Client(timeout=280) as client:
            try:
                return client.send(prepared).status_code
            except httpx.TransportError:
                return 0  # refused before all of the body was sent

    with ThreadPoolExecutor(count) as clients:
        statuses: Counter[int] = Counter()
        growth = tree.growth(lambda: statuses.update(clients.map(send, range(count))))
    print(f"{name}, {count} at once: {growth / MB:.0f} MB, {dict(statuses)}")
    assert growth < most, f"{growth / MB:.0f} MB"
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
