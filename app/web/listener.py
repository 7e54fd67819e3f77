"""What both servers share: the socket, the address that a person opens, and uvicorn."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from app.web.sign_in import make_ticket
from indexer.errors import LibraryError


class AddressInUse(LibraryError):
    """The port is taken. `str(error)` says what to do."""


def origin(host: str, port: int) -> str:
    """The address of a server on this machine: `http://127.0.0.1:7860`."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressInUse if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the socket names its protocol; without it, each answer of two packets waits
    # 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name != "nt":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"Cannot listen on {host}:{port} ({error.strerror}); choose another with --port or --host."
        ) from error
    listener.listen(512)
    return listener


def open_page(address: str, key: bytes | None) -> None:
    """Open the browser at the page, in the background. `key`: of the cookies, if the owner has to sign in."""
    import webbrowser

    ticket = make_ticket(key, urlsplit(address).port or 80) if key else None
    opened = address + (f"?token={ticket}" if ticket else "")
    threading.Thread(target=webbrowser.open, args=(opened,)).start()


def run(app: Any, listener: socket.socket, graceful_s: int, *, behind_proxy: bool = False) -> None:
    """Serve an ASGI application until interrupted; requests in flight then have `graceful_s` seconds. Only
    `behind_proxy`, a header of a client on this machine says what the client's address is."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=graceful_s,
        server_header=False,
        proxy_headers=behind_proxy,
    )
    uvicorn.Server(config).run(sockets=[listener])
