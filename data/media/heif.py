"""HEIC beyond Pillow's plugin: HDR in 16 bits, images of 200 million pixels, AVIF's colour space.

Built around pillow-heif's `open_heif`, which returns the decoder's memory without a copy, and around bands of
rows, so that an image too large for another copy is reduced band by band.
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

HEAD_BYTES = 1 << 18  # AVIF's properties lie within these
_BAND = 1 << 24  # pixels


def colours_of_heif(image: Image.Image) -> Colours | None:
    """Returns the colour space that pillow-heif reports for an open image; None without one."""
    profile = image.info.get("nclx_profile")
    return Colours(profile["color_primaries"], profile["transfer_characteristics"]) if profile else None


def read_reduced(source: Path | bytes, frame: int, max_side: int | None, colours: Colours | None) -> Image.Image:
    """Returns image `frame` of a HEIC file, reduced by the largest whole factor that leaves at least `max_side`.

    With `colours` it is decoded to 16 bits and converted to sRGB; without, it stays at least twice `max_side`.
    """
    import pillow_heif
    from PIL import Image

    deep = colours is not None
    pillow_heif.options.DISABLE_SECURITY_LIMITS = True  # libheif refuses 170 million pixels; the sandbox limits memory
    try:
        file = pillow_heif.open_heif(
            io.BytesIO(source) if isinstance(source, bytes) else source,
            convert_hdr_to_8bit=not deep,
            remove_stride=False,
        )
        heif_image = file[frame]
        data = heif_image.data
    finally:
        pillow_heif.options.DISABLE_SECURITY_LIMITS = False
    (width, height), bands = heif_image.size, len(heif_image.mode.split(";")[0])
    pixels = np.frombuffer(data, np.uint16 if deep else np.uint8)
    pixels = pixels.reshape(height, -1)[:, : width * bands].reshape(height, width, bands)
    factor = max(1, max(width, height) // ((1 if deep else 2) * max_side)) if max_side else 1
    rows = max(factor, _BAND // width // factor * factor)
    image = np.concatenate([_reduced(pixels[at : at + rows], factor) for at in range(0, height, rows)])
    if colours is not None:
        image = from_numbers(np.repeat(image[..., :1], 3, axis=2) if bands < 3 else image[..., :3], colours)
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """A band of rows [H, W, bands], reduced by `factor` on each side; rows and columns beyond a multiple are cut."""
    from PIL import Image

    if factor == 1:
        return pixels
    height, width = (max(1, side // factor) for side in pixels.shape[:2])
    if pixels.dtype == np.uint8 and pixels.shape[2] >= 3:
        band = Image.fromarray(pixels[: height * factor, : width * factor])
        return np.asarray(band.reduce(factor))
    cells = pixels[: height * factor, : width * factor]
    cells = cells.reshape(height, len(cells) // height, width, -1, pixels.shape[2])
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float32), pixels.dtype)


def colours_of_avif(head: bytes) -> Colours | None:
    """Returns the colour space in the properties of the primary image; None without one.

    The colour space of a gain map is ignored.
    """
    primary_box = inside(head, (b"meta", b"pitm"))
    association_box = inside(head, (b"meta", b"iprp", b"ipma"))
    property_box = inside(head, (b"meta", b"iprp", b"ipco"))
    if primary_box is None or association_box is None or property_box is None:
        return None
    number = int.from_bytes(head[primary_box[0] + 4 : primary_box[1]], "big")
    properties = list(boxes(head, *property_box))
    for index in _properties_of(head[slice(*association_box)], number):
        if 0 < index <= len(properties):
            name, start, _ = properties[index - 1]
            if name == b"colr" and head[start : start + 4] == b"nclx":
                return Colours(*(int.from_bytes(head[start + i : start + i + 2], "big") for i in (4, 6)))
    return None


def _properties_of(table: bytes, item: int) -> list[int]:
    """The property numbers of an item, from 1 (ISO/IEC 23008-12, ItemPropertyAssociation)."""
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
