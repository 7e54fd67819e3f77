"""The command `worker`: this machine helps to index a library on a server. Built around `indexer.Worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import Commands, Nice, Threads, settings_of

commands = Commands()


@commands.command()
def worker(
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="HERE=THERE",
            help="Where this machine has a folder of the library: /mnt/nas=/volume1 says that the library's "
            "/volume1 is /mnt/nas here. May repeat; the other folders have the same path here.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The worker's name in `sightline status`, its own. Default: host and process number."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to do.")] = False,
    lease: Annotated[
        float, typer.Option(metavar="S", min=2.0, help="Seconds of silence after which others take over its files.")
    ] = 30.0,
    threads: Threads = None,
    nice: Nice = None,
) -> None:
    """Index another machine's library (--catalogue postgresql://…), as one of any number of workers."""
    import signal
    import threading

    from app.cli import output
    from indexer import Worker

    settings = settings_of(threads=threads, nice=nice)
    options = {"name": settings.model} | {k: v for k, v in settings.of_model().items() if v != "auto"}
    names_model = {"model", "base", "dim", "detail"} & settings.given
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    indexer = Worker(
        settings.data_dir.expanduser(),
        settings.catalogue,
        model=options if names_model else None,
        maps=map_ or [],
        name=name,
        threads=settings.threads,
        nice=settings.nice,
        lease_s=lease,
        token=settings.model_token,
    )
    try:
        tally = indexer.run(stop, lambda line: output.err.print(f"{indexer.name}: {line}"), once=once)
    finally:
        indexer.close()
    output.err.print(f"{tally.contents} contents, {tally.chunks} chunks, {tally.failed} could not be read")
