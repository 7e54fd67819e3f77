"""The REST routes: search, similar, status, failures, roots, folder completion. The page uses nothing else.

Built around `Library` and the records of `indexer.types`; every answer is their JSON. Searches wait in
one bounded lane, so that a burst neither starves the thumbnails nor is lost. It knows nothing of
pages, Gradio or how an answer is found. The routes are documented with examples in docs/api.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse

from app import speech_status
from app.web import captions
from app.web.requests import (
    FORM,
    MAX_FILES,
    MAX_HITS,
    MAX_TEXT,
    BadRequest,
    Upload,
    build_query,
    number,
    place_for,
    store,
    upload_folder,
    window_of,
)
from indexer.errors import LibraryError, VectorServerError
from indexer.types import ChunkInfo
from indexer.types import Query as Search

T = TypeVar("T")

MAX_MOMENTS = 50
"""Moments in one answer."""
WAITING = 512
"""Searches that may wait at once. 200 people pressing Enter together is the measure; see bench-ui."""


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


def chunk_json(chunk: ChunkInfo) -> dict[str, Any]:
    """A chunk as the page shows it when it did not come out of a search (a deep link)."""
    file = chunk.file
    return {
        "kind": file.kind,
        "path": os.fspath(file.path),
        "also_at": [],
        "file_id": file.file_id,
        "chunk_id": chunk.chunk_id,
        "start_s": chunk.span.start_s,
        "end_s": chunk.span.end_s,
        "page": chunk.span.page,
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


def routes(library: Any, gradio_ready: Callable[[], bool], speech: str = "auto") -> APIRouter:
    """The router over one library. `gradio_ready` tells the page when it can upgrade itself; `speech` is who
    was asked to listen to videos."""
    speech_line = speech_status.line(speech)
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

    @api.post("/search", openapi_extra=FORM)
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
                        await asyncio.to_thread(store, value.file, path)
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
        return Json({"cues": captions.as_json(library.transcript(file_id))})

    @api.get("/status")
    def status() -> Json:
        """Counts of the library, what is being indexed, who listens, and the boot id of this server."""
        return Json({**asdict(library.status()), "speech": speech_line, "gradio": gradio_ready()})

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


def _missing(what: str, identity: int) -> Json:
    return Json({"error": f"The library has no {what} {identity}; it may have been removed."}, 404)


def error_answers(app: Any) -> None:
    """Errors of ours as one sentence of JSON with the status that fits."""
    from app.web.guard import BodyTooLarge
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
