"""The settings of a library: each choice describes itself, holds at once, and at the next start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
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


def test_what_is_kept_and_taken_in_can_be_chosen(client: TestClient, library: Library) -> None:
    client.put("/api/settings", json={"name": "copies", "value": "1"})
    client.put("/api/settings", json={"name": "clicks", "value": "1"})
    assert values(client) | {"copies": "1", "clicks": "1"} == values(client) and library.clicks.enabled
    assert client.put("/api/settings", json={"name": "colour", "value": "1"}).status_code == 400
