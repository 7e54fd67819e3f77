"""Files, thumbnails, page images and clips of the library, by id: no path comes from a client.

Built around `SearchLibrary.file`, `chunk` and `thumbnail`, which resolve ids, and the sandbox, which decodes. A
file that no longer exists answers 404 with a sentence.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.background import BackgroundTask

from app.web.api import Json
from app.web.captions import as_vtt
from app.web.render import cut_clip, image_webp, page_layer, page_webp, pdf_inside, strip_webp
from app.web.requests import BadRequest, Id
from app.web.services import Services, WebServices
from app.web.transcode import STRETCH_S
from data.span import part_at
from indexer import words_to_mark
from indexer.types import ChunkInfo, FileInfo

router = APIRouter(tags=["files"])

FILE_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""For a file opened by itself: it may show images and media, and run nothing."""

WIDTHS = (640, 1280, 1920, 2560)
"""Longest sides at which pages are drawn: few, so that cached pages are reused."""
LONGEST_CLIP_S = 600.0
Second = Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)]
"""A second of a video, in an address."""


class Gone(Exception):
    """An unknown id, or a file that no longer exists. `str(error)` is one sentence."""


def open_file(services: WebServices, file_id: int) -> FileInfo:
    """The file of an id, if it was indexed, exists and no link leads out of the visitor's folders. Raises Gone."""
    file = services.library.file(file_id)
    if file is None or file.failed:
        raise Gone(f"The library has no file {file_id}; it may have been removed.")
    if not file.path.is_file() or not services.tokens.current_visitor().reaches(file.path):
        raise Gone(f"{file.path.name} is no longer where it was indexed: {file.path.parent}")
    services.audit.opened(file)
    return file


def media_type(file: FileInfo) -> str:
    """The media type of a file: one of its kind, never HTML or SVG, whatever its name is."""
    guess = mimetypes.guess_type(file.path.name)[0] or ""
    known = {"image": ("image/",), "video": ("video/", "audio/"), "pdf": ("application/pdf",)}[file.kind]
    if guess.startswith(known) and guess != "image/svg+xml":
        return guess
    return {"image": "application/octet-stream", "video": "video/mp4", "pdf": "application/pdf"}[file.kind]


def printable(name: str) -> str:
    """A file name that a header can hold, whatever bytes the name is made of."""
    return name.encode("utf-8", "replace").decode()


@router.get("/media/{file_id}")
def file(services: Services, file_id: Id, download: bool = False) -> Response:
    """The file as it is on the disk, with Range."""
    info = open_file(services, file_id)
    headers = {"cache-control": "private, no-cache"}
    if info.kind != "pdf":
        headers["content-security-policy"] = FILE_POLICY
    return FileResponse(
        info.path,
        media_type=media_type(info),
        filename=printable(info.path.name),
        content_disposition_type="attachment" if download else "inline",
        headers=headers,
    )


@router.get("/view/{file_id}.webp")
async def view(services: Services, file_id: Id) -> Response:
    """An image as WebP, for browsers that cannot show the original (HEIC, TIFF)."""
    info = await asyncio.to_thread(open_file, services, file_id)
    if info.kind != "image":
        raise Gone(f"{info.path.name} is not an image.")
    keep = (file_id, _stamp(info.path))
    return _webp(await services.renderer.make(image_webp, info.path, keep=keep))


@router.get("/live/{file_id}.mp4")
async def live_video(services: Services, file_id: Id) -> Response:
    """The video of a live or motion photo, from inside its file or from beside it, as every browser plays it."""
    info = await asyncio.to_thread(open_file, services, file_id)
    if not info.live:
        raise Gone(f"{info.path.name} has no video.")
    made = await services.stretches.get(info, 0)
    return FileResponse(made, media_type="video/mp4", headers={"cache-control": "private, max-age=300"})


@router.get("/thumb/{chunk_id}.webp")
def thumb(request: Request, services: Services, chunk_id: Id) -> Response:
    """The thumbnail of a chunk."""
    data = services.library.thumbnail(chunk_id)
    if data is None:
        raise Gone(f"The library has no picture for chunk {chunk_id}.")
    tag = f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag, "cache-control": "private, max-age=300"})
    return _webp(data, {"etag": tag})


@router.get("/page/{file_id}/{n}.webp")
async def page(
    services: Services, file_id: Id, n: Id, width: Annotated[int, Query(ge=1, le=100_000)] = 1280
) -> Response:
    """Page `n` (from 1) of a PDF or a TIFF as an image, its longest side about `width` pixels."""
    info = await _paged(services, file_id, n)
    side = next((w for w in WIDTHS if w >= width), WIDTHS[-1])
    keep = (file_id, _stamp(info.path), n, side)
    return _webp(await services.renderer.make(page_webp, info.path, n, side, info.kind, keep=keep))


@router.get("/page/{file_id}/{n}.json")
async def layer(services: Services, file_id: Id, n: Id, q: str = "") -> Json:
    """The words of a page with their boxes, and boxes of the words in `q`, relative to the page. An image has none."""
    info = await _paged(services, file_id, n)
    if info.kind == "image":
        return Json({"page": n, "pages": info.pages, "words": [], "marks": [], "inside": None})
    words = words_to_mark(q[:500])[:40]
    keep = (file_id, _stamp(info.path), n, words)
    layer_json = await services.renderer.make(page_layer, info.path, n, words, keep=keep)
    inside = part_at(info.parts, n)
    return Json(layer_json | {"inside": f"{inside[0]}, page {inside[1]}" if inside else None})


@router.get("/inside/{file_id}/{n}.pdf")
async def pdf_inside_pdf(services: Services, file_id: Id, n: Id) -> Response:
    """The PDF inside a PDF that page `n` is of, as a file of its own."""
    info = await _paged(services, file_id, n)
    inside = part_at(info.parts, n)
    if inside is None:
        raise Gone(f"Page {n} of {info.path.name} is not of a PDF inside it.")
    data = await services.renderer.make(pdf_inside, info.path, n)
    name = printable(inside[0].rpartition(" › ")[2])
    headers = {
        "cache-control": "private, no-cache",
        "content-disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
    }
    return Response(data, media_type="application/pdf", headers=headers)


async def _paged(services: WebServices, file_id: int, n: int) -> FileInfo:
    info = await asyncio.to_thread(open_file, services, file_id)
    most = info.pages or (10**6 if info.kind == "pdf" else 0)
    if info.kind == "video" or not 1 <= n <= most:
        raise Gone(f"{info.path.name} has no page {n}.")
    return info


@router.get("/strip/{chunk_id}.webp")
async def strip(services: Services, chunk_id: Id) -> Response:
    """Frames of the window of a video in one row, from its beginning to its end."""
    chunk = await asyncio.to_thread(_chunk, services, chunk_id)
    info = await asyncio.to_thread(open_file, services, chunk.file.file_id)
    if info.kind != "video" or not info.width:
        raise Gone(f"{info.path.name} is not a film.")
    keep = (info.file_id, _stamp(info.path), chunk.span)
    return _webp(await services.renderer.make(strip_webp, info.path, *chunk.span.seconds, keep=keep))


@router.get("/subtitles/{file_id}.vtt")
def subtitles(services: Services, file_id: Id) -> Response:
    """What is said in a video, for its player."""
    if services.library.file(file_id) is None:
        raise Gone(f"The library has no file {file_id}; it may have been removed.")
    text = as_vtt(services.library.transcript(file_id))
    return Response(text, media_type="text/vtt", headers={"cache-control": "private, max-age=60"})


@router.get("/play/{file_id}/{n}.mp4")
async def play(services: Services, file_id: Id, n: Id) -> Response:
    """Stretch `n` (from 0, of 20 seconds each) of a video that no browser plays, as MP4."""
    info = await asyncio.to_thread(open_file, services, file_id)
    if info.kind != "video":
        raise Gone(f"{info.path.name} is not a video.")
    if not 0 <= n * STRETCH_S < (info.duration_s or 1e5):
        raise Gone(f"{info.path.name} ends before {n * STRETCH_S:.0f} s.")
    made = await services.stretches.get(info, n)
    return FileResponse(made, media_type="video/mp4", headers={"cache-control": "private, max-age=300"})


@router.get("/clip/{chunk_id}.mp4")
async def clip(
    services: Services, chunk_id: Id, start: Second = None, end: Second = None, exact: bool = False
) -> Response:
    """A moment of a video as MP4: copied from the keyframe before it, or encoded again with `exact`. Of a
    recording, its sound alone."""
    chunk = await asyncio.to_thread(_chunk, services, chunk_id)
    info = await asyncio.to_thread(open_file, services, chunk.file.file_id)
    if info.kind != "video":
        raise Gone(f"{info.path.name} is not a video.")
    begin = chunk.span.start_s or 0.0 if start is None else start
    until = chunk.span.end_s or begin + 30.0 if end is None else end
    if not begin < until <= begin + LONGEST_CLIP_S:
        raise BadRequest(f"A clip is between 0 and {LONGEST_CLIP_S:.0f} seconds long.")
    handle, name = tempfile.mkstemp(prefix="sightline-clip-", suffix=".mp4")
    os.close(handle)
    target = Path(name)
    try:
        await services.renderer.make(cut_clip, info.path, begin, until, target, exact, timeout_s=300, writes=(target,))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    title = f"{info.path.stem} {_clock(begin)}-{_clock(until)}.mp4"
    return FileResponse(
        target,
        media_type="video/mp4",
        filename=printable(title),
        background=BackgroundTask(target.unlink, missing_ok=True),
        headers={"cache-control": "no-store"},
    )


@router.get("/open/{chunk_id}")
def open_chunk(services: Services, chunk_id: Id, q: str = "") -> Response:
    """Deep link: the page with this chunk open, the video at its second, the PDF at its page."""
    _chunk(services, chunk_id)
    asked = f"q={quote(q)}&" if q else ""
    return RedirectResponse(f"/?{asked}open={chunk_id}", status_code=303)


def _chunk(services: WebServices, chunk_id: int) -> ChunkInfo:
    chunk = services.library.chunk(chunk_id)
    if chunk is None:
        raise Gone(f"What this address led to (chunk {chunk_id}) is no longer in the library.")
    return chunk


def _webp(data: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(data, media_type="image/webp", headers={"cache-control": "private, max-age=300", **(headers or {})})


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}.{int(seconds) % 60:02d}"
