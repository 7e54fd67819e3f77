"""HEIC beyond what Pillow's plugin does: HDR in 16 bits, pictures of 200 million pixels, AVIF's colour space.

Built around pillow-heif's own door (`open_heif`), which hands out the decoder's memory without a copy, and
around bands of rows, so that what is too large for one more copy is made smaller piece by piece.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.media.boxes import boxes, inside
from data.media.colour import Colours, from_numbers

if TYPE_CHECKING:
    from PIL import Image

HEAD_BYTES = 1 << 18  # where AVIF's properties lie
_BAND = 1 << 24  # pixels


def colours_of_heif(image: Image.Image) -> Colours | None:
    """What pillow-heif says of an opened picture."""
    said = image.info.get("nclx_profile")
    return Colours(said["color_primaries"], said["transfer_characteristics"]) if said else None


def read_reduced(source: Path | bytes, frame: int, max_side: int | None, colours: Colours | None) -> Image.Image:
    """One picture of a HEIC file in sRGB, smaller by a whole number while it stays at least twice `max_side`.

    With `colours` it is decoded to 16 bits and brought to sRGB from there.
    """
    import pillow_heif
    from PIL import Image

    deep = colours is not None
    pillow_heif.options.DISABLE_SECURITY_LIMITS = True  # ours is the sandbox; libheif's ends at 170 million pixels
    try:
        file = pillow_heif.open_heif(
            io.BytesIO(source) if isinstance(source, bytes) else source,
            convert_hdr_to_8bit=not deep,
            remove_stride=False,
        )
        picture = file[frame]
        data = picture.data
    finally:
        pillow_heif.options.DISABLE_SECURITY_LIMITS = False
    (width, height), bands = picture.size, len(picture.mode.split(";")[0])
    pixels = np.frombuffer(data, np.uint16 if deep else np.uint8)
    pixels = pixels.reshape(height, -1)[:, : width * bands].reshape(height, width, bands)
    factor = max(1, max(width, height) // ((1 if deep else 2) * max_side)) if max_side else 1
    rows = max(factor, _BAND // width // factor * factor)
    whole = np.concatenate([_reduced(pixels[at : at + rows], factor) for at in range(0, height, rows)])
    if colours is not None:
        whole = from_numbers(np.repeat(whole[..., :1], 3, axis=2) if bands < 3 else whole[..., :3], colours)
    return Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole)


def _reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """A band of rows [H, W, bands], smaller by `factor` on each side; the rest at the edges is cut."""
    from PIL import Image

    if factor == 1:
        return pixels
    height, width = (max(1, side // factor) for side in pixels.shape[:2])
    if pixels.dtype == np.uint8 and pixels.shape[2] >= 3:
        band = Image.fromarray(pixels[: height * factor, : width * factor])
        return np.asarray(band.reduce(factor))
    cells = pixels[: height * factor, : width * factor]
    cells = cells.reshape(height, len(cells) // height, width, -1, pixels.shape[2])
    return cells.mean(axis=(1, 3), dtype=np.float32).astype(pixels.dtype)


def colours_of_avif(head: bytes) -> Colours | None:
    """The colour space of the main picture, from the properties that belong to it; None if none is stated.

    A gain map's picture has a colour space of its own, which is not asked.
    """
    main = inside(head, (b"meta", b"pitm"))
    links = inside(head, (b"meta", b"iprp", b"ipma"))
    kept = inside(head, (b"meta", b"iprp", b"ipco"))
    if main is None or links is None or kept is None:
        return None
    number = int.from_bytes(head[main[0] + 4 : main[1]], "big")
    properties = list(boxes(head, *kept))
    for index in _linked(head[slice(*links)], number):
        if 0 < index <= len(properties):
            name, start, _ = properties[index - 1]
            if name == b"colr" and head[start : start + 4] == b"nclx":
                return Colours(*(int.from_bytes(head[start + i : start + i + 2], "big") for i in (4, 6)))
    return None


def _linked(table: bytes, item: int) -> list[int]:
    """The numbers of an item's properties, from 1 (ISO/IEC 23008-12, ItemPropertyAssociation)."""
    wide_item, wide_link = (4 if table[0] else 2), (2 if table[3] & 1 else 1)
    at = 8
    for _ in range(int.from_bytes(table[4:8], "big")):
        number, count = (int.from_bytes(table[at : at + wide_item], "big"), table[at + wide_item : at + wide_item + 1])
        at += wide_item + 1
        if not count:
            break
        links = [table[i : i + wide_link] for i in range(at, at + count[0] * wide_link, wide_link)]
        at += count[0] * wide_link
        if number == item:
            return [int.from_bytes(link, "big") & (0x7FFF if wide_link == 2 else 0x7F) for link in links]
    return []
