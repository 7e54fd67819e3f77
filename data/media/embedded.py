"""Metadata that Pillow leaves in a GIF and a JPEG 2000: `embedded`, XMP and EXIF by the names that Pillow gives them.

Built around the blocks before the first frame of a GIF, and the boxes "uuid" and "xml " of a JPEG 2000, which mostly
follow its pixels and are reached without reading these. Knows nothing of the meaning of metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from data.media.xmp import MAX_BYTES, XMP_BOX

FORMATS = ("GIF", "JPEG2000")
"""Pillow's names of the formats whose metadata are read here."""
_GIF_XMP = b"\x21\xff\x0bXMP DataXMP"
_GIF_HEAD = 1 << 16  # programs write it before the first frame
_GIF_END = b"\x01\xff\xfe"  # of the trailer, which makes readers of other blocks skip it
_EXIF_BOX = b"JpgTiffExif->JP2"
_MAX_BOXES = 100


def embedded(format: str, file: BinaryIO, head: bytes) -> dict[str, bytes]:
    """Returns "xmp" and "exif" of an open file, as far as it has them; its position stays. `head`: its first bytes."""
    position = file.tell()
    try:
        if format == "GIF":
            return _of_gif(file)
        return _of_jpeg_2000(file) if head[4:8] == b"jP  " else {}
    finally:
        file.seek(position)


def _of_gif(file: BinaryIO) -> dict[str, bytes]:
    file.seek(0)
    at = file.read(_GIF_HEAD).find(_GIF_XMP)
    if at < 0:
        return {}
    file.seek(at + len(_GIF_XMP))
    packet, trailer, _ = file.read(MAX_BYTES).partition(_GIF_END)
    return {"xmp": packet} if trailer else {}


def _of_jpeg_2000(file: BinaryIO) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, size in _boxes(file):
        if name == b"xml " and b"<rdf:RDF" in (body := file.read(min(size, MAX_BYTES))):
            found.setdefault("xmp", body)
        elif name == b"uuid" and size > 16:
            kind = file.read(16)
            if kind == XMP_BOX:
                found["xmp"] = file.read(min(size - 16, MAX_BYTES))
            elif kind == _EXIF_BOX:
                found["exif"] = b"Exif\x00\x00" + file.read(min(size - 16, MAX_BYTES))
    return found


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yields the name and the length of the content of each box, at whose beginning the file then stands."""
    at, end = 0, file.seek(0, 2)
    for _ in range(_MAX_BOXES):
        file.seek(at)
        header = file.read(16)
        size, name, head = int.from_bytes(header[:4], "big"), header[4:8], 8
        if size == 1:
            size, head = int.from_bytes(header[8:16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head or len(header) < 8:
            return
        file.seek(at + head)
        yield name, min(size, end - at) - head
        at += size
