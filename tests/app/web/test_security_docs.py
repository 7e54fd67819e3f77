"""docs/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_row_of_the_security_table_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text("utf-8")))
    sources = [path for name in ("app", "browser", "data") for path in (ROOT / "tests" / name).rglob("*.py")]
    there = set(re.findall(r"def (test_\w+)", "".join(path.read_text("utf-8") for path in sources)))
    assert len(named) > 20
    assert named <= there, named - there
