"""HEIC files written by hand: a grid of many cells that share one coded tile, so that 200 million pixels take
kilobytes."""

from __future__ import annotations

import io
import struct

import pillow_heif
from PIL import Image

from data.media.boxes import boxes, inside


def heic_bytes(image: Image.Image, **save: object) -> bytes:
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, "HEIF", **save)
    return out.getvalue()


def grid(tile: Image.Image, columns: int, rows: int) -> bytes:
    """A HEIC of `columns` x `rows` copies of `tile` (sides of a multiple of 64)."""
    coded = heic_bytes(tile, quality=80)
    kept = inside(coded, (b"meta", b"iprp", b"ipco"))
    assert kept is not None
    properties = {name: coded[start - 8 : end] for name, start, end in boxes(coded, *kept)}
    data = inside(coded, (b"mdat",))
    assert data is not None
    hevc = coded[slice(*data)]
    width, height, cells = tile.width * columns, tile.height * rows, columns * rows
    layout = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    whole = _full(b"ispe", struct.pack(">II", width, height))
    ipco = box(
        b"ipco", properties[b"hvcC"], properties[b"ispe"], properties[b"pixi"], properties.get(b"colr", b""), whole
    )
    links = b"".join(struct.pack(">HBBBB", i + 1, 3, 0x81, 2, 3) for i in range(cells))
    links += struct.pack(">HBBB", cells + 1, 2, 5, 3)
    infos = b"".join(
        _full(b"infe", struct.pack(">HH", i + 1, 0) + (b"hvc1" if i < cells else b"grid") + b"\0", version=2)
        for i in range(cells + 1)
    )
    parts = [
        _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", struct.pack(">H", cells + 1)),
        _full(b"iinf", struct.pack(">H", cells + 1) + infos),
        _full(b"iref", box(b"dimg", struct.pack(f">HH{cells}H", cells + 1, cells, *range(1, cells + 1)))),
        box(b"iprp", ipco, _full(b"ipma", struct.pack(">I", cells + 1) + links)),
    ]
    start = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    size = len(start) + 12 + sum(map(len, parts)) + 12 + 4 + 14 * (cells + 1)
    places = [(size + 8 + len(layout), len(hevc))] * cells + [(size + 8, len(layout))]
    iloc = b"".join(struct.pack(">HHHII", i + 1, 0, 1, *place) for i, place in enumerate(places))
    parts.append(_full(b"iloc", struct.pack(">BBH", 0x44, 0, cells + 1) + iloc))
    head = start + _full(b"meta", *parts)
    assert len(head) == size
    return head + box(b"mdat", layout, hevc)


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def _full(name: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(name, bytes([version, 0, 0, 0]), *parts)
