"""Questions to the server that has the library open already: its model is loaded, so the answer comes at once.

Built around one HTTP request to the address of `app.web.serving`, with the owner's token. It loads no model and opens
no library: where no server of the library answers, the functions return None, and the caller opens it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.web.serving import served_at
from indexer.types import Answer, Query

TIMEOUT_S = 60
BLOCK_BYTES = 1 << 20
_IN_QUOTES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}
"""What a form's file name must not hold, as browsers write it."""

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
    from app.web.tokens import owner_token

    return os.environ.get("SIGHTLINE_TOKEN") or owner_token(data_dir)


def _ask(
    data_dir: Path, path: str, fields: Fields = (), files: Sequence[Path] = (), body: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Returns the JSON document of a GET with `fields`, or of a POST with `files` too, or with the JSON `body`."""
    address = served_at(data_dir)
    if address is None:
        return None
    from http.client import HTTPException

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


def _request(
    address: str, method: str, path: str, body: str | Iterable[bytes] | None, headers: dict[str, str]
) -> bytes | None:
    from http.client import HTTPConnection

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
    """A form of RFC 7578, whose files are read as they are sent."""
    mark = os.urandom(16).hex()
    parts: list[tuple[str, bytes | Path]] = [(f'name="{name}"', value.encode()) for name, value in fields]
    parts += [(f'name="files"; filename="{file.name.translate(_IN_QUOTES)}"', file) for file in files]
    heads = [
        f"--{mark}\r\nContent-Disposition: form-data; {what}\r\n\r\n".encode("utf-8", "replace") for what, _ in parts
    ]
    end = f"--{mark}--\r\n".encode()
    sizes = [len(content) if isinstance(content, bytes) else content.stat().st_size for _, content in parts]

    def body() -> Iterator[bytes]:
        for head, (_, content) in zip(heads, parts, strict=True):
            yield head
            if isinstance(content, bytes):
                yield content
            else:
                with content.open("rb") as file:
                    yield from iter(lambda: file.read(BLOCK_BYTES), b"")
            yield b"\r\n"
        yield end

    headers |= {
        "Content-Type": f"multipart/form-data; boundary={mark}",
        "Content-Length": str(sum(sizes) + sum(map(len, heads)) + 2 * len(parts) + len(end)),
    }
    return _request(address, "POST", path, body(), headers)
