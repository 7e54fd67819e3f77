"""The REST routes: the contract of their JSON, what they accept, what they refuse and with which sentence."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.web.api import complete
from app.web.search_lane import Busy, SearchLane
from app.web.server import create_app
from indexer.priority import QueryPriority
from tests.app.conftest import HERE
from tests.media import draw_image

HIT = {
    "rank", "score", "relevant", "kind", "path", "also_at", "file_id", "chunk_id", "start_s", "end_s", "page",
    "title", "snippet", "thumb_url", "open_url",
}  # fmt: skip


def test_the_answer_has_the_fields_of_the_contract(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "lighthouse", "k": 3}).json()
    assert set(answer) >= {"query", "model", "took_ms", "total", "hits"}
    assert answer["query"] == {"text": "lighthouse", "image": None}
    first = answer["hits"][0]
    assert set(first) >= HIT
    assert first["rank"] == 1 and first["kind"] == "pdf" and first["page"] in (2, 3)
    assert first["thumb_url"] == f"/thumb/{first['chunk_id']}.webp"
    assert first["open_url"] == f"/open/{first['chunk_id']}"
    assert len(answer["hits"]) == 3 < answer["total"]


def test_a_name_of_any_bytes_is_answered_opened_and_downloaded(client: TestClient) -> None:
    hits = client.get("/api/search", params={"kind": "image", "k": 50}).json()["hits"]
    odd = next(hit for hit in hits if hit["title"].startswith("caf"))
    assert client.get(f"/media/{odd['file_id']}", params={"download": 1}).status_code == 200
    assert client.get(f"/api/chunk/{odd['chunk_id']}").json()["title"] == odd["title"]


def test_get_and_post_answer_the_same(client: TestClient) -> None:
    asked = {"q": "lighthouse", "kind": ["pdf", "video"], "k": "5", "avoid": "market"}
    got = client.get("/api/search", params=asked).json()
    posted = client.post("/api/search", data=asked).json()
    assert [h["chunk_id"] for h in got["hits"]] == [h["chunk_id"] for h in posted["hits"]]
    assert {h["kind"] for h in got["hits"]} <= {"pdf", "video"}


def test_pages_of_an_answer_join_without_gap_or_overlap(client: TestClient) -> None:
    whole = client.get("/api/search", params={"q": "lighthouse", "k": 8}).json()["hits"]
    parts = [
        hit
        for offset in (0, 3, 6)
        for hit in client.get("/api/search", params={"q": "lighthouse", "k": 3, "offset": offset}).json()["hits"]
    ]
    assert [h["chunk_id"] for h in parts[:8]] == [h["chunk_id"] for h in whole]
    assert [h["rank"] for h in parts[:8]] == list(range(1, 9))


def test_a_posted_image_finds_its_like_and_is_deleted_after_the_query(client: TestClient, folder: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("sightline-query-*"))
    with (folder / "red square.jpg").open("rb") as file:
        answer = client.post("/api/search", files={"files": ("holiday photo.jpg", file)}, data={"kind": "image"})
    assert answer.json()["hits"][0]["title"] == "red square.jpg"
    assert answer.json()["query"]["image"] == "holiday photo.jpg"
    assert set(Path(tempfile.gettempdir()).glob("sightline-query-*")) == before


@pytest.mark.parametrize("name, kind", [("road trip.mp4", "video"), ("lighthouse report.pdf", "pdf")])
def test_a_posted_clip_or_pdf_finds_itself(client: TestClient, folder: Path, name: str, kind: str) -> None:
    with (folder / name).open("rb") as file:
        answer = client.post("/api/search", files={"files": (name, file)}, data={"kind": kind}).json()
    assert answer["hits"][0]["title"] == name


@pytest.mark.parametrize(
    "name, data",
    [
        ("virus.exe", b"MZ\x90\x00" + b"\0" * 500),
        ("virus.png", b"MZ\x90\x00" + b"\0" * 500),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        ("drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        ("page.html.png", b"<html><script>alert(1)</script></html>"),
        ("empty.jpg", b""),
        ("film.mp4", b"this is not a film"),
        ("paper.pdf", b"%PDF-1.7 and nothing more"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_with_a_sentence(client: TestClient, name: str, data: bytes) -> None:
    answer = client.post("/api/search", files={"files": (name, data)})
    assert answer.status_code == 400
    sentence = answer.json()["error"]
    assert len(sentence) > 10 and "Traceback" not in sentence and "/tmp" not in sentence


def test_too_many_files_are_refused(client: TestClient) -> None:
    files = [("files", (f"{n}.png", b"x")) for n in range(20)]
    assert client.post("/api/search", files=files).status_code == 400


@pytest.mark.parametrize(
    "asked, code, word",
    [
        ({"q": "x", "kind": "audio"}, 400, "kind"),
        ({"q": "x", "after": "yesterday"}, 400, "after"),
        ({"q": "x", "k": "0"}, 422, "k must be"),
        ({"q": "x", "k": "100000"}, 422, "k must be"),
        ({"q": "x", "k": "many"}, 400, "not a number"),
        ({"q": "x", "offset": "-1"}, 422, "offset"),
        ({"q": "x", "sort": "size"}, 400, "sort"),
        ({"q": "x", "fold": "twice"}, 400, "fold"),
        ({"q": "x", "like": "../../etc/passwd"}, 400, "like"),
        ({"q": "x", "file_id": "nan"}, 422, "file_id"),
        ({"q": "x", "min_s": "inf"}, 422, "min_s"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_sentence(
    client: TestClient, asked: dict[str, str], code: int, word: str
) -> None:
    answer = client.get("/api/search", params=asked)
    assert answer.status_code == code
    assert word in answer.json()["error"]


def test_similar_finds_the_chunk_s_like_and_an_unknown_chunk_is_a_404(client: TestClient) -> None:
    red = client.get("/api/search", params={"q": "red square", "kind": "image"}).json()["hits"][0]
    answer = client.get(f"/api/similar/{red['chunk_id']}", params={"k": 3}).json()
    assert len(answer["hits"]) == 3
    missing = client.get("/api/similar/424242")
    assert missing.status_code == 404 and "424242" in missing.json()["error"]


def test_the_status_has_the_fields_of_the_contract(client: TestClient, folder: Path) -> None:
    status = client.get("/api/status").json()
    counts = {"files", "images", "videos", "pdfs", "chunks", "reused", "failed", "ignored"}
    assert set(status) >= counts | {"pending", "model", "roots", "bytes", "boot"}
    assert status["roots"] == [str(folder)]
    assert status["speech"].startswith("Speech: ")
    assert (status["images"], status["videos"], status["pdfs"]) == (7, 1, 2)


def test_failures_are_listed_with_their_reasons(client: TestClient) -> None:
    failures = client.get("/api/failures").json()
    assert [Path(one["path"]).name for one in failures] == ["broken.jpg"]
    assert set(failures[0]) == {"path", "kind", "reason", "since"}


def test_roots_are_refused_with_the_library_s_own_sentence(client: TestClient, folder: Path) -> None:
    for path in ("/no/such/folder", str(folder / "red square.jpg"), "  "):
        answer = client.post("/api/roots", json={"path": path})
        assert answer.status_code == 400 and answer.json()["error"]


def test_folders_are_completed_without_files_or_hidden_ones(tmp_path: Path) -> None:
    for name in ("Pictures", "pics 2024", ".hidden", "Music"):
        (tmp_path / name).mkdir()
    (tmp_path / "picture.jpg").write_bytes(b"")
    found = complete(f"{tmp_path}/pic")
    assert [Path(f).name for f in found["folders"]] == ["pics 2024", "Pictures"]
    assert not found["exists"]
    assert [Path(f).name for f in complete(f"{tmp_path}/.h")["folders"]] == [".hidden"]
    assert complete(str(tmp_path) + "/")["exists"]
    assert complete("/no/such/place/x") == {"path": "/no/such/place/x", "exists": False, "folders": []}


class Slow:
    """A library whose searches wait until they are let go."""

    def __init__(self, library: Any) -> None:
        self._library, self.go, self.ran = library, threading.Event(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def search(self, *args: Any, **kwargs: Any) -> Any:
        assert self.go.wait(30)
        self.ran += 1
        return self._library.search(*args, **kwargs)


@pytest.fixture
def slow(library: Any) -> Iterator[tuple[TestClient, Slow]]:
    waiting = Slow(library)
    with TestClient(create_app(waiting, gradio=False), base_url=HERE) as client:
        yield client, waiting


def test_200_searches_at_once_are_all_answered_and_the_rest_stays_quick(slow: tuple[TestClient, Slow]) -> None:
    client, library = slow
    with ThreadPoolExecutor(200) as people:
        asked = [people.submit(client.get, "/api/search", params={"q": f"lake {n}"}) for n in range(200)]
        # while all of them wait, pictures and the status are served
        assert client.get("/api/status").status_code == 200
        assert client.get("/thumb/1.webp").status_code == 200
        library.go.set()
        answers: list[httpx.Response] = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["query"]["text"] for answer in answers} == {f"lake {n}" for n in range(200)}


def test_more_than_may_wait_are_told_to_come_back() -> None:
    async def trial() -> None:
        lane, go = SearchLane(workers=1, waiting=2), threading.Event()
        waiting = [asyncio.create_task(lane.run(lambda: go.wait(60))) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await lane.run(lambda: None)
        go.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await lane.run(lambda: "free again") == "free again"
        lane.close()

    asyncio.run(trial())


def test_indexing_waits_for_the_searches_that_wait_their_turn() -> None:
    async def trial() -> list[str]:
        priority, order, go = QueryPriority(), list[str](), threading.Event()
        lane = SearchLane(workers=1, before_indexing=priority.query)

        def search() -> None:
            assert go.wait(60)
            order.append("search")

        def index() -> None:
            priority.give_way(30)
            order.append("batch")

        searches = [asyncio.create_task(lane.run(search)) for _ in range(20)]
        await asyncio.sleep(0.05)  # all have arrived
        indexing = asyncio.create_task(asyncio.to_thread(index))
        go.set()
        await asyncio.gather(*searches, indexing)
        lane.close()
        return order

    assert asyncio.run(trial()) == ["search"] * 20 + ["batch"]


def test_a_search_that_nobody_waits_for_is_not_run() -> None:
    async def trial() -> None:
        ran: list[int] = []

        async def gone() -> bool:
            return True

        lane = SearchLane()
        assert await lane.run(lambda: ran.append(1), gone) is None
        assert ran == []
        lane.close()

    asyncio.run(trial())


def test_every_route_is_described_and_the_page_for_it_needs_no_network(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    wanted = {"/api/search", "/api/similar/{chunk_id}", "/api/status", "/media/{file_id}", "/thumb/{chunk_id}.webp"}
    assert wanted <= set(paths)
    for methods in paths.values():
        for route in methods.values():
            assert route.get("description"), route
    page = client.get("/docs").text
    assert all(path in page for path in paths) and "<script" not in page
    assert "http://" not in page and "https://" not in page


def test_the_plain_page_is_there_at_once_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200 and '<div id="sightline">' in answer.text
    assert "http://" not in answer.text and "https://" not in answer.text
    assert client.get("/healthz").json() == {"ok": True}


def test_every_module_that_is_loaded_ahead_exists(client: TestClient) -> None:
    from app.web.pages import MODULES
    from app.web.server import STATIC

    assert set(MODULES) == {path.stem for path in STATIC.glob("*.js")}


def test_an_image_in_every_form_is_taken(client: TestClient, tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".webp", ".gif", ".bmp", ".tiff", ".heic"):
        path = draw_image(tmp_path / f"x{suffix}", color=(220, 30, 30))
        answer = client.post("/api/search", files={"files": (path.name, path.read_bytes())})
        assert answer.status_code == 200, (suffix, answer.text)
