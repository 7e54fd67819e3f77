"""Commands that serve a library in the browser: `run`, `serve`, `demo`. Built around `app.web.server.serve`."""

from __future__ import annotations

import _imp
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli.options import (
    Commands,
    Copies,
    Folders,
    Host,
    Names,
    Nice,
    NoBrowser,
    NoToken,
    Ocr,
    Overlap,
    Poll,
    Port,
    Speech,
    Threads,
    Web,
    WebNetworks,
    Window,
    check_folders,
    check_listener,
    fail,
    is_unwritable,
    opened,
    settings_of,
)
from app.cli.terminal import harmless

if TYPE_CHECKING:
    from app.settings import Settings
    from indexer import Library

commands = Commands()

IMPORT_S = 0.05
"""Seconds after which a signal that came in an import is sent again."""


@commands.command()
def run(
    folders: Folders,
    host: Host = None,
    port: Port = None,
    no_browser: NoBrowser = False,
    no_token: NoToken = False,
    threads: Threads = None,
    nice: Nice = None,
    window: Window = None,
    overlap: Overlap = None,
    poll: Poll = None,
    ocr: Ocr = None,
    speech: Speech = None,
    copies: Copies = None,
    name: Names = None,
    web: Web = None,
    web_networks: WebNetworks = None,
) -> None:
    """Index folders, keep watching them, and search them in the browser."""
    check_folders(folders)
    settings = settings_of(
        host=host, port=port, threads=threads, nice=nice, window=window, overlap=overlap, poll=poll, ocr=ocr,
        speech=speech, copies=copies, names=",".join(name or ()) or None, web=web, web_networks=web_networks,
    )  # fmt: skip
    _serve(settings, folders, open_browser=not no_browser, no_token=no_token)


@commands.command()
def serve(
    host: Host = None,
    port: Port = None,
    no_browser: NoBrowser = False,
    no_token: NoToken = False,
    name: Names = None,
    web: Web = None,
    web_networks: WebNetworks = None,
) -> None:
    """Serve the library in the browser, and keep watching its folders."""
    names = ",".join(name or ()) or None
    settings = settings_of(host=host, port=port, names=names, web=web, web_networks=web_networks)
    _serve(settings, [], open_browser=not no_browser, no_token=no_token)


@commands.command()
def demo(host: Host = None, port: Port = None, no_browser: NoBrowser = False, no_token: NoToken = False) -> None:
    """Serve a small sample library, for a first look."""
    from app.demo import build

    settings = settings_of(host=host, port=port)
    demo_dir = settings.data_dir.expanduser() / "demo"
    folder = build(demo_dir / "files")
    settings = settings.but(data_dir=demo_dir / "library", catalogue=None, vectors=None)
    _serve(settings, [folder], open_browser=not no_browser, no_token=no_token)


def _serve(settings: Settings, folders: list[Path], open_browser: bool, no_token: bool) -> None:
    from app.cli.add import WebFetch, check_web
    from app.cli.model_install import install_model
    from app.web.guard import is_loopback
    from app.web.serving import served_at

    if no_token and (not is_loopback(settings.host) or settings.names):
        fail("--no-token is for this machine alone: leave out --no-token, or --host and --name.", 2)
    check_listener(settings)
    if settings.web:
        check_web()
    data_dir = settings.data_dir.expanduser()
    if (address := served_at(data_dir)) is not None:
        _join(address, data_dir, folders, open_browser)
        return
    from app.web.server import serve as serve_library  # after the last way out: it takes a second

    with opened(settings, read_only=is_unwritable(settings)) as library:
        for folder in folders:
            _add(library, folder.expanduser().absolute())
        library.start(watch=True)
        if library.read_only:
            typer.echo(harmless(library.status().notices[0]), err=True)
        # The server hands the signal on when it has ended; the library is closed then, and temporary folders go.
        signal.signal(signal.SIGTERM, _end)
        serve_library(
            library, host=settings.host, port=settings.port, open_browser=open_browser, token=settings.token,
            names=settings.host_names(), speech=settings.speech, no_token=no_token, fetch=install_model,
            web=WebFetch(library, settings.web_networks) if settings.web and not library.read_only else None,
        )  # fmt: skip


def _add(library: Library, folder: Path) -> None:
    """Add a folder to the library. One that cannot be written may hold it already; otherwise the command ends."""
    if not library.read_only:
        library.add_root(folder)
    elif not any(folder.is_relative_to(root) for root in library.status().roots):
        fail(
            f"{folder} is not in the library, and {library.data_dir} cannot be written: `sightline serve` shows what"
            " the library holds; --data-dir names a folder for another one.",
            1,
        )


def _join(address: str, data_dir: Path, folders: list[Path], open_browser: bool) -> None:
    """Add the folders to the library that a server has open already, and open its page."""
    from app.cli import ask_server
    from app.web.listener import open_page
    from app.web.tokens import cookie_key

    for folder in folders:
        if not ask_server.add_root(data_dir, folder.expanduser().absolute()):
            fail(f"The server at {address} did not take {folder}; add it on its page, under Library.", 1)
    typer.echo(
        f"Sightline is at {address}?token={ask_server.token_of(data_dir)}, where it was started before.", err=True
    )
    if open_browser:
        open_page(address, cookie_key(data_dir))


def _end(number: int, _: object) -> None:
    """Ends the program, except in the middle of an import: an exception there may leave the lock of imports taken for
    ever. The signal then comes again."""
    if _imp.lock_held():
        threading.Timer(IMPORT_S, os.kill, (os.getpid(), number)).start()
    else:
        raise SystemExit(128 + number)
