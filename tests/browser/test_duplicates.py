"""Near-equal pictures fold under the first one in the results, and the review shows each group of duplicates."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from indexer.library import Library
from tests.browser.conftest import Server, opened, settled, shot
from tests.browser.test_access import violations
from tests.data.media.test_picture_hash import landscape

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("duplicates")
    (place / "media").mkdir()
    hills = landscape(1)
    hills.save(place / "media" / "hills.png")
    shutil.copy(place / "media" / "hills.png", place / "media" / "the hills.png")
    for side in (160, 128):
        hills.resize((side, side)).save(place / "media" / f"hills {side}.jpg")
    landscape(3).save(place / "media" / "sea.jpg")
    with Library.open(place / "library", ocr="off") as library:
        library.index([place / "media"])
        with Server(library, gradio=False) as server:
            yield server


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser, bypass_csp=True, permissions=["clipboard-read", "clipboard-write"]) as context:
        yield context.new_page()


def test_near_equal_pictures_fold_and_are_reviewed(page: Page, server: Server, npm: Path) -> None:
    page.goto(f"{server.url}/?q=name:hills")
    expect(page.locator(".card")).to_have_count(1)
    fold = page.get_by_role("button", name="+2 near-equal")
    fold.click()
    expect(page.locator(".card")).to_have_count(3)
    page.get_by_role("button", name="Hide 2 near-equal").click()
    expect(page.locator(".card")).to_have_count(1)

    page.get_by_role("link", name="Library").click()
    page.get_by_role("link", name="Review duplicates").click()
    group = page.locator(".group")
    expect(group).to_have_count(1)
    expect(group.locator(".card .title")).to_have_text(["hills.png", "hills 160.jpg", "hills 128.jpg"])
    expect(group.locator(".tag")).to_have_text("best")
    expect(group.locator(".paths li")).to_have_count(4)
    expect(group.locator(".facts").first).to_contain_text("256 × 256")
    settled(page)
    shot(page, "duplicates")
    assert violations(page, npm) == []

    group.get_by_role("button", name="Select all but the best").click()
    expect(page.locator(".selection")).to_contain_text("2 results selected")
    page.get_by_role("button", name="Give a label").click()
    page.get_by_label("Name of the label").fill("to look at")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("2 results labelled")
    group.get_by_role("button", name="Copy the other paths").click()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    names = [path.rpartition("/")[2] for path in copied.splitlines()]
    assert names == ["the hills.png", "hills 160.jpg", "hills 128.jpg"]
    page.locator(".group a.open").nth(1).click()
    expect(page.locator(".viewer .title")).to_have_text("hills 160.jpg")
    page.keyboard.press("Escape")
    expect(group).to_have_count(1)
