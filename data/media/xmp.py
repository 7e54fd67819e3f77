"""XMP packets to values: `read_xmp`, for packets inside images and for sidecar files.

Built around one pass of expat that collects the requested properties by namespace, at any depth, from
attributes, elements and list items. Parsing stops at a document type, so that no entity is ever expanded, and
at the first error; values before it are returned. Knows nothing of the meaning of properties.
"""

from __future__ import annotations

import mmap
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.media.boxes import boxes, inside
from data.media.png_raw_profile import raw_profile

if TYPE_CHECKING:
    from PIL import Image

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # XMP specification, part 3, table 9
MAX_BYTES = 4 << 20  # Lightroom's masks make packets of megabytes; the words come early
MAX_VALUES = 1_000
MAX_LETTERS = 4_000  # per value
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ITEM = f"{_RDF} li"


class _Forbidden(Exception):
    """The packet has a document type, which XMP does not allow."""


def packet_of(image: Image.Image) -> bytes:
    """Returns the packet inside an open image; empty without one."""
    packet = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "ignore")
    return packet if isinstance(packet, bytes) else raw_profile(image, "xmp")


class VideoText(NamedTuple):
    """`packet`: XMP in a box "uuid" of an MP4 or in moov/udta/XMP_ of QuickTime; `date`: the text of moov/udta/date.
    Both empty without one."""

    packet: bytes = b""
    date: str = ""


def text_of_video(path: Path) -> VideoText:
    """Returns what FFmpeg leaves in an MP4 or a QuickTime film; nothing for other formats."""
    packet, date = b"", ""
    with suppress(OSError, ValueError), path.open("rb") as file:
        if file.read(12)[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return VideoText()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for name, start, end in boxes(data):
                if name == b"uuid" and data[start : start + 16] == XMP_BOX:
                    packet = packet or data[start + 16 : min(end, start + MAX_BYTES)]
                user_data = inside(data, (b"udta",), start, end) if name == b"moov" else None
                for entry, first, last in boxes(data, *user_data) if user_data else ():
                    if entry == b"XMP_":
                        packet = packet or data[first : min(last, first + MAX_BYTES)]
                    elif entry == b"date":
                        date = data[first : min(last, first + 64)].decode("ascii", "ignore")
    return VideoText(packet, date)


def read_xmp(packet: bytes, properties: Container[str]) -> dict[str, list[str]]:
    """Returns the values of each of `properties` ("namespace local-name"), in the order of the packet.

    Never raises: an error ends the parsing.
    """
    from xml.parsers import expat

    values: dict[str, list[str]] = {}
    open_elements: list[str] = []  # requested elements without an end tag so far
    letters: list[str] = []
    budget = MAX_VALUES

    def keep(name: str, value: str) -> None:
        nonlocal budget
        if value.strip() and budget > 0:
            budget -= 1
            values.setdefault(name, []).append(value[:MAX_LETTERS])

    def start(element: str, attributes: Mapping[str, str]) -> None:
        letters.clear()
        if element in properties:
            open_elements.append(element)
        for key, value in attributes.items():
            if key in properties:
                keep(key, value)

    def end(element: str) -> None:
        if open_elements and element in (_ITEM, open_elements[-1]):
            keep(open_elements[-1], "".join(letters))
        letters.clear()
        if open_elements and element == open_elements[-1]:
            open_elements.pop()

    def characters(data: str) -> None:
        if open_elements and len(letters) < MAX_LETTERS:
            letters.append(data)

    def forbid(*_: object) -> None:
        raise _Forbidden

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = forbid
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    with suppress(expat.ExpatError, _Forbidden, ValueError, LookupError):  # the last two: odd encodings
        parser.Parse(packet[:MAX_BYTES].strip(b"\x00 \t\r\n"), True)
    return values
