"""The documentation is tested: docs/cli.md holds every command and option there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.program import app

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cli.md"
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def section(command: str) -> str:
    found = re.search(rf"^## sightline {command}$(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    assert found, f"docs/cli.md has no section for `sightline {command}`"
    return found[1]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_of_a_command_is_documented(command: str) -> None:
    text = section(command)
    options = {name for p in COMMANDS[command].params for name in (*p.opts, *p.secondary_opts) if name[0] == "-"}
    everywhere = re.search(r"Every command understands(.*?)^## ", PAGE.read_text("utf-8"), re.S | re.M)
    text += everywhere[1] if everywhere else ""
    written = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    assert options - {"--help"} <= written, f"undocumented: {options - written}"


def test_no_command_is_documented_that_does_not_exist() -> None:
    assert set(re.findall(r"^## sightline ([\w-]+)$", PAGE.read_text("utf-8"), re.M)) == set(COMMANDS)


@pytest.mark.parametrize(
    "page",
    sorted(
        p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests/README.md"]
    ),
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_every_test_that_the_page_of_trials_names_exists() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text("utf-8"))
    assert len(named) > 8
    assert not {name for name in named if f"def {name}(" not in tests}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "tests/README.md"])
def test_every_path_that_a_page_for_contributors_names_exists(page: str) -> None:
    tops = "app|indexer|model|data|train|eval|tests|docs|deploy"
    named = set(re.findall(rf"`((?:{tops})/[\w./-]*)`", (ROOT / page).read_text("utf-8")))
    assert len(named) > 10
    assert not {path for path in named if not (ROOT / path).exists()}
