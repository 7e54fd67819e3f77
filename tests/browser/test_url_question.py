"""An address in the search box, in a real browser: asked first, then a part of the query or kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.cli.add import WebFetch
from indexer.library import Library
from tests.app.serving import Server
from tests.browser.conftest import answered, shot
from tests.data.download.website import LOOPBACK, Website
from tests.media import draw_image, draw_video

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    folder = tmp_path_factory.mktemp("site")
    site = Website()
    site.put("/blue%20lake.png", draw_image(folder / "lake.png", "lake", color=(20, 60, 220)), "image/png")
    site.put("/v.mp4", draw_video(folder / "v.mp4", 2, 5), "video/mp4")
    site.page("/watch", '<video src="/v.mp4"></video>', "Harbour")
    yield site
    site.close()


@pytest.fixture
def web(empty_library: Library) -> Iterator[Server]:
    empty_library.start(watch=True)
    with Server(empty_library, gradio=False, web=WebFetch(empty_library, ",".join(LOOPBACK))) as server:
        yield server


def paste(page: Page, text: str) -> None:
    """Paste a text with nothing focused."""
    page.evaluate(
        """(text) => {
          const clipboardData = new DataTransfer();
          clipboardData.setData("text/plain", text);
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def test_a_pasted_address_is_fetched_after_asking_and_searched_with(page: Page, web: Server, site: Website) -> None:
    page.goto(web.url)
    answered(page)
    site.requests.clear()
    paste(page, f"{site.url}/blue%20lake.png")
    question = page.get_by_role("group", name="Fetch an address")
    expect(question).to_contain_text("Fetch what is at 127.0.0.1")
    shot(page, "address")
    assert site.requests == []
    question.get_by_role("button", name="Search with it").click()
    expect(page.locator(".chip .name")).to_have_text("blue lake.png")
    expect(question).to_be_hidden()
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value("")
    assert site.requests == ["/blue%20lake.png"]


def test_a_typed_address_is_kept_in_the_library(page: Page, web: Server, site: Website) -> None:
    page.goto(web.url)
    answered(page)
    page.get_by_role("combobox", name="Search in words").fill(f"{site.url}/watch")
    page.keyboard.press("Enter")
    question = page.get_by_role("group", name="Fetch an address")
    expect(question.get_by_role("button", name="Search with it")).to_be_focused()
    question.get_by_role("button", name="Keep it").click()
    expect(page.locator(".notice")).to_contain_text("Kept as Harbour.mp4")
    expect(page.locator(".card .title").first).to_have_text("Harbour.mp4")
    assert (web.served.data_dir / "Added" / "Harbour.mp4").is_file()


def test_a_fetch_that_is_cancelled_or_fails_leaves_the_words(page: Page, web: Server, site: Website) -> None:
    page.expected += ["400"]  # type: ignore[attr-defined]
    page.goto(web.url)
    answered(page)
    box, question = (
        page.get_by_role("combobox", name="Search in words"),
        page.get_by_role("group", name="Fetch an address"),
    )
    box.fill(f"{site.url}/stall/a.jpg")
    question.get_by_role("button", name="Search with it").click()
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    box.fill(f"{site.url}/none.png")
    question.get_by_role("button", name="Search for the words").click()
    expect(page).to_have_url(f"{web.url}/?q={site.url.replace(':', '%3A').replace('/', '%2F')}%2Fnone.png")
    assert "/none.png" not in site.requests


def test_an_address_is_words_where_fetching_is_off(page: Page, server: Any, site: Website, tmp_path: Path) -> None:
    site.requests.clear()
    page.goto(server.url)
    answered(page)
    page.get_by_role("combobox", name="Search in words").fill(f"{site.url}/blue%20lake.png")
    page.keyboard.press("Enter")
    answered(page)
    expect(page.get_by_role("group", name="Fetch an address")).to_be_hidden()
    expect(page.locator(".results .summary")).not_to_be_empty()
    assert site.requests == []
