"""A real Chromium in front of the real server, for the tests of the page.

A browser that is missing is a failure in CI and a skip elsewhere. Screenshots go to artefacts/ (ignored by
git), so that a person can look at what the tests saw.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.app.conftest import empty_library, folder, library  # noqa: F401  the same library as in tests/app
from tests.app.serving import Server

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARTEFACTS = Path(__file__).parents[2] / "artefacts"
HERE = Path(__file__).parent


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
            ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
            cwd=HERE,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            missing(f"what package.json names (npm: {done.stderr.strip()[-300:]})")
        stamp.write_text(wanted.read_text())
    return modules


@pytest.fixture(scope="session")
def server(library: Any) -> Iterator[Server]:  # noqa: F811
    """The whole application, Gradio included and ready."""
    server = Server(library)
    server.start()
    server.wait_for_gradio()
    yield server
    server.stop()


@pytest.fixture
def empty(empty_library: Any) -> Iterator[Server]:  # noqa: F811
    """The application over a library without folders."""
    server = Server(empty_library, gradio=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(15_000)
    yield context
    context.close()


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


def shot(page: Page, name: str) -> None:
    """Keep what the page looks like."""
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")
