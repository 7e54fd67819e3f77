"""What is no query is refused with a sentence, and the page goes on: a folder, 500 files, a film of 2 GB.

Saved searches that no longer parse are in `test_suggest.py`, albums whose files are gone in `test_selection.py`.
"""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.app.serving import Server
from tests.browser.test_search import drop, search
from tests.media import draw_image


def drop_from_the_desktop(page: Page, path: Path) -> None:
    """Drop a file or a folder of the disk, as a file manager does; a script of a page cannot make such a drop."""
    expect(page.locator(".card").first).to_be_visible()  # the page is there, and takes drops
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    browser = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 400, "data": data})
        if kind == "dragEnter":
            expect(page.locator(".curtain")).to_be_visible()  # the page has seen it


def goes_on(page: Page, server: Server) -> None:
    expect(page.locator(".chip")).to_have_count(0)
    search(page, server, "lighthouse")
    expect(page.locator(".card .title").first).to_have_text("lighthouse report.pdf")


def test_a_file_is_dropped_from_the_desktop(page: Page, server: Server, folder: Path) -> None:
    page.goto(server.url)
    drop_from_the_desktop(page, folder / "red square.jpg")
    expect(page.locator(".chip .name")).to_have_text("red square.jpg")


def test_a_dropped_folder_is_a_sentence(page: Page, server: Server, folder: Path) -> None:
    page.goto(server.url)
    drop_from_the_desktop(page, folder)
    expect(page.locator(".notice")).to_have_text("Drop files, no folder.")
    goes_on(page, server)


def test_of_500_dropped_files_as_many_are_searched_with_as_a_search_takes(
    page: Page, server: Server, tmp_path: Path
) -> None:
    picture = draw_image(tmp_path / "photo.jpg", seed=1, size=(64, 48))
    page.goto(server.url)
    drop(page, *[picture] * 500)
    expect(page.locator(".notice")).to_have_text("A search takes at most 8 files.")
    expect(page.locator(".chip")).to_have_count(8)
    expect(page.locator(".card").first).to_be_visible()


def test_a_film_of_2_gb_is_refused_before_it_is_sent(page: Page, server: Server, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with film.open("wb") as stream:
        stream.truncate(2 << 30)  # no block of it is on the disk
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto(server.url)
    drop_from_the_desktop(page, film)
    expect(page.locator(".notice")).to_contain_text("a search takes up to")
    expect(page.locator(".notice")).to_contain_text("Try a shorter cut of it.")
    assert not [url for url in sent if "/api/search" in url]
    goes_on(page, server)
