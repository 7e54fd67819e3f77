"""Filters in a real browser: typed ones as everywhere else, and labels as a menu with counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.app.labelled_album import labelled_album
from tests.app.test_typed_filters import FILM, LISBON, PEOPLE, TYPED
from tests.browser.conftest import Server, answered, shot

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    labels = {LISBON: ["dog", "city street"], FILM: ["dog"]}
    with (
        labelled_album(tmp_path_factory.mktemp("filters"), labels, PEOPLE) as library,
        Server(library, gradio=False) as server,
    ):
        yield server


def test_typed_filters_mean_on_the_page_what_they_mean_elsewhere(page: Page, server: Server) -> None:
    page.goto(server.url)
    box = page.get_by_role("combobox", name="Search in words")
    titles = page.locator(".card .title")
    for typed, expected in TYPED.items():
        box.fill(typed)
        page.keyboard.press("Enter")
        expect(titles).to_have_count(len(expected))
        page.wait_for_function(
            "(wanted) => { const shown = [...document.querySelector('#sightline').shadowRoot"
            ".querySelectorAll('.card .title')].map((title) => title.textContent).sort();"
            " return JSON.stringify(shown) === JSON.stringify(wanted); }",
            arg=sorted(expected),
        )


def test_an_answer_that_comes_in_shuts_no_menu_and_takes_no_button_away(page: Page, server: Server) -> None:
    page.goto(server.url)
    menu = page.locator(".menu > button", has_text="Label")
    menu.click()
    dog = page.locator(".sheet button", has_text="dog")
    expect(dog).to_be_visible()
    button, sheet = menu.bounding_box(), page.locator(".sheet:popover-open").bounding_box()
    assert button is not None and sheet is not None
    assert 0 <= sheet["y"] - button["y"] - button["height"] < 20 and abs(sheet["x"] - button["x"]) < 2, "below it"
    dog.evaluate("(it) => { it.same = true; it.focus() }")
    with page.expect_response("**/api/search?q=street*"):
        page.get_by_role("combobox", name="Search in words").evaluate(
            "(it) => { it.value = 'street'; it.form.requestSubmit() }"
        )
    answered(page)
    assert dog.evaluate("(it) => it.same && it.getRootNode().activeElement === it")
    dog.click()
    expect(page).to_have_url(f"{server.url}/?q=street&label=dog")


def test_places_and_cameras_are_menus_with_what_the_library_has(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.locator(".menu > button", has_text="Place").click()
    expect(page.locator(".sheet:popover-open button")).to_have_text(["Lisbon, Portugal1", "Oslo, Norway1"])
    page.locator(".sheet button", has_text="Lisbon").click()
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value('near:"Lisbon, Portugal"')
    expect(page.locator(".card .title")).to_have_text([LISBON])
    page.locator(".menu > button", has_text="Camera").click()
    page.locator(".sheet button", has_text="Canon EOS R6").click()
    expect(page.locator(".summary")).to_have_text("Nothing in the library matches.")
    page.locator(".menu > button", has_text="Lisbon").click()
    page.locator('.sheet button[aria-pressed="true"]', has_text="Lisbon").click()
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value('camera:"Canon EOS R6"')
    expect(page.locator(".card .title")).to_have_text(["fjord.jpg"])


def test_labels_are_a_menu_with_counts_that_narrows_and_stands_in_the_address(page: Page, server: Server) -> None:
    page.goto(server.url)
    menu = page.locator(".menu > button", has_text="Label")
    menu.click()
    dog = page.locator(".sheet button", has_text="dog")
    expect(dog.locator(".n")).to_have_text("2")
    shot(page, "labels")
    dog.click()
    expect(page).to_have_url(f"{server.url}/?label=dog")
    expect(page.locator(".card")).to_have_count(2)
    page.locator(".menu > button", has_text="dog").click()
    page.locator(".sheet button", has_text="city street").click()
    expect(page).to_have_url(f"{server.url}/?label=dog&label=city+street")
    expect(page.locator(".card .title")).to_have_text([LISBON])
    page.reload()
    expect(page.locator(".card .title")).to_have_text([LISBON])
    page.locator(".menu > button", has_text="city street").click()
    expect(page.locator('.sheet button[aria-pressed="true"]')).to_have_count(2)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear filters").click()
    expect(page).to_have_url(f"{server.url}/")
    expect(page.locator(".card")).to_have_count(4)
