"""Metadata blocks in the text of a PNG, as ImageMagick and exiftool write them: "Raw profile type iptc".

Built around one layout: a line with the name, one with the length in decimal, then the bytes in hexadecimal. Knows
nothing of what a block holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def raw_profile(image: Image.Image, *names: str) -> bytes:
    """Returns the bytes of the first of these blocks that an open image holds; empty without one, or for a damaged
    one."""
    for name in names:
        text = image.info.get(f"Raw profile type {name}")
        lines = text.split("\n", 3) if isinstance(text, str) else []
        if len(lines) == 4 and lines[2].strip().isdecimal():
            try:
                return bytes.fromhex(lines[3])[: int(lines[2])]
            except ValueError:
                continue
    return b""
