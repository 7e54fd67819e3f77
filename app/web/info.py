"""The routes of an opened hit: all that is known of its file, and why it is a hit.

Built around `SearchLibrary.details` and `why`, which are computed for this one chunk. It knows nothing of pages.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Request

from app.web.api import Json, chunk_json, missing, values_of
from app.web.media import Gone, open_file
from app.web.render import streams
from app.web.requests import Id, build_query
from app.web.services import Services
from app.web.why_words import sentences
from data.media.kinds import MediaError

router = APIRouter(prefix="/api", tags=["search"])


@router.get("/info/{chunk_id}")
async def info(services: Services, chunk_id: Id) -> Json:
    """All that is known of a chunk: size, camera, place, captions, text, albums and copies of its file; codecs."""
    details = await asyncio.to_thread(services.library.details, chunk_id)
    if details is None:
        return missing("chunk", chunk_id)
    file = details.chunk.file
    codecs = None
    if file.kind == "video":
        try:
            path = (await asyncio.to_thread(open_file, services, file.file_id)).path
            codecs = await services.renderer.make(streams, path, keep=(file.file_id, file.size))
        except (Gone, MediaError):
            codecs = None  # the player says what is wrong with it
    facts = {name: value for name, value in asdict(details).items() if name != "chunk"}
    facts |= {"size": file.size, "text": details.chunk.text, "codecs": codecs}
    return Json(chunk_json(details.chunk) | facts)


@router.get("/why/{chunk_id}")
async def why(request: Request, services: Services, chunk_id: Id) -> Json:
    """Why a chunk is a hit of a query, whose parameters are those of `/api/search`: which words stand where (`words`),
    how near it is by looks among its kind (`looks`), by which model, and the same as `sentences`."""
    query = build_query(values_of(request))
    call = lambda: services.library.why(query, chunk_id)  # noqa: E731
    result = await services.lane.run(call, request.is_disconnected)
    chunk = await asyncio.to_thread(services.library.chunk, chunk_id)
    if result is None or chunk is None:
        return missing("chunk", chunk_id)
    return Json(asdict(result) | {"sentences": sentences(result, chunk.file.kind, query)})
