"""IPTC-IIM records of an image, as bytes by data set.

Built around the one block of a JPEG, a TIFF or a PNG that holds them. Knows nothing of the meaning of records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data.media.png_raw_profile import raw_profile

if TYPE_CHECKING:
    from PIL import Image

_BLOCK, _TAG = 0x0404, 33723  # Photoshop's resource in a JPEG, the tag of a TIFF


def records(image: Image.Image) -> dict[tuple[int, int], list[bytes]]:
    """Returns the values by (record, data set): 0x1C, the record, the data set, two bytes of length, the value."""
    data = _block(image) or b""
    values: dict[tuple[int, int], list[bytes]] = {}
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        key, length = (data[at + 1], data[at + 2]), int.from_bytes(data[at + 3 : at + 5], "big")
        if length & 0x8000:
            break  # an extended length: an image, not text
        values.setdefault(key, []).append(data[at + 5 : at + 5 + length])
        at += 5 + length
    return values


def _block(image: Image.Image) -> bytes | None:
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None:
        block = image.info.get("photoshop", {}).get(_BLOCK)
        return block if isinstance(block, bytes) else _in_photoshop(raw_profile(image, "iptc"))
    # The bytes as they lie in the file: of a block that is stored as numbers, Pillow returns only the first one.
    block = tags._tagdata.get(_TAG) if _TAG in tags else None
    return block if isinstance(block, bytes) else None


def _in_photoshop(data: bytes) -> bytes | None:
    """The records in Photoshop's resources: "8BIM", the number, a name of an odd length with its length byte, the
    content; or the records alone."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        start = at + 6 + ((data[at + 6] + 2) & ~1)
        length = int.from_bytes(data[start : start + 4], "big")
        if number == _BLOCK:
            return data[start + 4 : start + 4 + length]
        at = start + 4 + ((length + 1) & ~1)
    return data if data[:1] == b"\x1c" else None
