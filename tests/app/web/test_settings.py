"""The settings of a library: each choice describes itself, holds at once, and at the next start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
from app.web.tokens import Tokens
from indexer.library import Library
from tests.app.conftest import HERE
from tests.media import draw_image


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    for n in range(3):
        draw_image(tmp_path / "files" / f"{n}.png", f"number {n}", seed=n)
    with Library.open(tmp_path / "library", speech="off") as library:
        library.choose("ocr", "off")
        library.index([tmp_path / "files"])
        yield library


@pytest.fixture
def client(library: Library) -> Iterator[TestClient]:
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        yield client


def values(client: TestClient) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in client.get("/api/settings").json()["settings"]}


def waiting_for_ocr(library: Library) -> int:
    return library.catalogue.queue.count("ocr")


def test_every_choice_describes_itself(client: TestClient) -> None:
    settings = client.get("/api/settings").json()["settings"]
    assert [one["name"] for one in settings] == ["theme", "ocr", "speech", "copies", "moderation", "clicks"]
    for one in settings:
        assert one["title"] and one["about"]
        assert not one["options"] or one["value"] in [value for value, _ in one["options"]]


def test_words_in_pictures_are_read_once_that_is_chosen_and_the_choice_stays(
    client: TestClient, library: Library, tmp_path: Path
) -> None:
    assert values(client)["ocr"] == "off" and waiting_for_ocr(library) == 0
    assert client.put("/api/settings", json={"name": "ocr", "value": "auto"}).status_code == 200
    assert values(client)["ocr"] == "auto" and waiting_for_ocr(library) == 3
    client.put("/api/settings", json={"name": "ocr", "value": "all"})
    refused = client.put("/api/settings", json={"name": "ocr", "value": "some"})
    assert refused.status_code == 400 and "off, auto or all" in refused.json()["error"]
    assert values(client)["ocr"] == "all"
    library.close()
    with Library.open(tmp_path / "library") as again:
        assert again.choices()["ocr"] == "all"
    with Library.open(tmp_path / "library", ocr="off") as given:
        assert given.choices()["ocr"] == "off"


def test_rules_hide_and_flag_until_they_are_taken_back(client: TestClient) -> None:
    total = client.get("/api/search").json()["total"]
    put = {"name": "moderation", "value": "a number,-100,hide"}
    assert client.put("/api/settings", json=put).status_code == 200
    assert client.get("/api/search").json()["total"] == 0 and values(client)["moderation"] == "a number,-100,hide"
    wrong = client.put("/api/settings", json={"name": "moderation", "value": "a number,much,hide"})
    assert wrong.status_code == 400 and "line 1" in wrong.json()["error"]
    client.put("/api/settings", json={"name": "moderation", "value": "a number,-100,flag"})
    assert client.get("/api/search", params={"label": "a number"}).json()["total"] == total
    client.put("/api/settings", json={"name": "moderation", "value": ""})
    assert client.get("/api/search").json()["total"] == total
    assert client.get("/api/search", params={"label": "a number"}).json()["total"] == 0


def test_the_owner_sees_and_changes_the_rules_of_each_folder(
    client: TestClient, library: Library, tmp_path: Path
) -> None:
    folder = str(tmp_path / "files")
    assert client.get("/api/settings").json()["rules"]["folders"] == [{"path": folder, "rules": "", "in_file": ""}]
    counted = client.put("/api/rules", json={"path": folder, "rules": "1.png", "check": True})
    assert counted.json() == {"left_out": 1, "taken_in": 0, "at_least": False}
    assert client.get("/api/search").json()["total"] == 3
    assert client.put("/api/rules", json={"path": folder, "rules": "1.png"}).json()["left_out"] == 1
    library.index()
    assert client.get("/api/search").json()["total"] == 2
    assert client.get("/api/settings").json()["rules"]["folders"][0]["rules"] == "1.png"
    wrong = client.put("/api/rules", json={"path": folder, "rules": "*.gif\n!"})
    assert wrong.status_code == 400 and wrong.json()["error"] == "Line 2 is no rule as in a .gitignore: !"
    other = client.put("/api/rules", json={"path": str(tmp_path), "rules": ""})
    assert other.status_code == 400 and "is no folder of the library" in other.json()["error"]


def test_who_is_not_the_owner_neither_sees_nor_changes_rules(library: Library, tmp_path: Path) -> None:
    tokens = Tokens(library.data_dir)
    token = tokens.add("Ada", may_index=True, roots=())
    app = create_app(library, gradio=False, token="the-owner")
    with TestClient(app, base_url=HERE, headers={"authorization": f"Bearer {token}"}) as guest:
        assert guest.get("/api/settings").json()["rules"] is None
        refused = guest.put("/api/rules", json={"path": str(tmp_path / "files"), "rules": "*"})
        assert refused.status_code == 403 and "Only the owner" in refused.json()["error"]
    assert library.folder_rules()[0].rules == ""


def test_what_is_kept_and_taken_in_can_be_chosen(client: TestClient, library: Library) -> None:
    client.put("/api/settings", json={"name": "copies", "value": "1"})
    client.put("/api/settings", json={"name": "clicks", "value": "1"})
    assert values(client) | {"copies": "1", "clicks": "1"} == values(client) and library.clicks.enabled
    assert client.put("/api/settings", json={"name": "colour", "value": "1"}).status_code == 400
