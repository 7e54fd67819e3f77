"""A model from the hub to the answers, on the page: "Fetch it", "Use it", and a search every second meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from app.cli.models import fetch
from indexer.library import Library
from indexer.types import LibraryOptions, Part, Query
from model.hub_models import HUB_MODELS
from tests.browser.conftest import Server
from tests.data.download.model_hub import ModelHub
from tests.media import draw_image
from tests.model.gemma import tiny

pytestmark = pytest.mark.browser

NAME = "embeddinggemma-2"
MODEL = HUB_MODELS[NAME]
QUERY = Query((Part(text="number 3"),))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub with a tiny EmbeddingGemma 2, and no declared checksums: they are those of the published files."""
    files = tmp_path / "published"
    files.mkdir()
    tiny.tokenizer(files)
    tiny.export(tiny.model(), files, "_q4")
    hub = ModelHub({path: (files / path).read_bytes() for path in MODEL.files("q4")})
    monkeypatch.setitem(HUB_MODELS, NAME, replace(MODEL, checksums={}))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("SIGHTLINE_MODELS", str(tmp_path / "models"))
    yield hub
    hub.server.shutdown()


@pytest.fixture
def library(tmp_path: Path, hub: ModelHub) -> Iterator[Library]:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        draw_image(photos / f"{number}.png", f"number {number}", (200 + number, 100))
    options = LibraryOptions(explicit_model=False, ocr="off")
    with Library(tmp_path / "library", options, read_only=False) as library:
        library.index([photos])
        library.start(watch=False)
        yield library


def test_a_model_is_fetched_and_used_from_the_page_while_searches_go_on(
    context: BrowserContext, library: Library, hub: ModelHub
) -> None:
    server = Server(library, gradio=False, fetch=fetch)
    server.start()
    models: list[str] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.wait(1):
            answer = library.search(QUERY, k=3)
            assert answer.hits
            models.append(answer.model)

    pool = ThreadPoolExecutor(1)
    searches = pool.submit(search)
    try:
        page = context.new_page()
        page.goto(f"{server.url}/?view=settings")
        card = page.locator(".model").filter(has_text="EmbeddingGemma 2")
        expect(card).to_contain_text("not downloaded, about 0.3 GB")
        expect(card).to_contain_text("MMEB-V2 59 (images 57.3, videos 50.7, pages 67.8)")
        expect(card).to_contain_text("an hour here")
        card.get_by_role("button", name="Fetch it").click()
        expect(card.get_by_role("status")).to_contain_text("This library: at most about")
        assert {path for path, _, _ in hub.asked} == set(hub.files)
        expect(card.get_by_role("button", name="Fetch it")).to_have_count(0)
        card.get_by_role("button", name="Use it").click()
        expect(card.locator(".tag")).to_have_text("in use")
        expect(page.locator(".model.current")).to_have_count(1)
        switched = len(models)
        while len(models) < switched + 2 and not searches.done():
            time.sleep(0.1)
    finally:
        stop.set()
        server.stop()
        pool.shutdown()
    searches.result()
    assert models[0].startswith("lite@") and models[-1].startswith(f"{NAME}:q4@")
