"""Files of the library as one ZIP, which is written while it is sent: no copy of it lies on a disk or in memory; and a
reel of selected moments, as a ZIP of the film and its edit lists.

Built around `zip_stream`, a generator over the standard library's `zipfile`. The files stay as they are (media do not
compress). A file that cannot be read meanwhile is named in `Left out.txt` inside the ZIP.
"""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import Response, StreamingResponse
from starlette.background import BackgroundTask

from app.web.api import Json
from app.web.media import Gone, open_file, printable
from app.web.requests import MAX_ID, BadRequest, OutOfBounds
from app.web.services import Services, WebServices
from indexer.types import ChunkInfo

router = APIRouter(prefix="/api", tags=["files"])

MAX_FILES = 5000
MAX_BYTES = 50 * 1000**3
"""Bytes of the files of one ZIP."""
MAX_CLIPS = 60
"""Moments of one reel."""
BLOCK = 1 << 20
LEFT_OUT = "Left out.txt"


@router.post("/zip")
def download(
    services: Services,
    ids: Annotated[str, Form(description=f"Ids of files with commas between, {MAX_FILES:,} at most.")],
    check: Annotated[bool, Form(description="Only count.")] = False,
) -> Response:
    """The files as one ZIP; with `check`, how many there are, and of how many bytes."""
    wanted = _ids(ids, MAX_FILES, "files")
    files = []
    for number in wanted:
        try:
            files.append(open_file(services, number))
        except Gone:
            continue
    size = sum(file.size for file in files)
    if not files:
        raise Gone("None of these files is where it was indexed.")
    if size > MAX_BYTES:
        raise BadRequest(
            f"These files are {size / 1e9:,.0f} GB, and a ZIP has at most {MAX_BYTES / 1e9:,.0f} GB: select fewer."
        )
    if check:
        return Json({"files": len(files), "bytes": size, "gone": len(wanted) - len(files)})
    paths = [file.path for file in files]
    headers = {"content-disposition": 'attachment; filename="Sightline.zip"', "cache-control": "no-store"}
    return StreamingResponse(zip_stream(unique_names(paths)), media_type="application/zip", headers=headers)


@router.post("/reel")
async def reel(
    services: Services,
    ids: Annotated[str, Form(description=f"Ids of chunks with commas between, {MAX_CLIPS} moments of videos at most.")],
    check: Annotated[bool, Form(description="Only count.")] = False,
) -> Response:
    """The moments as one film with its edit lists (CSV and EDL), in a ZIP; with `check`, how many there are."""
    chunks, gone = await asyncio.to_thread(_moments, services, _ids(ids, MAX_CLIPS, "moments of videos"))
    if not chunks:
        raise BadRequest("A reel is cut from videos, and none is selected.")
    if check:
        return Json({"files": len(chunks), "gone": gone})
    folder = tempfile.TemporaryDirectory(prefix="sightline-reel-", ignore_cleanup_errors=True)
    out = Path(folder.name) / "Sightline reel.mp4"
    try:
        async with services.reel_turn:
            await asyncio.to_thread(_cut, chunks, out)
    except BaseException:
        folder.cleanup()
        raise
    named = [(path.name, path) for path in (out, out.with_suffix(".csv"), out.with_suffix(".edl"))]
    headers = {"content-disposition": 'attachment; filename="Sightline reel.zip"', "cache-control": "no-store"}
    done = BackgroundTask(folder.cleanup)
    return StreamingResponse(zip_stream(named), media_type="application/zip", headers=headers, background=done)


def _moments(services: WebServices, ids: list[int]) -> tuple[list[ChunkInfo], int]:
    """The chunks of videos that can be opened, and how many cannot."""
    found = [services.library.chunk(number) for number in ids]
    videos = [chunk for chunk in found if chunk is not None and chunk.file.kind == "video"]
    chunks = []
    for chunk in videos:
        try:
            open_file(services, chunk.file.file_id)
            chunks.append(chunk)
        except Gone:
            continue
    return chunks, found.count(None) + len(videos) - len(chunks)


def _cut(chunks: list[ChunkInfo], out: Path) -> None:
    """Cut a reel, in a child process of its own: it takes long, and pages are drawn meanwhile."""
    from data.media.sandbox import Sandbox
    from indexer import reel_of

    with Sandbox(workers=1) as sandbox:
        reel_of(sandbox, chunks, out)


def _ids(text: str, most: int, what: str) -> list[int]:
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > most:
        raise OutOfBounds(f"At most {most:,} {what}: select fewer.")
    try:
        numbers = list(dict.fromkeys(map(int, parts)))
    except ValueError:
        raise BadRequest("ids are numbers with commas between.") from None
    if any(not 0 <= number <= MAX_ID for number in numbers):
        raise OutOfBounds(f"ids must be between 0 and {MAX_ID}.")
    return numbers


def unique_names(paths: Iterable[Path]) -> list[tuple[str, Path]]:
    """(name in the ZIP, path) of each file. Of files with one name, in any case, all but the first get a number."""
    taken: set[str] = {LEFT_OUT.casefold()}
    named = []
    for path in paths:
        name, number = printable(path.name), 1
        while name.casefold() in taken:
            number += 1
            name = f"{printable(path.stem)} ({number}){printable(path.suffix)}"
        taken.add(name.casefold())
        named.append((name, path))
    return named


class _Sink:
    """The file that `zipfile` writes to: it holds what was written since the last `taken`, and cannot be sought."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zip_stream(named: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """Yields the bytes of a ZIP of files (name, path), in blocks of about a megabyte."""
    sink = _Sink()
    left_out = []
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]
        for name, path in named:
            try:
                info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
                source = path.open("rb")
            except OSError as error:
                left_out.append(f"{printable(str(path))}: {error.strerror}")
                continue
            with source, archive.open(info, "w", force_zip64=info.file_size >= 1 << 31) as entry:
                left = info.file_size  # of a file that grows meanwhile, what it had
                try:
                    while left and (block := source.read(min(BLOCK, left))):
                        entry.write(block)
                        left -= len(block)
                        yield sink.taken()
                except OSError as error:
                    left_out.append(f"{printable(str(path))}, from byte {info.file_size - left} on: {error.strerror}")
        if left_out:
            archive.writestr(LEFT_OUT, "\r\n".join(left_out))
    yield sink.taken()
