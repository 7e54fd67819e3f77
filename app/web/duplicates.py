"""The routes of the review of duplicates: their groups, and labels that a person gives.

Built around `SearchLibrary`: a visitor sees the files of its token, in groups of their own. Nothing is deleted here or
anywhere else in Sightline.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from app.web.api import Json, chunk_json
from app.web.archive import MAX_FILES
from app.web.requests import MAX_ID, TEXT, whole
from app.web.services import Services
from data.span import Span
from indexer.types import ChunkInfo, DuplicateFile

router = APIRouter(prefix="/api", tags=["files"])

MAX_GROUPS = 100
"""Groups in one answer."""


@router.get("/duplicates")
def duplicates(
    services: Services,
    k: Annotated[str, Query(description=f"Number of groups, 1 to {MAX_GROUPS}.")] = "20",
    offset: Annotated[str, Query(description="Number of groups to skip.")] = "0",
    exact: Annotated[bool, Query(description="Only files with the same bytes.")] = False,
) -> Json:
    """Groups of files with the same bytes and of near-equal images, those with the most bytes to gain first; the files
    of a group that have `best` have the bytes of the one to keep, the others stand below it."""
    groups, total = services.library.duplicates(
        whole(k, "k", 1, MAX_GROUPS), whole(offset, "offset", 0, MAX_ID), exact=exact
    )
    return Json(
        {"total": total, "groups": [{"exact": group.exact, "files": list(map(_file, group.files))} for group in groups]}
    )


@router.post("/labels")
def label(
    services: Services,
    name: Annotated[str, Body(max_length=100), TEXT],
    chunk_ids: Annotated[list[Annotated[int, Body(ge=0, le=MAX_ID)]], Body(max_length=MAX_FILES)],
) -> Json:
    """Give chunks a label, which `label:` finds."""
    return Json({"labelled": services.library.give_label(name, chunk_ids)})


@router.delete("/labels")
def unlabel(
    services: Services,
    name: Annotated[str, Body(max_length=100), TEXT],
    chunk_ids: Annotated[list[Annotated[int, Body(ge=0, le=MAX_ID)]], Body(max_length=MAX_FILES)],
) -> Json:
    """Take a label that was given by hand from chunks."""
    return Json({"removed": services.library.take_label(name, chunk_ids)})


def _file(one: DuplicateFile) -> dict[str, Any]:
    chunk = ChunkInfo(one.chunk_id, one.file, 0, Span(), "", one.favourite)
    return chunk_json(chunk) | {"size": one.file.size, "best": one.is_best}
