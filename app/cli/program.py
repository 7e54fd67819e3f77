"""The program `sightline`: all its commands in one Typer.

Built around the rooms of this folder, each of which brings its commands. `search`, which scripts call again and again,
is loaded without the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

from app.cli.main import print_version
from app.cli.options import Commands, Program

ROOMS = ("serve", "search", "library", "add", "features", "tune", "access", "worker", "migrate", "models")
ALONE = "search"
"""The room that is loaded alone for its one command, which has its name."""


def _print_version(is_given: bool) -> None:
    if is_given:
        print_version()
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search your own images, videos and PDFs by meaning, on your own machine."""


def program(command: str | None = None) -> Commands:
    """Returns the program, with all commands that `command`, the first word after `sightline`, may need."""
    app = Commands(
        name="sightline",
        cls=Program,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for room in (ALONE,) if command == ALONE else ROOMS:
        app.add_typer(import_module(f"app.cli.{room}").commands)
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        return program()
    raise AttributeError(f"module 'app.cli.program' has no attribute {name!r}")
