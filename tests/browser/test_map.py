"""The map: clusters of all hits, not only of the loaded ones; a click searches near one. Nothing comes from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from indexer.library import Library
from tests.browser.conftest import Server, answered, opened, settled, shot
from tests.browser.test_access import LOOKS, SCREENS, violations
from tests.media import draw_image

pytestmark = pytest.mark.browser

PLACES = {
    "Lisbon": (38.7223, -9.1393, 40),
    "Porto": (41.1496, -8.6110, 12),
    "Oslo": (59.9139, 10.7522, 9),
    "Cape Town": (-33.9249, 18.4241, 3),
}
NOWHERE = 4


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Photos of four towns, more than one page of the list, and some that do not say where they were taken."""
    folder = tmp_path_factory.mktemp("travels")
    seed = 0
    for town, (lat, lon, count) in PLACES.items():
        for n in range(count):
            seed += 1
            gps = (lat + n % 5 * 0.01, lon - n % 3 * 0.01)
            draw_image(folder / f"{town} {n:02}.jpg", size=(64, 48), seed=seed, exif={"gps": gps})
    for n in range(NOWHERE):
        draw_image(folder / f"scan {n}.jpg", size=(64, 48), seed=1000 + n)
    with Library.open(tmp_path_factory.mktemp("map"), ocr="off") as library:
        library.index([folder])
        yield library


@pytest.fixture(scope="module")
def server(library: Library) -> Iterator[Server]:
    with Server(library, gradio=False) as server:
        yield server


def start(page: Page, server: Server, path: str = "/?map=1") -> None:
    page.goto(server.url + path)
    expect(page.locator(".cluster").first).to_be_visible()
    answered(page)


def test_the_map_counts_all_hits_and_a_click_searches_near_a_cluster(page: Page, server: Server) -> None:
    elsewhere: list[str] = []

    def stay(route: Route) -> None:
        if route.request.url.startswith((server.url, "data:", "blob:")):
            return route.continue_()
        elsewhere.append(route.request.url)
        return route.abort()

    page.context.route("**/*", stay)
    page.goto(server.url)
    expect(page.locator(".card")).to_have_count(30)
    page.get_by_role("button", name="Map", exact=True).click()
    expect(page).to_have_url(f"{server.url}/?map=1")
    words = page.locator(".map-foot p")
    expect(words).to_contain_text("64 of 68 results")
    for name in ("52 results near Lisbon", "9 results near Oslo", "3 results near Cape Town"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    settled(page)
    shot(page, "map")
    page.get_by_role("button", name="9 results near Oslo").click()
    box = page.get_by_role("combobox", name="Search in words")
    expect(box).to_have_value('near:"Oslo, Norway"')
    expect(page.locator(".card")).to_have_count(9)
    expect(page.get_by_role("button", name="Everywhere")).to_be_focused()
    expect(words).to_contain_text("9 results say where they were taken")
    expect(page.locator(".cluster .dot")).to_have_text(["9"])
    page.get_by_role("button", name="Everywhere").click()
    expect(box).to_have_value("")
    expect(words).to_contain_text("64 of 68 results")
    page.get_by_role("button", name="Map", exact=True).click()
    expect(page.locator(".map")).to_be_hidden()
    assert not elsewhere


def test_the_keyboard_chooses_a_cluster_and_the_other_words_stay(page: Page, server: Server) -> None:
    start(page, server, "/?q=type%3Aimage+near%3APorto%2F1000&map=1")
    expect(page.locator(".map-foot p")).to_contain_text("52 results")
    cluster = page.get_by_role("button", name="12 results near Porto")
    cluster.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value('type:image near:"Porto, Portugal"')
    expect(page.locator(".card")).to_have_count(12)


def test_an_answer_without_places_says_so(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=name%3Ascan&map=1")
    expect(page.locator(".map-foot p")).to_have_text("None of the results says where it was taken.")
    expect(page.locator(".cluster")).to_have_count(0)


@pytest.mark.parametrize("screen", LOOKS)
def test_axe_finds_nothing_on_the_map(browser: Browser, server: Server, npm: Path, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        start(page, server)
        settled(page)
        shot(page, f"map-{screen}")
        assert violations(page, npm) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("button", name="9 results near Oslo").click()
        expect(page.locator(".card")).to_have_count(9)
        settled(page)
        shot(page, f"map-near-{screen}")
