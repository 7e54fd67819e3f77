"""The routes of finding one's way: the timeline, the map, the values of filters, and saved searches.

Built around `SearchLibrary`; each is one small answer for the page. It knows nothing of hits.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Request

from app.web.api import Json, values_of
from app.web.requests import MAX_TEXT, BadRequest, build_query
from app.web.services import Services
from indexer import is_browsing
from indexer.errors import LibraryError, QueryError

router = APIRouter(prefix="/api", tags=["search"])

MAX_QUERY = 4 * MAX_TEXT
"""Characters of a saved search."""


@router.get("/timeline")
async def timeline(request: Request, services: Services) -> Json:
    """How many images, videos and PDFs each month has, newest first, of those that pass the filters; the parameters are
    those of `/api/search`."""
    query = build_query(values_of(request))
    months = await services.lane.run(lambda: services.library.timeline(query), request.is_disconnected)
    return Json({"months": [asdict(month) for month in months or ()]})


@router.get("/places")
async def places(request: Request, services: Services) -> Json:
    """Where the images, videos and PDFs of an answer were taken, as `clusters` for a map; the parameters are those of
    `/api/search`. `near` of a cluster is the filter that finds it; `placed` of `total` say where they were taken."""
    query = build_query(values_of(request))
    result = await services.lane.run(lambda: services.library.places(query), request.is_disconnected)
    return Json(asdict(result) if result is not None else {"error": "gone"})


@router.get("/vocabulary")
def vocabulary(services: Services) -> Json:
    """For each filter the values that the library has, each with its number of files; the most frequent first."""
    albums = [(album.name, album.count) for album in services.library.albums() if album.name]
    return Json({**services.library.vocabulary(), "album": albums})


@router.get("/searches")
def saved_searches(services: Services) -> Json:
    """The saved searches; `error` says why one can no longer be run, else null."""
    return Json(
        {"searches": [asdict(one) | {"error": _trouble(one.query)} for one in services.library.saved_searches()]}
    )


@router.put("/searches")
def save_search(
    services: Services,
    name: Annotated[str, Body(min_length=1, max_length=100)],
    query: Annotated[str, Body(max_length=MAX_QUERY)],
) -> Json:
    """Save a search; `query` holds parameters of `/api/search` as in an address."""
    if not name.strip() or not name.isprintable():
        raise BadRequest("Give the search a name of letters.")
    if trouble := _trouble(query):
        raise BadRequest(trouble)
    services.library.save_search(name.strip(), query)
    return Json({"name": name.strip()})


@router.delete("/searches")
def forget_search(services: Services, name: Annotated[str, Body(embed=True, max_length=100)]) -> Json:
    """Delete a saved search."""
    return Json({"deleted": services.library.forget_search(name)})


def _trouble(query: str) -> str | None:
    """Why a saved search cannot be run, in one sentence; None if it can."""
    try:
        is_browsing(build_query(parse_qs(query)))
    except (BadRequest, QueryError, LibraryError) as error:
        return str(error)
    return None
