"""Date, place, people and caption of each copy of a content.

Built around `read_copies`, which the indexer runs in a `data.media.sandbox.Sandbox`: metadata in the bytes belong
to the content and are read once; the files beside, the name and the modification time belong to the copy. Knows
nothing of catalogues, and decodes no images.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.media import beside, image, pdf, video
from data.media.dates import most_trusted, of_file, of_name
from data.media.kinds import Kind, MediaError
from data.media.metadata import NOTHING, Metadata, people_named

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Copy:
    """A file to read. `inside`: the metadata in its bytes; None if they are still to be read."""

    path: Path
    kind: Kind
    mtime_ns: int
    inside: Metadata | None


@dataclass(frozen=True)
class CopyFacts:
    """`inside`: the metadata in the bytes. `best`: the most trusted metadata of all sources, with the modification
    time as the last resort; people of all sources. `words`: the captions in files beside the copy, one per line."""

    inside: Metadata
    best: Metadata
    words: str


def read_copies(copies: Sequence[Copy]) -> list[CopyFacts | None]:
    """Returns the facts of each copy, in order; None for an unreadable path. Raises nothing: a damaged file has no
    metadata."""
    return [facts_of(copy) if os.access(copy.path, os.R_OK) else None for copy in copies]


def facts_of(copy: Copy) -> CopyFacts:
    """Returns the facts of one copy."""
    inside = copy.inside if copy.inside is not None else read_inside(copy.path, copy.kind)
    files_beside = beside.read(copy.path) if copy.kind != "pdf" else beside.Beside()
    return CopyFacts(inside, _best((inside, *files_beside.sources), copy.path, copy.mtime_ns), files_beside.words)


def facts_of_name(path: Path, mtime_ns: int, inside: Metadata) -> CopyFacts:
    """Returns the facts of a copy that cannot be read."""
    return CopyFacts(inside, _best((inside,), path, mtime_ns), "")


def _best(sources: Sequence[Metadata], path: Path, mtime_ns: int) -> Metadata:
    lat, lon = next(((s.lat, s.lon) for s in sources if s.lat is not None), (None, None))
    date_in_name = of_name(path.name)
    taken = most_trusted([*(s.taken for s in sources), date_in_name, of_file(mtime_ns)])
    if taken is not None:
        taken = taken.at_place(lat, lon) if lat is not None else taken.with_zone_of_name(date_in_name)
    camera = next((s.camera for s in sources if s.camera), None)
    return Metadata(taken, camera, lat, lon, people_named(name for s in sources for name in s.people))


def read_inside(path: Path, kind: Kind) -> Metadata:
    """Returns the metadata in the bytes of a file; `NOTHING` if they cannot be read."""
    try:
        if kind == "image":
            return image.inspect(path).metadata
        if kind == "video":
            return video.tag_metadata(path)
        with pdf.open_pdf(path) as document:
            return Metadata(pdf.date_of(document))
    except MediaError as error:
        log.info("%s states nothing: %s", path, error)
        return NOTHING
