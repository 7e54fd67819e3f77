"""The REST routes, which the page uses too; docs/api.md documents them with examples.

Built around `SearchLibrary` and the records of `indexer.types`, whose JSON every answer is. Searches wait in one
bounded lane. It knows nothing of pages, Gradio or how an answer is found.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Query, Request
from fastapi.responses import JSONResponse

from app.web import captions, search_process
from app.web.json_text import json_text
from app.web.requests import (
    FORM,
    MAX_FIELD_BYTES,
    MAX_FILES,
    MAX_ID,
    MAX_TEXT,
    PARAMETERS,
    TEXT,
    BadRequest,
    Id,
    OutOfBounds,
    Upload,
    build_query,
    folder_named,
    place_for,
    store,
    whole,
    window_of,
)
from app.web.search_lane import Busy
from app.web.services import Services, WebServices
from app.web.tokens import OWNER, Visitor
from data.media.kinds import EXTENSIONS
from data.span import part_at
from indexer import is_browsing, marked
from indexer.errors import CatalogueAway, LibraryError, QueryError, VectorServerError
from indexer.types import Answer, ChunkInfo, Status, title_of
from indexer.types import Query as Search

log = logging.getLogger("sightline")
router = APIRouter(prefix="/api", tags=["search"])

ACCEPTS = ",".join(("image/*", "video/*", "application/pdf", *EXTENSIONS))
"""What a file dialog offers: kinds that browsers know, and endings that they do not."""

MAX_MOMENTS = 50
"""Moments in one answer."""
MAX_QUERIES = 12
"""Queries in one comparison of two models: those that the page remembers."""


class Json(JSONResponse):
    """JSON as `json_text` writes it; `content` in bytes is JSON already."""

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else json_text(content)


def values_of(request: Request) -> dict[str, list[str]]:
    """The parameters of a request, each a list of values."""
    return {name: request.query_params.getlist(name) for name in request.query_params}


def chunk_json(chunk: ChunkInfo) -> dict[str, Any]:
    """A chunk as the page shows it without a search (a deep link)."""
    file, page = chunk.file, chunk.span.page
    inside = part_at(file.parts, page)
    return {
        "kind": file.kind,
        "path": os.fspath(file.path),
        "also_at": [],
        "file_id": file.file_id,
        "chunk_id": chunk.chunk_id,
        "start_s": chunk.span.start_s,
        "end_s": chunk.span.end_s,
        "page": page,
        "pages": file.pages,
        "duration_s": file.duration_s,
        "width": file.width,
        "height": file.height,
        "taken_at": file.taken_at,
        "taken": file.taken,
        "taken_from": file.taken_from,
        "title": title_of(file.path.name, file.parts, page),
        "snippet": "",
        "at_s": None,
        "note": file.note,
        "live": file.live,
        "favourite": chunk.favourite,
        "inside_page": inside[1] if inside else None,
        "thumb_url": f"/thumb/{chunk.chunk_id}.webp",
        "open_url": f"/open/{chunk.chunk_id}",
    }


def complete(text: str, visitor: Visitor = OWNER, limit: int = 30) -> dict[str, Any]:
    """Folders that the visitor may see and whose path begins with `text`: `{"path", "exists", "folders":
    [...]}`."""
    text = text.strip() or "~/"
    path = folder_named(text)
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
        pass  # nothing to complete; `exists` says whether the path is a folder
    return {
        "path": str(path),
        "exists": path.is_dir() and visitor.sees(path),
        "folders": sorted(filter(visitor.sees, folders), key=str.lower)[:limit],
    }


async def _answer(request: Request, services: WebServices, search: Search, k: int, offset: int) -> Json:
    call = lambda: services.library.search(search, k=k, offset=offset)  # noqa: E731
    elsewhere = search_process.request(search, k, offset, services.tokens.current_visitor())
    return _answer_json(await services.lane.run(call, request.is_disconnected, elsewhere))


def _answer_json(answer: Answer | bytes | None) -> Json:
    if answer is None:
        return Json({"error": "gone"})
    return Json(answer if isinstance(answer, bytes) else answer.to_json())


@router.get("/search", openapi_extra=PARAMETERS)
async def search(request: Request, services: Services) -> Json:
    """Chunks of the library that match the words and filters, best first."""
    values = values_of(request)
    query = build_query(values)
    return await _answer(request, services, query, *window_of(values, is_browsing(query)))


@router.post("/search", openapi_extra=FORM)
async def search_with_files(request: Request, services: Services) -> Json:
    """Search with files as well: images, clips or PDFs. They are deleted after the answer."""
    length = request.headers.get("content-length")
    visitor = services.tokens.current_visitor().name
    with services.uploads.folder(visitor, int(length) if length else None) as folder:
        async with request.form(max_files=MAX_FILES, max_fields=100, max_part_size=MAX_FIELD_BYTES) as form:
            values: dict[str, list[str]] = {}
            uploads: list[Upload] = []
            for name, value in form.multi_items():
                if isinstance(value, str):
                    values.setdefault(name, []).append(value)
                elif name in ("files", "avoid_files"):
                    path = place_for(folder, value.filename, len(uploads))
                    await asyncio.to_thread(store, value.file, path)
                    uploads.append(Upload(path, avoid=name == "avoid_files"))
        return await _answer(request, services, build_query(values, uploads), *window_of(values))


@router.get("/similar/{chunk_id}")
async def similar(request: Request, services: Services, chunk_id: Id, k: str = "10", offset: str = "0") -> Json:
    """Chunks that resemble a chunk of the library."""
    window = window_of({"k": [k], "offset": [offset]})
    if await asyncio.to_thread(services.library.chunk, chunk_id) is None:
        return missing("chunk", chunk_id)
    call = lambda: services.library.similar(chunk_id, k=window[0], offset=window[1])  # noqa: E731
    return _answer_json(await services.lane.run(call, request.is_disconnected))


@router.get("/moments")
async def moments(
    request: Request,
    services: Services,
    q: Annotated[str, Query(description="What happens there, in words.")],
    file_id: Annotated[str, Query(description="Only in this video.")] = "",
    chunk_id: Annotated[str, Query(description="Only in the window of this hit.")] = "",
    k: Annotated[str, Query(description="Number of moments.")] = "5",
) -> Json:
    """Where in the videos of the library something happens, to the second."""
    library, query = services.library, build_query({"q": [q], "file_id": [file_id], "kind": ["video"]})
    limit = whole(k, "k", 1, MAX_MOMENTS)
    window = whole(chunk_id, "chunk_id", 0, MAX_ID) if chunk_id else None
    results = await services.lane.run(
        lambda: library.moments(query, k=limit) if window is None else library.moment(query, window),
        request.is_disconnected,
    )
    return Json({"moments": [moment.to_json() for moment in results or ()]})


@router.get("/chunk/{chunk_id}")
def chunk(services: Services, chunk_id: Id) -> Json:
    """One chunk, for a deep link."""
    info = services.library.chunk(chunk_id)
    return missing("chunk", chunk_id) if info is None else Json(chunk_json(info))


@router.get("/transcript/{file_id}")
def transcript(services: Services, file_id: Id, q: Annotated[str, Query(description="Words to mark.")] = "") -> Json:
    """What is said in a video, line by line, and its state: "transcribed", "pending" while it is not, or why it is not.
    The words of `q` stand between U+E000 and U+E001."""
    if services.library.file(file_id) is None:
        return missing("file", file_id)
    cues = services.library.transcript(file_id)
    texts = marked([cue.text for cue in cues], q[:MAX_TEXT])
    shown = [replace(cue, text=text) for cue, text in zip(cues, texts, strict=True)]
    return Json({"cues": captions.as_json(shown), "state": services.library.speech_state(file_id)})


@router.get("/status")
def status(services: Services) -> Json:
    """Counts of the library, what is being indexed, the speech model, whether addresses are fetched, the boot id."""
    record = asdict(services.library.status())
    own = {
        "web": services.url_fetch.fetch is not None and services.is_owner(),
        "reveals": services.may_reveal(),
        "accepts": ACCEPTS,
    }
    return Json({**record, "speech": services.speech, "gradio": services.gradio_ready(), **own})


@router.get("/failures")
def failures(services: Services) -> Json:
    """Files that could not be read, each with its reason."""
    return Json([asdict(failure) for failure in services.library.failures()])


@router.post("/failures/retry")
def retry(services: Services) -> Json:
    """Try every failed file again."""
    return Json({"retried": services.library.retry()})


@router.post("/roots")
def add_root(services: Services, path: Annotated[str, Body(embed=True, max_length=4096)]) -> Json:
    """Add a folder to the library; it is indexed and watched from now on."""
    if not path.strip():
        raise BadRequest("Type the path of a folder.")
    services.library.add_root(folder_named(path.strip()))
    return Json({"roots": list(services.library.status().roots)})


@router.delete("/roots")
def forget_root(services: Services, path: Annotated[str, Body(embed=True, max_length=4096)]) -> Json:
    """Take a folder out of the library. Its files stay where they are."""
    forgotten = services.library.forget(folder_named(path))
    return Json({"forgotten": forgotten, "roots": list(services.library.status().roots)})


@router.post("/clicks")
def clicked(
    services: Services,
    q: Annotated[str, Body(max_length=MAX_TEXT), TEXT],
    chunk_id: Annotated[int, Body(ge=0, le=MAX_ID)],
) -> Json:
    """Record that a search for `q` led to opening this chunk. Stored only if the person has agreed."""
    build_query({"q": [q]})
    return Json({"kept": services.library.clicks.add(q, chunk_id)})


@router.put("/clicks")
def keep_clicks(services: Services, keep: Annotated[bool, Body(embed=True)]) -> Json:
    """Agree to the storage of new clicks, or stop it."""
    clicks = services.library.clicks
    clicks.enable(keep)
    return Json({"keeps_clicks": clicks.enabled, "clicks": len(clicks)})


@router.delete("/clicks")
def delete_clicks(services: Services) -> Json:
    """Delete all stored clicks."""
    return Json({"deleted": services.library.clicks.delete()})


@router.get("/browse")
def browse(services: Services, path: str = "") -> Json:
    """Complete the path of a folder."""
    return Json(complete(path[:4096], services.tokens.current_visitor()))


@router.get("/models")
def models(services: Services) -> Json:
    """The models of the registry, each with its `facts` in words, the `command` that starts with it, and `offers`:
    the precisions in which it can be downloaded, each with its size."""
    from model.hub_models import HUB_MODELS

    folder = services.library.data_dir if services.is_owner() else None
    where = f" --data-dir {shlex.quote(os.fspath(folder))}" if folder else ""
    offers = {model.name: model.offers for model in HUB_MODELS.values()}
    return Json(
        [
            card
            | {
                "facts": _facts(card),
                "command": f"sightline run --model {card['name']}{where}",
                "offers": offers.get(card["name"], {}),
            }
            for card in model_cards()
        ]
    )


@router.get("/models/fetch")
def model_fetch(services: Services) -> Json:
    """The download of a model: `state` is idle, fetching, measuring, ready or failed."""
    state = services.model_fetch.state()
    return Json(asdict(state) | ({"line": _cost(state.seconds, services.library.status())} if state.seconds else {}))


@router.post("/models/fetch")
def fetch_model(
    services: Services,
    name: Annotated[str, Body(max_length=200), TEXT],
    precision: Annotated[str | None, Body(max_length=20)] = None,
) -> Json:
    """Download the files of a model to this machine, in the background; `precision` is one of its `offers`."""
    if services.tokens.current_visitor().roots:
        raise BadRequest("A token for some folders only cannot download a model.")
    return Json(asdict(services.model_fetch.start(name, precision)))


@router.post("/models/use")
def use_model(services: Services, name: Annotated[str, Body(embed=True, max_length=200), TEXT]) -> Json:
    """Change the library to a model on this machine; the old one answers until every chunk is embedded."""
    from model.registry import catalogue

    if name not in {card.name for card in catalogue() if card.on_disk}:
        raise BadRequest(f"{name} is not on this machine.")
    return Json({"model": services.library.use_model(name)})


@router.post("/models/compare")
def compare_models(
    services: Services, queries: Annotated[list[str] | None, Body(embed=True, max_length=MAX_QUERIES)] = None
) -> Json:
    """The first hits of queries (none: the last ones of the click log, then saved searches) under the model that
    answers and under the one before the last switch, or the one being built."""
    return Json(services.library.compare_models([text[:MAX_TEXT] for text in queries or []]).to_json())


@router.post("/models/rollback")
def roll_back_model(services: Services) -> Json:
    """Return to the model before the last switch; give up the one in progress."""
    return Json({"model": services.library.roll_back_model()})


@router.post("/models/accept")
def accept_model(services: Services) -> Json:
    """Delete the vectors of the model before the last switch."""
    return Json({"deleted": services.library.accept_model()})


def model_cards() -> list[dict[str, Any]]:
    """The models of the registry as plain dictionaries."""
    from model import registry

    return [asdict(card) for card in registry.catalogue()]


def _facts(card: dict[str, Any]) -> str:
    scores, hourly = card["scores"], card["chunks_per_hour"]
    size = f", about {card['download_gb']} GB" if card["download_gb"] else ""
    facts = [
        card["licence"],
        f"{card['memory_gb']} GB of memory",
        f"about {math.ceil(hourly):,} video windows an hour here" if hourly else "",
        f"MMEB-V2 {scores['overall']:g} (images {scores['image']:g}, videos {scores['video']:g},"
        f" pages {scores['visdoc']:g})"
        if "overall" in scores
        else "",
        "on this machine" if card["on_disk"] else f"not downloaded{size}",
    ]
    return " · ".join(filter(None, facts))


def _cost(seconds: dict[str, float], status: Status) -> str:
    """What a measured model costs, for each kind and for the whole library."""
    image, page, window = (seconds[kind] for kind in ("image", "page", "window"))
    minutes = (status.images * image + max(0, status.chunks - status.images) * max(page, window)) / 60
    whole = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    return (
        f"Measured here: {image:.1f} s per image, {page:.1f} s per page, {window:.1f} s per video window."
        f" This library: at most about {'a minute' if minutes < 1.5 else whole}."
    )


def missing(what: str, identity: int) -> Json:
    return Json({"error": f"The library has no {what} {identity}; it may have been removed."}, 404)


def error_answers(app: FastAPI) -> None:
    """Answer known errors with one sentence of JSON and the HTTP status that fits."""
    from fastapi.exceptions import RequestValidationError

    from app.web.bodies import BodyTooLarge
    from data.media.kinds import MediaError
    from model.embedder import InputRejected, ModelError

    statuses: dict[type[Exception], int] = {
        ModelError: 503,
        InputRejected: 400,
        BadRequest: 400,
        OutOfBounds: 422,
        LibraryError: 400,
        CatalogueAway: 503,
        QueryError: 422,
        VectorServerError: 503,
        MediaError: 400,
        BodyTooLarge: 413,
    }
    for error_class, code in statuses.items():

        def answer(request: Request, error: Exception, code: int = code) -> Json:
            return Json({"error": str(error)}, code)

        app.add_exception_handler(error_class, answer)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Json:
        # The input is left out: it may hold a lone surrogate, which no JSON answer can.
        return Json({"detail": [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]}, 422)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Json:  # Starlette raises it again, for the terminal
        log.error("unexpected error at %s", request.url.path, exc_info=error)
        return Json(
            {"error": f"Unexpected error, {type(error).__name__}: the log of the library has the details."}, 500
        )

    @app.exception_handler(Busy)
    def busy(request: Request, error: Busy) -> Json:
        return Json({"error": "Too many searches at once; try again."}, 503, {"retry-after": "1"})
