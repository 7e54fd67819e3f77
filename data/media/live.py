"""Images with a few seconds of video: motion photos, which contain it, and live photos, which lie beside it.

Built around two questions: `video_inside`, where in an image file an MP4 begins (Google and Samsung append it to
the JPEG or store it in a box of the HEIC), and `is_live_pair`, whether a video is the moving half of an image
(Apple writes one identifier into both; otherwise equal names and a duration of a few seconds decide).
`video_beside` and `image_beside` find the other half by its name. Decodes nothing.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.media.beside_names import stem
from data.media.boxes import boxes
from data.media.container import open_container
from data.media.image import maker_note
from data.media.kinds import MediaError, kind_by_content, kind_of

MOMENT_S = 6.0  # Apple's last 3 seconds, Google's and Samsung's up to 4
_FIRST = (b"moov", b"mdat", b"free", b"wide", b"skip", b"uuid", b"moof")  # boxes that follow `ftyp` in a video
_VIDEOS = (".mov", ".mp4", ".mp", "_hevc.mov")
FORMATS = ("JPEG", "MPO", "HEIF", "AVIF")
"""Pillow's names of the formats of motion photos."""
_IMAGES = (".heic", ".jpg", ".jpeg", ".heif", ".avif", ".mp.jpg", ".MP.jpg", ".dng")
_APPLE_KEY = "com.apple.quicktime.content.identifier"
_IDENTIFIER = 0x0011


def video_inside(path: Path) -> tuple[int, int] | None:
    """Returns the offset and the length in bytes of the video in a motion photo; None without one. Raises
    `OSError` for an unreadable file."""
    with path.open("rb") as file:
        if file.seek(0, 2) < 64:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[4:8] == b"ftyp":
                return next(((a, z - a) for name, a, z in boxes(data) if name == b"mpvd" and z > a), None)
            at = data.find(b"ftyp", 16)
            while at >= 0:
                if (length := _video_at(data, at - 4)) is not None:
                    return at - 4, length
                at = data.find(b"ftyp", at + 4)
    return None


def _video_at(data: mmap.mmap, start: int) -> int | None:
    """The length of the video at `start`, without data that other programs append; None if there is no video."""
    if not 12 <= int.from_bytes(data[start : start + 4], "big") <= 512:
        return None
    end = start
    names: list[bytes] = []
    for name, _, last in boxes(data, start):
        if not (name in _FIRST or name == b"ftyp" or (names and re.fullmatch(rb"[a-z]{4}", name))):
            break
        names.append(name)
        end = last
    return end - start if len(names) > 1 and names[1] in _FIRST else None


def is_live_pair(picture: Path, video: Path) -> bool:
    """Whether `video` is the moving half of the live photo `picture`; False for an unreadable file."""
    if kind_of(picture) != "image" or (kind_of(video) or kind_by_content(video)) != "video":
        return False
    try:
        with open_container(video) as container:
            seconds = (container.duration or 0) / 1e6
            video_identifier = container.metadata.get(_APPLE_KEY, "").upper()
        image_identifier = _apple_identifier(maker_note(picture))
    except MediaError:
        return False
    if video_identifier and image_identifier:
        return video_identifier == image_identifier
    return stem(picture.name) == stem(video.name) and 0 < seconds <= MOMENT_S


def video_beside(picture: Path) -> Path | None:
    """Returns the moving half of a live photo, from the same folder; None without one."""
    return next((video for video in _candidates(picture, _VIDEOS) if is_live_pair(picture, video)), None)


def image_beside(video: Path) -> Path | None:
    """Returns the live photo whose moving half is `video`, from the same folder; None without one."""
    return next((picture for picture in _candidates(video, _IMAGES) if is_live_pair(picture, video)), None)


def _candidates(path: Path, endings: Sequence[str]) -> Iterator[Path]:
    """The files beside `path` whose names share its stem, if the stem has a digit, as camera names have."""
    short = path.name[: len(stem(path.name))]
    if not any(letter.isdigit() for letter in short):
        return
    for name in dict.fromkeys((short, path.name)):
        for ending in endings:
            for case in dict.fromkeys((ending, ending.upper())):
                candidate = path.with_name(name + case)
                if candidate != path and candidate.is_file():
                    yield candidate


def _apple_identifier(note: bytes) -> str:
    """Tag 17 of Apple's maker note ("Apple iOS", a directory in big-endian order at 14); "" without one."""
    if not note.startswith(b"Apple iOS\x00"):
        return ""
    (count,) = struct.unpack(">H", note[14:16].ljust(2, b"\0"))
    for i in range(min(count, 200)):
        entry = note[16 + 12 * i : 28 + 12 * i]
        if len(entry) < 12:
            break
        tag, kind, size, at = struct.unpack(">HHII", entry)
        if tag == _IDENTIFIER and kind == 2:
            return note[at : at + size].rstrip(b"\0 ").decode("ascii", "ignore").upper()
    return ""
