"""Selecting results by mouse, keyboard and touch, and what can be done with a selection: albums, favourites, a ZIP."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from indexer.library import Library
from indexer.types import Query
from tests.browser.conftest import Server, answered, opened, settled, shot
from tests.browser.test_access import LOOKS, SCREENS, violations
from tests.media import draw_image

pytestmark = pytest.mark.browser

PHOTOS = 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n in range(PHOTOS):
        draw_image(folder / f"photo {n}.jpg", seed=n, exif={"taken": f"2023:07:{20 - n:02} 10:00:00"})
    draw_image(folder / "again" / "photo 0.jpg", seed=99, exif={"taken": "2022:01:01 10:00:00"})
    return folder


@pytest.fixture(scope="module")
def library(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with Library.open(tmp_path_factory.mktemp("selected"), ocr="off") as library:
        library.index([photos])
        yield library


@pytest.fixture(scope="module")
def server(library: Library) -> Iterator[Server]:
    with Server(library, gradio=False) as server:
        yield server


def start(page: Page, server: Server) -> None:
    page.goto(server.url)
    expect(page.locator(".card")).to_have_count(PHOTOS + 1)
    answered(page)


def test_the_mouse_selects_one_a_range_and_clears(page: Page, server: Server) -> None:
    start(page, server)
    cards = page.locator(".card")
    cards.nth(1).hover()
    cards.nth(1).locator(".pick").click()
    bar = page.get_by_role("toolbar", name="Selection")
    expect(bar.locator("strong")).to_have_text("1 result selected")
    cards.nth(4).locator("a.open").click(modifiers=["Shift"])
    expect(bar.locator("strong")).to_have_text("4 results selected")
    cards.nth(2).locator("a.open").click()
    expect(bar.locator("strong")).to_have_text("3 results selected")
    expect(page.locator("dialog.viewer")).to_be_hidden()
    settled(page)
    shot(page, "selection")
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    cards.nth(2).locator("a.open").click()
    expect(page.locator("dialog.viewer")).to_be_visible()


def test_the_keyboard_selects_with_x_shift_and_arrows_and_all(page: Page, server: Server) -> None:
    start(page, server)
    page.locator(".card a.open").first.focus()
    page.keyboard.press("x")
    count = page.locator(".selection strong")
    expect(count).to_have_text("1 result selected")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(count).to_have_text("3 results selected")
    expect(page.locator('.pick[aria-checked="true"]')).to_have_count(3)
    page.keyboard.press("Control+a")
    expect(count).to_have_text(f"{PHOTOS + 1} results selected")
    page.keyboard.press("Escape")
    expect(page.locator(".selection")).to_be_hidden()
    expect(page.locator(".card a.open").nth(2)).to_be_focused()


def test_a_long_press_selects_and_further_taps_add(browser: Browser, server: Server) -> None:
    with opened(browser, **SCREENS["phone"]) as context:
        page = context.new_page()
        start(page, server)
        cards = page.locator(".card a.open")
        box = cards.first.bounding_box()
        assert box is not None
        touch = context.new_cdp_session(page)
        at = {"x": box["x"] + 30, "y": box["y"] + 30}
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        expect(page.locator(".selection strong")).to_have_text("1 result selected")
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        cards.nth(1).tap()
        expect(page.locator(".selection strong")).to_have_text("2 results selected")
        expect(page.locator("dialog.viewer")).to_be_hidden()
        settled(page)
        shot(page, "selection-phone")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_download_that_fails_leaves_the_page_with_a_sentence(page: Page, server: Server, photos: Path) -> None:
    page.expected.append("404")  # type: ignore[attr-defined]
    start(page, server)
    page.locator(".card").first.locator(".pick").click(force=True)
    name = page.locator(".card .title").first.inner_text()

    def send(route: Route) -> None:
        if "check" not in (route.request.post_data or ""):
            (photos / name).rename(photos / "moved")  # between the question and the download
        route.continue_()

    page.route("**/api/zip", send)
    try:
        page.get_by_role("button", name="Download as a ZIP").click()
        expect(page.locator(".notice.wrong")).to_have_text("None of these files is where it was indexed.")
    finally:
        (photos / "moved").rename(photos / name)
    expect(page.locator(".selection strong")).to_have_text("1 result selected")
    page.unroute("**/api/zip")
    with page.expect_download():
        page.get_by_role("button", name="Download as a ZIP").click()


def test_an_album_is_renamed(page: Page, server: Server, library: Library) -> None:
    library.add_to_album("Trip", [library.search(Query(parts=())).hits[0].file_id])
    try:
        page.goto(f"{server.url}/?view=albums")
        page.get_by_role("button", name="Rename Trip").click()
        field = page.get_by_role("textbox", name="New name")
        expect(field).to_have_value("Trip")
        field.fill("Journey")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".album .title").last).to_have_text("Journey")
        expect(page.get_by_role("dialog")).to_be_hidden()
    finally:
        for album in library.albums():
            library.delete_album(album.name)


def test_a_selection_is_downloaded_copied_and_saved(page: Page, server: Server, photos: Path) -> None:
    start(page, server)
    page.locator(".card").first.locator(".pick").click(force=True)
    page.get_by_role("button", name="Select all results").click()
    expect(page.locator(".selection strong")).to_have_text(f"{PHOTOS + 1} results selected")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as a ZIP").click()
    assert download.value.suggested_filename == "Sightline.zip"
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as made:
        assert len(made.namelist()) == PHOTOS + 1 and made.testzip() is None
        assert {"photo 0.jpg", "photo 0 (2).jpg"} <= set(made.namelist())
    page.get_by_role("button", name="Copy the paths").click()
    expect(page.locator(".notice")).to_have_text(f"{PHOTOS + 1} paths copied.")
    paths = page.evaluate("() => navigator.clipboard.readText()").splitlines()
    assert paths[0] == str(photos / "photo 0.jpg") and len(paths) == PHOTOS + 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert [hit["path"] for hit in saved] == paths
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("kind,path,title") and len(lines) == PHOTOS + 2


def test_favourites_and_albums_are_kept_found_and_taken_out_again(
    page: Page, server: Server, library: Library, photos: Path
) -> None:
    start(page, server)
    page.locator(".card .pick").nth(0).click(force=True)
    page.locator(".card .pick").nth(1).click(force=True)
    page.get_by_role("button", name="Add to the favourites").click()
    expect(page.locator(".card .heart")).to_have_count(2)
    page.get_by_role("button", name="Add to an album").click()
    page.get_by_role("textbox", name="Name of a new album").fill("Trip to Oslo")
    shot(page, "album-dialog")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_have_text("2 files added to Trip to Oslo.")
    expect(page.locator(".selection")).to_be_hidden()
    page.locator(".card a.open").nth(0).click()
    page.keyboard.press("f")
    expect(page.locator(".heart-button")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(page.locator(".card .heart")).to_have_count(1)
    page.get_by_role("link", name="Albums").click()
    expect(page.locator(".album .title")).to_have_text(["Favourites", "Trip to Oslo"])
    expect(page.locator(".album .n")).to_have_text(["1", "2"])
    settled(page)
    shot(page, "albums")
    page.get_by_role("link", name="Trip to Oslo").click()
    expect(page.locator(".card")).to_have_count(2)
    page.locator(".card .pick").first.click(force=True)
    page.get_by_role("button", name="Remove from this album").click()
    expect(page.locator(".card")).to_have_count(1)
    (gone,) = [path for path, _ in library.album_items("Trip to Oslo")]
    library.catalogue.files.remove([gone])
    page.reload()
    expect(page.locator(".summary")).to_contain_text("The only file of the album “Trip to Oslo” is not in the library")
    page.get_by_role("link", name="Albums").click()
    expect(page.locator(".gone").last).to_have_text("1 file not in the library any more")
    page.get_by_role("button", name="Delete Trip to Oslo").click()
    page.get_by_role("button", name="Delete the album Trip to Oslo? Files stay").click()
    expect(page.locator(".album .title")).to_have_text(["Favourites"])
    library.index([photos])


def test_a_card_is_dragged_out_with_the_files_that_are_picked(page: Page, server: Server, photos: Path) -> None:
    start(page, server)
    gather = """it => {
      const data = new DataTransfer();
      it.dispatchEvent(new DragEvent("dragstart", { bubbles: true, composed: true, dataTransfer: data }));
      return Object.fromEntries([...data.types].map((type) => [type, data.getData(type)]));
    }"""
    link = page.locator(".card a.open").first
    data = link.evaluate(gather)
    name = page.locator(".card .title").first.text_content() or ""
    assert data["downloadurl"].startswith(f"application/octet-stream:{name}:{server.url}/media/")
    assert data["text/plain"] == str(photos / name)
    page.locator(".card .pick").nth(0).click(force=True)
    page.locator(".card .pick").nth(1).click(force=True)
    data = link.evaluate(gather)
    assert data["text/plain"].splitlines()[0] == str(photos / name) and len(data["text/plain"].splitlines()) == 2
    urls = data["text/uri-list"].splitlines()
    assert [page.request.get(url).headers["content-disposition"].split(";")[0] for url in urls] == ["attachment"] * 2


def test_the_slideshow_goes_from_result_to_result_and_ends_with_the_last(page: Page, server: Server) -> None:
    page.clock.install()
    start(page, server)
    shown = page.locator(".viewer h2.title")
    names = page.locator(".card .title").all_text_contents()
    page.locator(".card a.open").nth(len(names) - 2).click()
    expect(shown).to_have_text(names[-2])
    page.keyboard.press("s")
    button = page.get_by_role("button", name="Slideshow")
    expect(button).to_have_attribute("aria-pressed", "true")
    page.clock.run_for(31_000)
    expect(shown).to_have_text(names[-1])
    page.clock.run_for(31_000)
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(shown).to_have_text(names[-1])


def test_what_is_wrong_is_said_above_the_viewer_and_the_dialog_over_it(page: Page, server: Server) -> None:
    page.expected.append("400")  # type: ignore[attr-defined]
    start(page, server)
    page.locator(".card a.open").first.click()
    page.get_by_role("button", name="Add to album").click()
    page.get_by_role("textbox", name="Name of a new album").fill('The "best"')
    page.keyboard.press("Enter")
    notice = page.get_by_text("no quotation marks")
    expect(notice).to_be_visible()
    assert notice.evaluate(
        "it => it.checkVisibility() && it.closest('dialog').contains(it.getRootNode().activeElement)"
    )
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Copy path").click()
    expect(page.locator(".viewer .notice")).to_have_text("Path copied.")


@pytest.mark.parametrize("screen", LOOKS)
def test_axe_finds_nothing_on_albums_and_a_selection(browser: Browser, server: Server, npm: Path, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        start(page, server)
        page.locator(".card .pick").first.dispatch_event("click")
        expect(page.locator(".selection")).to_be_visible()
        settled(page)
        assert violations(page, npm) == []
        page.get_by_role("button", name="Add to an album").click()
        expect(page.get_by_role("dialog", name="Add 1 file to")).to_be_visible()
        assert violations(page, npm) == []
        page.goto(f"{server.url}/?view=albums")
        settled(page)
        shot(page, f"albums-{screen}")
        assert violations(page, npm) == []
