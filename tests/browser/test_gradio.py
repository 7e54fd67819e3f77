"""The page is a Gradio application with our surface inside, and it is there before Gradio is."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import app.web.server
from tests.app.serving import Busy
from tests.browser.conftest import Server, settled, shot

pytestmark = pytest.mark.browser


def test_the_surface_lives_inside_one_gradio_html(page: Page, server: Server) -> None:
    page.goto(server.url)
    expect(page.locator("gradio-app #surface [data-surface] > #sightline")).to_have_count(1)
    expect(page.locator("gradio-app").get_by_role("combobox", name="Search in words")).to_be_visible()


def test_the_settings_view_is_the_page_s_with_gradio_s_below(page: Page, server: Server) -> None:
    page.goto(server.url)
    expect(page.locator("#settings")).to_be_hidden()
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_label("Words in pictures")).to_be_visible()
    expect(page.locator("#settings")).to_be_visible()
    page.get_by_role("tab", name="Python").click()
    expect(page.locator("#settings .cm-content", has_text="gradio_client").first).to_be_visible()
    shot(page, "settings")


def test_a_page_opened_before_gradio_takes_it_in_without_a_reload(
    page: Page, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed and dropped stays; the same document becomes the Gradio page."""
    build, seen = app.web.server._build_gradio, Event()

    def later(*args: Any) -> Any:
        assert seen.wait(120)
        return build(*args)

    monkeypatch.setattr(app.web.server, "_build_gradio", later)
    server = Server(library)
    server.start()
    page.goto(server.url)
    assert page.locator("gradio-app").count() == 0
    page.get_by_role("combobox", name="Search in words").fill("lighthouse")
    page.evaluate("() => { window.sameDocument = true }")
    expect(page.locator(".card .title").first).to_have_text("lighthouse report.pdf")
    seen.set()
    expect(page.locator("gradio-app [data-surface] > #sightline")).to_have_count(1)
    assert page.evaluate("() => window.sameDocument")
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value("lighthouse")
    expect(page.get_by_role("combobox", name="Search in words")).to_be_focused()
    page.get_by_role("link", name="Settings").click()
    expect(page.locator("#settings")).to_be_visible()
    server.stop()


def test_a_restart_under_the_gradio_page_brings_gradio_back(page: Page, library: Any) -> None:
    """Gradio's session ends with the old server: the page loads itself anew, says so, and keeps its query."""
    page.expected += ["ERR_", "Failed", "fetch", "404", "Connection", "Unable to preload"]  # type: ignore[attr-defined]
    served = Busy(library)
    server = Server(served)
    server.start()
    server.wait_for_gradio()
    page.goto(f"{server.url}/?q=lighthouse")
    expect(page.locator("gradio-app #sightline")).to_have_count(1)
    page.evaluate("() => { window.sameDocument = true }")
    server.stop()
    served.changes = {"boot": "another"}
    server.start()
    expect(page.locator(".notice")).to_contain_text("restarted")
    assert page.evaluate("() => window.sameDocument") is None
    expect(page.locator(".card .title").first).to_have_text("lighthouse report.pdf")
    expect(page.locator("gradio-app #sightline")).to_have_count(1)
    server.stop()


def test_nothing_leaves_the_machine(page: Page, server: Server) -> None:
    """Every request of every view goes to our own server; anything else is blocked and listed."""
    foreign: list[str] = []

    def route(route: Any) -> None:
        url = route.request.url
        if url.startswith((server.url, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(url)
            route.abort()

    page.context.route("**/*", route)
    for path in ("/", "/?q=lighthouse", "/?view=library", "/?view=settings", "/docs"):
        page.goto(server.url + path)
        if path == "/docs":
            expect(page.locator("#docs table").first).to_be_visible()
        else:
            settled(page)
    page.goto(f"{server.url}/?q=lighthouse")
    page.locator(".card a.open").first.click()
    expect(page.locator(".sheet-of-paper.drawn")).to_be_visible()
    settled(page)
    assert foreign == []


def test_fonts_are_the_system_s(page: Page, server: Server) -> None:
    fonts: list[str] = []
    page.on("request", lambda request: fonts.append(request.url) if request.resource_type == "font" else None)
    page.goto(f"{server.url}/?view=settings")
    expect(page.locator("#settings")).to_be_visible()
    settled(page)
    page.evaluate("() => document.fonts.ready.then(() => true)")
    assert all(url.startswith(server.url) for url in fonts)
