"""Options that commands share, and the way from options to settings, an open library and a `Query`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from app.cli.terminal import OneLine, harmless
from app.cli.values import plain

if TYPE_CHECKING:
    from app.settings import Settings
    from indexer import Library
    from indexer.types import Fold, Part, Query

Command = TypeVar("Command", bound=Callable[..., Any])


def _model_names() -> list[str]:
    from model.cards import CARDS

    return [card.name for card in CARDS]


Folders = Annotated[list[Path], typer.Argument(metavar="FOLDER", help="Folders of images, videos and PDFs.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default="lite",
        autocompletion=_model_names,
        help="lite (built in), vlm2vec-v2, a hub id, a folder, the address of a server; see `sightline models`.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", show_default="the platform's folder of user data", help="The folder of the library."),
]
Base = Annotated[
    str | None, typer.Option(metavar="NAME", help="Base model of an adapter folder, if not the one it names.")
]
Dim = Annotated[int | None, typer.Option(metavar="N", help="Truncate the vectors of a Matryoshka model.")]
Detail = Annotated[
    str | None,
    typer.Option(
        metavar="image=N,page=N,frame=N,frames=N", help="Tokens per image, and frames per window, of embeddinggemma-2."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]
Host = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", show_default="127.0.0.1", help="Address to serve on; other machines need a token for it."
    ),
]
Port = Annotated[int | None, typer.Option(metavar="N", show_default="7860", help="Port to serve on.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="HOST", help="A further host name of this server, as behind a proxy."),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")]
NoToken = Annotated[bool, typer.Option("--no-token", help="Let every account of this machine in, without a token.")]
Threads = Annotated[int | None, typer.Option(metavar="N", show_default="2", help="Files decoded at a time.")]
Nice = Annotated[bool | None, typer.Option("--nice/--no-nice", show_default="nice", help="Run at low priority.")]
Window = Annotated[
    float | None, typer.Option(metavar="S", show_default="30", help="Length of a video window in seconds.")
]
Overlap = Annotated[float | None, typer.Option(metavar="S", show_default="0", help="Seconds by which windows overlap.")]
Poll = Annotated[bool | None, typer.Option("--poll", help="Scan regularly instead of watching (network mounts).")]
Ocr = Annotated[
    str | None,
    typer.Option(
        metavar="off|auto|all",
        show_default="auto",
        autocompletion=lambda: ["off", "auto", "all"],
        help="OCR: auto reads images, and pages without text.",
    ),
]
Speech = Annotated[
    str | None,
    typer.Option(
        metavar="off|auto|NAME",
        show_default="auto",
        autocompletion=lambda: ["off", "auto", "small", "large-v3"],
        help="Transcribe videos: auto is the built-in model (English); small or large-v3 know more languages.",
    ),
]
Copies = Annotated[
    bool | None,
    typer.Option(
        "--copies/--no-copies",
        show_default="as before, at first no-copies",
        help="Take in thumbnails, snapshots, recycle bins of other programs.",
    ),
]

Web = Annotated[
    bool | None,
    typer.Option("--web/--no-web", help="Fetch an address that the owner types into the search box, after asking."),
]
WebNetworks = Annotated[
    str | None,
    typer.Option(metavar="NETWORK,...", help="Private networks that a fetch by address may reach: 192.168.1.0/24."),
]

Vectors = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Vector index: milvus://HOST/NAME; default: in the library's folder."),
]
Catalogue = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Catalogue: postgresql://USER@HOST/DATABASE; default: in the library's folder."
    ),
]

_library: ContextVar[dict[str, Any]] = ContextVar("library", default={})  # noqa: B039 – never changed in place


def _every_command(
    model: Model = None,
    data_dir: DataDir = None,
    base: Base = None,
    dim: Dim = None,
    detail: Detail = None,
    catalogue: Catalogue = None,
    vectors: Vectors = None,
) -> None:
    """The options of every command: which library, and the model that searches it."""


_template = typer.Typer(add_completion=False)
_template.command()(_every_command)
LIBRARY = typer.main.get_command(_template).params
OF_A_LIBRARY = ("model", "base", "dim", "detail", "catalogue", "vectors")
"""Those of `LIBRARY` that say how a library is opened."""


class WholeHelp:
    """The first sentence of a command's help stands whole in the list of commands."""

    def get_short_help_str(self, limit: int = 0) -> str:
        return str(super().get_short_help_str(1000))  # type: ignore[misc]


class LibraryCommand(WholeHelp, TyperCommand):
    """A command with the options `LIBRARY` beside its own. It stores their values for `settings_of`, so that no
    command has to pass them on."""

    def __init__(self, *args: Any, params: list[Any], **more: Any) -> None:
        super().__init__(*args, params=[*params, *LIBRARY], **more)

    def get_params(self, ctx: Any) -> list[Any]:
        return plain(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        _library.set({str(option.name): ctx.params.pop(option.name) for option in LIBRARY})
        return super().invoke(ctx)


class Program(WholeHelp, TyperGroup):
    """A group of commands, whose own options are plain values too."""

    def get_params(self, ctx: Any) -> list[Any]:
        return plain(super().get_params(ctx))


class Commands(typer.Typer):
    """A group of commands, each a `LibraryCommand` unless it names another class."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Command], Command]:
        return super().command(name, **{"cls": LibraryCommand, **options})


def settings_of(**options: Any) -> Settings:
    """The settings: the options of every command, then `options`. Wrong ones end the command with code 2."""
    from app.settings import SettingsError, read

    try:
        settings = read(**{**_library.get(), **options})
    except SettingsError as error:
        fail(str(error), 2)
    _log_to(settings.data_dir.expanduser())
    return settings


def typed(option: str) -> Any:
    """The value of an option of every command as typed; None if it was not typed."""
    return _library.get().get(option)


def data_dir() -> Path:
    """The folder of the library, as `settings_of` has it; without it, nothing heavy is loaded."""
    from app.data_dir import user_data_dir

    return Path(typed("data_dir") or os.environ.get("SIGHTLINE_DATA_DIR") or user_data_dir()).expanduser()


@contextlib.contextmanager
def opened(settings: Settings | None = None, read_only: bool = False) -> Iterator[Library]:
    """The library of `settings`, or of the options; open for the block."""
    from indexer import Library

    settings = settings or settings_of()
    library = Library(settings.data_dir.expanduser(), settings.library(), read_only=read_only)
    try:
        yield library
    finally:
        library.close()


def query_of(
    text: str | None,
    files: list[Path],
    avoid: list[str],
    kinds: list[str],
    under: Path | None,
    after: str | None,
    before: str | None,
    labels: Sequence[str] = (),
    fold: Fold | None = None,
    rerank: str | None = None,
) -> Query:
    """The `Query` of the options of `search`. Wrong ones end the command with code 2."""
    from indexer import beginning
    from indexer.errors import QueryError
    from indexer.types import KINDS, Filters, Part, Query

    if not text and not files:
        fail('Search for what? sightline search "a dog in snow", or --image, --video, --pdf FILE', 2)
    if rerank and not text:
        fail("--rerank compares pages with words: give some", 2)
    for file in files:
        if not file.expanduser().is_file():
            fail(f"{file} is not a file", 2)
    for kind in kinds:
        if kind not in KINDS:
            fail(f"--kind is one of {', '.join(KINDS)}, not {kind}", 2)
    parts: list[Part] = [Part(text=text)] if text else []
    parts += [Part(file=file.expanduser().absolute()) for file in files]
    parts += [Part(text=words, weight=-1.0) for words in avoid]
    try:
        start = beginning(after) if after else None
        end = beginning(before) if before else None
    except QueryError as error:
        fail(str(error), 2)
    filters = Filters(
        kinds=tuple(k for k in KINDS if k in kinds),
        under=under.expanduser().absolute() if under else None,
        after=start,
        before=end,
        labels=tuple(labels),
    )
    return Query(tuple(parts), filters, fold=fold, rerank=rerank)


def check_folders(folders: list[Path]) -> None:
    for folder in folders:
        path = folder.expanduser()
        if not path.exists():
            fail(f"{folder} does not exist. Give a folder of images, videos or PDFs.", 2)
        if not path.is_dir():
            fail(f"{folder} is a file. Give the folder that holds it: {path.parent}", 2)


def check_listener(settings: Settings) -> None:
    """An unknown speech model ends the command with code 2, before existing transcripts are dropped."""
    if settings.speech in ("off", "auto"):
        return
    from app import speech_status
    from app.settings import SettingsError

    try:
        speech_status.check(settings.speech)
    except SettingsError as error:
        fail(str(error), 2)


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")


_TALKATIVE = ("faiss", "faster_whisper", "httpx", "mcp", "pypdf", "PIL")
"""Libraries whose notes say nothing to a person: each instruction set that FAISS was not built for, each session."""


def _log_to(data_dir: Path) -> None:
    """Write tracebacks and warnings to `sightline.log` in the library, not to the terminal."""
    from app.private_log import PrivateLog

    try:
        data_dir.mkdir(0o700, parents=True, exist_ok=True)
        handler: logging.Handler = PrivateLog(
            data_dir / "sightline.log", maxBytes=5_000_000, backupCount=2, delay=True,
            encoding="utf-8", errors="backslashreplace",
        )  # fmt: skip
    except OSError:
        return  # opening the library reports what is wrong with the folder
    logging.raiseExceptions = False  # a full disk stops the log, not the program
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)


def is_unwritable(settings: Settings) -> bool:
    """Whether there is a library in a folder that nothing can be written to, as on a read-only file system."""
    folder = settings.data_dir.expanduser()
    return not settings.catalogue and (folder / "catalogue.sqlite").exists() and not os.access(folder, os.W_OK)


def fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"sightline: {harmless(message)}\n")
    raise typer.Exit(code)
