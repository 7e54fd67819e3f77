"""The command that fetches a file by its address into the library: `add`; and `WebFetch`, which the page uses too.

Built around `data.download.web`, which needs the extra `web` and is imported for nothing else.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Commands, Json, WebNetworks, fail, opened, print_json, settings_of

if TYPE_CHECKING:
    from data.download.web import Fetched
    from indexer import Library

commands = Commands()

MAX_MB = 2000
_PREFIX = ".fetch-"
_STALE_S = 86_400.0


def check_web() -> None:
    """End the command with code 2 if the extra `web` is not installed."""
    from data.download.web import EXTRA_MISSING, is_installed

    if not is_installed():
        fail(EXTRA_MISSING, 2)


class WebFetch:
    """Fetches by address for a library; `networks`: private networks that may be reached, with commas."""

    def __init__(self, library: Library, networks: str) -> None:
        self._library, self._networks = library, tuple(networks.replace(",", " ").split())

    def fetch(
        self,
        address: str,
        folder: Path,
        max_bytes: int,
        *,
        on_bytes: Callable[[int], None] = lambda size: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Fetched:
        """Fetch an image, a video or a PDF into an empty folder. Raises `LibraryError` with the reason."""
        from data.download.web import Bounds, WebError, fetch
        from indexer.errors import LibraryError

        bounds = Bounds(max_bytes=max_bytes, networks=self._networks)
        try:
            return fetch(address, folder, bounds, on_bytes=on_bytes, is_cancelled=is_cancelled)
        except WebError as error:
            raise LibraryError(str(error)) from error

    def keep(
        self,
        address: str,
        to: Path | None = None,
        max_bytes: int = MAX_MB * 1_000_000,
        *,
        on_bytes: Callable[[int], None] = lambda size: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Path:
        """Fetch into a folder of the library: `to`, or the library's own. Returns the path. Raises `LibraryError`."""
        from data.download.web import keep

        data_dir = self._library.data_dir
        folder, root = self._library.folder_for_added(to)
        for old in data_dir.glob(f"{_PREFIX}*"):  # of a program that was killed
            if time.time() - old.stat().st_mtime > _STALE_S:
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=data_dir) as temporary:
            fetched = self.fetch(address, Path(temporary), max_bytes, on_bytes=on_bytes, is_cancelled=is_cancelled)
            folder.mkdir(mode=0o700, exist_ok=True)
            path = keep(fetched, folder)
        self._library.add_root(root)
        return path


@commands.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="The address of an image, a PDF, or a page with a video.")],
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A folder of the library; default: the library's own.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="MB", min=1, max=100_000, help="Fetch at most this much.")] = MAX_MB,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before fetching.")] = False,
    web_networks: WebNetworks = None,
    json_: Json = False,
) -> None:
    """Fetch an image, a video or a PDF by its address into the library (extra `web`)."""
    from app.cli import output
    from data.download.web import WebError, checked

    settings = settings_of(web_networks=web_networks)
    check_web()
    try:
        address = checked(url)
    except WebError as error:
        fail(str(error), 2)
    with opened(settings) as library:
        folder, root = library.folder_for_added(to)
        if not yes:
            _ask(f"Fetch {output.printable(address)} (at most {limit:,} MB) into {output.printable(str(folder))}?")
        with output.waiting("Fetching …") as change:
            path = WebFetch(library, settings.web_networks).keep(
                address, to, limit * 1_000_000, on_bytes=lambda size: change(f"Fetching … {size / 1e6:,.0f} MB")
            )
        reason = None
        if indexed := library.may_index():
            library.index([root])
            reason = next((failure.reason for failure in library.failures() if Path(failure.path) == path), None)
        file = library.file_at(path)
        if json_:
            kind = file.kind if file is not None else None
            record = {"path": str(path), "kind": kind, "address": address, "indexed": indexed and reason is None}
            print_json({**record, "reason": reason})
        else:
            state = "indexed" if indexed else "it is indexed by the Sightline that is running"
            output.err.print(f"{output.printable(str(path))}: {reason or state}")
    if reason:
        raise typer.Exit(1)


def _ask(question: str) -> None:
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        fail("nothing was fetched: nobody answered; --yes answers beforehand", 2)
    if not agreed:
        fail("nothing was fetched", 1)
