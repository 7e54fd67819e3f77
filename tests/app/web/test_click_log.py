"""Clicks by REST and on the command line: off at first, told, stopped, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli.program import app
from app.web.server import create_app
from indexer.library import Library
from tests.app.conftest import HERE
from tests.media import draw_pdf


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    draw_pdf(tmp_path / "papers" / "lease.pdf", ["The notice period", "Parking costs extra"])
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([tmp_path / "papers"])
        with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
            yield client


def test_a_click_is_kept_over_rest_only_by_consent(client: TestClient, tmp_path: Path) -> None:
    hit = client.get("/api/search", params={"q": "parking"}).json()["hits"][0]
    click = {"q": "parking", "chunk_id": hit["chunk_id"]}
    assert client.get("/api/status").json()["keeps_clicks"] is False
    assert client.post("/api/clicks", json=click).json() == {"kept": False}
    assert client.put("/api/clicks", json={"keep": True}).json() == {"keeps_clicks": True, "clicks": 0}
    assert client.post("/api/clicks", json=click).json() == {"kept": True}
    assert client.get("/api/status").json()["clicks"] == 1
    assert client.delete("/api/clicks").json() == {"deleted": 1}
    assert not (tmp_path / "library" / "clicks.jsonl").exists()


def test_another_site_can_neither_agree_nor_click(client: TestClient) -> None:
    elsewhere = {"origin": "https://example.com"}
    assert client.put("/api/clicks", json={"keep": True}, headers=elsewhere).status_code == 403
    assert client.post("/api/clicks", json={"q": "x", "chunk_id": 1}, headers=elsewhere).status_code == 403


def test_the_command_line_agrees_tells_stops_and_deletes(client: TestClient, tmp_path: Path) -> None:
    def sightline(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path / "library")])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "0 kept. New ones are not kept" in sightline("clicks")
    assert "clicks" not in sightline("status")
    assert "kept from now on" in sightline("clicks", "--keep")
    client.post("/api/clicks", json={"q": "parking", "chunk_id": 1})
    assert "1 click kept to train with: sightline clicks" in " ".join(sightline("status").split())
    assert json.loads(sightline("clicks", "--no-keep", "--json")) == {"keeps_clicks": False, "clicks": 1}
    assert json.loads(sightline("status", "--json"))["clicks"] == 1
    assert "0 kept" in sightline("clicks", "--delete")
