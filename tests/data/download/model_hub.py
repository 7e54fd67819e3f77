"""Model hubs on this machine, for the tests of downloads.

Built around `HubServer`, real HTTP on loopback, and `ModelHub`, which serves the files of repositories and fails on
demand. It knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

REVISION = "d" * 40


class HubServer:
    """An HTTP server at `url`; a subclass answers its GET requests."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError


class ModelHub(HubServer):
    """The hub's routes for model repositories: newest revision, listing, files with ranges.

    `files`: of every repository that `repos` does not name.
    """

    def __init__(self, files: dict[str, bytes], repos: dict[str, dict[str, bytes]] | None = None) -> None:
        self.files, self.repos, self.asked = files, repos or {}, []
        self.cut_after: int | None = None
        self.html = self.html_files = False
        self.spoil: str | None = None
        super().__init__()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = unquote(urlparse(request.path).path).strip("/").split("/")
        listing = parts[:2] == ["api", "models"]
        if self.html or (self.html_files and not listing):
            return self._send(request, b"<html>Log in to the hotel's network</html>", "text/html")
        if listing and len(parts) == 4:
            return self._send(request, json.dumps({"id": "/".join(parts[2:4]), "sha": REVISION}).encode())
        if listing:
            entries = [
                {
                    "type": "file", "path": path, "size": len(content), "oid": "0" * 40,
                    "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130},
                }
                for path, content in self.repos.get("/".join(parts[2:4]), self.files).items()
            ]  # fmt: skip
            return self._send(request, json.dumps(entries).encode())
        path = "/".join(parts[4:])
        content = self.repos.get("/".join(parts[:2]), self.files).get(path)
        if content is None:
            return request.send_error(404)
        if path == self.spoil:
            content = b"x" * len(content)
        span = request.headers.get("Range")
        self.asked.append((path, parts[3], span))
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        body = content[start:]
        whole = len(body)
        if self.cut_after is not None:
            body, self.cut_after = body[: self.cut_after], None
        return self._send(request, body, code=206 if span else 200, length=whole)

    def _send(self, request, body: bytes, kind: str = "application/json", code: int = 200, length=None) -> None:
        request.send_response(code)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def asked_alone(hub: ModelHub, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[ModelHub]:
    """The hub as the only one that is asked, in small parts and without waits, by a program whose models and library
    are in `home`; it ends with the context."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("SIGHTLINE_MODELS", str(home / "models"))
    monkeypatch.setenv("SIGHTLINE_DATA_DIR", str(home / "library"))
    monkeypatch.setenv("SIGHTLINE_DETAIL", "image=70,page=70,frame=70,frames=2")
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield hub
    hub.server.shutdown()
