"""The page in Firefox: a walk through its screens, at two widths and in both themes, without an error.

Built around Puppeteer, which speaks WebDriver BiDi to the Firefox of the system. Its pictures go to artefacts/."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser.conftest import ARTEFACTS, HERE, Server, missing

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(600)]


def test_firefox_shows_every_screen_without_an_error(server: Server, npm: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        missing("A Firefox")
    assert (npm / "puppeteer-core").is_dir()
    ARTEFACTS.mkdir(exist_ok=True)
    for earlier in ARTEFACTS.glob("firefox-*.png"):
        earlier.unlink()
    walk = ["node", str(HERE / "second_engine.mjs"), str(firefox), server.url, str(ARTEFACTS)]
    done = subprocess.run(walk, cwd=HERE, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert len(list(ARTEFACTS.glob("firefox-*.png"))) >= 12
