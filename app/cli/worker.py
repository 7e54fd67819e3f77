"""The `worker` command: this machine helps to index a library that is on a server.

Built around `indexer.Worker`; it turns options into its calls and holds no logic of its own.
"""

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
            help="Where a folder of the library is on this machine: /mnt/nas=/volume1 says that what the "
            "library calls /volume1 lies here in /mnt/nas. May repeat; unmapped folders keep their names.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What `sightline status` calls it; one for each worker. Default: host and process number.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing left to do.")] = False,
    lease: Annotated[
        float, typer.Option(metavar="S", min=2.0, help="Seconds of silence after which others do what it had.")
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
    given = {name: getattr(settings, name) for name in ("device", "dtype", "base", "dim", "detail")}
    chosen = {name: value for name, value in given.items() if value not in (None, "auto")}
    wanted = {"model", "base", "dim", "detail"} & settings.model_fields_set
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    one = Worker(
        settings.data_dir.expanduser(),
        settings.catalogue,
        model={"name": settings.model, **chosen} if wanted else None,
        maps=map_ or [],
        name=name,
        threads=settings.threads,
        nice=settings.nice,
        lease_s=lease,
        token=settings.model_token,
    )
    try:
        tally = one.run(stop, lambda line: output.err.print(f"{one.name}: {line}", markup=False), once=once)
    finally:
        one.close()
    output.err.print(f"{tally.contents} contents, {tally.chunks} chunks, {tally.failed} could not be read")
