"""Several people at one library: what each token opens, changes and sees, and what is written down of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
from app.web.tokens import Tokens, Visitor
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import OtherModel, WorkerStatus
from tests.app.conftest import HERE
from tests.app.serving import Server
from tests.media import draw_image, draw_pdf, draw_video


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Two people's folders; one photo lies in both."""
    root = tmp_path_factory.mktemp("house")
    draw_image(root / "ann" / "red kite.jpg", color=(220, 30, 30))
    draw_pdf(root / "ann" / "letter.pdf", ["A letter about the red kite"])
    draw_video(root / "ben" / "kite film.mp4", 6, 5)
    draw_image(root / "ben" / "secret kite.png", color=(20, 60, 220))
    shutil.copy(root / "ann" / "red kite.jpg", root / "ben" / "the same.jpg")
    (root / "ann" / "red kite.jpg.json").write_text(
        '{"description": "Aunt Wilhelmina on the dune", "photoTakenTime": {"timestamp": "1276000000"},'
        ' "people": [{"name": "Wilhelmina"}], "geoData": {"latitude": 38.7223, "longitude": -9.1393}}'
    )
    (root / "ben" / "broken kite.jpg").write_bytes(b"no picture")
    with Library.open(tmp_path_factory.mktemp("shared"), ocr="off") as library:
        library.index([root / "ann", root / "ben"])
        yield library


@pytest.fixture(scope="module")
def people(library: Library) -> Iterator[dict[str, TestClient]]:
    """A client for everybody: ann sees her folder, ben changes his, kim reads all, nobody has no token."""
    ann, ben = sorted(library.status().roots)
    tokens = Tokens(library.data_dir)
    given = {
        "ann": tokens.add("ann", may_index=False, roots=(ann,)),
        "ben": tokens.add("ben", may_index=True, roots=(ben,)),
        "kim": tokens.add("kim", may_index=False, roots=()),
        "nobody": "",
        "owner": "the-owner",
    }
    app = create_app(library, gradio=False, token="the-owner")
    with TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False) as client:
        clients = {}
        for name, token in given.items():
            clients[name] = TestClient(app, base_url=client.base_url, follow_redirects=False)
            clients[name].headers["authorization"] = f"Bearer {token}"
        yield clients


def kites(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    return client.get("/api/search", params={"q": "kite", "k": 50, **asked}).json()["hits"]


def ids(client: TestClient) -> tuple[dict[str, int], dict[str, int]]:
    """(file ids, chunk ids) by title, as whoever sees everything finds them."""
    hits = kites(client)
    return {h["title"]: h["file_id"] for h in hits}, {h["title"]: h["chunk_id"] for h in hits}


def test_without_a_token_nothing_is_answered_once_one_was_given_out(people: dict[str, TestClient]) -> None:
    for path in ("/", "/api/search?q=kite", "/api/status", "/media/1", "/thumb/1.webp", "/ui/app.js"):
        assert people["nobody"].get(path).status_code == 401, path
    assert people["nobody"].get("/healthz").status_code == 200


def test_a_search_finds_what_its_token_sees_and_no_more(people: dict[str, TestClient]) -> None:
    assert {h["title"] for h in kites(people["ann"])} == {"red kite.jpg", "letter.pdf"}
    assert {h["title"] for h in kites(people["ben"])} == {"secret kite.png", "kite film.mp4", "the same.jpg"}
    assert len(kites(people["kim"])) == len(kites(people["owner"])) == 4


def test_a_copy_in_another_s_folder_is_not_told_of(people: dict[str, TestClient]) -> None:
    seen = [h for h in kites(people["ann"]) if h["kind"] == "image"]
    assert [h["also_at"] for h in seen] == [[]]
    facets = people["ann"].get("/api/search", params={"q": "kite"}).json()["facets"]
    assert all("ben" not in folder for folder in facets["folder"])
    assert any(h["also_at"] for h in kites(people["kim"]))


def test_what_is_written_beside_a_copy_is_for_who_sees_that_copy(people: dict[str, TestClient]) -> None:
    def found(name: str, words: str) -> list[str]:
        hits = people[name].get("/api/search", params={"q": words}).json()["hits"]
        return [hit["title"] for hit in hits if hit["relevant"]]

    for words in ("Aunt Wilhelmina", '"on the dune"', "taken:2010", "near:Lisbon"):
        assert found("ann", words) == found("kim", words) == ["red kite.jpg"], words
        assert found("ben", words) == [], words
    assert "the same.jpg" in found("ben", "type:image -Wilhelmina") and "red kite.jpg" not in found(
        "ann", "type:image -Wilhelmina"
    )
    everything = [people["ben"].get("/api/search", params={"q": q}).text for q in ("type:image", "kite", "red")]
    assert not any(word in text for text in everything for word in ("Wilhelmina", "2010-06-08"))
    facets = {n: people[n].get("/api/search", params={"q": "type:image"}).json()["facets"] for n in ("ann", "ben")}
    assert "2010" in facets["ann"]["year"] and "2010" not in facets["ben"]["year"]
    notice = people["ben"].get("/api/search", params={"q": "near:Lisbon"}).json()["notice"]
    assert notice and "Lisbon" in notice


def test_what_lies_in_another_s_folder_cannot_be_opened_by_its_id(people: dict[str, TestClient]) -> None:
    files, chunks = ids(people["owner"])
    film, secret = files["kite film.mp4"], files["secret kite.png"]
    others = (
        f"/media/{secret}", f"/view/{secret}.webp", f"/play/{film}/0.mp4",
        f"/clip/{chunks['kite film.mp4']}.mp4", f"/thumb/{chunks['secret kite.png']}.webp",
        f"/open/{chunks['secret kite.png']}", f"/api/chunk/{chunks['secret kite.png']}",
        f"/api/similar/{chunks['secret kite.png']}", f"/subtitles/{film}.vtt", f"/api/transcript/{film}",
    )  # fmt: skip
    for path in others:
        assert people["ann"].get(path).status_code == 404, path
        assert people["kim"].get(path).status_code in (200, 303), path
    letter = files["letter.pdf"]
    for path in (f"/page/{letter}/1.webp", f"/page/{letter}/1.json", f"/media/{letter}"):
        assert people["ann"].get(path).status_code == 200, path
        assert people["ben"].get(path).status_code == 404, path
    inside = {name: people[name].get(f"/inside/{letter}/1.pdf").json()["error"] for name in ("ann", "ben")}
    assert inside["ann"] == "Page 1 of letter.pdf is not of a PDF inside it." and "has no file" in inside["ben"]


def test_albums_hold_for_each_visitor_what_its_token_sees(people: dict[str, TestClient]) -> None:
    files, _ = ids(people["owner"])
    mine, hers = files["secret kite.png"], files["letter.pdf"]

    def album(client: TestClient) -> list[tuple[str, int]]:
        return [(one["name"], one["count"]) for one in client.get("/api/albums").json()["albums"]]

    added = {"name": "Kites", "file_ids": [mine, hers]}
    assert people["ann"].post("/api/albums", json=added).status_code == 403, "her token may not change anything"
    assert people["ben"].post("/api/albums", json=added).json() == {"added": 1}, "what he sees, and no more"
    assert album(people["ann"]) == [] and album(people["ben"]) == album(people["owner"]) == [("Kites", 1)]
    assert "Kites" in people["ann"].get("/api/search", params={"q": "album:Kites"}).json()["notice"]
    people["owner"].post("/api/albums", json=added)
    assert album(people["ann"]) == [("Kites", 1)] and album(people["owner"]) == [("Kites", 2)]
    assert [hit["title"] for hit in kites(people["ann"], q="album:Kites")] == ["letter.pdf"]
    for path, body in (("PUT", {"name": "Kites", "to": "Mine"}), ("DELETE", {"name": "Kites"})):
        assert people["ben"].request(path, "/api/albums", json=body).status_code == 400
    only_hers = {"name": "Kites", "file_ids": [hers]}
    assert people["ben"].request("DELETE", "/api/albums", json=only_hers).json() == {"removed": 0}
    assert people["owner"].request("DELETE", "/api/albums", json={"name": "Kites"}).json() == {"removed": 2}
    zipped = people["ann"].post("/api/zip", data={"ids": f"{mine},{hers}", "check": "true"}).json()
    assert zipped["files"] == zipped["gone"] == 1


def test_what_is_known_and_counted_is_of_the_token_s_folders(people: dict[str, TestClient]) -> None:
    _, chunks = ids(people["owner"])
    shared, his = chunks["red kite.jpg"], chunks["secret kite.png"]
    for route in ("info", "why"):
        assert people["ann"].get(f"/api/{route}/{his}", params={"q": "kite"}).status_code == 404
    assert len(people["owner"].get(f"/api/info/{shared}").json()["also_at"]) == 1
    assert people["ann"].get(f"/api/info/{shared}").json()["also_at"] == []
    assert "Wilhelmina" in people["ann"].get(f"/api/info/{shared}").json()["caption"]
    assert people["ben"].get(f"/api/info/{shared}").json()["caption"] == ""
    assert people["owner"].get(f"/api/why/{shared}", params={"q": "kite"}).json()["looks"]["of"] == 2
    assert people["ann"].get(f"/api/why/{shared}", params={"q": "kite"}).json()["looks"]["of"] is None
    months = {name: people[name].get("/api/timeline").json()["months"] for name in ("ann", "ben", "owner")}
    assert [sum(month["count"] for month in months[name]) for name in months] == [2, 3, 4]
    for asked in ({}, {"q": "kite"}):
        places = {name: people[name].get("/api/places", params=asked).json() for name in ("ann", "ben")}
        assert places["ann"]["placed"] == 1 and places["ben"]["clusters"] == []
    groups = {name: people[name].get("/api/duplicates").json()["groups"] for name in ("ann", "ben", "owner")}
    assert [len(groups[name]) for name in groups] == [0, 0, 1], "the two copies are in two folders"
    assert people["ann"].get("/api/settings").status_code == 400
    values = {name: people[name].get("/api/vocabulary").json() for name in ("ann", "ben")}
    assert values["ann"]["in"] == [["ann", 2]] and values["ann"]["near"] == [["Lisbon, Portugal", 1]]
    assert values["ann"]["person"] == [["Wilhelmina", 1]] and values["ben"]["person"] == []
    assert [kites(people[name], q="person:wilhel") != [] for name in ("ann", "ben")] == [True, False]
    assert values["ben"]["near"] == [] and "ann" not in str(values["ben"]["in"])
    people["owner"].put("/api/searches", json={"name": "Kites", "query": "q=kite"})
    assert [len(people[name].get("/api/searches").json()["searches"]) for name in ("ann", "ben", "kim")] == [0, 0, 1]
    assert people["ben"].request("DELETE", "/api/searches", json={"name": "Kites"}).status_code == 400
    assert people["kim"].request("DELETE", "/api/searches", json={"name": "Kites"}).status_code == 403


def test_the_file_manager_is_the_owner_s_and_a_reel_holds_what_a_token_sees(people: dict[str, TestClient]) -> None:
    files, chunks = ids(people["owner"])
    assert [people[name].get("/api/status").json()["reveals"] for name in ("owner", "kim", "ann")] == [
        True,
        False,
        False,
    ]
    for name in ("kim", "ann"):
        assert people[name].post("/api/reveal", json={"file_id": files["red kite.jpg"]}).status_code == 403
    film = {"ids": str(chunks["kite film.mp4"]), "check": "true"}
    assert people["ben"].post("/api/reel", data=film).json() == {"files": 1, "gone": 0}
    assert people["ann"].post("/api/reel", data=film).status_code == 400


def test_another_s_picture_is_nothing_to_search_with(people: dict[str, TestClient]) -> None:
    _, chunks = ids(people["owner"])
    for field in ("like", "unlike"):
        asked = people["ann"].get("/api/search", params={"q": "x", field: chunks["secret kite.png"]})
        assert asked.status_code == 400 and "no chunk" in asked.json()["error"]
    assert kites(people["ann"], under=str(Path(kites(people["ben"])[0]["path"]).parent)) == []
    assert kites(people["ann"], file_id=ids(people["owner"])[0]["secret kite.png"]) == []


def test_moments_stay_in_their_folders(people: dict[str, TestClient]) -> None:
    found = {name: people[name].get("/api/moments", params={"q": "kite film"}).json() for name in people}
    assert found["ann"]["moments"] == []
    assert found["kim"]["moments"] and found["ben"]["moments"]
    (film,) = found["ben"]["moments"]
    asked = {"q": "kite film", "chunk_id": film["chunk_id"]}
    inside = {name: people[name].get("/api/moments", params=asked) for name in ("ann", "ben", "kim")}
    assert inside["ben"].json() == inside["kim"].json() and inside["ben"].json()["moments"]
    assert inside["ann"].status_code == 400


def test_workers_and_a_change_of_the_model_are_for_who_sees_all_folders(
    people: dict[str, TestClient], library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = (library.status().roots[1],)
    worker = WorkerStatus("attic", "attic", "1.0", "lite", "ready", silent_s=1.0, holds=0, lacks=lacks)
    whole = replace(library.status(), workers=(worker,), other_model=OtherModel("lite@0", building=False))
    monkeypatch.setattr(library, "status", lambda: whole)
    assert people["kim"].get("/api/status").json()["workers"]
    assert people["ann"].get("/api/status").json()["workers"] == []
    assert people["kim"].get("/api/status").json()["other_model"]
    assert people["ann"].get("/api/status").json()["other_model"] is None


def test_the_status_and_the_failures_are_of_the_token_s_folders(people: dict[str, TestClient]) -> None:
    ann, ben = (people[name].get("/api/status").json() for name in ("ann", "ben"))
    assert (ann["files"], ann["failed"]) == (2, 0) and (ben["files"], ben["failed"]) == (4, 1)
    assert (ann["chunks"], ben["chunks"]) == (2, 3), "the photo in both is a chunk of each"
    assert ann["bytes"] == ann["clicks"] == ann["ignored"] == 0
    assert [Path(root).name for root in ann["roots"]] == ["ann"]
    assert people["ann"].get("/api/failures").json() == []
    assert len(people["ben"].get("/api/failures").json()) == 1


def test_a_token_that_may_only_read_changes_nothing(people: dict[str, TestClient]) -> None:
    changes: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/api/roots", {"path": "/"}), ("DELETE", "/api/roots", {"path": "/"}),
        ("POST", "/api/failures/retry", None), ("PUT", "/api/clicks", {"keep": True}),
        ("DELETE", "/api/clicks", None), ("POST", "/api/clicks", {"q": "kite", "chunk_id": 1}),
        ("GET", "/api/browse?path=/", None),
    )  # fmt: skip
    for method, path, body in changes:
        answer = people["kim"].request(method, path, json=body)
        assert answer.status_code == 403, path
        assert "The token of kim may search and open, not change anything." in answer.json()["error"]
    assert people["kim"].post("/api/search", data={"q": "kite"}).status_code == 200


def test_a_token_of_one_folder_adds_and_forgets_no_other(people: dict[str, TestClient]) -> None:
    ann = people["ann"].get("/api/status").json()["roots"][0]
    for method in ("POST", "DELETE"):
        answer = people["ben"].request(method, "/api/roots", json={"path": ann})
        assert answer.status_code == 400 and "not one of the folders" in answer.json()["error"]
    for method, path in (("POST", "/api/failures/retry"), ("DELETE", "/api/clicks")):
        assert people["ben"].request(method, path).status_code == 400
    assert people["ben"].get("/api/browse", params={"path": "/"}).json()["folders"] == []


def test_what_was_opened_is_written_down_once_a_visit(people: dict[str, TestClient], library: Library) -> None:
    file = ids(people["owner"])[0]["red kite.jpg"]
    for _ in range(3):
        people["ann"].get(f"/media/{file}", headers={"range": "bytes=0-9"})
    lines = [json.loads(line) for line in (library.data_dir / "audit.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line["who"] == "ann" and line["opened"].endswith("red kite.jpg")]
    assert len(mine) == 1 and mine[0]["at"].startswith("20")


def test_a_visit_with_the_token_in_the_address_leaves_a_cookie(people: dict[str, TestClient]) -> None:
    token = people["kim"].headers["authorization"].removeprefix("Bearer ")
    first = people["nobody"].get("/", params={"token": token}, headers={"x-forwarded-proto": "https"})
    assert first.status_code == 303 and token not in first.headers["set-cookie"]
    assert "Secure" in first.headers["set-cookie"]
    cookie = first.headers["set-cookie"].split(";")[0]
    assert people["nobody"].get("/api/status", headers={"cookie": cookie}).status_code == 200


def test_a_token_that_was_taken_back_opens_nothing(people: dict[str, TestClient], library: Library) -> None:
    tokens = Tokens(library.data_dir)
    token = tokens.add("gone", may_index=True, roots=())
    headers = {"authorization": f"Bearer {token}"}
    assert people["nobody"].get("/api/status", headers=headers).status_code == 200
    tokens.remove("gone")
    assert people["nobody"].get("/api/status", headers=headers).status_code == 401


def test_agents_and_gradio_s_client_see_what_their_token_sees(people: dict[str, TestClient], library: Library) -> None:
    from gradio_client import Client

    server = Server(library, token="the-owner")
    server.start()
    server.wait_for_gradio()
    try:
        for name, seen in (("ann", {"red kite.jpg", "letter.pdf"}), ("kim", None)):
            header = {"authorization": people[name].headers["authorization"]}
            client = Client(server.url, headers=header, verbose=False, analytics_enabled=False)
            hits = json.loads(client.predict(text="kite", api_name="/search"))["hits"]
            assert {h["title"] for h in hits} == (seen or {h["title"] for h in kites(people["owner"])})
            told = _by_mcp(server.url, header)
            assert {h["title"] for h in told["hits"]} == {h["title"] for h in hits}
    finally:
        server.stop()


def _by_mcp(url: str, headers: dict[str, str]) -> Any:
    """What the MCP tool `search` answers, over HTTP as an agent's client asks."""
    import httpx

    asked = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search", "arguments": {"text": "kite", "below_the_line": True}},
    }  # fmt: skip
    accept = {"accept": "application/json, text/event-stream", **headers}
    answer = httpx.post(f"{url}/gradio_api/mcp/", json=asked, headers=accept, timeout=60)
    data = next(line[6:] for line in answer.text.splitlines() if line.startswith("data: "))
    return json.loads(json.loads(data)["result"]["content"][0]["text"])


def test_a_damaged_file_of_tokens_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(LibraryError, match=r"tokens\.json cannot be read .* mend it, or delete it"):
        Tokens(tmp_path).find("anything")


def test_tokens_are_kept_as_hashes_that_only_their_owner_reads(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    token = tokens.add("ann", may_index=False, roots=("/photos",))
    assert token not in (tmp_path / "tokens.json").read_text()
    assert (tmp_path / "tokens.json").stat().st_mode & 0o077 == 0
    assert Tokens(tmp_path).find(token) == Visitor("ann", False, ("/photos",))
    with pytest.raises(LibraryError, match="There is a token for ann already"):
        tokens.add("ann", may_index=False, roots=())


def test_a_visitor_sees_its_folders_and_not_their_neighbours() -> None:
    ann = Visitor("ann", roots=("/photos/ann",))
    assert ann.sees("/photos/ann") and ann.sees("/photos/ann/2024/a.jpg")
    assert not ann.sees("/photos/anna/a.jpg") and not ann.sees("/photos/ann/../ben/a.jpg")


def test_the_commands_make_list_and_take_back(library: Library, tmp_path: Path) -> None:
    def sightline(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", "token", *words, "--data-dir", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True)

    with Library.open(tmp_path, ocr="off") as own:
        own.add_root(Path(library.status().roots[0]))
    made = sightline("add", "ann", "--root", library.status().roots[0])
    assert made.returncode == 0 and len(made.stdout.strip()) == 32
    assert "ann: searches " in sightline("list").stdout
    assert made.stdout.strip() not in sightline("list", "--json").stdout
    refused = sightline("add", "eve", "--root", "/nowhere")
    assert refused.returncode == 2 and "/nowhere is no folder of this library" in refused.stderr
    assert sightline("remove", "ann").returncode == 0
    assert "no token for ann" in sightline("remove", "ann").stderr


def test_what_failed_to_index_is_never_served(people: dict[str, TestClient]) -> None:
    answers = [people["owner"].get(f"/media/{n}") for n in range(1, 20)]
    assert {answer.status_code for answer in answers} == {200, 404}
    assert not any(answer.content == b"no picture" for answer in answers)


def test_links_are_followed_when_a_file_is_opened(tmp_path: Path) -> None:
    """A file of one's own folder that has become a link to another's, or that lies behind a link to a folder."""
    mine, others = tmp_path / "mine", tmp_path / "others"
    draw_image(others / "below" / "secret.jpg", color=(20, 60, 220))
    draw_image(mine / "kite.jpg", color=(220, 30, 30))
    (mine / "inside").symlink_to(others / "below")
    (tmp_path / "way").symlink_to(mine)
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([tmp_path / "way"])
        token = Tokens(library.data_dir).add("ann", may_index=False, roots=library.status().roots)
        ann = {"authorization": f"Bearer {token}"}
        owner = {"authorization": "Bearer the-owner"}
        with TestClient(create_app(library, gradio=False, token="the-owner"), base_url=HERE) as client:
            hits = client.get("/api/search", headers=owner).json()["hits"]
            opened = {hit["title"]: f"/media/{hit['file_id']}" for hit in hits}
            assert set(opened) == {"kite.jpg", "secret.jpg"}
            assert client.get(opened["kite.jpg"], headers=ann).status_code == 200, "her root itself is a link"
            assert client.get(opened["secret.jpg"], headers=ann).status_code == 404
            assert client.get(opened["secret.jpg"], headers=owner).status_code == 200
            (secret,) = [hit for hit in hits if hit["title"] == "secret.jpg"]
            for path in (secret["thumb_url"], secret["open_url"], f"/api/info/{secret['chunk_id']}"):
                assert client.get(path, headers=ann).status_code == 404, path
                assert client.get(path, headers=owner).status_code == 200, path
            shown = client.get("/api/search", headers=ann).json()["hits"]
            assert [hit["title"] for hit in shown] == ["kite.jpg"]
            (mine / "kite.jpg").unlink()
            (mine / "kite.jpg").symlink_to(others / "below" / "secret.jpg")
            assert client.get(opened["kite.jpg"], headers=ann).status_code == 404
