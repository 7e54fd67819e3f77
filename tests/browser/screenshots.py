"""`make screenshots`: a picture of every screen in docs/images, of the sample set in a real Chromium.

Built around the addresses of the screens and what is done there before the picture is taken. `make samples` fetches the
sample set. `--library DIR` takes a library in which it is indexed already.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

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


def first(page: Page) -> None:
    page.locator(".card a.open").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.wait_for_timeout(1500)


def told(page: Page) -> None:
    first(page)
    page.keyboard.press("i")
    expect(page.locator(".info h4").first).to_be_visible()


def selected(page: Page) -> None:
    for n in range(3):
        page.locator(".card .pick").nth(n).click(force=True)


def helped(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def as_it_is(page: Page) -> None:
    pass


SHOTS: dict[str, tuple[str, Callable[[Page], None]]] = {
    "search": ("/?q=a+tower", as_it_is),
    "timeline": ("/", as_it_is),
    "map": ("/?map=1", as_it_is),
    "film": ("/?q=people+walking&kind=video", first),
    "page": ("/?q=invoice&kind=pdf", first),
    "info": ("/?q=a+temple+by+the+water&kind=image", told),
    "selection": ("/?q=animals&kind=image", selected),
    "albums": ("/?view=albums", as_it_is),
    "duplicates": ("/?view=duplicates", as_it_is),
    "library": ("/?view=library", as_it_is),
    "settings": ("/?view=settings", as_it_is),
    "keys": ("/", helped),
}
PHONE = ("search", "timeline", "film", "settings")
"""Those that are taken on a phone, too, in the dark."""


def take(page: Page, url: str, name: str, suffix: str = "") -> None:
    path, act = SHOTS[name]
    page.goto(url + path)
    settled(page)
    act(page)
    settled(page)
    page.screenshot(path=IMAGES / f"{name}{suffix}.jpg", type="jpeg", quality=QUALITY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=ROOT / "samples")
    parser.add_argument("--library", type=Path)
    parser.add_argument("names", nargs="*", default=list(SHOTS), help="of the pictures; default: all")
    arguments = parser.parse_args()
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    made: Any = nullcontext(arguments.library) if arguments.library else tempfile.TemporaryDirectory()
    with made as data_dir, Library.open(Path(data_dir)) as library:
        if not arguments.library:
            library.index([arguments.samples])
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
