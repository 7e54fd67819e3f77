"""The timeline: headings of months, a scrubber that shows the date and leads there, also on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from indexer.library import Library
from tests.browser.conftest import Server, answered, opened, settled, shot
from tests.browser.test_access import LOOKS, SCREENS, violations
from tests.media import draw_image

pytestmark = pytest.mark.browser

MONTHS = 12
EACH = 8


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A year and a half: every second month has EACH photos, the oldest ones no date but the file's."""
    folder = tmp_path_factory.mktemp("years")
    for n in range(MONTHS * EACH):
        month = n // EACH
        year, number = 2023 - month // 6, 11 - 2 * (month % 6)
        taken = {"taken": f"{year}:{number:02}:{20 - n % EACH:02} 10:00:00"}
        draw_image(folder / f"{n:03}.jpg", size=(64, 48), seed=n, exif=taken)
    draw_image(folder / "undated.png", size=(64, 48), seed=1000)
    with Library.open(tmp_path_factory.mktemp("timeline"), ocr="off") as library:
        library.index([folder])
        yield library


@pytest.fixture(scope="module")
def server(library: Library) -> Iterator[Server]:
    with Server(library, gradio=False) as server:
        yield server


def start(page: Page, server: Server, path: str = "/") -> None:
    page.goto(server.url + path)
    expect(page.locator(".scrubber")).to_be_visible()
    answered(page)


def drag(page: Page, part: float) -> None:
    """Press the scrubber at its top, and move to a part of its height."""
    box = page.locator(".scrubber").bounding_box()
    assert box is not None
    x = box["x"] + box["width"] - 12
    page.mouse.move(x, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(x, box["y"] + part * box["height"], steps=4)


def in_view(page: Page, heading: str) -> None:
    expect(page.locator(".month h2", has_text=heading)).to_be_in_viewport()


def test_months_have_headings_in_the_order_of_the_list(page: Page, server: Server) -> None:
    start(page, server)
    expect(page.locator(".month h2").first).to_have_text("November 2023")
    expect(page.locator(".month h2").nth(1)).to_have_text("September 2023")
    page.goto(f"{server.url}/?q=photo")
    answered(page)
    expect(page.locator(".month")).to_have_count(0)
    expect(page.locator(".scrubber")).to_be_hidden()


def test_the_scrubber_shows_the_date_while_it_is_dragged_and_leads_there(page: Page, server: Server) -> None:
    start(page, server)
    drag(page, 0.6)
    expect(page.locator(".bubble")).to_have_text("September 2022")
    expect(page.get_by_role("slider", name="Date")).to_have_attribute("aria-valuetext", f"September 2022, {EACH}")
    in_view(page, "September 2022")
    settled(page)
    shot(page, "timeline")
    page.mouse.up()
    expect(page.locator(".card .title", has_text="056.jpg")).to_be_attached()
    page.mouse.move(300, 400)
    for _ in range(200):  # what lies between is put in meanwhile
        page.mouse.wheel(0, -900)
        page.wait_for_timeout(100)
        if page.locator(".month h2").first.text_content() == "November 2023":
            break
    expect(page.locator(".month h2").first).to_have_text("November 2023")
    expect(page.locator(".card").nth(60), "what lies between is there too").to_be_attached()


def test_the_keyboard_steps_from_month_to_month(page: Page, server: Server) -> None:
    start(page, server)
    slider = page.get_by_role("slider", name="Date")
    slider.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(slider).to_have_attribute("aria-valuetext", f"July 2023, {EACH}")
    in_view(page, "July 2023")
    page.keyboard.press("End")
    expect(page.locator(".month h2").last).to_contain_text("File of ")
    expect(page.locator(".card .title").last).to_have_text("undated.png")
    page.keyboard.press("Home")
    in_view(page, "November 2023")


def test_filters_narrow_the_timeline(page: Page, server: Server) -> None:
    start(page, server, "/?before=2023-01-01")
    expect(page.locator(".month h2").first).to_have_text("November 2022")
    expect(page.get_by_role("slider", name="Date")).to_have_attribute("aria-valuemax", "5")


def test_a_finger_drags_the_handle_on_a_phone(browser: Browser, server: Server) -> None:
    with opened(browser, **SCREENS["phone"]) as context:
        page = context.new_page()
        start(page, server)
        page.evaluate("() => scrollTo(0, 900)")
        expect(page.locator(".scrubber.moving .handle")).to_be_visible()
        box = page.locator(".handle").bounding_box()
        assert box is not None and box["x"] + box["width"] >= 380
        touch = context.new_cdp_session(page)
        at = {"x": box["x"] + 10, "y": box["y"] + box["height"] / 2}
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        for y in (400, 600):
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [at | {"y": y}]})
        expect(page.locator(".bubble")).to_contain_text("2022")
        month = page.locator(".bubble").text_content() or ""
        in_view(page, month)
        settled(page)
        shot(page, "timeline-phone")
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("screen", LOOKS)
def test_axe_finds_nothing_on_the_timeline(browser: Browser, server: Server, npm: Path, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        start(page, server)
        settled(page)
        assert violations(page, npm) == []


def test_all_results_are_selected_after_a_jump_too(page: Page, server: Server) -> None:
    start(page, server)
    page.get_by_role("slider", name="Date").focus()
    page.keyboard.press("End")
    expect(page.locator(".month h2").last).to_contain_text("File of ")
    page.locator(".card a.open").last.focus()
    page.keyboard.press("x")
    page.keyboard.press("Control+a")
    bar = page.get_by_role("toolbar", name="Selection")
    expect(bar.locator("strong")).to_have_text(f"{MONTHS * EACH + 1} results selected")
