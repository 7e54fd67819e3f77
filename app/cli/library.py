"""Commands that index a library and look after it: `index`, `status`, `failures`, `forget`, `verify`, `backup`.

Built around `Library`: each command is one call of it, and `app.cli.output` shows what comes back.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import (
    Commands,
    Copies,
    Json,
    Nice,
    Ocr,
    Overlap,
    Poll,
    Speech,
    Threads,
    Window,
    check_folders,
    check_listener,
    fail,
    is_unwritable,
    opened,
    print_json,
    settings_of,
)
from app.cli.terminal import harmless

if TYPE_CHECKING:
    from indexer.types import Status

commands = Commands()


@commands.command()
def index(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Default: the folders of the library.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Watch the folders when all is indexed.")] = False,
    json_: Json = False,
    threads: Threads = None,
    nice: Nice = None,
    window: Window = None,
    overlap: Overlap = None,
    poll: Poll = None,
    ocr: Ocr = None,
    speech: Speech = None,
    copies: Copies = None,
) -> None:
    """Bring the library up to date with folders of images, videos and PDFs."""
    from app.cli import output

    folders = folders or []
    check_folders(folders)
    settings = settings_of(
        threads=threads, nice=nice, window=window, overlap=overlap, poll=poll, ocr=ocr, speech=speech,
        copies=copies,
    )  # fmt: skip
    check_listener(settings)
    with opened(settings) as library:
        if not folders and not library.status().roots:
            fail("Which folder? sightline index FOLDER", 2)
        notices: tuple[str, ...] = ()

        def on_progress(status: Status) -> None:
            nonlocal notices
            notices = status.notices
            if update is not None:
                update(status)

        with output.progress(quiet=json_) as update:
            report = library.index(folders, progress=on_progress)
        for notice in dict.fromkeys(filter(None, (*notices, library.vectors_trouble()))):
            output.err.print(f"Note: {harmless(notice)}")
        if json_:
            print_json(asdict(report))
        else:
            output.show_report(report)
        if watch:
            library.start(watch=True)
            output.err.print("Watching. Ctrl-C ends.")
            threading.Event().wait()


@commands.command()
def status(json_: Json = False) -> None:
    """Show what the library holds and what it is doing."""
    from app import speech_status
    from app.cli import output

    settings = settings_of()
    with opened(settings, read_only=True) as library:
        current = library.status()
        if json_:
            print_json(asdict(current))
        else:
            untranscribed = library.untranscribed_count() if current.videos else 0
            output.show_status(current, untranscribed, speech_status.next_step(settings.speech))


@commands.command()
def failures(
    json_: Json = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try them again at the next indexing.")] = False,
) -> None:
    """List the files that could not be read, each with its reason."""
    from app.cli import output

    with opened(read_only=not retry) as library:
        failed = library.failures()
        if retry:
            files = output.counted(library.retry(), "file")
            output.err.print(f"{files} will be tried again by: sightline index")
        if json_:
            print_json([asdict(f) for f in failed])
        else:
            output.show_failures(failed)


@commands.command()
def forget(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of the library.")]) -> None:
    """Take a folder out of the library. The files themselves are not touched."""
    from app.cli import output

    with opened() as library:
        files = output.counted(library.forget(folder.expanduser().absolute()), "file")
        output.err.print(f"{files} forgotten.")


@commands.command()
def verify(repair: Annotated[bool, typer.Option("--repair", help="Repair the problems.")] = False) -> None:
    """Check files, catalogue and indexes of the library against each other."""
    from app.cli import output
    from indexer import Library

    settings = settings_of()
    if repair and is_unwritable(settings):
        place = output.printable(str(settings.data_dir))
        output.err.print(f"{place} cannot be written, so nothing can be repaired there; it is checked.")
        repair = False
    salvaged = Library.salvage(settings.data_dir.expanduser(), settings.catalogue) if repair else None
    with opened(settings, read_only=not repair) as library:
        report = library.verify(repair=repair)
    if salvaged is not None:
        report = replace(
            report, problems=[*salvaged.problems, *report.problems], repaired=salvaged.repaired + report.repaired
        )
    for problem in report.problems:
        output.out.print(output.printable(problem))
    again = f"{report.sampled} of {output.counted(report.contents, 'content')}, at random, read and embedded again"
    if not report.problems:
        output.err.print(f"Everything is in order; {again}.")
    elif repair:
        output.err.print(f"{report.repaired} of {len(report.problems)} repaired.")
    if len(report.problems) > report.repaired:
        raise typer.Exit(1)


@commands.command()
def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write, or a folder for a file named by date.")
    ],
) -> None:
    """Copy the library into one file, also while it is in use. To restore, copy it back."""
    from app.cli import output

    with opened(read_only=True) as library:
        copy = library.backup(file.expanduser().absolute())
        hint = library.restore_hint(copy)
    output.err.print(output.printable(f"{copy} holds the library. To restore: {hint}."))
