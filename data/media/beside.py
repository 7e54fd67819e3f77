"""Metadata in files beside a file: XMP of darktable, digiKam and Lightroom, and the notes of a Google export.

Built around `Beside`, the metadata and the caption of one copy: another copy of the same bytes may lie beside
other files, in a folder that other people do not see. Knows nothing of the metadata in the file itself.
"""

from __future__ import annotations

import html
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data.media.beside_names import (
    SIDECAR,
    WHOLE_NAME_SCORE,
    is_note,
    is_sidecar,
    keys_of_media,
    keys_of_note,
    match_score,
)
from data.media.captions import Facts, caption_text, facts_of_packet, facts_or_nothing
from data.media.dates import Taken, of_seconds
from data.media.kinds import MediaError
from data.media.metadata import Metadata, packet_metadata, people_named, position
from data.media.text import read_beside
from data.media.xmp import MAX_BYTES

log = logging.getLogger(__name__)

_MAX_JSON = 1 << 20
_CLOCK_STEP_S = 3.0


@dataclass(frozen=True)
class Beside:
    """`sources`: the metadata of each file beside, the most trusted first. `words`: the caption, one fact per line."""

    sources: tuple[Metadata, ...] = ()
    words: str = ""


def read(path: Path) -> Beside:
    """Returns the metadata in files beside a media file; empty without such files or for damaged ones."""
    sources: list[Metadata] = []
    words: list[Facts] = []
    listing = _listing_of(path.parent)
    for sidecar in _sidecars(path, listing):
        if (data := _small_file(sidecar, MAX_BYTES)) is not None:
            sources.append(packet_metadata(data, "sidecar"))
            words.append(facts_or_nothing(facts_of_packet, data))
            break
    if (note := _export_note(path, listing)) is not None:
        sources.append(_metadata_of_export(note))
        words.append(facts_or_nothing(_words_of_export, note))
    return Beside(tuple(sources), caption_text(words))


def _sidecars(path: Path, listing: _Listing) -> Iterator[Path]:
    """The XMP files beside a file, the likeliest first: photo.jpg.xmp, photo.xmp, their suffix in any case. Where the
    rest differs in case, only on a disk that does not tell the cases apart."""
    for base in (path.name, path.stem):
        for name in listing.sidecars.get(base.casefold(), ()):
            if name[: -len(SIDECAR)] == base or path.with_name(base + name[-len(SIDECAR) :]).exists():
                yield path.with_name(name)


def _small_file(path: Path, max_bytes: int) -> bytes | None:
    try:
        return read_beside(path, max_bytes)
    except MediaError as error:
        if error.cause != "gone":
            log.info("nothing read from %s: %s", path, error)
        return None


# -----------------------------------------------------------------------------------------------------------
# ---- The names in a folder


class _Listing(NamedTuple):
    """`sidecars`: the names of XMP files by what stands before their suffix, case-folded, those in lower case first;
    `notes`: the names of an export's notes by key."""

    sidecars: Mapping[str, Sequence[str]]
    notes: Mapping[tuple[str, str], Iterable[str]]


def _listing_of(folder: Path) -> _Listing:
    """The files in a folder that may describe others; cached while the folder does not change."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return _Listing({}, {})
    # File systems have coarse time stamps: a folder that changed just now is listed once a second.
    now = time.time()
    return _listed(folder, changed, int(now) if abs(now - changed / 1e9) < _CLOCK_STEP_S else 0)


@lru_cache(maxsize=2)
def _listed(folder: Path, changed: int, now: int) -> _Listing:
    sidecars: dict[str, list[str]] = defaultdict(list)
    notes: dict[tuple[str, str], list[str]] = defaultdict(list)
    try:
        with os.scandir(folder) as entries:
            for name in (entry.name for entry in entries):
                if is_note(name):
                    for key in keys_of_note(name):
                        notes[key].append(name)
                elif is_sidecar(name):
                    sidecars[name[: -len(SIDECAR)].casefold()].append(name)
    except OSError:
        return _Listing({}, {})
    return _Listing({base: sorted(names, reverse=True) for base, names in sidecars.items()}, notes)


# -----------------------------------------------------------------------------------------------------------
# ---- Google's export


def _export_note(path: Path, listing: _Listing) -> Mapping[str, Any] | None:
    """The note of an export for a file: the best match by name, of equal matches the one with its title."""
    names = {name for key in keys_of_media(path.name) for name in listing.notes.get(key, ())}
    scored = sorted(((match_score(path.name, name), name) for name in names), key=lambda pair: (-pair[0], pair[1]))
    best = [name for score, name in scored if score and score == scored[0][0]]
    notes = [note for name in best if (note := _load_note(path.with_name(name))) is not None]
    if scored and scored[0][0] < WHOLE_NAME_SCORE:  # JSON files of other programs may be named after an image
        notes = [note for note in notes if "photoTakenTime" in note]
    same = [note for note in notes if html.unescape(str(note.get("title"))).startswith(path.stem)]
    return next(iter(same or notes), None)


def _load_note(path: Path) -> Mapping[str, Any] | None:
    data = _small_file(path, _MAX_JSON)
    try:
        note = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def _metadata_of_export(note: Mapping[str, Any]) -> Metadata:
    date = _time(note.get("photoTakenTime"))  # creationTime is the date of the upload
    people = people_named(_people_of_export(note))
    for name in ("geoData", "geoDataExif"):
        position_note = note.get(name)
        if isinstance(position_note, dict):
            lat, lon = position(_number(position_note.get("latitude")), _number(position_note.get("longitude")))
            if lat is not None:
                return Metadata(date, None, lat, lon, people)
    return Metadata(date, people=people)


def _time(stamp: object) -> Taken | None:
    seconds = _number(stamp.get("timestamp")) if isinstance(stamp, dict) else None
    return of_seconds(seconds, "export") if seconds is not None else None


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, (str, int, float)) else None
    except ValueError:
        return None


def _words_of_export(note: Mapping[str, Any]) -> Facts:
    # Some exports write "&amp;" and "&#39;".
    description = note.get("description")
    return {
        "description": [html.unescape(description)] if isinstance(description, str) else [],
        "people": _people_of_export(note),
    }


def _people_of_export(note: Mapping[str, Any]) -> list[str]:
    people = note.get("people")
    names = [person.get("name") for person in people if isinstance(person, dict)] if isinstance(people, list) else []
    return [html.unescape(name) for name in names if isinstance(name, str)]
