"""Questions to the server that has the library open already: its model is loaded, so the answer comes at once.

Built around one HTTP request to the address of `app.web.serving`, with the owner's token. It loads no model and opens
no library: where no server of the library answers, the functions return None, and the caller opens it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.web.serving import served_at
from app.web.tokens import owner_token
from indexer.types import Answer, Query

TIMEOUT_S = 60

Fields = Sequence[tuple[str, str]]


def search(data_dir: Path, query: Query, k: int) -> Answer | None:
    """Returns the first `k` hits. None also for what the server refuses: the library says why, in its own words."""
    filters = query.filters
    fields = [("q" if part.weight > 0 else "avoid", part.text) for part in query.parts if part.text]
    fields += [("kind", kind) for kind in filters.kinds] + [("label", label) for label in filters.labels]
    optional = {"under": filters.under, "after": filters.after, "before": filters.before}
    optional |= {"fold": query.fold, "rerank": query.rerank}
    fields += [(name, str(value)) for name, value in optional.items() if value]
    files = [part.file for part in query.parts if part.file]
    document = _ask(data_dir, "/api/search", [*fields, ("k", str(k))], files)
    try:
        return None if document is None else Answer.from_json(query, document)
    except KeyError:  # the server is of an earlier version and lacks a field
        return None


def chunk_count(data_dir: Path) -> int | None:
    """Returns the number of chunks of the library."""
    document = _ask(data_dir, "/api/status")
    return None if document is None else int(document["chunks"])


def add_root(data_dir: Path, folder: Path) -> bool:
    """Add a folder to the library. Returns whether the server did."""
    return _ask(data_dir, "/api/roots", body={"path": str(folder)}) is not None


def roll_back_model(data_dir: Path) -> str | None:
    """Return to the model before the last switch. Returns its id; None also for what the server refuses."""
    document = _ask(data_dir, "/api/models/rollback", body={})
    return None if document is None else str(document["model"])


def token_of(data_dir: Path) -> str:
    """Returns the owner's token as the server has it: the one that is set, or else the one in the library's folder."""
    return os.environ.get("SIGHTLINE_TOKEN") or owner_token(data_dir)


def _ask(
    data_dir: Path, path: str, fields: Fields = (), files: Sequence[Path] = (), body: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Returns the JSON document of a GET with `fields`, or of a POST with `files` too, or with the JSON `body`."""
    address = served_at(data_dir)
    if address is None:
        return None
    headers = {"Authorization": f"Bearer {token_of(data_dir)}", "Accept": "application/json"}
    try:
        if files:
            text = _post_files(address, path, fields, files, headers)
        elif body is not None:
            text = _request(address, "POST", path, json.dumps(body), headers | {"Content-Type": "application/json"})
        else:
            text = _request(address, "GET", f"{path}?{urlencode(fields)}", None, headers)
        document = json.loads(text or "null")
    except (OSError, HTTPException, ValueError):  # it ends at this moment
        return None
    return document if isinstance(document, dict) else None


def _request(address: str, method: str, path: str, body: str | None, headers: dict[str, str]) -> bytes | None:
    url = urlsplit(address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.read() if response.status == 200 else None
    finally:
        connection.close()


def _post_files(
    address: str, path: str, fields: Fields, files: Sequence[Path], headers: dict[str, str]
) -> bytes | None:
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
