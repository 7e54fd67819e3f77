"""The manners of a command-line program: version, short help, completion, the manual page, defaults, quiet search."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app import __version__
from app.cli import man_page
from app.cli.program import app
from app.settings import Settings

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_the_version_is_the_package_s() -> None:
    assert invoke("--version").stdout == f"sightline {__version__}\n"


@pytest.mark.parametrize("command", [[], ["search"], ["index"]])
def test_h_is_help(command: list[str]) -> None:
    assert invoke(*command, "-h").stdout == invoke(*command, "--help").stdout != ""


@pytest.mark.parametrize(
    ("words", "candidate"),
    [("sear", "search"), ("search --ki", "--kind"), ("search --kind v", "video"), ("index --model vlm", "vlm2vec-v2")],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_are_completed(shell: str, words: str, candidate: str) -> None:
    typed = f"sightline {words}"
    env = {"_SIGHTLINE_COMPLETE": f"complete_{shell}", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    env |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    script = "import sys; sys.argv = ['sightline']; from app.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | env, capture_output=True, text=True)
    assert candidate in done.stdout, done.stderr


def test_the_manual_page_is_made_from_the_help() -> None:
    page = man_page.PAGE.read_text("utf-8")
    assert page == man_page.man_page(), "run: python -m app.cli.man_page"
    assert not [name for name in COMMANDS if f".SS sightline {name}".replace("-", "\\-") not in page]


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"train", "evaluate", "download"}))  # of their own
def test_arguments_are_shown_as_manual_pages_do(command: str) -> None:
    help_text = invoke(command, "-h").stdout
    usage = " ".join(help_text.split("\n\n")[0].split())
    assert usage.startswith("Usage: ") and not re.search(r"\[\[|[{}]|\[\]", usage), usage
    arguments = re.search(r"(?s)^Arguments:\n(.*?)\n\n", help_text, re.MULTILINE)
    assert arguments is None or not re.search(r"<\w+(\[\w+\])?>", arguments[1]), arguments[1]


def test_the_defaults_in_the_help_are_those_of_the_settings() -> None:
    settings = Settings()
    shown = {
        option.name: option.show_default
        for command in COMMANDS.values()
        for option in command.params
        if isinstance(getattr(option, "show_default", None), str)
    }
    assert set(shown) > {"model", "host", "port", "window", "overlap", "ocr", "speech"}
    for name in set(shown) - {"data_dir", "threads", "nice", "copies"}:
        default = getattr(settings, name)
        assert shown[name] == (f"{default:g}" if isinstance(default, float) else str(default)), name
    assert settings.nice and settings.copies is None and settings.threads is None
