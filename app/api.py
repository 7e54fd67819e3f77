"""The REST routes: search, similar, status, failures, roots, folder completion. The page uses nothing else.

Built around `Library` and the records of `indexer.records`; every answer is their JSON. Searches wait in
one bounded lane, so that a burst neither starves the thumbnails nor is lost. It knows nothing of
pages, Gradio or how an answer is found. The routes are documented with examples in docs/api.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse

from app import transcripts
from app.security import UPLOAD_LIMIT
from indexer.query import QueryError, beginning
from indexer.records import KINDS, ChunkInfo, LibraryError, Part, VectorServerError
from indexer.records import Query as Search

T = TypeVar("T")

MAX_FILES = 8
"""Files in one query."""
MAX_HITS = 200
"""Hits in one answer; `offset` turns the page."""
MAX_MOMENTS = 50
"""Moments in one answer."""
MAX_TEXT = 2000
WAITING = 512
"""Searches that may wait at once. 200 people pressing Enter together is the measure; see bench-ui."""


class BadRequest(Exception):
    """What was asked cannot be understood. `str(error)` is one sentence for a person."""


class Busy(Exception):
    """Too many searches wait already."""


class Json(JSONResponse):
    """JSON in ASCII: a file name that is not UTF-8 holds lone surrogates, which have no other encoding."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Lane:
    """Runs calls in a few threads of its own; at most `waiting` wait, more are refused with Busy."""

    def __init__(self, workers: int = 2, waiting: int = WAITING) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="search")
        self._turn = asyncio.Semaphore(workers)
        self._waiting, self._limit = 0, waiting + workers

    async def run(self, call: Callable[[], T], gone: Callable[[], Any] | None = None) -> T | None:
        """The call's result, or None when `gone()` says that nobody waits for it any more."""
        if self._waiting >= self._limit:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                if gone is not None and await gone():
                    return None
                asked_by = contextvars.copy_context()  # the visitor of the request, in the lane's thread too
                return await asyncio.get_running_loop().run_in_executor(self._pool, asked_by.run, call)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Upload:
    """A file received for one query: its bytes on disk in a private folder, and whether to avoid it."""

    path: Path
    avoid: bool = False


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder that only this user can read, deleted with all it holds when the query is answered."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-query-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def safe_name(name: str | None) -> str:
    """A file name without folders or control characters; its extension says how it is decoded."""
    base = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    base = "".join(c for c in base if c.isprintable() and c != "\0").strip(". ")
    stem, dot, suffix = base.rpartition(".")
    return f"{stem[:80]}{dot}{suffix[:12]}" if stem else base[:80] or "file"


def place_for(folder: Path, name: str | None, ordinal: int) -> Path:
    """Where the `ordinal`-th upload of a query goes: a folder each, so that it keeps its name."""
    place = folder / str(ordinal)
    place.mkdir()
    return place / safe_name(name)


def moment(value: str | None, name: str) -> float | None:
    """A date as it is typed in a query (`2024`, `2024-06`, `2024-06-01`, local time), one with a time, or
    UNIX seconds, as UNIX seconds."""
    if not value:
        return None
    try:
        return beginning(value)
    except QueryError:
        pass
    for read in (float, lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()):
        try:
            return read(value)
        except (ValueError, OverflowError, OSError):
            continue
    raise BadRequest(f"{name}={value[:40]!r} is not a date; write 2024, 2024-06 or 2024-06-01.")


def number(value: Any, name: str, low: float, high: float) -> float:
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        raise BadRequest(f"{name}={str(value)[:40]!r} is not a number.") from None
    if not low <= parsed <= high:
        raise BadRequest(f"{name} must be between {low:g} and {high:g}.")
    return parsed


def build_query(values: Mapping[str, Sequence[str]], uploads: Iterable[Upload] = ()) -> Search:
    """The query that the fields of a request (each a list) and its uploads ask for.

    Fields: q, avoid (words not wanted), like / unlike (chunk ids), kind, under, after, before, min_s, max_s,
    label, file_id, sort. Raises BadRequest.
    """

    def one(name: str) -> str | None:
        given = [v for v in values.get(name, ()) if v != ""]
        return given[-1] if given else None

    def whole(name: str, value: str) -> int:
        return int(number(value, name, 0, 2**62))

    parts = [Part(text=text[:MAX_TEXT]) for text in values.get("q", ()) if text.strip()]
    parts += [Part(text=text[:MAX_TEXT], weight=-1.0) for text in values.get("avoid", ()) if text.strip()]
    parts += [Part(chunk_id=whole("like", v)) for v in values.get("like", ()) if v]
    parts += [Part(chunk_id=whole("unlike", v), weight=-1.0) for v in values.get("unlike", ()) if v]
    parts += [Part(file=u.path, weight=-1.0 if u.avoid else 1.0) for u in uploads]
    kinds = [kind for value in values.get("kind", ()) for kind in value.split(",") if kind]
    for kind in kinds:
        if kind not in KINDS:
            raise BadRequest(f"kind={kind[:20]!r} is not one of image, video, pdf.")
    sort = one("sort") or "relevance"
    if sort not in ("relevance", "date"):
        raise BadRequest("sort is either relevance or date.")
    under, file_id, min_s, max_s = one("under"), one("file_id"), one("min_s"), one("max_s")
    return Search(
        parts=tuple(parts),
        kinds=tuple(k for k in KINDS if k in kinds),
        under=Path(under).expanduser() if under else None,
        after=moment(one("after"), "after"),
        before=moment(one("before"), "before"),
        min_s=number(min_s, "min_s", 0, 1e9) if min_s else None,
        max_s=number(max_s, "max_s", 0, 1e9) if max_s else None,
        file_id=whole("file_id", file_id) if file_id else None,
        labels=tuple(label[:MAX_TEXT] for label in values.get("label", ()) if label.strip()),
        sort="date" if sort == "date" else "relevance",
    )


def window_of(values: Mapping[str, Sequence[str]]) -> tuple[int, int]:
    """(k, offset) of a request. k defaults to 10, as on the command line."""
    k = number((values.get("k") or ["10"])[-1] or 10, "k", 1, MAX_HITS)
    offset = number((values.get("offset") or ["0"])[-1] or 0, "offset", 0, 10_000_000)
    return int(k), int(offset)


def chunk_json(chunk: ChunkInfo) -> dict[str, Any]:
    """A chunk as the page shows it when it did not come out of a search (a deep link)."""
    file = chunk.file
    return {
        "kind": file.kind,
        "path": os.fspath(file.path),
        "also_at": [],
        "file_id": file.file_id,
        "chunk_id": chunk.chunk_id,
        "start_s": chunk.start_s,
        "end_s": chunk.end_s,
        "page": chunk.page,
        "pages": file.pages,
        "duration_s": file.duration_s,
        "width": file.width,
        "height": file.height,
        "taken_at": file.taken_at,
        "title": file.path.name,
        "snippet": "",
        "at_s": None,
        "thumb_url": f"/thumb/{chunk.chunk_id}.webp",
        "open_url": f"/open/{chunk.chunk_id}",
    }


def complete(typed: str, limit: int = 30) -> dict[str, Any]:
    """Folders whose path begins with what was typed: `{"path", "exists", "folders": [...]}`."""
    text = typed.strip() or "~/"
    path = Path(text).expanduser()
    if not path.is_absolute():
        path = Path.home() / path
    inside = text.endswith(("/", os.sep)) or text == "~"
    parent, prefix = (path, "") if inside else (path.parent, path.name)
    folders = []
    try:
        with os.scandir(parent) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and not prefix.startswith(".")
                if entry.name.lower().startswith(prefix.lower()) and not hidden and entry.is_dir():
                    folders.append(entry.path)
    except OSError:
        pass  # nothing to complete; `exists` tells what is wrong with a whole path
    return {
        "path": str(path),
        "exists": path.is_dir(),
        "folders": sorted(folders, key=str.lower)[:limit],
    }


def routes(library: Any, gradio_ready: Callable[[], bool]) -> APIRouter:
    """The router over one library. `gradio_ready` tells the page when it can upgrade itself."""
    api = APIRouter(prefix="/api", tags=["search"])
    lane = Lane()
    api.lane = lane  # type: ignore[attr-defined]  # the server closes it

    async def answer(request: Request, search: Search, k: int, offset: int) -> Json:
        found = await lane.run(lambda: library.search(search, k=k, offset=offset), request.is_disconnected)
        return Json(found.to_json() if found is not None else {"error": "gone"})

    @api.get("/search")
    async def search(
        request: Request,
        q: Annotated[str, Query(description="What to look for, in words.")] = "",
        kind: Annotated[list[str] | None, Query(description="image, video or pdf; may repeat.")] = None,
        under: Annotated[str, Query(description="Only files below this folder.")] = "",
        after: Annotated[str, Query(description="Taken on or after: 2024, 2024-06, 2024-06-01.")] = "",
        before: Annotated[str, Query(description="Taken before this date.")] = "",
        avoid: Annotated[list[str] | None, Query(description="Words for what is not wanted.")] = None,
        like: Annotated[list[str] | None, Query(description="Chunk ids to resemble.")] = None,
        unlike: Annotated[list[str] | None, Query(description="Chunk ids to avoid.")] = None,
        min_s: Annotated[str, Query(description="Videos of at least this many seconds.")] = "",
        max_s: Annotated[str, Query(description="Videos of at most this many seconds.")] = "",
        label: Annotated[list[str] | None, Query(description="Labels that hits carry; may repeat.")] = None,
        file_id: Annotated[str, Query(description="Only inside this file.")] = "",
        sort: Annotated[str, Query(description="relevance or date.")] = "",
        k: Annotated[str, Query(description=f"Hits wanted, 1 to {MAX_HITS}.")] = "10",
        offset: Annotated[str, Query(description="Hits to pass over.")] = "0",
    ) -> Json:
        """Chunks of the library that match the words and filters, best first."""
        values = {name: request.query_params.getlist(name) for name in request.query_params}
        return await answer(request, build_query(values), *window_of(values))

    @api.post("/search", openapi_extra=_FORM)
    async def search_with_files(request: Request) -> Json:
        """The same with files: an image, a clip or a PDF to look for. They are deleted after the answer."""
        with upload_folder() as folder:
            async with request.form(max_files=MAX_FILES, max_fields=100) as form:
                values: dict[str, list[str]] = {}
                uploads: list[Upload] = []
                for name, value in form.multi_items():
                    if isinstance(value, str):
                        values.setdefault(name, []).append(value)
                    elif name in ("files", "avoid_files"):
                        path = place_for(folder, value.filename, len(uploads))
                        await asyncio.to_thread(_store, value.file, path)
                        uploads.append(Upload(path, avoid=name == "avoid_files"))
            return await answer(request, build_query(values, uploads), *window_of(values))

    @api.get("/similar/{chunk_id}")
    async def similar(request: Request, chunk_id: int, k: str = "10", offset: str = "0") -> Json:
        """Chunks that resemble a chunk of the library."""
        window = window_of({"k": [k], "offset": [offset]})
        if await asyncio.to_thread(library.chunk, chunk_id) is None:
            return _missing("chunk", chunk_id)
        call = lambda: library.similar(chunk_id, k=window[0], offset=window[1])  # noqa: E731
        found = await lane.run(call, request.is_disconnected)
        return Json(found.to_json() if found is not None else {"error": "gone"})

    @api.get("/moments")
    async def moments(
        request: Request,
        q: Annotated[str, Query(description="What happens there, in words.")],
        file_id: Annotated[str, Query(description="Only in this video.")] = "",
        chunk_id: Annotated[str, Query(description="Only in the window of this hit.")] = "",
        k: Annotated[str, Query(description="Moments wanted.")] = "5",
    ) -> Json:
        """Where in the videos of the library something happens, to the second."""
        asked = build_query({"q": [q], "file_id": [file_id], "kind": ["video"]})
        wanted = int(number(k, "k", 1, MAX_MOMENTS))
        chunk = int(number(chunk_id, "chunk_id", 0, 2**62)) if chunk_id else None
        found = await lane.run(
            lambda: library.moments(asked, k=wanted) if chunk is None else library.moment(asked, chunk),
            request.is_disconnected,
        )
        return Json({"moments": [moment.to_json() for moment in found or ()]})

    @api.get("/chunk/{chunk_id}")
    def chunk(chunk_id: int) -> Json:
        """One chunk: what a deep link opens."""
        found = library.chunk(chunk_id)
        return _missing("chunk", chunk_id) if found is None else Json(chunk_json(found))

    @api.get("/transcript/{file_id}")
    def transcript(file_id: int) -> Json:
        """What is said in a video, line by line; none while nobody has listened to it."""
        if library.file(file_id) is None:
            return _missing("file", file_id)
        return Json({"cues": transcripts.as_json(library.transcript(file_id))})

    @api.get("/status")
    def status() -> Json:
        """Counts of the library, what is being indexed, and the boot id of this server."""
        return Json({**asdict(library.status()), "gradio": gradio_ready()})

    @api.get("/failures")
    def failures() -> Json:
        """Files that could not be read, each with its reason."""
        return Json([asdict(failure) for failure in library.failures()])

    @api.post("/failures/retry")
    def retry() -> Json:
        """Try every failed file again."""
        return Json({"retried": library.retry()})

    @api.post("/roots")
    def add_root(path: Annotated[str, Body(embed=True, max_length=4096)]) -> Json:
        """Add a folder to the library; it is indexed and watched from now on."""
        if not path.strip():
            raise BadRequest("Type the path of a folder.")
        library.add_root(Path(path.strip()).expanduser())
        return Json({"roots": list(library.status().roots)})

    @api.delete("/roots")
    def forget_root(path: Annotated[str, Body(embed=True, max_length=4096)]) -> Json:
        """Forget a folder. Its files stay where they are; only what the library knows of them goes."""
        forgotten = library.forget(Path(path))
        return Json({"forgotten": forgotten, "roots": list(library.status().roots)})

    @api.post("/clicks")
    def clicked(q: Annotated[str, Body(max_length=MAX_TEXT)], chunk_id: Annotated[int, Body(ge=0)]) -> Json:
        """That the words led to this chunk. Kept in the library's folder if the person agreed."""
        return Json({"kept": library.clicks.add(q, chunk_id)})

    @api.put("/clicks")
    def keep_clicks(keep: Annotated[bool, Body(embed=True)]) -> Json:
        """Agree that clicks are kept from now on, or stop it."""
        library.clicks.keep(keep)
        return Json({"keeps_clicks": library.clicks.kept, "clicks": len(library.clicks)})

    @api.delete("/clicks")
    def delete_clicks() -> Json:
        """Delete every click that is kept."""
        return Json({"deleted": library.clicks.delete()})

    @api.get("/browse")
    def browse(path: str = "") -> Json:
        """Completion for the path of a folder."""
        return Json(library.completed(complete(path[:4096])))

    @api.get("/models")
    def models() -> Json:
        """The models that can be used, for whoever thinks of switching."""
        return Json(model_cards())

    return api


def model_cards() -> list[dict[str, Any]]:
    """The models of the registry as plain dictionaries."""
    from model import registry

    cards: Iterable[Any] = getattr(registry, "catalogue", list)()
    return [asdict(card) for card in cards]


def _store(source: Any, target: Path) -> None:
    with target.open("xb") as out:
        shutil.copyfileobj(source, out, 1024 * 1024)


def _missing(what: str, identity: int) -> Json:
    return Json({"error": f"The library has no {what} {identity}; it may have been removed."}, 404)


def error_answers(app: Any) -> None:
    """Errors of ours as one sentence of JSON with the status that fits."""
    from app.security import BodyTooLarge
    from data.media.kinds import MediaError
    from model.embedder import InputRejected, ModelError

    statuses: dict[type[Exception], int] = {
        ModelError: 503,
        InputRejected: 400,
        BadRequest: 400,
        LibraryError: 400,
        VectorServerError: 503,
        MediaError: 400,
        BodyTooLarge: 413,
    }
    for kind, code in statuses.items():

        def told(request: Request, error: Exception, code: int = code) -> Json:
            return Json({"error": str(error)}, code)

        app.add_exception_handler(kind, told)

    def busy(request: Request, error: Exception) -> Json:
        return Json({"error": "Too many searches at once; try again."}, 503, {"retry-after": "1"})

    app.add_exception_handler(Busy, busy)


_FORM: dict[str, Any] = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "q": {"type": "string", "description": "Words, beside or instead of files."},
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": f"Up to {MAX_FILES} images, clips or PDFs,"
                            f" {UPLOAD_LIMIT // 2**20} MB together.",
                        },
                        "avoid_files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Files that show what is not wanted.",
                        },
                        **{
                            name: {"type": "array", "items": {"type": "string"}}
                            for name in ("avoid", "kind", "label", "like", "unlike")
                        },
                        **{
                            name: {"type": "string"}
                            for name in (
                                "under", "after", "before", "min_s", "max_s",
                                "file_id", "sort", "k", "offset",
                            )
                        },
                    },
                }
            }
        }
    }
}  # fmt: skip
