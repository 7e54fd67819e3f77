"""The owner signs in: the address that is printed opens the page, and the token leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from app.web.sign_in import make_ticket
from tests.browser.conftest import Server, answered, opened, shot
from tests.browser.test_access import LOOKS, SCREENS, violations

pytestmark = pytest.mark.browser

TOKEN, KEY = "correct-horse-battery-staple", b"of cookies and tickets"


@pytest.fixture
def guarded(library: Any) -> Iterator[Server]:
    with Server(library, gradio=False, token=TOKEN, key=KEY) as server:
        yield server


@pytest.mark.parametrize("credential", ["token", "ticket"])
def test_the_token_opens_the_page_and_leaves_the_address(browser: Browser, guarded: Server, credential: str) -> None:
    shown = TOKEN if credential == "token" else make_ticket(KEY, guarded.port)
    with opened(browser) as context:
        page = context.new_page()
        page.goto(f"{guarded.url}/?token={shown}&q=lighthouse")
        assert page.url == f"{guarded.url}/?q=lighthouse"
        answered(page)
        expect(page.locator(".card .title").first).to_contain_text("lighthouse")
        page.reload()
        expect(page.locator(".card .title").first).to_contain_text("lighthouse")
        (cookie,) = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and shown not in cookie["value"]
    with opened(browser) as context:  # another browser: the token is asked for, and can be typed
        page = context.new_page()
        page.goto(f"{guarded.url}/")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("combobox", name="Search in words")).to_be_visible()
        assert page.url == f"{guarded.url}/"


@pytest.mark.parametrize("screen", LOOKS)
def test_the_page_that_asks_for_a_token_is_the_product_s_and_axe_finds_nothing(
    browser: Browser, guarded: Server, npm: Path, screen: str
) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True) as context:
        page = context.new_page()
        page.goto(guarded.url)
        expect(page.get_by_text("Sightline").first).to_be_visible()
        shot(page, f"token-{screen}")
        assert violations(page, npm) == []
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        expect(page.locator(".frame")).to_have_css("background-color", ground)
