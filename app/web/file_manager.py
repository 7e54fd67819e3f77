"""The route that shows a file in the file manager of this machine: for the owner alone, where the server is reached
from this machine only.

Built around one program of each system, which gets the path as one argument, never through a shell. It knows nothing of
what a file manager does with it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body

from app.web.api import Json
from app.web.media import open_file
from app.web.requests import MAX_ID, BadRequest
from app.web.services import Services

router = APIRouter(prefix="/api", tags=["files"])

STARTED_S = 3.0
"""Seconds to wait for a program's exit status; one that still runs after them has started."""


@router.post("/reveal")
def reveal(services: Services, file_id: Annotated[int, Body(embed=True, ge=0, le=MAX_ID)]) -> Json:
    """Show a file in the file manager of the machine that the server runs on: its owner's alone."""
    if not services.may_reveal():
        return Json({"error": "Only the owner, on the machine that Sightline runs on, may open its file manager."}, 403)
    path = open_file(services, file_id).path
    if not show(path):
        raise BadRequest(f"There is no file manager that Sightline can open here. The file is in {path.parent}.")
    return Json({"path": str(path)})


def show(path: Path) -> bool:
    """Show a file in a file manager. Returns whether one was started."""
    return any(_started(arguments) for arguments in commands(path))


def commands(path: Path, system: str = sys.platform) -> list[list[str]]:
    """Returns the commands that show an absolute path, in the order in which they are tried."""
    if system == "darwin":
        return [["open", "-R", str(path)]]
    if system == "win32":
        return [["explorer", f"/select,{path}"]]
    names = "org.freedesktop.FileManager1"
    bus = ["dbus-send", "--session", "--print-reply", f"--dest={names}", "/org/freedesktop/FileManager1"]
    return [[*bus, f"{names}.ShowItems", f"array:string:{path.as_uri()}", "string:"], ["xdg-open", str(path.parent)]]


def _started(arguments: list[str]) -> bool:
    program = shutil.which(arguments[0])
    if program is None:
        return False
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [program, *arguments[1:]], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        ended = process.wait(STARTED_S)
    except subprocess.TimeoutExpired:
        return True
    return ended == 0 or sys.platform == "win32"  # Explorer ends with 1 in any case
