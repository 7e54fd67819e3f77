"""From the fields and files of a request to a `Query` and a page of its hits.

Built around `build_query`, which the REST routes and the named endpoints of Gradio and MCP share. Files stay in a
private folder until the query is answered. It knows neither routes nor how an answer is found.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from fastapi import Path as PathParameter
from pydantic import AfterValidator

from app.web.guard import UPLOAD_LIMIT
from indexer import beginning
from indexer.errors import QueryError
from indexer.types import KINDS, Filters, Fold, Part
from indexer.types import Query as Search
from model.late_interaction import HUB as RERANKERS

MAX_FILES = 8
"""Files in one query."""
MAX_HITS = 200
"""Hits in one answer; `offset` gives further pages."""
MAX_OFFSET = 10_000
"""The largest `offset`; the memory of a search grows with it."""
MAX_BROWSED = 10_000_000
"""The largest `offset` in a list of all that passes the filters, of which a page alone is read."""
MAX_TEXT = 2000
MAX_FIELD_BYTES = 64 << 10
"""Bytes of one field of a form that is no file."""
MAX_PARTS = 32
"""Texts, chunks and files in one query, together."""
MAX_ID = 2**63 - 1
Id = Annotated[int, PathParameter(ge=0, le=MAX_ID)]
"""The id of a chunk or a file in an address; no catalogue holds a larger one."""


class BadRequest(Exception):
    """A request that cannot be understood. `str(error)` is one sentence for a person."""


class OutOfBounds(BadRequest):
    """A number is outside its bounds."""


@dataclass(frozen=True)
class Upload:
    """A file of a query, in a private folder, and whether hits should not resemble it."""

    path: Path
    avoid: bool = False


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A private folder, deleted with its files at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-query-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def safe_name(name: str | None) -> str:
    """A file name without folders or control characters; its extension stays, for the decoder."""
    base = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    base = "".join(c for c in base if c.isprintable() and c != "\0").strip(". ")
    stem, dot, suffix = base.rpartition(".")
    return f"{stem[:80]}{dot}{suffix[:12]}" if stem else base[:80] or "file"


def place_for(folder: Path, name: str | None, ordinal: int) -> Path:
    """The path of a query's upload number `ordinal`, in a folder of its own so that the file keeps its name."""
    subfolder = folder / str(ordinal)
    subfolder.mkdir()
    return subfolder / safe_name(name)


def store(source: Any, target: Path) -> None:
    """Write an upload to a new file."""
    with target.open("xb") as out:
        shutil.copyfileobj(source, out, 1024 * 1024)


def folder_named(text: str) -> Path:
    """The path that a person typed; `~` is their home folder. Raises BadRequest if it cannot be a path."""
    try:
        path = Path(text).expanduser()
        if b"\0" in os.fsencode(path):
            raise ValueError
    except (ValueError, RuntimeError):  # UnicodeEncodeError is a ValueError; RuntimeError: ~nobody
        raise BadRequest(f"{text[:80]!a} is not a path.") from None
    return path


def moment(value: str | None, name: str) -> str | None:
    """A date as it is typed in a query (`2024`, `2024-06`, `2024-06-01`), one with a time, or UNIX seconds, as the
    ISO 8601 text of a local time; a zone does not count, for it is the clock on the wall that is asked about."""
    if not value:
        return None
    try:
        return beginning(value)
    except QueryError:
        pass
    for read in (lambda text: datetime.fromtimestamp(float(text), UTC), datetime.fromisoformat):
        try:
            return read(value).replace(tzinfo=None).isoformat()
        except (ValueError, OverflowError, OSError):
            continue
    raise BadRequest(f"{name}={value[:40]!r} is not a date; write 2024, 2024-06 or 2024-06-01.")


def _as_text(value: str) -> str:
    if not _is_text(value):
        raise ValueError("no text has these characters")
    return value


TEXT = AfterValidator(_as_text)
"""Refuses a text of a JSON body that holds a NUL."""


def _is_text(value: str) -> bool:
    """Whether `value` has neither a NUL nor a lone surrogate, which UTF-8 cannot encode."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def number(value: Any, name: str, low: float, high: float) -> float:
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRequest(f"{name}={str(value)[:40]!r} is not a number.") from None
    if not low <= parsed <= high:
        raise OutOfBounds(f"{name} must be between {low:g} and {high:g}.")
    return parsed


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number. Text is read as one: a float would round the id of a chunk."""
    try:
        parsed = int(value) if isinstance(value, str) else value
    except ValueError:
        parsed = value
    if not isinstance(parsed, int):
        parsed = number(value, name, low, high)
        if parsed != int(parsed):
            raise BadRequest(f"{name}={str(value)[:40]!r} is not a whole number.")
    if not low <= parsed <= high:
        raise OutOfBounds(f"{name} must be between {low} and {high}.")
    return int(parsed)


def build_query(values: Mapping[str, Sequence[str]], uploads: Iterable[Upload] = ()) -> Search:
    """The query of a request: its fields (each a list of values) and its uploads.

    Fields: q, avoid (words), like and unlike (chunk ids), kind, under, after, before, min_s, max_s, label,
    file_id, sort, fold, rerank. Raises BadRequest.
    """

    def one(name: str) -> str | None:
        return next((v for v in reversed(values.get(name, ())) if v != ""), None)

    for name, texts in values.items():
        if name != "under" and not all(map(_is_text, texts)):  # a folder's name may be any bytes
            raise BadRequest(f"{name} holds characters that no text has.")

    parts = [Part(text=text[:MAX_TEXT]) for text in values.get("q", ()) if text.strip()]
    parts += [Part(text=text[:MAX_TEXT], weight=-1.0) for text in values.get("avoid", ()) if text.strip()]
    parts += [Part(chunk_id=whole(v, "like", 0, MAX_ID)) for v in values.get("like", ()) if v]
    parts += [Part(chunk_id=whole(v, "unlike", 0, MAX_ID), weight=-1.0) for v in values.get("unlike", ()) if v]
    parts += [Part(file=u.path, weight=-1.0 if u.avoid else 1.0) for u in uploads]
    if len(parts) > MAX_PARTS:
        raise OutOfBounds(f"A query has at most {MAX_PARTS} parts, words and files together.")
    kinds = [kind for value in values.get("kind", ()) for kind in value.split(",") if kind]
    for kind in kinds:
        if kind not in KINDS:
            raise BadRequest(f"kind={kind[:20]!r} is not one of image, video, pdf.")
    sort = one("sort") or "relevance"
    if sort not in ("relevance", "date"):
        raise BadRequest("sort is either relevance or date.")
    fold = one("fold")
    if fold not in (None, "max", "centroid"):
        raise BadRequest("fold is either max or centroid.")
    rerank = one("rerank")
    if rerank not in (None, *RERANKERS):
        raise BadRequest(f"rerank is one of {', '.join(RERANKERS)}.")
    under, file_id, min_s, max_s = one("under"), one("file_id"), one("min_s"), one("max_s")
    filters = Filters(
        kinds=tuple(k for k in KINDS if k in kinds),
        under=folder_named(under) if under else None,
        after=moment(one("after"), "after"),
        before=moment(one("before"), "before"),
        min_s=number(min_s, "min_s", 0, 1e9) if min_s else None,
        max_s=number(max_s, "max_s", 0, 1e9) if max_s else None,
        file_id=whole(file_id, "file_id", 0, MAX_ID) if file_id else None,
        labels=tuple(label[:MAX_TEXT] for label in values.get("label", ()) if label.strip()),
    )
    order: Literal["date", "relevance"] = "date" if sort == "date" else "relevance"
    return Search(tuple(parts), filters, order, cast("Fold | None", fold), rerank)


def window_of(values: Mapping[str, Sequence[str]], browsing: bool = False) -> tuple[int, int]:
    """(k, offset) of a request. k defaults to 10, as on the command line. `browsing`: its query is of filters alone."""
    k = whole((values.get("k") or ["10"])[-1] or 10, "k", 1, MAX_HITS)
    return k, whole((values.get("offset") or ["0"])[-1] or 0, "offset", 0, MAX_BROWSED if browsing else MAX_OFFSET)


_STRING: dict[str, Any] = {"type": "string"}
_STRINGS: dict[str, Any] = {"type": "array", "items": _STRING}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_FIELDS = {
    "q": (_STRING, "What to look for, in words."),
    "kind": (_STRINGS, "image, video or pdf; may repeat."),
    "under": (_STRING, "Only files below this folder."),
    "after": (_STRING, "Taken on or after: 2024, 2024-06, 2024-06-01."),
    "before": (_STRING, "Taken before this date."),
    "avoid": (_STRINGS, "Words for what hits should not show."),
    "like": (_STRINGS, "Chunk ids to resemble."),
    "unlike": (_STRINGS, "Chunk ids to avoid."),
    "min_s": (_STRING, "Videos of at least this many seconds."),
    "max_s": (_STRING, "Videos of at most this many seconds."),
    "label": (_STRINGS, "Only chunks with this label; may repeat."),
    "file_id": (_STRING, "Only inside this file."),
    "sort": (_STRING, "relevance or date."),
    "fold": (_STRING, "max or centroid: one hit per file, scored by its best chunk or by all."),
    "rerank": (_STRING, "colpali or colqwen2: the first 50 pages in the order of this model, if it is here."),
    "k": (_STRING, f"Number of hits, 1 to {MAX_HITS}; 10 if it is not given."),
    "offset": (_STRING, "Number of hits to skip."),
}
_UPLOADS = {
    "files": (_FILES, f"Up to {MAX_FILES} images, clips or PDFs, {UPLOAD_LIMIT // 2**20} MB together."),
    "avoid_files": (_FILES, "Files that hits should not resemble."),
}

PARAMETERS = {
    "parameters": [
        {"name": name, "in": "query", "schema": schema, "description": text} for name, (schema, text) in _FIELDS.items()
    ]
}
"""A query, as OpenAPI describes it. Declared to FastAPI, each would be parsed twice."""

_PROPERTIES = {name: schema | {"description": text} for name, (schema, text) in (_FIELDS | _UPLOADS).items()}
FORM = {"requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": _PROPERTIES}}}}}
"""A query with files, as OpenAPI describes it."""
