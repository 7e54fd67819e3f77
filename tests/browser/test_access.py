"""For everybody: axe's rules in light, dark and on a phone; focus, reduced motion, names from right to left.

And the types of the page's modules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Server, answered, opened, settled, shot, until

pytestmark = pytest.mark.browser

STATIC = Path(__file__).parents[2] / "app" / "static"
VIEWS = {
    "results": "/?q=lighthouse",
    "start": "/",
    "albums": "/?view=albums",
    "library": "/?view=library",
    "duplicates": "/?view=duplicates",
    "settings": "/?view=settings",
}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "tablet": {"viewport": {"width": 1024, "height": 768}, "color_scheme": "light"},
    "tablet dark": {"viewport": {"width": 1024, "height": 768}, "color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
    "phone dark": {**PHONE, "color_scheme": "dark"},
}

LOOKS = [screen if screen == "light" else pytest.param(screen, marks=pytest.mark.long) for screen in SCREENS]
"""One look in every run of the tests, the others in the long one."""

# Gradio's own code editor: the colours of its syntax, the size of its download link. Not ours to change.
THEIRS = [".cm-editor", "[data-testid=download-link]"]


def violations(page: Page, npm: Path) -> list[str]:
    """Findings of axe, of any weight, with what they were found on. While a dialog is open, of it: the page behind it
    is inert, and axe, which asks the document what lies on top, does not look into a shadow root for dialogs."""
    page.evaluate((npm / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate(
        """async (theirs) => {
          const dialog = document.querySelector("#sightline")?.shadowRoot?.querySelector("dialog:modal");
          const include = dialog ? [{ fromShadowDom: ["#sightline", "dialog[open]"] }] : [["html"]];
          const rules = { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] };
          const { violations, passes } = await axe.run({ include, exclude: theirs.map((one) => [one]) }, rules);
          if (!passes.length) throw new Error("axe looked at nothing");
          return violations;
        }""",
        THEIRS,
    )
    return [f"{one['id']}: {node['target']} {node['html'][:120]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("screen", LOOKS)
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(browser: Browser, server: Server, npm: Path, view: str, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(server.url + VIEWS[view])
        if view in ("results", "start"):
            expect(page.locator(".card").first).to_be_visible()
        if view == "start":  # a menu open over the results
            page.locator(".menu > button", has_text="Date").click()
            expect(page.locator(".sheet:popover-open")).to_be_visible()
        if view == "settings":
            expect(page.locator("#settings .cm-content").first).to_be_visible()
        settled(page)
        shot(page, f"{view}-{screen}")
        assert violations(page, npm) == []


@pytest.mark.parametrize("screen", LOOKS)
@pytest.mark.parametrize("kind", ["image", "video", "pdf"])
def test_axe_finds_nothing_in_the_viewer(browser: Browser, server: Server, npm: Path, kind: str, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{server.url}/?q=lighthouse+square+road&kind={kind}")
        page.locator(".card a.open").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        if kind == "pdf":
            expect(page.locator(".sheet-of-paper.drawn .text span").first).to_be_attached()
        if kind == "video":
            until(page, ".viewer video", "it.readyState >= 2")
        settled(page)
        shot(page, f"viewer-{kind}-{screen}")
        expect(page.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
        assert violations(page, npm) == []


def test_nothing_is_wider_than_a_phone(browser: Browser, server: Server) -> None:
    with opened(browser, **SCREENS["phone"]) as context:
        page = context.new_page()
        for path in VIEWS.values():
            page.goto(server.url + path)
            settled(page)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, path


def test_focus_is_always_visible(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse")
    expect(page.locator(".card").first).to_be_visible()
    settled(page)
    for _ in range(12):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => {
              const at = document.querySelector("#sightline").shadowRoot.activeElement;
              if (!at) return "outside";
              const ring = getComputedStyle(at).outlineStyle !== "none";
              const field = at.closest(".field, .combo");
              const shade = field && getComputedStyle(field).boxShadow !== "none";
              return ring || shade ? "" : at.outerHTML.slice(0, 80);
            }"""
        )
        assert seen in ("", "outside")


def test_the_keyboard_alone_searches_filters_looks_and_returns(page: Page, server: Server) -> None:
    def at() -> str:
        """What has the focus, as a screen reader would call it."""
        return page.evaluate(
            """() => {
              const it = document.querySelector("#sightline").shadowRoot.activeElement;
              return it ? (it.getAttribute("aria-label") || it.innerText || it.id).trim() : "";
            }"""
        )

    def walk_to(name: str, key: str = "Tab") -> None:
        for _ in range(60):
            if name in at():
                return
            page.keyboard.press(key)
        raise AssertionError(f"{name!r} is not reached by {key}; the focus is on {at()!r}")

    page.goto(server.url)
    settled(page)
    page.keyboard.press("Tab")
    walk_to("Skip to search")
    page.keyboard.press("Enter")
    walk_to("Search in words")
    page.keyboard.type("square")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}/?q=square")
    answered(page)
    walk_to("Images")
    page.keyboard.press("Space")
    expect(page).to_have_url(f"{server.url}/?q=square&kind=image")
    answered(page)
    assert "Images" in at(), "the answer has not taken the focus away"
    walk_to("red square.jpg")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    walk_to("Zoom in")
    page.keyboard.press("Space")
    expect(page.locator(".viewer .image.zoomed")).to_be_visible()
    walk_to("Copy path")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_have_text("Path copied.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert "red square.jpg" in at()
    walk_to("Library", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("view=library"))
    walk_to("Path of a folder")


def test_reduced_motion_means_no_preview_and_no_transition(browser: Browser, server: Server) -> None:
    with opened(browser, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{server.url}/?kind=video&q=road")
        card = page.locator(".card a.open").first
        card.hover()
        page.wait_for_timeout(600)
        assert page.locator("video.preview").count() == 0
        assert page.locator(".card .picture").first.evaluate("(e) => getComputedStyle(e).transitionDuration") == "0s"


def test_a_name_from_right_to_left_keeps_its_order(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?kind=image&q=square")
    title = page.locator(".card bdi.title", has_text="صورة البحر.png")
    expect(title).to_be_visible()
    assert title.evaluate("(e) => getComputedStyle(e).direction") == "rtl"
    assert title.evaluate("(e) => getComputedStyle(e).unicodeBidi") == "isolate"


def test_every_result_has_a_name_for_a_screen_reader(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse")
    link = page.get_by_role("link", name="lighthouse report.pdf").first
    expect(link).to_be_visible()
    assert "match" in (link.inner_text() + link.locator(".strength").inner_text())


def test_the_modules_types_hold(npm: Path) -> None:
    """`tsc --checkJs` over the JSDoc types of every module."""
    done = subprocess.run([npm / ".bin" / "tsc", "-p", STATIC / "tsconfig.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
