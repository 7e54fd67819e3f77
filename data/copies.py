"""When and where each copy of a file was taken, and the words that lie beside it.

Built around `read_copies`, which the indexer runs in a `data.media.sandbox.Sandbox`: what the bytes state is the
content's and is read once; the files beside, the name and the file's own date are the copy's. Knows nothing of
catalogues, and decodes no pictures.
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
from data.media.metadata import NOTHING, Metadata

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Copy:
    """A file to read about. `inside`: what its bytes state, None where that is to be read as well."""

    path: Path
    kind: Kind
    mtime_ns: int
    inside: Metadata | None


@dataclass(frozen=True)
class CopyFacts:
    """`inside`: what the bytes state. `best`: the most trusted of all there is, with the copy's own date where
    nothing else is known. `words`: what was written beside it, a line each."""

    inside: Metadata
    best: Metadata
    words: str


def read_copies(copies: Sequence[Copy]) -> list[CopyFacts | None]:
    """Returns what is known of each copy, in order; None for one that is out of sight, with all that lies beside it.
    Raises nothing: a broken file states nothing."""
    return [facts_of(copy) if os.access(copy.path, os.R_OK) else None for copy in copies]


def facts_of(copy: Copy) -> CopyFacts:
    """Returns what is known of one copy."""
    inside = copy.inside if copy.inside is not None else read_inside(copy.path, copy.kind)
    found = beside.read(copy.path) if copy.kind != "pdf" else beside.Beside()
    return CopyFacts(inside, _best((inside, *found.sources), copy.path, copy.mtime_ns), found.words)


def facts_of_name(path: Path, mtime_ns: int, inside: Metadata) -> CopyFacts:
    """Returns what is known of a copy of which nothing can be read."""
    return CopyFacts(inside, _best((inside,), path, mtime_ns), "")


def _best(sources: Sequence[Metadata], path: Path, mtime_ns: int) -> Metadata:
    lat, lon = next(((s.lat, s.lon) for s in sources if s.lat is not None), (None, None))
    named = of_name(path.name)
    taken = most_trusted([*(s.taken for s in sources), named, of_file(mtime_ns)])
    if taken is not None:
        taken = taken.at_place(lat, lon) if lat is not None else taken.as_named(named)
    camera = next((s.camera for s in sources if s.camera), None)
    return Metadata(taken, camera, lat, lon)


def read_inside(path: Path, kind: Kind) -> Metadata:
    """Returns what the bytes of a file state; nothing where they cannot be read."""
    try:
        if kind == "image":
            return image.inspect(path).metadata
        if kind == "video":
            return video.stated(path)
        with pdf.open_pdf(path) as document:
            return Metadata(pdf.date_of(document))
    except MediaError as error:
        log.info("%s states nothing: %s", path, error)
        return NOTHING
