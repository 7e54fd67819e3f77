"""The route that fetches a file by its address, for the owner alone: as a part of a query, or into the library.

Built around `app.web.url_fetch_lane`. The file of a query goes to the page, which sends it back with the search as any
other file, so that the server holds nothing between two requests.
"""

from __future__ import annotations

import mimetypes
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from app.web.api import Json
from app.web.guard import UPLOAD_LIMIT
from app.web.services import Services
from app.web.url_fetch_lane import Occupied

router = APIRouter(prefix="/api", tags=["web"])


@router.post("/fetch")
async def fetch(
    request: Request,
    services: Services,
    url: Annotated[str, Body(max_length=4000)],
    keep: Annotated[bool, Body()] = False,
) -> Response:
    """Fetch an image, a video or a PDF: the answer is the file, to search with; or, with `keep`, its path in the
    library."""
    if not services.is_owner():
        return Json({"error": "Only the owner of the library may fetch an address."}, 403)
    lane, source = services.url_fetch, services.url_fetch.fetch
    if source is None:
        return Json({"error": "Fetching by address is off: Sightline was started without --web."}, 403)
    folder = tempfile.TemporaryDirectory(prefix="sightline-fetch-", ignore_cleanup_errors=True)
    try:
        if keep:
            path = await lane.run(lambda stop: source.keep(url, is_cancelled=stop), request.is_disconnected)
        else:
            into = Path(folder.name)
            path = await lane.run(
                lambda stop: source.fetch(url, into, UPLOAD_LIMIT, is_cancelled=stop).path, request.is_disconnected
            )
    except Occupied:
        folder.cleanup()
        return Json({"error": "Another address is being fetched; try again after it."}, 503)
    except BaseException:
        folder.cleanup()
        raise
    after = BackgroundTask(folder.cleanup)
    if keep:
        return Json({"path": str(path), "name": path.name}, background=after)
    return FileResponse(path, media_type=_media_type(path.name), filename=path.name, background=after)


def _media_type(name: str) -> str:
    """The media type by a name that follows the content; never HTML or SVG."""
    guess = mimetypes.guess_type(name)[0] or ""
    known = (guess.startswith(("image/", "video/")) and guess != "image/svg+xml") or guess == "application/pdf"
    return guess if known else "application/octet-stream"
