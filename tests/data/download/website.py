"""A website on this machine, for the tests of fetching by address: pages, images, films, and servers that misbehave.

Built around `Website`, real HTTP on loopback that answers with what a test puts under a path. It knows nothing of the
fetch.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.data.download.model_hub import HubServer

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""The networks that a fetch needs to reach the website."""


class Website(HubServer):
    """`bodies`: path to (media type, bytes); `redirects`: path to address; `headers`: path to further headers.
    `requests`: the path of each request. Paths below /stall/ send 10 bytes and wait for `go_on`; /endless sends until
    the client goes away."""

    def __init__(self) -> None:
        self.bodies: dict[str, tuple[str, bytes]] = {}
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.go_on = threading.Event()
        super().__init__()

    def put(self, path: str, body: bytes | str | Path, media_type: str = "application/octet-stream") -> str:
        """Serve a body under a path. Returns its address."""
        data = body.read_bytes() if isinstance(body, Path) else body.encode() if isinstance(body, str) else body
        self.bodies[path] = (media_type, data)
        return self.url + path

    def page(self, path: str, body: str, title: str = "A page") -> str:
        """Serve a web page. Returns its address."""
        html = f"<!doctype html><html><head><title>{title}</title></head><body>{body}</body></html>"
        return self.put(path, html, "text/html; charset=utf-8")

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path
        self.requests.append(path)
        if path in self.redirects:
            request.send_response(302)
            request.send_header("location", self.redirects[path])
            request.send_header("content-length", "0")
            request.end_headers()
        elif path in self.bodies:
            media_type, body = self.bodies[path]
            request.send_response(200)
            request.send_header("content-type", media_type)
            for name, value in {"content-length": str(len(body)), **self.headers.get(path, {})}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)
        elif path.startswith("/stall/"):
            request.send_response(200)
            request.end_headers()
            request.wfile.write(b"\xff\xd8\xff" + bytes(7))
            request.wfile.flush()
            self.go_on.wait(60)
        elif path == "/endless":
            request.send_response(200)
            request.end_headers()
            while True:
                try:
                    request.wfile.write(b"\xff\xd8\xff" + bytes(65_533))
                except OSError:
                    return
        else:
            request.send_error(404)

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
