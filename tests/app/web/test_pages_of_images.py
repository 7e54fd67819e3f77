"""Pages of an image, formats that no browser shows, and what is wrong with a file: as the page shows them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.web.server import create_app
from data.media.video import probe
from indexer.library import Library
from tests.app.conftest import HERE
from tests.media import draw_image, draw_video

COLOURS = ((200, 30, 30), (30, 180, 60), (30, 60, 200))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("scans")
    pages = [Image.new("RGB", (300, 200), colour) for colour in COLOURS]
    pages[0].save(folder / "contract.tif", save_all=True, append_images=pages[1:])
    pages[0].save(folder / "one page.tif")
    pages[1].save(folder / "master.jp2")
    pages[2].resize((64, 64)).save(folder / "logo.ico")
    whole = draw_image(folder / "whole.jpg", seed=3, size=(800, 600)).read_bytes()
    (folder / "torn.jpg").write_bytes(whole[: int(0.95 * len(whole))])
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off") as library:
        assert library.index([folder]).failed == 0
        with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
            yield client


def hits(client: TestClient, name: str) -> list[dict[str, Any]]:
    return client.get("/api/search", params={"q": f"a picture name:{name}", "k": 50}).json()["hits"]


def colour(answer: Any) -> tuple[int, ...]:
    shown = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return shown.resize((1, 1)).getpixel((0, 0))  # type: ignore[return-value]


def test_each_page_of_a_tiff_is_a_hit_and_can_be_turned_to(client: TestClient) -> None:
    found = sorted(hits(client, "contract"), key=lambda hit: hit["page"])
    assert [(h["kind"], h["page"], h["pages"]) for h in found] == [("image", n, 3) for n in (1, 2, 3)]
    file_id = found[0]["file_id"]
    for n, expected in enumerate(COLOURS, 1):
        answer = client.get(f"/page/{file_id}/{n}.webp", params={"width": 1280})
        assert colour(answer) == pytest.approx(expected, abs=8)
        layer = client.get(f"/page/{file_id}/{n}.json", params={"q": "contract"}).json()
        assert layer == {"page": n, "pages": 3, "words": [], "marks": [], "inside": None}
    for n in (0, 4):
        assert client.get(f"/page/{file_id}/{n}.webp").status_code == 404
        assert client.get(f"/page/{file_id}/{n}.json").status_code == 404


def test_an_image_of_one_page_has_no_pages(client: TestClient) -> None:
    (hit,) = hits(client, "whole")
    assert (hit["page"], hit["pages"]) == (None, None)
    assert client.get(f"/page/{hit['file_id']}/1.webp").status_code == 404


@pytest.mark.parametrize(("name", "expected"), [("one", 0), ("master", 1), ("logo", 2)])
def test_what_no_browser_shows_is_made_a_webp(client: TestClient, name: str, expected: int) -> None:
    (hit,) = hits(client, name)
    assert colour(client.get(f"/view/{hit['file_id']}.webp")) == pytest.approx(COLOURS[expected], abs=8)


def test_what_is_wrong_with_a_file_is_said_with_it(client: TestClient) -> None:
    (torn,) = hits(client, "torn")
    assert "the end of the file is missing" in torn["note"]
    assert client.get(f"/api/chunk/{torn['chunk_id']}").json()["note"] == torn["note"]
    (whole,) = hits(client, "whole")
    assert whole["note"] is None


def test_the_film_of_a_live_photo_plays_from_its_hit(tmp_path: Path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    film = draw_video(folder / "IMG_1.mov", 3, 5, size=(64, 48))
    draw_image(folder / "IMG_1.jpg", seed=1)
    inside = draw_image(folder / "PXL_2.MP.jpg", seed=2)
    inside.write_bytes(inside.read_bytes() + film.read_bytes())
    draw_image(folder / "still.jpg", seed=5)
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([folder])
        with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
            found = {h["title"]: h for h in client.get("/api/search", params={"q": "picture", "k": 50}).json()["hits"]}
            live = {title: hit["live"] for title, hit in found.items()}
            assert live == {"IMG_1.jpg": True, "PXL_2.MP.jpg": True, "still.jpg": False}
            for title in ("IMG_1.jpg", "PXL_2.MP.jpg"):
                played = client.get(f"/live/{found[title]['file_id']}.mp4")
                assert played.headers["content-type"] == "video/mp4"
                (tmp_path / "played.mp4").write_bytes(played.content)
                assert probe(tmp_path / "played.mp4").duration_s == pytest.approx(3, abs=0.3)
            assert client.get(f"/live/{found['still.jpg']['file_id']}.mp4").status_code == 404
