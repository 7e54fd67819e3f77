"""What one request may cost: numbers, parts, uploads and memory are bounded before anything is done."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from app.web.agent_tools import tools
from app.web.mcp_server import TOOLS
from app.web.requests import MAX_OFFSET, MAX_PARTS
from app.web.search_lane import Busy
from app.web.server import create_app
from app.web.uploads import Uploads
from tests.app.conftest import HERE

HUGE = str(2**63)
BOUNDS = {"minimum", "maximum"}


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": str(MAX_OFFSET + 1)},
        {"offset": "1e300"},
        {"k": "201"},
        {"like": HUGE},
        {"unlike": HUGE},
        {"file_id": HUGE},
        {"min_s": "1e10"},
        {"max_s": "-1"},
        {"q": ["word"] * (MAX_PARTS + 1)},
    ],
)
def test_a_number_out_of_bounds_is_refused(client: TestClient, fields: dict[str, Any]) -> None:
    answer = client.get("/api/search", params={"q": "x", **fields})
    assert answer.status_code == 422 and answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/similar/{}",
        "/api/chunk/{}",
        "/api/transcript/{}",
        "/media/{}",
        "/view/{}",
        "/thumb/{}.webp",
        "/page/{}/1.webp",
        "/page/1/{}.json",
        "/inside/{}/1.pdf",
        "/inside/1/{}.pdf",
        "/play/1/{}.mp4",
        "/clip/{}.mp4",
        "/open/{}",
    ],
)
def test_an_id_that_no_catalogue_holds_is_refused(library: Any, path: str) -> None:
    with TestClient(
        create_app(library, gradio=False), base_url=HERE, follow_redirects=False, raise_server_exceptions=False
    ) as client:
        for number in (HUGE, "-1", "9" * 400):
            assert 400 <= client.get(path.format(number)).status_code < 500, number


def test_every_number_that_a_client_sends_has_bounds(library: Any) -> None:
    """In addresses and in JSON, also of routes that are added later; the lists above and below show how they answer."""
    spec = create_app(library, gradio=False).openapi()

    def unbounded(schema: Any, where: str) -> list[str]:
        if isinstance(schema, list):
            return [place for one in schema for place in unbounded(one, where)]
        if not isinstance(schema, dict):
            return []
        own = [where] if schema.get("type") in ("integer", "number") and not schema.keys() >= BOUNDS else []
        return own + [place for key, value in schema.items() for place in unbounded(value, f"{where} {key}")]

    asked = [
        (path, [operation.get("parameters", []), operation.get("requestBody", {})])
        for path, operations in spec["paths"].items()
        for operation in operations.values()
    ]
    asked += [(tool.name, tool.arguments) for tool in TOOLS]
    bodies = {name: one for name, one in spec["components"]["schemas"].items() if name.startswith("Body")}
    assert len(bodies) > 10
    assert not unbounded([*asked, bodies], "") and not [p for path, one in asked for p in unbounded(one, path)]


@pytest.mark.parametrize("number", ["-1", HUGE, "nan", "inf", "1e300"])
@pytest.mark.parametrize("path", ["/page/1/1.webp?width={}", "/clip/1.mp4?start={}", "/clip/1.mp4?end={}"])
def test_a_size_or_a_second_out_of_bounds_is_refused(client: TestClient, path: str, number: str) -> None:
    assert client.get(path.format(number)).status_code == 422


@pytest.mark.parametrize("typed", ["near:Lisbon/1e300", f"larger:{'9' * 400}", f"longer:{'9' * 400}h"])
def test_a_typed_number_out_of_bounds_is_refused(client: TestClient, typed: str) -> None:
    answer = client.get("/api/search", params={"q": typed})
    assert answer.status_code == 422 and "out of bounds" in answer.json()["error"]


def test_gradio_s_endpoints_refuse_the_same_numbers(library: Any) -> None:
    search, similar, moments, transcript, _ = tools(library, HERE)
    for call, given in (
        (search, {"text": "x", "k": 10**9}),
        (search, {"text": "x", "offset": -1}),
        (search, {"text": "x", "offset": float("nan")}),
        (similar, {"chunk_id": 2**63}),
        (similar, {"chunk_id": 1, "k": 0}),
        (moments, {"text": "x", "k": 51}),
        (moments, {"text": "x", "file_id": 2**63}),
        (transcript, {"file_id": -1}),
        (transcript, {"file_id": 1, "start_s": float("inf")}),
    ):
        assert "must be between" in json.loads(call(**given))["error"], given


def test_an_unexpected_error_is_a_sentence_and_a_line_of_the_log(
    library: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(library, gradio=False)
    monkeypatch.setattr(app.state.services.library, "failures", lambda: 1 / 0)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        answer = client.get("/api/failures")
    assert answer.status_code == 500 and "ZeroDivisionError" in answer.json()["error"]
    assert [record.exc_info for record in caplog.records if "/api/failures" in record.getMessage()]


def test_the_last_hits_that_can_be_asked_for_cost_little_memory(client: TestClient) -> None:
    client.get("/api/search", params={"q": "lighthouse"})
    process, before = psutil.Process(), psutil.Process().memory_info().rss
    most, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = client.get("/api/search", params={"q": "lighthouse", "k": "200", "offset": str(MAX_OFFSET)})
    done.set()
    watcher.join()
    assert answer.status_code == 200 and answer.json()["hits"] == []
    assert max(most) - before < 300 << 20


def test_uploads_are_counted_for_a_visitor_and_in_sum(tmp_path: Path) -> None:
    uploads = Uploads(most_bytes=100)
    with uploads.folder("ann", 40) as first:
        (first / "a").write_bytes(b"x")
        with pytest.raises(Busy), uploads.folder("ann", 20):
            pass
        with uploads.folder("bob", 50), pytest.raises(Busy), uploads.folder("eve", 20):
            pass
        with pytest.raises(Busy), uploads.folder("eve", None):
            pass
    assert not first.exists()
    with uploads.folder("ann", 50) as again:
        root = again.parent
        assert root.stat().st_mode & 0o777 == 0o700
        uploads.close()
        assert not root.exists(), "at exit nothing stays"


@pytest.mark.parametrize(
    "fields", [{"q": "a\0b"}, {"under": "/a\0b"}, {"under": "~nobody-of-that-name/x"}, {"label": "\0"}]
)
def test_what_is_no_text_is_refused(library: Any, fields: dict[str, str]) -> None:
    app = create_app(library, gradio=False)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        assert client.get("/api/search", params={"q": "x", **fields}).status_code == 400
        half = '{"q": "\\ud800", "chunk_id": 1}'
        clicked = client.post("/api/clicks", content=half, headers={"content-type": "application/json"})
        assert clicked.status_code in (400, 422)
        for body in ('"name": "a\\u0000b", "chunk_ids": []', '"name": "\\u001b[31m", "chunk_ids": [1]'):
            labelled = client.post("/api/labels", content=f"{{{body}}}", headers={"content-type": "application/json"})
            assert labelled.status_code in (400, 422), body
        album = client.post("/api/albums", json={"name": "a\0b", "file_ids": [1]})
        assert album.status_code == 422
        for path in ("/a\\u0000b", "~nobody-of-that-name", "\\ud800"):
            body = f'{{"path": "{path}"}}'
            added = client.post("/api/roots", content=body, headers={"content-type": "application/json"})
            assert added.status_code in (400, 422), path
