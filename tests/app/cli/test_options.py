"""The options of every command, and the programs that a command hands all its arguments to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.cli.models import PassThroughCommand
from app.cli.program import app

EVERYWHERE = {"--model", "--data-dir", "--base", "--dim", "--catalogue", "--vectors"}
PROGRAMS = {"train": "train.__main__", "evaluate": "eval.__main__", "download": "data.download.download"}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - PROGRAMS.keys()))
def test_every_command_takes_the_options_of_the_library_after_its_name(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert options >= EVERYWHERE
    said = CliRunner().invoke(app, [*name.split(), "--help"]).output
    assert all(f"  {option} " in said for option in EVERYWHERE)


def test_what_is_typed_after_the_command_is_read(tmp_path: Path) -> None:
    here = ["--data-dir", str(tmp_path / "library")]
    wrong = CliRunner().invoke(app, ["search", "a dog", *here, "--model", "lite", "--dim", "4"])
    assert wrong.exit_code == 2 and "--dim (or SIGHTLINE_DIM)" in wrong.output
    assert CliRunner().invoke(app, ["token", "list", *here, "--json"]).stdout == "[]\n"
    assert (tmp_path / "library").is_dir(), "its log is there"


def test_setup_says_what_it_takes() -> None:
    done = CliRunner().invoke(app, ["setup", "--help"])
    assert done.exit_code == 0 and "--wheels" in done.output and "--again" in done.output


@pytest.mark.parametrize(
    ("command", "option"), [("train", "--merge"), ("evaluate", "--datasets"), ("download", "--dry-run")]
)
def test_help_of_a_program_is_its_own(command: str, option: str) -> None:
    assert isinstance(COMMANDS[command], PassThroughCommand)
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0 and option in done.output


@pytest.mark.parametrize("command", PROGRAMS)
def test_a_program_gets_its_arguments_as_they_were_typed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["--config", "a.yaml", "one", "-k5", "--", "--json", "--model=x", "--help"]
    got: list[list[str]] = []
    monkeypatch.setattr(import_module(PROGRAMS[command]), "main", lambda given: got.append(given) or 3)
    assert CliRunner().invoke(app, [command, *typed]).exit_code == 3
    assert got == [typed]


def test_a_bug_in_a_program_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_module("train.__main__"), "main", lambda given: 1 / 0)
    done = CliRunner().invoke(app, ["train"])
    assert done.exit_code == 1 and "ZeroDivisionError" in done.output
