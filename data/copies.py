"""When and where each copy of a file was taken, and the words that lie beside it.

Built around `read_copies`, which the indexer runs in a `data.media.sandbox.Sandbox`: what the bytes state is the
content's and is read once; the files beside, the name and the file's own date are the copy's. Knows nothing of
catalogues, and decodes no pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.media import beside, image, pdf, video
from data.media.dates import Taken, most_trusted, of_file, of_name
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


def read_copies(copies: Sequence[Copy]) -> list[CopyFacts]:
    """Returns what is known of each copy, in order. Raises nothing: a broken file states nothing."""
    return [facts_of(copy) for copy in copies]


def facts_of(copy: Copy) -> CopyFacts:
    """Returns what is known of one copy."""
    inside = copy.inside if copy.inside is not None else read_inside(copy.path, copy.kind)
    found = beside.read(copy.path)
    sources = (inside, *found.sources)
    lat, lon = next(((s.lat, s.lon) for s in sources if s.lat is not None), (None, None))
    dates = [*(s.taken for s in sources), of_name(copy.path.name), of_file(copy.mtime_ns)]
    taken = most_trusted(dates)
    best = Metadata(
        taken.at_place(lat, lon) if taken else None, next((s.camera for s in sources if s.camera), None), lat, lon
    )
    return CopyFacts(inside, best, found.words)


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


def merged(taken: str | None, source: str | None, camera: str | None, lat: float | None, lon: float | None) -> Metadata:
    """Returns what a catalogue keeps of `Metadata`, column by column, as one."""
    return Metadata(Taken(taken, source) if taken and source else None, camera, lat, lon)  # type: ignore[arg-type]
