"""The doors of the review of duplicates: groups in pages, for each visitor those of its folders; labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
from indexer.library import Library
from tests.app.conftest import HERE
from tests.media import draw_image, draw_pdf


@pytest.fixture
def client(tmp_path: Path):
    folder = tmp_path / "files"
    draw_image(folder / "kite.png", "a kite", seed=4)
    draw_pdf(folder / "letter.pdf", ["Dear all"])
    (folder / "copies").mkdir()
    for name in ("kite.png", "letter.pdf"):
        shutil.copy(folder / name, folder / "copies" / name)
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([folder])
        with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
            yield client


def test_groups_come_in_pages_with_what_the_review_shows(client: TestClient) -> None:
    whole = client.get("/api/duplicates").json()
    assert whole["total"] == 2 and [group["exact"] for group in whole["groups"]] == [True, True]
    first = whole["groups"][0]["files"]
    assert [one["best"] for one in first] == [True, True] and first[0]["size"] == first[1]["size"] > 100
    assert len({one["path"] for one in first}) == 2 and len({one["chunk_id"] for one in first}) == 1
    second = client.get("/api/duplicates", params={"k": 1, "offset": 1, "exact": True}).json()
    assert second == {"total": 2, "groups": whole["groups"][1:]}
    assert client.get("/api/duplicates", params={"k": 0}).status_code == 422
    assert client.get("/api/duplicates", params={"k": "many"}).status_code == 400


def test_labels_are_given_and_taken(client: TestClient) -> None:
    chunk = client.get("/api/duplicates").json()["groups"][0]["files"][0]["chunk_id"]
    body = {"name": "keep", "chunk_ids": [chunk]}
    assert client.post("/api/labels", json=body).json() == {"labelled": 1}
    assert client.get("/api/search", params={"label": "keep"}).json()["total"] == 1
    assert client.request("DELETE", "/api/labels", json=body).json() == {"removed": 1}
    assert "name" in client.post("/api/labels", json={"name": " ", "chunk_ids": [chunk]}).json()["error"]
