"""IPTC-IIM records of an image, as bytes by data set.

Built around the one block of a JPEG or a TIFF that holds them. Knows nothing of the meaning of records.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

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
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        block = image.info.get("photoshop", {}).get(_BLOCK)
    else:
        block = tags.get(_TAG)
        if isinstance(block, tuple):  # stored as 32-bit numbers in the byte order of the file
            block = struct.pack(f"{tags._endian}{len(block)}L", *block)
    return block if isinstance(block, bytes) else None
