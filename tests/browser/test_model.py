"""A model from the hub to the answers, on the page: "Fetch it", "Use it", and a search every second meanwhile.

Then both models side by side, and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from app.cli.model_install import install_model
from app.demo import build
from indexer.library import Library
from indexer.types import LibraryOptions, OtherModel, Part, Query
from model.hub_models import HUB_MODELS
from tests.app.serving import Busy
from tests.browser.conftest import Server, opened, shot
from tests.browser.test_access import SCREENS, violations
from tests.data.download.model_hub import ModelHub
from tests.media import draw_image
from tests.model.gemma import tiny

pytestmark = pytest.mark.browser

NAME = "embeddinggemma-2"
MODEL = HUB_MODELS[NAME]
assert MODEL.checkpoint is not None
SOURCE = MODEL.checkpoint
QUERY = Query((Part(text="a lion in the grass"),))
BEFORE = 5
"""Searches before the change, one a second."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny EmbeddingGemma 2: its authors' checkpoint, and the four-bit graphs."""
    files = tmp_path_factory.mktemp("published")
    tiny.tokenizer(files)
    made = tiny.model()
    made.save_pretrained(files)
    tiny.export(made, files, "_q4")
    return files


@pytest.fixture
def hub(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub with both repositories, and no declared checksums: they are those of the published files."""
    graphs = {path: (published / path).read_bytes() for path in MODEL.files("q4")}
    weights = {path: (published / path).read_bytes() for path in SOURCE.files}
    hub = ModelHub(graphs, {SOURCE.repo: weights})
    monkeypatch.setitem(HUB_MODELS, NAME, replace(MODEL, checksums={}))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("SIGHTLINE_MODELS", str(tmp_path / "models"))
    yield hub
    hub.server.shutdown()


@pytest.fixture
def library(tmp_path: Path, hub: ModelHub) -> Iterator[Library]:
    """The demo's."""
    options = LibraryOptions(explicit_model=False, ocr="off")
    with Library(tmp_path / "library", options, read_only=False) as library:
        library.index([build(tmp_path / "files")])
        library.start(watch=False)
        yield library


def card_of(page: Page) -> Locator:
    return page.locator(".model").filter(has_text="EmbeddingGemma 2")


def test_a_model_is_fetched_and_used_from_the_page_while_searches_go_on(
    context: BrowserContext, library: Library, hub: ModelHub
) -> None:
    server = Server(library, gradio=False, fetch=install_model)
    server.start()
    answers: list[tuple[str, float]] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.wait(1):
            start = time.perf_counter()
            answer = library.search(QUERY, k=3)
            assert answer.hits
            answers.append((answer.model, time.perf_counter() - start))

    def more(count: int) -> None:
        until = len(answers) + count
        while len(answers) < until and not searches.done():
            time.sleep(0.1)

    pool = ThreadPoolExecutor(1)
    searches = pool.submit(search)
    try:
        page = context.new_page()
        page.goto(f"{server.url}/?view=settings")
        card = card_of(page)
        expect(card).to_contain_text("not downloaded, about 1.5 GB")
        expect(card).to_contain_text("MMEB-V2 59 (images 57.3, videos 50.7, pages 67.8)")
        expect(card).to_contain_text("an hour here")
        expect(card.get_by_role("button")).to_have_text(["Fetch it (1.5 GB, fast)", "Fetch it (0.3 GB, slower)"])
        more(BEFORE)
        asked = len(answers)
        card.get_by_role("button", name="fast").click()
        expect(card.get_by_role("status")).to_contain_text("This library: at most about")
        assert {path for path, _, _ in hub.asked} == {*MODEL.others, *SOURCE.files}
        expect(card.get_by_role("button")).to_have_text(["Use it"])
        card.get_by_role("button", name="Use it").click()
        expect(card.locator(".tag")).to_have_text("in use")
        expect(page.locator(".model.current")).to_have_count(1)
        more(2)
    finally:
        stop.set()
        server.stop()
        pool.shutdown()
    searches.result()  # none was lost
    models = [model for model, _ in answers]
    assert models[0].startswith("lite@") and models[-1].startswith(f"{NAME}:int8@")
    before, during = (
        [s for model, s in part if model.startswith("lite@")] for part in (answers[:asked], answers[asked:])
    )
    print(f"a search: {median(before):.3f} s before, at most {max(during, default=0):.3f} s while the model changes")


def test_the_small_one_is_fetched_as_it_is(context: BrowserContext, library: Library, hub: ModelHub) -> None:
    with Server(library, gradio=False, fetch=install_model) as server:
        page = context.new_page()
        page.goto(f"{server.url}/?view=settings")
        card_of(page).get_by_role("button", name="slower").click()
        expect(card_of(page).get_by_role("status")).to_contain_text("This library: at most about")
        assert {path for path, _, _ in hub.asked} == set(MODEL.files("q4"))


@pytest.fixture
def changed(tmp_path: Path, published: Path) -> Iterator[Library]:
    """A library that was changed from lite to another model."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        draw_image(photos / f"{number}.png", f"number {number}", (200 + number, 100))
    with Library(tmp_path / "changed", LibraryOptions(explicit_model=False, ocr="off"), read_only=False) as library:
        library.index([photos])
        library.use_model(str(published))
        library.index()
        library.start(watch=False)
        yield library


def searched(page: Page, server: Server, *queries: str) -> None:
    page.goto(server.url)
    for query in queries:
        box = page.get_by_role("combobox", name="Search")
        box.fill(query)
        box.press("Enter")
        expect(page.locator(".card").first).to_be_visible()
    page.goto(f"{server.url}/?view=settings")


@pytest.mark.parametrize("screen", SCREENS)
def test_both_models_are_compared_on_the_last_searches_and_axe_finds_nothing(
    browser: Browser, changed: Library, npm: Path, screen: str
) -> None:
    with (
        Server(changed, gradio=False) as server,
        opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context,
    ):
        page = context.new_page()
        searched(page, server, "number 3", "number 5")
        change = page.get_by_role("region", name="Change of the model")
        expect(change).to_contain_text("lite answered before.")
        change.get_by_role("button", name="Compare my searches").click()
        tables = change.get_by_role("table")
        expect(tables).to_have_count(2)
        expect(tables.nth(0).locator("caption")).to_have_text("number 5")
        expect(tables.nth(1).get_by_role("columnheader").nth(1)).to_have_text("lite")
        expect(tables.nth(1).get_by_role("link", name="3.png")).to_have_count(2)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= SCREENS[screen]["viewport"]["width"]
        change.scroll_into_view_if_needed()
        shot(page, f"model-change-{screen}")
        assert violations(page, npm) == []


def test_two_models_of_one_name_are_told_apart(context: BrowserContext, library: Library) -> None:
    names = ["tiny:int8:frame=70@0a1b2c-1", "tiny:int8@3d4e5f-1", "tiny:int8@6a7b8c-1"]
    served = Busy(library, model=names[0], other_model=OtherModel(names[1], building=False))
    with Server(served, gradio=False) as server:
        page = context.new_page()
        page.goto(f"{server.url}/?view=settings")
        change = page.get_by_role("region", name="Change of the model")
        expect(change).to_contain_text("tiny:int8:frame=70 answers; tiny:int8 answered before.")
        served.changes["model"] = names[2]
        page.reload()
        expect(change).to_contain_text(f"{names[2]} answers; {names[1]} answered before.")
        expect(change.get_by_role("button", name=f"delete {names[1]}'s vectors")).to_be_visible()


def test_a_change_is_undone_and_then_kept_on_the_page(context: BrowserContext, changed: Library) -> None:
    new = changed.status().model
    with Server(changed, gradio=False) as server:
        page = context.new_page()
        page.goto(f"{server.url}/?view=settings")
        change = page.get_by_role("region", name="Change of the model")
        change.get_by_role("button", name="Back to lite").click()
        expect(change).to_contain_text("lite answers; ")
        assert changed.status().model.startswith("lite@")
        change.get_by_role("button", name=f"Back to {new.split('@')[0]}").click()
        expect(change).to_contain_text("lite answered before.")
        assert changed.status().model == new
        change.get_by_role("button", name="delete lite's vectors").click()
        expect(change).to_have_count(0)
        assert changed.status().other_model is None
