"""`make screenshots`: a picture of every screen in docs/images, of the sample set in a real Chromium.

Built around the addresses of the screens and what is done there before the picture is taken. `make samples` fetches the
sample set, of which a part is copied: the paths and dates on the pictures are those of the copy. `--library DIR` keeps
the library, and takes it from there the next time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from indexer.library import Library
from indexer.types import Part, Query
from tests.app.serving import Server
from tests.browser.conftest import NAMES, opened, settled
from tests.browser.test_access import SCREENS

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
QUALITY = 82
"""Of the JPEGs: text stays sharp at 100 kB a picture."""
SHOWN = ("images", "stamps", "videos", "pdfs")
"""The folders of the sample set that are shown; the others are there for searches to be led astray."""
PLACES = {
    "cv_leuvenA.jpg": (50.8798, 4.7005),
    "cv_leuvenB.jpg": (50.8798, 4.7005),
    "sk_coffee.png": (45.5188, -73.5878),
    "sk_rocket.jpg": (28.5618, -80.5772),
    "skl_china.jpg": (39.9999, 116.2755),
}
"""Places given to photographs of the sample set, which name none, so that the map has something to show: roughly what
they show. They are written beside the copies, as Google's export does."""

REST_MS = 1500
"""The date at the scrubber has gone by then."""


def first(page: Page) -> None:
    page.locator(".card a.open").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.wait_for_timeout(REST_MS)


def played(page: Page) -> None:
    page.wait_for_timeout(2 * REST_MS)  # the closer look is done before a film opens
    first(page)


def read(page: Page) -> None:
    first(page)
    expect(page.locator(".marks i").first).to_be_attached()


def mapped(page: Page) -> None:
    expect(page.locator(".cluster").first).to_be_visible()


def dragged(page: Page) -> None:
    """The scrubber leads to where most pictures are, and its date is seen."""
    box = page.locator(".scrubber").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.05)
    page.wait_for_timeout(REST_MS)


def told(page: Page) -> None:
    first(page)
    page.keyboard.press("i")
    expect(page.locator(".info h4").first).to_be_visible()


def selected(page: Page) -> None:
    for n in range(3):
        page.locator(".card .pick").nth(n).click(force=True)
    page.wait_for_timeout(REST_MS)  # their frames have faded in


def helped(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def as_it_is(page: Page) -> None:
    pass


SHOTS: dict[str, tuple[str, Callable[[Page], None]]] = {
    "search": ("/?q=flowers", as_it_is),
    "timeline": ("/", dragged),
    "map": ("/?map=1", mapped),
    "film": ("/?q=bicycle&kind=video", played),
    "page": ("/?q=contour+plot&kind=pdf", read),
    "info": ("/?q=cup+of+coffee&kind=image", told),
    "selection": ("/?q=animals&kind=image", selected),
    "albums": ("/?view=albums", as_it_is),
    "duplicates": ("/?view=duplicates", as_it_is),
    "library": ("/?view=library", as_it_is),
    "settings": ("/?view=settings", as_it_is),
    "keys": ("/", helped),
}
PHONE = ("search", "timeline", "film", "settings")
"""Those that are taken on a phone, too, in the dark."""


def copy(samples: Path, pictures: Path) -> None:
    """The pictures to show, and beside them what is known of their places."""
    for name in SHOWN:
        if not (pictures / name).exists():
            shutil.copytree(samples / name, pictures / name)
    for name, (lat, lon) in PLACES.items():
        note = {"title": name, "geoData": {"latitude": lat, "longitude": lon}}
        (pictures / "images" / f"{name}.json").write_text(json.dumps(note))


def take(page: Page, url: str, name: str, suffix: str = "") -> None:
    path, act = SHOTS[name]
    page.goto(url + path)
    settled(page)
    page.wait_for_timeout(REST_MS)
    act(page)
    settled(page)
    page.screenshot(path=IMAGES / f"{name}{suffix}.jpg", type="jpeg", quality=QUALITY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=ROOT / "samples")
    parser.add_argument("--pictures", type=Path, help="where the copy lies; default: a folder for the time being")
    parser.add_argument("--library", type=Path)
    parser.add_argument("names", nargs="*", default=list(SHOTS), help="of the pictures; default: all")
    arguments = parser.parse_args()
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Library.open(arguments.library or Path(scratch, "library")) as library,
    ):
        pictures = arguments.pictures or Path(scratch, "Pictures")
        copy(arguments.samples, pictures)
        library.index([pictures])
        files = [hit.file_id for hit in library.search(Query((Part(text="animals"),)), 6).hits]
        if not any(album.name for album in library.albums()):
            library.add_to_album("Zoo", files)
            library.add_to_album("", files[:2])
        with Server(library) as server, sync_playwright() as playwright:
            server.wait_for_gradio()
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            wide = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
            with opened(browser, **wide) as context:
                page = context.new_page()
                for name in arguments.names:
                    take(page, server.url, name)
            with opened(browser, **SCREENS["phone dark"]) as context:
                page = context.new_page()
                for name in set(PHONE) & set(arguments.names):
                    take(page, server.url, name, "-phone")
            browser.close()


if __name__ == "__main__":
    main()
