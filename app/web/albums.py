"""The routes of albums and favourites.

Built around `SearchLibrary`: a visitor sees, adds and removes what its token sees; only who sees the whole library
renames or deletes an album. The favourites are the album without a name.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Body

from app.web.api import Json
from app.web.archive import MAX_FILES
from app.web.requests import MAX_ID, TEXT
from app.web.services import Services

router = APIRouter(prefix="/api", tags=["albums"])

Name = Annotated[str, Body(max_length=200, description="Empty: the favourites."), TEXT]
Files = Annotated[list[Annotated[int, Body(ge=0, le=MAX_ID)]], Body(max_length=MAX_FILES)]


@router.get("/albums")
def albums(services: Services) -> Json:
    """Every album: its name, the number of its files, how many are missing, the chunk to show of it."""
    return Json({"albums": [asdict(album) for album in services.library.albums()]})


@router.post("/albums")
def add(services: Services, name: Name, file_ids: Files) -> Json:
    """Put files into an album, which is made if there is none of this name."""
    return Json({"added": services.library.add_to_album(name, file_ids)})


@router.put("/albums")
def rename(services: Services, name: Name, to: Annotated[str, Body(max_length=200), TEXT]) -> Json:
    """Give an album another name."""
    services.library.rename_album(name, to)
    return Json({"name": to})


@router.delete("/albums")
def remove(services: Services, name: Name, file_ids: Annotated[Files | None, Body()] = None) -> Json:
    """Take files out of an album; without `file_ids`, delete the album. The files stay where they are."""
    library = services.library
    return Json(
        {"removed": library.delete_album(name) if file_ids is None else library.remove_from_album(name, file_ids)}
    )
