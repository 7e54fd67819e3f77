"""The owner's token by default: where it is kept, what stands in the cookie, what losing a file does."""

from __future__ import annotations

import hashlib
import os
import queue
import re
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli.program import app as commands
from app.web import server
from app.web.server import create_app
from app.web.sign_in import GUESSES
from app.web.tokens import MARK, Tokens, cookie_key, owner_token
from indexer.errors import LibraryError
from tests.app.conftest import HERE

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def owned(empty_library: Any) -> Iterator[TestClient]:
    app = create_app(empty_library, gradio=False, token=TOKEN)
    with TestClient(app, base_url=HERE, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


def cookie(client: TestClient) -> str:
    value = client.get(f"/?token={TOKEN}").headers["set-cookie"].split(";")[0]
    client.cookies.clear()
    return value


def test_the_owner_s_token_is_kept_where_only_the_owner_reads(tmp_path: Path) -> None:
    token = owner_token(tmp_path)
    assert owner_token(tmp_path) == token and len(token) >= 32
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
    assert cookie_key(tmp_path) != token.encode()


@pytest.mark.parametrize("options", [[], ["--no-token"]])
def test_the_command_prints_an_address_that_opens(tmp_path: Path, options: list[str]) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "app.cli", "serve", "--no-browser", "--port", "0"]
    command += ["--data-dir", str(tmp_path / "library"), *options]
    env = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}  # of another test
    env["TMPDIR"] = str(temporary)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as server:
        assert server.stderr is not None
        try:
            address = re.search(r"http://\S+", server.stderr.readline()).group()  # type: ignore[union-attr]
            status = address.partition("?")[0] + "api/status"
            assert ("?token=" in address) is (not options)
            assert httpx.get(status, timeout=60).status_code == (200 if options else 401)
            with httpx.Client(timeout=60) as browser:
                first = browser.get(address)
                assert first.status_code == (200 if options else 303)
                assert first.headers.get("location", "/") == "/"
                while not browser.get(status).json()["gradio"]:
                    pass
                assert list(temporary.glob("sightline-*"))
        finally:
            server.terminate()
    assert not list(temporary.glob("sightline-*")), "temporary folders go at exit"


def test_no_token_is_for_this_machine_alone(tmp_path: Path) -> None:
    asked = ["serve", "--no-token", "--host", "0.0.0.0", "--no-browser", "--data-dir", str(tmp_path)]
    answer = CliRunner().invoke(commands, asked)
    assert answer.exit_code == 2 and "leave out --no-token" in answer.stderr


def test_the_browser_is_opened_with_a_ticket_that_lets_in_once(
    empty_library: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other accounts can read the arguments of a browser; the token is not among them."""
    addresses: queue.Queue[str] = queue.Queue()
    apps: list[Any] = []
    monkeypatch.setattr(webbrowser, "open", addresses.put)
    monkeypatch.setattr(server.listener, "run", lambda app, socket, **_: (apps.append(app), socket.close()))
    server.serve(empty_library, port=0)
    printed, opened = capsys.readouterr().err.split()[-1], addresses.get(timeout=60)
    assert owner_token(empty_library.data_dir) in printed
    assert "?token=" in opened and owner_token(empty_library.data_dir) not in opened
    with TestClient(apps[0], base_url=HERE, follow_redirects=False) as client:
        visit = opened.replace(opened[: opened.index("/?")], "")
        assert client.get("/api/status", headers={"authorization": f"Bearer {visit[8:]}"}).status_code == 401
        first = client.get(visit)
        assert (first.status_code, first.headers["location"]) == (303, "/")
        assert client.get("/api/status").status_code == 200
        client.cookies.clear()
        assert client.get(visit).status_code == 401


def test_the_cookie_is_neither_the_token_nor_its_hash_and_holds_for_one_port(
    owned: TestClient, empty_library: Any
) -> None:
    mine = cookie(owned)
    assert TOKEN not in mine and hashlib.sha256(TOKEN.encode()).hexdigest() not in mine
    assert owned.get("/api/status", headers={"cookie": mine}).status_code == 200
    other = create_app(empty_library, gradio=False, token=TOKEN, port=7861)
    with TestClient(other, base_url="http://127.0.0.1:7861") as client:
        there = mine.replace("sightline-7860", "sightline-7861")
        assert client.get("/api/status", headers={"cookie": there}).status_code == 401
    value = mine.partition("=")[2]
    assert owned.get("/api/status", headers={"authorization": f"Bearer {value}"}).status_code == 401


def test_the_cookie_outlives_the_server(owned: TestClient, empty_library: Any) -> None:
    mine = cookie(owned)
    with TestClient(create_app(empty_library, gradio=False, token=TOKEN), base_url=HERE) as again:
        assert again.get("/api/status", headers={"cookie": mine}).status_code == 200


def test_a_token_leaves_the_address_also_where_a_cookie_is_there(owned: TestClient) -> None:
    answer = owned.get(f"/?token={TOKEN}&q=dog", headers={"cookie": cookie(owned)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=dog")


@pytest.mark.parametrize("path", ["//evil.example/", "/%5Cevil.example/", "/%5C%5Cevil.example", "/%2Fevil.example"])
def test_redirects_stay_on_the_site(owned: TestClient, path: str) -> None:
    answer = owned.get(f"{HERE}{path}?token={TOKEN}")
    place = answer.headers.get("location", "/")
    assert place.startswith("/") and place[1:2] not in ("/", "\\")


def test_guessing_is_slowed_and_a_cookie_still_opens(owned: TestClient) -> None:
    mine = cookie(owned)
    answers = [
        owned.get("/api/status", headers={"authorization": f"Bearer guess{n}"}).status_code for n in range(GUESSES + 5)
    ]
    assert answers == [401] * GUESSES + [429] * 5
    right = owned.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"})
    assert right.status_code == 429 and right.headers["retry-after"]
    assert owned.get("/api/status", headers={"cookie": mine}).status_code == 200


def test_losing_the_file_of_tokens_closes(empty_library: Any) -> None:
    folder = empty_library.data_dir
    Tokens(folder).add("ann", may_index=False, roots=())
    (folder / "tokens.json").unlink()
    with pytest.raises(LibraryError, match="is lost"):
        bool(Tokens(folder))
    app = create_app(empty_library, gradio=False)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        assert client.get("/api/status").status_code == 503
    (folder / MARK).unlink()
    assert not Tokens(folder)


def test_tokens_that_an_older_program_gave_out_are_missed_too(tmp_path: Path) -> None:
    Tokens(tmp_path).add("ann", may_index=False, roots=())
    (tmp_path / MARK).unlink()
    assert Tokens(tmp_path)
    (tmp_path / "tokens.json").unlink()
    with pytest.raises(LibraryError, match="is lost"):
        bool(Tokens(tmp_path))
