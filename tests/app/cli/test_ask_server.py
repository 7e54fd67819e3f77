"""`sightline search` beside a server: the server answers, with the same hits; an ended server is not asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import search
from app.cli.program import app
from app.demo import build
from app.web.serving import FILE, noted, served_at
from app.web.tokens import owner_token
from indexer.files.private import PARTS
from tests.app.cli import loaded
from tests.indexer.conftest import wait_for


def invoke(*words: str | Path, home: Path) -> Any:
    return CliRunner().invoke(app, [*map(str, words), "--data-dir", str(home)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def home(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home") / "library"
    assert invoke("index", folder, "--ocr", "off", "--speech", "off", home=home).exit_code == 0
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ["serve", "--port", "0", "--no-browser", "--data-dir", str(home)]
    process = subprocess.Popen([sys.executable, "-m", "app.cli", *words], stderr=subprocess.DEVNULL)
    wait_for(lambda: served_at(home), 60)
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) is not None
    assert served_at(home) is None


@pytest.mark.parametrize(
    "words",
    [
        ["a lion"],
        ["life jackets", "--kind", "pdf", "--fold", "max"],
        [
            "lion",
            "--avoid",
            "a cage",
            "--kind",
            "image",
            "--kind",
            "pdf",
            "-k",
            "3",
            "--after",
            "1990",
            "--before",
            "2090",
        ],
        ["--image", "Photos/Safari/IMG_0431.jpg"],
        ["zzqx"],
    ],
)
@pytest.mark.parametrize("form", ["--json", "--csv", "-q", ""])
def test_the_server_answers_as_the_library_does(
    words: list[str], form: str, home: Path, folder: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [folder / word if "/" in word else word for word in words] + ([form] if form else [])
    own = invoke("search", *asked, "--model", "lite", home=home)

    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("the library was opened beside its server")

    monkeypatch.setattr(search, "opened", none)
    done = invoke("search", *asked, home=home)
    assert done.exit_code == own.exit_code, done.output
    if form == "--json":
        answer, expected = json.loads(done.stdout), json.loads(own.stdout)
        assert answer.keys() == expected.keys()
        assert answer | {"took_ms": 0, "model": ""} == expected | {"took_ms": 0, "model": ""}
    else:
        assert done.stdout == own.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["a lion"],
        ["life jackets", "--kind", "pdf", "--fold", "max", "-k", "3", "--json"],
        ["lion", "--under", "/", "--after", "1990", "--label", "none", "--csv"],
        ["-q", "--image", "Photos/Safari/IMG_0431.jpg"],
    ],
)
def test_beside_a_server_a_search_loads_the_command_line_alone(
    words: list[str], home: Path, folder: Path, server: Any
) -> None:
    asked = [folder / word if "IMG" in word else word for word in words]
    done = loaded.run("search", *asked, "--data-dir", home)
    assert done.code == 0, done.stderr
    assert "app.cli.ask_server" in done.modules and "indexer.library" not in done.modules
    assert done.packages <= {"typer", "annotated_doc", "shellingham", "platformdirs"}


def test_without_a_server_a_search_in_words_loads_nothing_that_reads_files(home: Path) -> None:
    done = loaded.run("search", "a lion", "--data-dir", home, "--model", "lite")
    assert done.code == 0, done.stderr
    assert {"indexer.library", "onnxruntime"} <= done.modules
    unused = {"PIL", "av", "faiss", "httpx", "pathspec", "pydantic", "pymupdf", "rich", "watchdog"}
    assert not done.packages & unused
    assert not done.modules & {"data.reader", "indexer.pipeline.pipeline", "indexer.status", "model.ocr", "numpy.ma"}


def test_a_file_s_name_with_any_character_is_asked_with(home: Path, folder: Path, server: Any, tmp_path: Path) -> None:
    odd = tmp_path / 'a "b"\nc\r\u2013.jpg'
    odd.write_bytes((folder / "Photos/Safari/IMG_0431.jpg").read_bytes())
    done = loaded.run("search", "--image", odd, "--json", "--data-dir", home)
    assert "indexer.library" not in done.modules, "the server refused it"
    assert Path(json.loads(done.stdout)["hits"][0]["path"]).name == "IMG_0431.jpg"


def test_all_that_a_served_library_holds_is_known_as_its_own(home: Path, server: Any) -> None:
    """A folder with anything else in it is not made private."""
    assert (home / FILE).exists()
    assert not [entry.name for entry in home.iterdir() if not any(map(entry.match, PARTS))]


def test_a_second_run_opens_the_page_that_is_there(
    home: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    done = invoke("run", tmp_path / "more", home=home)
    address = served_at(home)
    assert done.exit_code == 0 and address is not None and address in done.stderr, done.output
    wait_for(lambda: opened)
    assert opened[0].startswith(f"{address}?token=") and owner_token(home) not in opened[0]
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        assert str(browser.get(opened[0]).url) == address
        assert str(tmp_path / "more") in browser.get(f"{address}api/status").json()["roots"]


@pytest.mark.parametrize(("status", "is_earlier"), [(200, False), (422, False), (200, True)])
def test_a_token_of_one_s_own_is_sent_and_a_refusal_is_left_to_the_library(
    status: int, is_earlier: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`is_earlier`: the server is of an earlier version, whose answers lack a field."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((urlsplit(self.path).path, self.headers["Authorization"]))
            answer = {
                "model": "lite",
                "took_ms": 1.0,
                "total": 0,
                "matches": 0,
                "at_least": False,
                "unread": {},
                "hits": [],
                "facets": {},
                "notice": None,
                "chunks": 1,
            }
            if is_earlier:
                del answer["unread"]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("SIGHTLINE_TOKEN", "a-token-of-my-own")
    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        with noted(tmp_path, f"http://127.0.0.1:{listener.server_port}/"):
            done = invoke("search", "a lion", home=tmp_path)
        listener.shutdown()
    is_answered = status == 200 and not is_earlier
    paths = ["/api/search", "/api/status"] if is_answered else ["/api/search"]
    assert asked == [(path, "Bearer a-token-of-my-own") for path in paths]
    if is_answered:
        assert done.exit_code == 0 and "Nothing in the library matches" in done.stderr
    else:
        assert "There is no library in" in str(done.exception)


def test_a_port_that_another_program_has_taken_is_not_asked(tmp_path: Path) -> None:
    """The note of a server that was killed stays; who listens there now must not be given the owner's token."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (tmp_path / FILE).write_text(f"http://127.0.0.1:{listener.getsockname()[1]}/\n")
        assert served_at(tmp_path) is None
        listener.settimeout(0.5)
        done = threading.Thread(target=invoke, args=("search", "a lion"), kwargs={"home": tmp_path})
        done.start()
        with pytest.raises(TimeoutError):
            listener.accept()
        done.join()


def test_a_note_that_is_no_address_is_none(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from app.web.serving import noted\n"
        f"with noted(Path({str(tmp_path)!r}), 'file:///etc/'):\n print('x', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"x\n"
        assert (tmp_path / FILE).exists() and served_at(tmp_path) is None
    finally:
        process.kill()
        process.wait()
