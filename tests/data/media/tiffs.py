"""TIFFs and DNGs written by hand: what Pillow cannot write (planes, 16 bits, floats, tiles, raw sensors)."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Any

import numpy as np

Tags = dict[int, tuple[str, tuple[Any, ...]]]
"""Number of a tag: the kind of its values (B, H, I, R for rationals, s for text) and the values."""

_KINDS = {"B": (1, 1), "s": (2, 1), "H": (3, 2), "I": (4, 4), "R": (5, 8)}


def tiff(*pictures: tuple[Tags, list[bytes]], order: str = "<") -> bytes:
    """A TIFF of these directories, each with its strips or tiles. A tag 330 of the first one counts pictures
    that are taken out of the chain and become its sub-directories."""
    first = dict(pictures[0][0])
    below = int(first[330][1][0]) if 330 in first else 0
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    places: list[int] = []
    links: list[int] = []
    for number, (tags, parts) in enumerate(pictures):
        tags = dict(tags)
        starts = []
        for part in parts:
            starts.append(len(out))
            out += part + bytes(len(part) % 2)
        tiled = 322 in tags
        tags[324 if tiled else 273] = ("I", tuple(starts))
        tags[325 if tiled else 279] = ("I", tuple(len(part) for part in parts))
        if number == 0 and below:
            tags[330] = ("I", (0,) * below)
        entries = b""
        patch = 0
        for tag in sorted(tags):
            kind, values = tags[tag]
            code, size = _KINDS[kind]
            data = _packed(kind, values, order)
            count = len(data) // size
            if len(data) > 4:
                at = len(out)
                out += data + bytes(len(data) % 2)
                data = struct.pack(order + "I", at)
            elif tag == 330:
                at = -1 - len(entries)
            if tag == 330:
                patch = at
            entries += struct.pack(order + "HHI", tag, code, count) + data.ljust(4, b"\0")
        places.append(len(out))
        out += struct.pack(order + "H", len(tags)) + entries
        if number == 0 and below:
            sub = patch if patch > 0 else places[0] + 2 - 1 - patch + 8
        links.append(len(out))
        out += bytes(4)
    chain = [0, *range(1 + below, len(pictures))]
    out[4:8] = struct.pack(order + "I", places[0])
    for one, following in pairwise(chain):
        out[links[one] : links[one] + 4] = struct.pack(order + "I", places[following])
    if below:
        out[sub : sub + 4 * below] = struct.pack(f"{order}{below}I", *places[1 : 1 + below])
    return bytes(out)


def _packed(kind: str, values: tuple[Any, ...], order: str) -> bytes:
    if kind == "s":
        return str(values[0]).encode() + b"\0"
    if kind == "R":
        return b"".join(struct.pack(order + "II", *value) for value in values)
    return struct.pack(f"{order}{len(values)}{kind}", *values)


def picture(
    pixels: np.ndarray,
    *,
    photometric: int = 2,
    planar: int = 1,
    zipped: bool = False,
    tile: int = 0,
    rows: int = 0,
    sample_format: int = 1,
    order: str = "<",
    more: Tags | None = None,
) -> tuple[Tags, list[bytes]]:
    """The directory and the parts of pixels [H, W, bands]."""
    height, width, bands = pixels.shape
    stored = pixels.astype(pixels.dtype.newbyteorder(order))
    planes = [stored] if planar == 1 else [stored[..., i : i + 1] for i in range(bands)]
    step = rows or height
    parts = []
    for plane in planes:
        for y in range(0, height, tile or step):
            for x in range(0, width, tile or width):
                part = plane[y : y + (tile or step), x : x + (tile or width)]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
                data = np.ascontiguousarray(part).tobytes()
                parts.append(zlib.compress(data) if zipped else data)
    tags: Tags = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (8 * pixels.dtype.itemsize,) * bands),
        259: ("H", (8 if zipped else 1,)),
        262: ("H", (photometric,)),
        277: ("H", (bands,)),
        284: ("H", (planar,)),
        339: ("H", (sample_format,) * bands),
    }
    tags |= {322: ("I", (tile,)), 323: ("I", (tile,))} if tile else {278: ("I", (step,))}
    return tags | (more or {}), parts


def dng(scene: np.ndarray, *, preview: bytes | None = None, orientation: int = 1, more: Tags | None = None) -> bytes:
    """A DNG of a sensor that saw `scene` (uint8 sRGB [H, W, 3], even sides), with a JPEG preview if given.

    The mosaic is RGGB, 16 bits, linear; the camera's colours are those of sRGB under D65.
    """
    light = np.where(scene / 255 <= 0.04045, scene / 255 / 12.92, ((scene / 255 + 0.055) / 1.055) ** 2.4)
    mosaic = light[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    xyz_to_srgb = ((32405, -15371, -4985), (-9693, 18760, 416), (556, -2040, 10572))
    colour = struct.pack("<" + "ii" * 9, *(n for row in xyz_to_srgb for v in row for n in (v, 10000)))
    facts: Tags = {
        271: ("s", ("Sightline",)),
        272: ("s", ("Pinhole",)),
        274: ("H", (orientation,)),
        50706: ("B", (1, 4, 0, 0)),
        50708: ("s", ("Sightline Pinhole",)),
        50721: ("B", tuple(colour)),  # marked as bytes here; `_signed` gives it its kind
        50728: ("R", ((1, 1), (1, 1), (1, 1))),
        50778: ("H", (21,)),
        **(more or {}),
    }
    sensor: Tags = {33421: ("H", (2, 2)), 33422: ("B", (0, 1, 1, 2)), 50717: ("I", (65535,)), 254: ("I", (0,))}
    raw = picture((mosaic[..., None] * 65535).astype(np.uint16), photometric=32803, more=sensor)
    if preview is None:
        return _signed(tiff((raw[0] | facts, raw[1])))
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(preview)) as image:
        width, height = image.size
    small: Tags = {
        254: ("I", (1,)),
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (8, 8, 8)),
        259: ("H", (7,)),
        262: ("H", (6,)),
        277: ("H", (3,)),
        278: ("I", (height,)),
        330: ("I", (1,)),
    }
    return _signed(tiff((small | facts, [preview]), raw))


def _signed(data: bytes) -> bytes:
    """ColorMatrix1 (50721) as nine signed rationals."""
    at = data.index(struct.pack("<HHI", 50721, 1, 72))
    return data[:at] + struct.pack("<HHI", 50721, 10, 9) + data[at + 8 :]
