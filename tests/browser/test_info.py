"""The info panel of the viewer: what is known of the file, and why it matched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.labelled_album import labelled_album
from tests.app.test_typed_filters import LISBON
from tests.browser.conftest import Server, opened, settled, shot
from tests.browser.test_access import LOOKS, SCREENS, violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("known")
    with labelled_album(place, {}) as library, Server(library, gradio=False) as server:
        yield server


def test_the_panel_says_what_is_known_and_why_it_matched(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=tram")
    page.locator(".card a.open", has_text=LISBON).click()
    page.keyboard.press("i")
    why, facts = page.locator(".why"), page.locator(".info dl")
    expect(why).to_contain_text("tram stands in its name.")
    expect(why.locator("li").nth(1)).to_contain_text("By its looks")
    expect(why).to_contain_text("Three dots")
    expect(why).to_contain_text("Compared by the model lite.")
    expect(facts).to_contain_text("Google Pixel 7")
    expect(facts).to_contain_text("Lisbon, Portugal")
    expect(facts).to_contain_text("Jul 14, 2023, 18:20")
    expect(facts).to_contain_text("320 × 240")
    settled(page)
    shot(page, "info")
    page.keyboard.press("Escape")
    page.goto(f"{server.url}/?q=chimney")
    page.locator(".card a.open").first.click()
    expect(why).to_contain_text("the text of the page")
    expect(page.locator(".info .read")).to_contain_text("sweeping the chimney")
    page.goto(f"{server.url}/?kind=video")
    page.locator(".card a.open").first.click()
    expect(facts).to_contain_text("h264 · 5 frames a second")
    expect(why).to_have_count(0)
    page.keyboard.press("i")
    expect(page.locator(".info")).to_be_hidden()


def test_a_fact_leads_to_what_shares_it(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=tram")
    page.locator(".card a.open", has_text=LISBON).click()
    page.keyboard.press("i")
    page.get_by_role("button", name="Google Pixel 7").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value('camera:"Google Pixel 7"')
    expect(page.locator(".card .title")).to_have_text([LISBON])


@pytest.mark.parametrize("screen", LOOKS)
def test_axe_finds_nothing_in_the_panel(browser: Browser, server: Server, npm: Path, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{server.url}/?q=tram")
        page.locator(".card a.open", has_text=LISBON).click()
        page.get_by_role("button", name="Info").click()
        expect(page.locator(".info dl")).to_be_visible()
        settled(page)
        shot(page, f"info-{screen}")
        assert violations(page, npm) == []
