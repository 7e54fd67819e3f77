"""POST /api/fetch: the owner's alone, off by default; the real fetch, a website on loopback."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.cli.add import WebFetch
from app.web.server import create_app
from app.web.tokens import Tokens
from indexer.library import Library
from tests.app.conftest import HERE
from tests.app.serving import Server
from tests.data.download.website import LOOPBACK, Website
from tests.media import draw_image

NETWORKS = ",".join(LOOPBACK)
TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    site = Website()
    site.put("/blue%20lake.png", draw_image(tmp_path / "lake.png", "lake", color=(20, 60, 220)), "image/png")
    yield site
    site.close()


@pytest.fixture
def client(library: Any) -> Iterator[TestClient]:
    app = create_app(library, gradio=False, web=WebFetch(library, NETWORKS))
    with TestClient(app, base_url=HERE) as client:
        yield client


def test_a_fetched_file_is_a_query(client: TestClient, site: Website) -> None:
    assert client.get("/api/status").json()["web"] is True
    answer = client.post("/api/fetch", json={"url": f"{site.url}/blue%20lake.png"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert "blue%20lake.png" in answer.headers["content-disposition"]
    assert answer.content == site.bodies["/blue%20lake.png"][1]
    found = client.post("/api/search", files={"files": ("blue lake.png", answer.content)}).json()
    assert found["query"]["image"] == "blue lake.png" and found["hits"]


def test_a_kept_file_is_indexed_while_the_server_runs(empty_library: Library, site: Website) -> None:
    empty_library.start(watch=True)
    with TestClient(create_app(empty_library, gradio=False, web=WebFetch(empty_library, NETWORKS)), HERE) as client:
        for number in range(2):  # the first one makes the folder a root, the second one is seen by the watcher
            answer = client.post("/api/fetch", json={"url": f"{site.url}/blue%20lake.png", "keep": True})
            assert answer.status_code == 200, answer.text
            path = empty_library.data_dir / "Added" / ("blue lake (2).png" if number else "blue lake.png")
            assert answer.json() == {"path": str(path), "name": path.name}
            for _ in range(600):
                if (file := empty_library.file_at(path)) is not None and empty_library.chunks(file.file_id):
                    break
                time.sleep(0.1)
            else:
                raise AssertionError(empty_library.status())


def test_it_is_off_by_default(library: Any, site: Website) -> None:
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        assert client.get("/api/status").json()["web"] is False
        answer = client.post("/api/fetch", json={"url": f"{site.url}/blue%20lake.png"})
    assert answer.status_code == 403 and "--web" in answer.json()["error"]
    assert site.requests == []


def test_no_other_visitor_fetches(library: Any, site: Website) -> None:
    """Neither a token that may index nor one that is called as the owner."""
    tokens = Tokens(library.data_dir)
    names = {"reader": False, "indexer": True, "owner": True}
    given = {name: tokens.add(name, may_index=may_index, roots=()) for name, may_index in names.items()}
    try:
        app = create_app(library, gradio=False, token=TOKEN, web=WebFetch(library, NETWORKS))
        with TestClient(app, base_url=HERE) as client:
            for token in given.values():
                headers = {"authorization": f"Bearer {token}"}
                assert client.get("/api/status", headers=headers).json()["web"] is False
                for keep in (False, True):
                    body = {"url": f"{site.url}/blue%20lake.png", "keep": keep}
                    assert client.post("/api/fetch", headers=headers, json=body).status_code == 403
            assert client.post("/api/fetch", json=body).status_code == 401
            assert site.requests == []
            owner = {"authorization": f"Bearer {TOKEN}"}
            assert client.post("/api/fetch", headers=owner, json={"url": body["url"]}).status_code == 200
            foreign = owner | {"origin": "https://evil.example"}
            assert client.post("/api/fetch", headers=foreign, json={"url": body["url"]}).status_code == 403
    finally:
        for name in given:
            tokens.remove(name)


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_refused_is_one_sentence(client: TestClient, site: Website, keep: bool) -> None:
    site.redirects["/away"] = "http://169.254.169.254/latest/meta-data"
    for url, reason in {
        f"{site.url}/away": "169.254.169.254 is a private address",
        f"{site.url}/none": "404",
        "file:///etc/passwd": "no address of the web",
    }.items():
        answer = client.post("/api/fetch", json={"url": url, "keep": keep})
        assert answer.status_code == 400 and reason in answer.json()["error"]
    assert client.post("/api/fetch", json={"url": "http://e.org/" + "x" * 4000}).status_code == 422
    assert client.post("/api/fetch", json={"url": ["http://e.org"]}).status_code == 422


def test_one_fetch_at_a_time_which_ends_with_its_visitor(library: Any, site: Website) -> None:
    server = Server(library, gradio=False, web=WebFetch(library, NETWORKS))
    server.start()
    good = {"url": f"{site.url}/blue%20lake.png"}
    body = json.dumps({"url": f"{site.url}/stall/a.jpg"})
    head = f"POST /api/fetch HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as visitor:
            visitor.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            while "/stall/a.jpg" not in site.requests:
                time.sleep(0.05)
            second = httpx.post(f"{server.url}/api/fetch", json=good, timeout=60)
            assert second.status_code == 503 and "Another address" in json.loads(second.content)["error"]
        for _ in range(100):
            if httpx.post(f"{server.url}/api/fetch", json=good, timeout=60).status_code == 200:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the first fetch did not end with its visitor")
    finally:
        server.stop()
