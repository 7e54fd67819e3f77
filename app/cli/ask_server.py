"""Questions to the server that has the library open already: its model is loaded, so the answer comes at once.

Built around one HTTP request to the address of `app.web.serving`, with the owner's token. It loads no model and opens
no library; what only a library can do returns None, and the caller opens it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.web.serving import served_at
from app.web.tokens import owner_token

TIMEOUT_S = 60
MAX_HITS = 200
"""Hits of one answer of the server, as `app.web.requests` has it."""

Fields = Sequence[tuple[str, str]]


def ask(data_dir: Path, path: str, fields: Fields = (), files: Sequence[Path] = ()) -> dict[str, Any] | None:
    """Returns the JSON document of a GET with `fields`, or of a POST with `files` too; None if no server of the
    library answers with one."""
    address = served_at(data_dir)
    if address is None:
        return None
    try:
        if files:
            text = _post(address, path, fields, files, _headers(data_dir))
        else:
            text = _request(address, "GET", f"{path}?{urlencode(fields)}", None, _headers(data_dir))
        document = json.loads(text or "null")
    except (OSError, HTTPException, ValueError):  # it ends at this moment
        return None
    return document if isinstance(document, dict) else None


def add_root(data_dir: Path, address: str, folder: Path) -> bool:
    """Add a folder to the library through its server at `address`. Returns whether it did."""
    body = json.dumps({"path": str(folder)})
    headers = _headers(data_dir) | {"Content-Type": "application/json"}
    try:
        return _request(address, "POST", "/api/roots", body, headers) is not None
    except (OSError, HTTPException):
        return False


def _headers(data_dir: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {owner_token(data_dir)}", "Accept": "application/json"}


def _request(address: str, method: str, path: str, body: str | None, headers: dict[str, str]) -> bytes | None:
    url = urlsplit(address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.read() if response.status == 200 else None
    finally:
        connection.close()


def _post(address: str, path: str, fields: Fields, files: Sequence[Path], headers: dict[str, str]) -> bytes | None:
    import httpx

    data: dict[str, list[str]] = {}
    for name, value in fields:
        data.setdefault(name, []).append(value)
    with contextlib.ExitStack() as stack:
        parts = [("files", (file.name, stack.enter_context(file.open("rb")))) for file in files]
        try:
            response = httpx.post(
                address.rstrip("/") + path, data=data, files=parts, headers=headers, timeout=TIMEOUT_S, trust_env=False
            )
        except httpx.HTTPError:
            return None
    return response.content if response.status_code == 200 else None
