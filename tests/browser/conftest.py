"""A real Chromium in front of the real server, for the tests of the page.

A browser that is missing is a failure in CI and a skip elsewhere. Screenshots go to artefacts/ (ignored by
git), so that a person can look at what the tests saw.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.app.conftest import empty_library, folder, library  # noqa: F401  the same library as in tests/app
from tests.app.serving import Server

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARTEFACTS = Path(__file__).parents[2] / "artefacts"
HERE = Path(__file__).parent
PATIENCE_MS = 60_000
"""How long any condition is waited for: it costs nothing where all is well, and a starved machine is slow."""

expect.set_options(timeout=PATIENCE_MS)


def missing(what: str) -> None:
    """A tool is not here: in CI that is a failure, elsewhere a skip that says so."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing; tests/browser/install.sh installs it")
    pytest.skip(f"{what} is missing; tests/browser/install.sh installs it")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: one already on the machine, else Playwright's own.

    Closed after each file: while it is open this thread has a running event loop, in which `asyncio.run` of
    other tests cannot work.
    """
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        if path is None and not own.exists():
            missing("A Chromium for the browser tests")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def npm() -> Path:
    """node_modules with what package.json of this folder names."""
    modules = HERE / "node_modules"
    wanted = HERE / "package.json"
    stamp = modules / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        if shutil.which("npm") is None:
            missing("node with npm")
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=HERE, capture_output=True, text=True
        )
        if done.returncode:
            missing(f"what package.json names (npm: {done.stderr.strip()[-300:]})")
        stamp.write_text(wanted.read_text())
    return modules


@pytest.fixture(scope="session")
def server(library: Any) -> Iterator[Server]:  # noqa: F811
    """The whole application, Gradio included and ready."""
    with Server(library) as server:
        server.wait_for_gradio()
        yield server


@pytest.fixture
def empty(empty_library: Any) -> Iterator[Server]:  # noqa: F811
    """The application over a library without folders."""
    with Server(empty_library, gradio=False) as server:
        yield server


@contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A context whose pages wait as long as `expect` does."""
    with browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Iterator[Page]:
    """A page whose every error is the test's."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.expected = []  # type: ignore[attr-defined]  # parts of errors that a test provokes on purpose
    yield page
    unexpected = [e for e in errors if not any(part in e for part in page.expected)]  # type: ignore[attr-defined]
    assert not unexpected, unexpected


def until(page: Page, selector: str, condition: str) -> None:
    """Wait until `it`, the element of the surface that `selector` names, meets a condition in JavaScript."""
    page.wait_for_function(
        "([selector, condition]) => { const it = document.querySelector('#sightline').shadowRoot"
        ".querySelector(selector); return it && new Function('it', 'return ' + condition)(it); }",
        arg=[selector, condition],
    )


def answered(page: Page) -> None:
    """Wait until no search is under way: what is shown is the answer to what is asked."""
    expect(page.locator(".results:not([aria-busy])")).to_be_attached()


def settled(page: Page) -> None:
    """Wait until the page stands still: Gradio around it (where it is served with it), status and answer
    there, every picture that is to be seen loaded."""
    page.wait_for_function(
        """async () => {
          const host = document.querySelector("#sightline");
          const status = await (await fetch("/api/status")).json();
          const gradio = document.querySelector("gradio-app");
          if (!status.gradio || (gradio && !gradio.contains(host))) return false;
          const root = host.shadowRoot;
          if (root.querySelector(".results[aria-busy]")) return false;
          return [...root.querySelectorAll("img")].every((picture) => {
            const box = picture.getBoundingClientRect();
            const seen = box.width && box.bottom > 0 && box.top < innerHeight;
            return !seen || (picture.complete && picture.naturalWidth > 0);
          });
        }""",
        polling=100,
    )


def played_from(page: Page, second: float, within: float = 0.6) -> None:
    """Wait until the viewer's video has begun to play at a second, wherever it is by now."""
    page.wait_for_function(
        """([second, within]) => {
          const video = document.querySelector("#sightline").shadowRoot.querySelector(".viewer video");
          const spans = [...Array(video?.played.length ?? 0).keys()];
          return spans.some((n) => Math.abs(video.played.start(n) - second) <= within
            && video.played.end(n) > video.played.start(n));
        }""",
        arg=[second, within],
    )


def shot(page: Page, name: str) -> None:
    """Keep what the page looks like."""
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")
