"""Pages of a scan, a live photo, a damaged picture and what is left out, as a person sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from indexer.library import Library
from tests.browser.conftest import Server, answered
from tests.media import draw_image, draw_video

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("album")
    pages = [Image.new("RGB", (300, 200), colour) for colour in ((200, 30, 30), (30, 180, 60), (30, 60, 200))]
    pages[0].save(folder / "contract.tif", save_all=True, append_images=pages[1:])
    draw_image(folder / "IMG_1.jpg", seed=1)
    draw_video(folder / "IMG_1.mov", 3, 5, size=(64, 48))
    whole = draw_image(folder / "torn.jpg", seed=3, size=(800, 600)).read_bytes()
    (folder / "torn.jpg").write_bytes(whole[: int(0.95 * len(whole))])
    for name, size in (("panorama", (1800, 260)), ("receipt", (200, 900)), ("landscape", (900, 500))):
        draw_image(folder / f"{name}.png", seed=4, size=size)
    (folder / "notes.txt").write_text("words")
    (folder / "@eaDir").mkdir()
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off") as library:
        library.index([folder])
        with Server(library, gradio=False) as server:
            yield server


def test_pages_of_a_scan_turn(page: Page, album: Server) -> None:
    page.goto(f"{album.url}/?q=name:contract")
    page.locator("a.open").first.click()
    shown = page.locator(".where")
    expect(shown).to_have_text("Page 1 of 3")
    page.keyboard.press("PageDown")
    expect(shown).to_have_text("Page 2 of 3")
    expect(page.locator(".sheet-of-paper.drawn img")).to_have_js_property("naturalWidth", 300)


def test_a_live_photo_plays_over_its_picture(page: Page, album: Server) -> None:
    page.goto(f"{album.url}/?q=name:IMG_1")
    expect(page.locator("a.open")).to_have_count(1)
    page.locator("a.open").click()
    with page.expect_response("**/live/*.mp4") as played:
        page.get_by_role("button", name="Play").click()
    assert played.value.ok
    expect(page.locator("video.live")).to_have_count(0, timeout=15_000)


def test_what_is_wrong_with_a_picture_stands_with_it(page: Page, album: Server) -> None:
    page.goto(f"{album.url}/?q=name:torn")
    page.locator("a.open").first.click()
    expect(page.locator(".viewer .note")).to_contain_text("the end of the file is missing")


def test_a_panorama_and_a_receipt_are_shown_whole_and_no_wider_than_a_row(page: Page, album: Server) -> None:
    page.goto(f"{album.url}/?kind=image")
    answered(page)
    for name, fit, shape in (("panorama", "contain", 2.2), ("receipt", "contain", 0.72), ("landscape", "cover", 1.8)):
        picture = page.locator(".card", has_text=f"{name}.png").locator(".picture")
        expect(picture.locator("img")).to_have_css("object-fit", fit)
        box = picture.bounding_box()
        assert box is not None and abs(box["width"] / box["height"] - shape) < 0.02, name


def test_what_is_left_out_is_named_with_its_reason(page: Page, album: Server) -> None:
    page.goto(f"{album.url}/?view=library")
    page.get_by_text("not indexed, and why").click()
    lines = page.locator(".left-out li")
    expect(lines.filter(has_text="Copies and leftovers of other programs: 1 @eaDir")).to_be_visible()
    expect(lines.filter(has_text="A kind of file that Sightline does not read: 1 .txt")).to_be_visible()
