"""The second process of searches: it answers as the server does, and what it does not answer the server does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from app.web import search_lane, search_process
from app.web.json_text import json_text
from app.web.requests import Upload, build_query
from app.web.scoped_library import ScopedLibrary
from app.web.search_lane import MANY_WAITING
from app.web.search_process import SearchProcess, request
from app.web.server import create_app
from app.web.tokens import OWNER, Tokens, Visitor, visitor
from indexer.active_models import load_built_in
from indexer.library import Library
from indexer.types import Query
from model.embedder import ModelError
from model.machine import cores
from tests.app.conftest import HERE
from tests.media import draw_image

pytestmark = [pytest.mark.slow, pytest.mark.skipif(cores() < 2, reason="there is none on one core")]


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def started(library: Library) -> SearchProcess:
    process, ready = SearchProcess.of(library), threading.Event()
    process.start(ready.set)
    assert ready.wait(60)
    return process


@pytest.fixture(scope="module")
def process(library: Library) -> Iterator[SearchProcess]:
    process = started(library)
    yield process
    process.close()


def asked(process: SearchProcess, query: Query, caller: Visitor = OWNER, k: int = 10, offset: int = 0) -> Any:
    as_bytes = request(query, k, offset, caller)
    assert as_bytes is not None
    return without_time(process.submit(as_bytes()).result(60))


def without_time(answer: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer)
    assert document.pop("took_ms") >= 0
    return document


def here(library: Library, query: Query, caller: Visitor, k: int = 10, offset: int = 0) -> dict[str, Any]:
    seen = visitor.set(caller)
    try:
        answer = ScopedLibrary(library, Tokens(library.data_dir)).search(query, k=k, offset=offset)
        return without_time(json_text(answer.to_json()))
    finally:
        visitor.reset(seen)


QUERIES: list[dict[str, list[str]]] = [
    {"q": ["lighthouse"]},
    {"q": ["a blue lake"], "avoid": ["red"]},
    {"q": ['"meeting 3" parking']},
    {"q": ["البحر"]},
    {"q": ["صورة"]},
    {"q": ["café type:image"]},
    {"q": ["in:old"]},
    {"q": ["is:favourite"]},
    {"q": ["trip"], "kind": ["video"]},
    {"q": ["minutes"], "sort": ["date"]},
    {"q": ["minutes"], "fold": ["max"]},
    {"q": ["minutes"], "fold": ["centroid"]},
    {"like": ["1"]},
    {},
]


@pytest.mark.parametrize("values", QUERIES, ids=str)
def test_it_answers_as_the_server_does(values: dict[str, list[str]], process: SearchProcess, library: Library) -> None:
    query = build_query(values)
    for k, offset in ((10, 0), (3, 2), (200, 0)):
        assert asked(process, query, k=k, offset=offset) == here(library, query, OWNER, k, offset)


def test_a_visitor_sees_there_what_it_sees_here(process: SearchProcess, library: Library, folder: Path) -> None:
    ann = Visitor("ann", roots=(str(folder / "old"),))
    found = 0
    for values in QUERIES:
        query = build_query(values)
        if "like" in values:
            continue
        answer = asked(process, query, ann)
        assert answer == here(library, query, ann)
        assert {Path(hit["path"]).parent for hit in answer["hits"]} <= {folder / "old"}
        assert set(answer["facets"]["folder"]) <= {str(folder / "old")}
        found += len(answer["hits"])
    assert found, "the visitor's own file is found"


def test_a_search_that_fails_there_is_the_server_s(process: SearchProcess, library: Library, folder: Path) -> None:
    elsewhere = next(c for c in library.chunks(1) if c.file.path.parent != folder / "old")
    like = build_query({"like": [str(elsewhere.chunk_id)]})
    as_bytes = request(like, 10, 0, Visitor("ann", roots=(str(folder / "old"),)))
    assert as_bytes is not None
    with pytest.raises(search_lane.Gone):
        process.submit(as_bytes()).result(60)
    assert process.is_ready


def test_a_long_query_is_the_server_s(process: SearchProcess) -> None:
    as_bytes = request(build_query({"q": ["lake " * 400]}), 10, 0, OWNER)
    assert as_bytes is not None
    with pytest.raises(search_lane.Gone):
        process.submit(as_bytes()).result(60)


def test_files_and_rerankers_stay_with_the_server(folder: Path) -> None:
    assert request(build_query({}, [Upload(folder / "red square.jpg")]), 10, 0, OWNER) is None
    assert request(build_query({"q": ["a"], "rerank": ["colpali"]}), 10, 0, OWNER) is None


def test_it_finds_what_is_indexed_while_it_runs_and_waits_for_no_writer(tmp_path: Path) -> None:
    draw_image(tmp_path / "media" / "first.jpg", color=(220, 30, 30))
    with Library.open(tmp_path / "library", ocr="off", speech="off") as library:
        library.index([tmp_path / "media"])
        process = started(library)
        try:
            assert [hit["title"] for hit in asked(process, build_query({"q": ["zanzibar"]}))["hits"]] == ["first.jpg"]
            draw_image(tmp_path / "media" / "zanzibar.jpg", color=(30, 30, 220))
            library.index()
            with library.catalogue.database.writer() as writing:
                writing.exec_driver_sql("UPDATE file SET size = size")
                titles = [hit["title"] for hit in asked(process, build_query({"q": ["zanzibar"]}))["hits"]]
            assert titles == ["zanzibar.jpg", "first.jpg"]
        finally:
            process.close()


def test_another_model_and_no_model_have_no_second_process(tmp_path: Path, library: Library) -> None:
    assert library.options_of_a_reader() is not None
    with Library.open(tmp_path / "library") as empty:
        assert empty.options_of_a_reader() is None
        empty.catalogue.models.add("siglip2@00000000-r1", 768, '{"name": "siglip2"}')
        assert empty.options_of_a_reader() is None
    with pytest.raises(ModelError, match="built-in"):
        load_built_in("siglip2")


class Held:
    """A library whose searches in this process wait until they are let go."""

    def __init__(self, library: Any) -> None:
        self._library, self.go = library, threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def search(self, *args: Any, **kwargs: Any) -> Any:
        assert self.go.wait(60)
        return self._library.search(*args, **kwargs)


class Served:
    """The application over a `Held` library, with people who search in it."""

    def __init__(self, client: TestClient, held: Held, process: SearchProcess) -> None:
        self.client, self.held, self.process = client, held, process
        self._people = ThreadPoolExecutor(64)

    def search(self, count: int) -> list[Future[httpx.Response]]:
        return [self._people.submit(self.client.get, "/api/search", params={"q": f"lake {n}"}) for n in range(count)]


@pytest.fixture
def served(library: Library) -> Iterator[Served]:
    held = Held(library)
    app = create_app(held, gradio=False)  # type: ignore[arg-type]
    with TestClient(app, base_url=HERE) as client:
        yield Served(client, held, app.state.services.lane.elsewhere)
        held.go.set()


def test_it_starts_when_many_wait_and_not_before(served: Served) -> None:
    few = served.search(MANY_WAITING)  # two of them are answered in threads
    time.sleep(0.3)
    assert served.process.pid() is None
    many = served.search(20)
    wait_for(lambda: sum(one.done() for one in (*few, *many)) == MANY_WAITING + 20 - 2)
    served.held.go.set()
    assert [one.result(60).status_code for one in (*few, *many)] == [200] * (MANY_WAITING + 20)


def test_searches_in_it_when_it_dies_are_answered(served: Served) -> None:
    blocked = served.search(2 * MANY_WAITING)
    wait_for(lambda: sum(one.done() for one in blocked) == len(blocked) - 2)
    pid = served.process.pid()
    assert pid is not None
    psutil.Process(pid).suspend()
    inside = served.search(3)
    time.sleep(0.3)
    assert not any(one.done() for one in inside)
    psutil.Process(pid).kill()
    served.held.go.set()
    answers = [one.result(60) for one in (*blocked, *inside)]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json()["hits"] for answer in answers)


def test_a_search_in_it_when_it_hangs_is_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_lane, "LONGEST_AWAY_S", 1.0)
    blocked = served.search(2 * MANY_WAITING)
    wait_for(lambda: sum(one.done() for one in blocked) == len(blocked) - 2)
    pid = served.process.pid()
    assert pid is not None
    psutil.Process(pid).suspend()
    served.held.go.set()
    wait_for(lambda: all(one.done() for one in blocked))
    assert all(one.result(60).json()["hits"] for one in served.search(3))
    wait_for(lambda: not psutil.pid_exists(pid))


def test_it_ends_after_a_while_and_starts_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_process, "IDLE_S", 0.2)
    process, ready = SearchProcess.of(library), threading.Event()
    try:
        for _ in range(2):
            ready.clear()
            process.start(ready.set)
            assert ready.wait(60)
            pid = process.pid()
            assert pid is not None
            wait_for(lambda: not psutil.pid_exists(pid) and not process.is_ready)  # noqa: B023
            wait_for(lambda: process._thread is None)
    finally:
        process.close()


def test_it_ends_with_the_server(library: Library) -> None:
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        process: SearchProcess = client.app.state.services.lane.elsewhere  # type: ignore[attr-defined]
        ready = threading.Event()
        process.start(ready.set)
        assert ready.wait(60)
        pid = process.pid()
        assert pid is not None
    assert not psutil.pid_exists(pid)
    process.start(ready.set)
    assert process.pid() is None, "a closed one stays closed"


OWNS_ONE = """
import sys, threading; from pathlib import Path
from app.web.search_process import SearchProcess
from indexer.library import Library
with Library.open(Path(sys.argv[1]), read_only=True) as library:
    ready = threading.Event()
    process = SearchProcess.of(library)
    process.start(ready.set)
    ready.wait(60)
    print(process.pid(), flush=True)
    sys.stdin.read()
"""


def test_it_ends_with_a_server_that_is_killed(library: Library) -> None:
    command = [sys.executable, "-c", OWNS_ONE, str(library.data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert psutil.pid_exists(pid)
        server.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
