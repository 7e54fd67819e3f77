"""Commands that serve a library in the browser: `run`, `serve`, `demo`. Built around `app.web.server.serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.options import (
    Commands,
    Copies,
    Folders,
    Host,
    Names,
    Nice,
    NoBrowser,
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
    opened,
    settings_of,
)

if TYPE_CHECKING:
    from app.settings import Settings

commands = Commands()


@commands.command()
def run(
    folders: Folders,
    host: Host = None,
    port: Port = None,
    no_browser: NoBrowser = False,
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
    _serve(settings, folders, open_browser=not no_browser)


@commands.command()
def serve(
    host: Host = None,
    port: Port = None,
    no_browser: NoBrowser = False,
    name: Names = None,
    web: Web = None,
    web_networks: WebNetworks = None,
) -> None:
    """Serve the library in the browser, and keep watching its folders."""
    names = ",".join(name or ()) or None
    settings = settings_of(host=host, port=port, names=names, web=web, web_networks=web_networks)
    _serve(settings, [], open_browser=not no_browser)


@commands.command()
def demo(host: Host = None, port: Port = None, no_browser: NoBrowser = False) -> None:
    """Serve a small sample library, for a first look."""
    from app.demo import build

    settings = settings_of(host=host, port=port)
    demo_dir = settings.data_dir.expanduser() / "demo"
    folder = build(demo_dir / "files")
    settings = settings.model_copy(update={"data_dir": demo_dir / "library", "catalogue": None, "vectors": None})
    _serve(settings, [folder], open_browser=not no_browser)


def _serve(settings: Settings, folders: list[Path], open_browser: bool) -> None:
    from app.cli.add import WebFetch, check_web
    from app.cli.models import fetch
    from app.web.server import serve as serve_library

    check_listener(settings)
    if settings.web:
        check_web()
    with opened(settings) as library:
        for folder in folders:
            library.add_root(folder.expanduser().absolute())
        library.start(watch=True)
        serve_library(
            library, host=settings.host, port=settings.port, open_browser=open_browser, token=settings.token,
            names=settings.host_names(), speech=settings.speech, fetch=fetch,
            web=WebFetch(library, settings.web_networks) if settings.web else None,
        )  # fmt: skip
