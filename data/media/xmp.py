"""XMP packets to the values in them: `read_xmp`, for packets inside pictures and for sidecar files.

Built around one pass of expat that keeps the properties it is asked for, by their namespace, wherever in the
packet they stand, as an attribute, as an element or as items of a list. A packet that declares a document
type is given up there, so that no entity is ever expanded; a broken one gives what came before the break.
Knows nothing of what the properties mean.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 4 << 20  # Lightroom's masks make packets of megabytes; the words come early
MAX_VALUES = 1_000
MAX_LETTERS = 4_000  # of one value
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ITEM = f"{_RDF} li"


class _Forbidden(Exception):
    """The packet has a document type, which XMP does not."""


def packet_of(image: Image.Image) -> bytes:
    """Returns the packet inside an opened picture; empty without one."""
    packet = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "ignore")
    return packet if isinstance(packet, bytes) else b""


def read_xmp(packet: bytes, wanted: Container[str]) -> dict[str, list[str]]:
    """The values of each property of `wanted` ("namespace local-name"), as they come.

    Never raises: what is broken ends the reading.
    """
    from xml.parsers import expat

    found: dict[str, list[str]] = {}
    inside: list[str] = []  # names of the wanted elements that are open
    letters: list[str] = []
    budget = MAX_VALUES

    def keep(name: str, value: str) -> None:
        nonlocal budget
        if value.strip() and budget > 0:
            budget -= 1
            found.setdefault(name, []).append(value[:MAX_LETTERS])

    def start(element: str, attributes: Mapping[str, str]) -> None:
        letters.clear()
        if element in wanted:
            inside.append(element)
        for key, value in attributes.items():
            if key in wanted:
                keep(key, value)

    def end(element: str) -> None:
        if inside and element in (_ITEM, inside[-1]):
            keep(inside[-1], "".join(letters))
        letters.clear()
        if inside and element == inside[-1]:
            inside.pop()

    def characters(data: str) -> None:
        if inside and len(letters) < MAX_LETTERS:
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
    return found
