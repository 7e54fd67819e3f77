"""PDFs inside a PDF: found, titled, shown and handed out alone, from the folder to the page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.cli.output import place
from app.web.server import create_app
from indexer.library import Library
from indexer.types import Part, Query
from tests.app.conftest import HERE
from tests.data.media.test_pdf_inside import around, document

INVOICE = document("An invoice for seven anvils", "Payable to the quarterly walrus census")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("post")
    files = [("Rechnung №7.pdf", INVOICE), ("letter.pdf", document("Dear aunt, the harvest was good"))]
    (folder / "bundle.pdf").write_bytes(around(document("Please open these files"), files))
    (folder / "alone.pdf").write_bytes(document("A recipe for plum jam"))
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off") as library:
        assert library.index([folder]).chunks == 5
        yield library


@pytest.fixture(scope="module")
def client(library: Library) -> Iterator[TestClient]:
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        yield client


def first(client: TestClient, q: str) -> dict[str, Any]:
    return client.get("/api/search", params={"q": q}).json()["hits"][0]


def test_a_page_of_a_pdf_inside_is_found_and_titled(client: TestClient, library: Library) -> None:
    hit = first(client, "quarterly walrus census")
    assert hit["relevant"] and Path(hit["path"]).name == "bundle.pdf"
    assert (hit["title"], hit["page"], hit["pages"]) == ("bundle.pdf › Rechnung №7.pdf, page 2", 3, 4)
    assert hit["inside_page"] == 2
    alone = client.get(f"/api/chunk/{hit['chunk_id']}").json()
    assert (alone["title"], alone["inside_page"]) == (hit["title"], 2)
    own = first(client, "Please open these files")
    assert (own["title"], own["page"], own["inside_page"]) == ("bundle.pdf", 1, None)
    assert first(client, "plum jam")["title"] == "alone.pdf"
    spoken = library.search(Query((Part(text="quarterly walrus census"),)), k=1).hits[0]
    assert place(spoken) == "› Rechnung №7.pdf, page 2"


def test_it_is_found_by_its_name(client: TestClient) -> None:
    hits = client.get("/api/search", params={"q": "letter.pdf"}).json()["hits"]
    assert {hit["title"] for hit in hits if hit["relevant"]} == {"bundle.pdf", "bundle.pdf › letter.pdf, page 1"}


def test_its_page_is_drawn_and_marked(client: TestClient) -> None:
    hit = first(client, "quarterly walrus census")
    picture = Image.open(io.BytesIO(client.get(f"/page/{hit['file_id']}/3.webp").content))
    assert picture.height > picture.width
    assert client.get(hit["thumb_url"]).status_code == 200
    layer = client.get(f"/page/{hit['file_id']}/3.json", params={"q": "walrus"}).json()
    assert [word[4] for word in layer["words"]][-3:] == ["quarterly", "walrus", "census"]
    assert len(layer["marks"]) == 1 and layer["pages"] == 4
    assert layer["inside"] == "Rechnung №7.pdf, page 2"
    assert client.get(f"/page/{hit['file_id']}/1.json").json()["inside"] is None
    assert client.get(f"/page/{hit['file_id']}/5.json").status_code == 404


def test_it_is_handed_out_alone(client: TestClient) -> None:
    hit = first(client, "quarterly walrus census")
    answer = client.get(f"/inside/{hit['file_id']}/3.pdf")
    assert answer.content == INVOICE and answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''Rechnung%20%E2%84%967.pdf"
    assert len(pymupdf.open(stream=answer.content, filetype="pdf")) == 2
    for n in (1, 5):
        assert client.get(f"/inside/{hit['file_id']}/{n}.pdf").status_code == 404
