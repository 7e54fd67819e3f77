"""The `sightline` command, and the commands that index, search and look after a library.

Built around Typer. It holds no logic of its own: options become `Settings`, words and files become a `Query`, and
`app.cli.output` shows the results. Heavy imports stand inside the commands, so that `sightline --help` answers
at once. Exit codes: 0 done, 1 the job failed, 2 wrong usage.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from app import __version__
from app.cli import access, add, features, migrate, models, serve, worker
from app.cli.options import (
    OF_A_LIBRARY,
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
    data_dir,
    fail,
    opened,
    print_json,
    query_of,
    settings_of,
    typed,
)
from app.cli.terminal import harmless

if TYPE_CHECKING:
    from indexer.types import Status

app = Commands(
    name="sightline",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
commands = Commands()


def _print_version(is_given: bool) -> None:
    if is_given:
        sys.stdout.write(f"sightline {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search your own images, videos and PDFs by meaning, on your own machine."""


@commands.command()
def index(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Default: the folders of the library.")
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
            output.err.print(f"Note: {harmless(notice)}", markup=False)
        if json_:
            print_json(asdict(report))
        else:
            output.show_report(report)
        if watch:
            library.start(watch=True)
            output.err.print("Watching. Ctrl-C ends.")
            threading.Event().wait()


@commands.command()
def search(
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help='Words; "quoted" words are required, -word excludes.')
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="An image to search with.")] = None,
    video: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A clip to search with.")] = None,
    pdf: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A PDF to search with.")] = None,
    avoid: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Words that hits should not show.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="image|video|pdf",
            autocompletion=lambda: ["image", "video", "pdf"],
            help="Only this kind; may repeat.",
        ),
    ] = None,
    under: Annotated[Path | None, typer.Option(metavar="DIR", help="Only below this folder.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="DATE", help="Taken on or after: 2023, 2023-07 or 2023-07-14.")
    ] = None,
    before: Annotated[str | None, typer.Option(metavar="DATE", help="Taken before.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only chunks with this label; may repeat.")
    ] = None,
    fold: Annotated[
        Literal["max", "centroid"] | None,
        typer.Option(help="One hit per file, scored by its best chunk or by the centroid of all its chunks."),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=10_000, help="How many hits.")] = 10,
    json_: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the hits as CSV on stdout.")] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing; exit with 1 if no hit stands out, as grep does.")
    ] = False,
) -> None:
    """Search the library with words, an image, a clip, a PDF, or any mixture."""
    from app.cli import ask_server, output

    files = [*(image or []), *(video or []), *(pdf or [])]
    query = query_of(text, files, avoid or [], kind or [], under, after, before, label or [], fold)
    answer = None if any(map(typed, OF_A_LIBRARY)) else ask_server.search(data_dir(), query, k)
    if answer is not None:
        is_empty = not answer.hits and ask_server.chunk_count(data_dir()) == 0
    else:
        with opened(read_only=True) as library:
            answer = library.search(query, k=k)
            is_empty = not answer.hits and not library.status().chunks
    if quiet:
        raise typer.Exit(0 if any(hit.relevant for hit in answer.hits) else 1)
    if json_:
        print_json(answer.to_json())
    elif csv:
        from indexer import answer_csv

        sys.stdout.write(answer_csv(answer))
    else:
        output.show_answer(answer, empty=is_empty)


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
    salvaged = Library.salvage(settings.data_dir.expanduser(), settings.catalogue) if repair else None
    with opened(settings, read_only=not repair) as library:
        report = library.verify(repair=repair)
    if salvaged is not None:
        report = replace(
            report, problems=[*salvaged.problems, *report.problems], repaired=salvaged.repaired + report.repaired
        )
    for problem in report.problems:
        output.out.print(output.printable(problem), markup=False)
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
    output.err.print(output.printable(f"{copy} holds the library. To restore: {hint}."), markup=False, soft_wrap=True)


for group in (
    serve.commands, commands, add.commands, features.commands, access.commands, worker.commands, migrate.commands,
    models.commands,
):  # fmt: skip
    app.add_typer(group)


def main() -> None:
    """The entry point: an error becomes one line and exit code 1; an unexpected one is logged as well."""
    logging.getLogger().addHandler(logging.NullHandler())  # until the log is open
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        logging.getLogger(__name__).exception("system error")
        _exit_with(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:  # the process boundary: one line here, the traceback in the log
        from data.media.kinds import MediaError
        from indexer.errors import LibraryError
        from model.embedder import ModelError

        if isinstance(error, LibraryError | ModelError | MediaError):
            _exit_with(str(error))
        logging.getLogger(__name__).exception("unexpected error")
        _exit_with(f"unexpected error, {type(error).__name__}: {error} (details are in sightline.log in the library)")


def _exit_with(message: str) -> NoReturn:
    sys.stderr.write(f"sightline: {harmless(message)}\n")
    sys.exit(1)
