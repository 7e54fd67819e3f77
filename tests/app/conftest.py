"""A small library of real media behind the whole application, for the tests of app. None of them reaches beyond this
machine: an outgoing connection fails the test in which it happens."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
from indexer.library import Library
from tests.media import draw_image, draw_pdf, draw_video

if TYPE_CHECKING:
    from tests.app.serving import Server

HERE = "http://127.0.0.1:7860"

outgoing: list[str] = []
"""Hosts beyond this machine that were looked up or connected to during tests of app."""
_is_watched = False


def _refuse_others(event: str, args: tuple[Any, ...]) -> None:
    if not _is_watched:
        return
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    try:
        is_here = host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        outgoing.append(host)
        raise ConnectionRefusedError(f"a test reaches for {host}")


sys.addaudithook(_refuse_others)


@pytest.fixture(autouse=True)
def nothing_is_fetched() -> Iterator[None]:
    global _is_watched
    before, _is_watched = len(outgoing), True
    yield
    _is_watched = False
    assert outgoing[before:] == []


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a video of 70 s and two PDFs, some with names that try something."""
    root = tmp_path_factory.mktemp("media")
    draw_image(root / "red square.jpg", color=(220, 30, 30))
    draw_image(root / "blue lake.png", color=(20, 60, 220))
    draw_image(root / "old" / "green scan.tiff", color=(30, 180, 60))
    draw_image(root / "<img src=x onerror=alert(1)>.png", color=(240, 220, 40))
    draw_image(root / "صورة البحر.png", color=(10, 160, 170))
    draw_image(root / os.fsdecode(b"caf\xe9.jpg"), color=(120, 70, 30))  # a name that is not UTF-8
    (root / "broken.jpg").write_bytes(b"this is no picture")
    draw_video(root / "road trip.mp4", 70, 5, audio=True, scenes=((0, (200, 60, 40)), (33, (30, 120, 200))))
    draw_pdf(
        root / "lighthouse report.pdf",
        ["Opening page", "The lighthouse of the harbour", "<script>alert(2)</script> lighthouse"],
    )
    topics = [
        "budget",
        "parking",
        "coffee",
        "printers",
        "heating",
        "canteen",
        "windows",
        "training",
        "holidays",
        "keys",
        "carpets",
    ]
    draw_pdf(root / "minutes.pdf", [f"Minutes of meeting {n}: {topic} and its costs" for n, topic in enumerate(topics)])
    return root


@pytest.fixture(scope="session")
def library(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """That folder, indexed with the lite model."""
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off") as library:
        library.index([folder])
        yield library


@pytest.fixture(scope="module")
def server(library: Any) -> Iterator[Server]:
    """That library on a port of its own, with Gradio."""
    from tests.app.serving import Server

    with Server(library) as server:
        server.wait_for_gradio()
        yield server


@pytest.fixture
def empty_library(tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "empty library", ocr="off") as library:
        yield library


@pytest.fixture(scope="session")
def client(library: Any) -> Iterator[TestClient]:
    """The application without Gradio, as this machine reaches it."""
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        yield client
