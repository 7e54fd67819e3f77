"""The owner's token by default: where it is kept, what stands in the cookie, what losing a file does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web import server
from app.web.guard import GUESSES
from app.web.server import create_app
from app.web.tokens import MARK, OWNER, Tokens, Visitor, cookie_key, owner_token
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


@pytest.mark.parametrize("no_token", [False, True])
def test_a_server_on_this_machine_asks_for_a_token_unless_told_otherwise(
    empty_library: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_token: bool
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(server.listener, "run", lambda app, socket, graceful_s: (served.append(app), socket.close()))
    server.serve(empty_library, port=0, open_browser=False, no_token=no_token)
    printed = capsys.readouterr().err
    answer = TestClient(served[0], base_url=HERE).get("/api/status")
    assert answer.status_code == (200 if no_token else 401)
    assert ("?token=" in printed) is not no_token


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


def test_links_are_followed_when_a_file_is_opened(tmp_path: Path) -> None:
    """A file of one's own folder that has become a link to another's, or lies behind a link."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"x")
    (mine / "link.jpg").symlink_to(other / "a.jpg")
    (mine / "inside").symlink_to(other)
    (tmp_path / "way").symlink_to(mine)
    ann = Visitor("ann", roots=(str(mine),))
    assert ann.reaches(mine / "a.jpg") and Visitor("ann", roots=(str(tmp_path / "way"),)).reaches(mine / "a.jpg")
    assert not ann.reaches(mine / "link.jpg") and not ann.reaches(mine / "inside" / "a.jpg")
    assert ann.sees(mine / "link.jpg"), "by its name alone it would be hers"
    assert OWNER.reaches(mine / "link.jpg")
