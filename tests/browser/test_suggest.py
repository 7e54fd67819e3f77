"""Suggestions under the search box, searches of before, saved searches, and the sheet of keys and filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from indexer.library import Library
from tests.app.labelled_album import labelled_album
from tests.app.test_typed_filters import FILM, LISBON
from tests.browser.conftest import Server, answered, opened, settled, shot
from tests.browser.test_access import LOOKS, SCREENS, violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    place = tmp_path_factory.mktemp("suggested")
    with labelled_album(place, {LISBON: ["dog", "city street"], FILM: ["dog"]}) as library:
        yield library


@pytest.fixture(scope="module")
def server(library: Library) -> Iterator[Server]:
    with Server(library, gradio=False) as server:
        yield server


def box_of(page: Page, server: Server) -> Locator:
    page.goto(server.url)
    expect(page.locator(".card")).to_have_count(4)
    with page.expect_response("**/api/searches"):
        page.get_by_role("combobox", name="Search in words").click()
    return page.get_by_role("combobox", name="Search in words")


def options(page: Page) -> Locator:
    return page.locator(".suggestions [role=option] bdi")


def test_filters_and_their_values_are_offered_and_taken_by_the_keyboard(page: Page, server: Server) -> None:
    box = box_of(page, server)
    box.press_sequentially("cam")
    expect(options(page)).to_have_text(["camera:"])
    expect(box).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", "suggestion-0")
    page.keyboard.press("Enter")
    expect(box).to_have_value("camera:")
    expect(options(page)).to_have_text(['camera:"Canon EOS R6"', 'camera:"Google Pixel 7"'])
    settled(page)
    shot(page, "suggestions")
    box.press_sequentially("goo")
    expect(options(page)).to_have_text(['camera:"Google Pixel 7"'])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(box).to_have_value('camera:"Google Pixel 7" ')
    expect(page.locator(".card .title")).to_have_text([LISBON])
    expect(page.locator(".suggestions")).to_be_hidden()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("taken:20", ["taken:2023", "taken:2021"]),
        ("near:", ['near:"Lisbon, Portugal"', 'near:"Oslo, Norway"']),
        ("type:", ["type:image"]),
        ("in:Nor", ["in:Norway"]),
        ("label:", ["label:dog", 'label:"city street"']),
        ("longer:", ["longer:1m", "longer:10m", "longer:1h"]),
        ("a tram Lisb", ['near:"Lisbon, Portugal"']),
    ],
)
def test_what_is_offered_is_what_the_library_has(page: Page, server: Server, typed: str, offered: list[str]) -> None:
    if typed == "taken:20":  # half typed, the year may be searched for
        page.expected.append("422")  # type: ignore[attr-defined]
    box_of(page, server).fill(typed)
    for text in offered:
        expect(page.locator(".suggestions bdi").get_by_text(text, exact=True)).to_be_visible()


def test_searches_of_before_are_offered_and_forgotten(page: Page, server: Server) -> None:
    box = box_of(page, server)
    for words in ("fjord", "tram"):
        box.fill(words)
        page.keyboard.press("Enter")
        answered(page)
    page.keyboard.press("Escape")
    expect(box).to_have_value("")
    box.click()
    expect(options(page)).to_have_text(["tram", "fjord", "Forget the searches of before"])
    page.get_by_role("option", name="fjord").click()
    expect(page).to_have_url(f"{server.url}/?q=fjord")
    page.goto(server.url)
    box.click()
    page.get_by_role("option", name="Forget the searches of before").click()
    box.click()
    expect(page.locator(".suggestions")).to_be_hidden()


def test_a_saved_search_is_run_anew_and_says_when_it_cannot_be(page: Page, server: Server, library: Library) -> None:
    page.expected.append("422")  # type: ignore[attr-defined]
    box_of(page, server)
    page.goto(f"{server.url}/?q=in%3ANorway&kind=image")
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("textbox", name="Name of the search").fill("The north")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_have_text("Saved as The north.")
    library.save_search("Broken", "q=taken%3Ayesterday")  # as a later version, or another table of towns, may leave it
    box = box_of(page, server)
    expect(page.get_by_role("option", name="The north saved")).to_be_visible()
    page.get_by_role("option", name="The north saved").click()
    expect(page).to_have_url(f"{server.url}/?q=in%3ANorway&kind=image")
    expect(page.locator(".card")).to_have_count(1)
    page.goto(f"{server.url}/?view=albums")
    expect(page.locator(".albums .reason")).to_contain_text("“yesterday” is no date")
    settled(page)
    shot(page, "saved-searches")
    page.get_by_role("link", name="Broken").click()
    expect(page.locator(".summary.wrong")).to_contain_text("“yesterday” is no date")
    box.fill("tram")
    page.keyboard.press("Enter")
    expect(page.locator(".card .title").first).to_have_text(LISBON)
    page.goto(f"{server.url}/?view=albums")
    for name in ("Broken", "The north"):
        page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_role("heading", name="Saved searches")).to_be_hidden()


@pytest.mark.parametrize("screen", LOOKS)
def test_a_question_mark_opens_the_sheet_and_axe_finds_nothing(
    browser: Browser, server: Server, npm: Path, screen: str
) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        box = box_of(page, server)
        with page.expect_response("**/api/search?q=near*"):
            box.fill("near:")
        expect(page.locator(".suggestions")).to_be_visible()
        answered(page)
        settled(page)
        assert violations(page, npm) == []
        page.goto(server.url)
        answered(page)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys and filters")).to_contain_text("near:Lisbon")
        shot(page, f"help-{screen}")
        assert violations(page, npm) == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
