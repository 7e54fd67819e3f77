"""Repairs images with a truncated end or damaged text: `repaired_copy` returns bytes for any decoder and a note.

Built around the images that every viewer displays. A JPEG gets its missing end marker if most of its rows exist
or, if it is progressive, the last luminance scan has begun. A PNG is rewritten from its intact chunks, and
missing rows repeat the one above, as they do in a GIF and a BMP. Images cut off much earlier stay errors. Decodes
at most a GIF, and a JPEG at 1/8 size.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MIN_SHARE = 0.75  # of the rows
_PNG = b"\x89PNG\r\n\x1a\n"
MAGIC = (b"\xff\xd8", _PNG, b"GIF8", b"BM")
_END = b"\xff\xd9"
_END_LOST = "the end of the file is missing; the whole picture is there"
_TEXT_LOST = "a part of the file that is not the picture is damaged and was left out"


def repaired_copy(source: Path | bytes) -> tuple[bytes, str] | None:
    """Returns the bytes of a complete image and a note for its owner; None if too little exists, or if there is
    nothing to repair. Raises no error of a decoder."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        return _repaired(data)
    except (OSError, SyntaxError, ValueError, LookupError, struct.error, zlib.error, MemoryError):
        return None


def _repaired(data: bytes) -> tuple[bytes, str] | None:
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:8] == _PNG:
        return _png(data)
    return _gif(data) if data[:4] == b"GIF8" else _bmp(data)


def _remark(share: float) -> str:
    return f"the end of the file is missing; about {min(99, int(share * 100))} % of the picture is there"


def _jpeg(data: bytes) -> tuple[bytes, str] | None:
    kind, scan = _first_scan(data)
    if scan is None or data.rstrip(b"\x00").endswith(_END):
        return None
    completed = data + _END
    if kind in (0xC2, 0xC6, 0xCA):  # progressive
        if not _last_pass_begun(data, scan):
            return None
        return completed, "the end of the file is missing; the picture lacks some of its detail"
    share = _rows_decoded(completed)
    return (completed, _remark(share)) if share >= MIN_SHARE else None


def _first_scan(data: bytes) -> tuple[int, int | None]:
    """The SOF marker of a JPEG and the offset of its first scan (SOS), None without one."""
    kind, at = 0, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == 0xDA:
            return kind, at
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            kind = marker
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return kind, None


def _last_pass_begun(data: bytes, first: int) -> bool:
    """Whether the scan with the first component's highest frequencies in full precision has begun."""
    component, at = None, first
    while at >= 0 and at + 5 < len(data):
        count = data[at + 4]
        header = data[at + 5 : at + 8 + 2 * count]
        if len(header) < 3 + 2 * count:
            return False
        component = header[0] if component is None else component
        last, precision = header[2 * count + 1], header[2 * count + 2] & 15
        if last == 63 and precision == 0 and component in header[: 2 * count : 2]:
            return True
        at = data.find(b"\xff\xda", at + 2)
    return False


def _rows_decoded(data: bytes) -> float:
    """The share of decoded rows of a baseline JPEG; the decoder leaves the others mid-grey."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        pixels = np.asarray(image)
    plain = (pixels.reshape(len(pixels), -1) == 128).all(axis=1)
    empty = len(plain) if plain.all() else int(np.argmin(plain[::-1]))
    return 1 - empty / len(plain)


def _gif(data: bytes) -> tuple[bytes, str] | None:
    """The first frame as a PNG."""
    from PIL import Image, ImageFile

    with Image.open(io.BytesIO(data), formats=["GIF"]) as image:
        arguments: Any = image.tile[0].args if image.tile else (0, False)
        interlaced = bool(arguments[1])
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        passes = ((0, 8), (4, 8), (2, 4), (1, 2)) if interlaced else ((0, 1),)
        order = [row for start, step in passes for row in range(start, image.height, step)]
        # The decoder leaves other rows at 0.
        has_pixels: np.ndarray = np.any(np.asarray(image).reshape(image.height, -1), axis=1)
        count = int(np.flatnonzero(has_pixels[order]).max(initial=-1)) + 1
        if count < MIN_SHARE * image.height:
            return None
        for row in order[count:]:
            image.paste(image.crop((0, row - 1, image.width, row)), (0, row))
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        return out.getvalue(), _remark(count / image.height) if count < image.height else _END_LOST


def _bmp(data: bytes) -> tuple[bytes, str] | None:
    """An uncompressed BMP whose rows, from the bottom up or the top down, are filled up with the last one."""
    start, _, width, height, _, bits, compression = struct.unpack("<LLllHHL", data[10:34])
    length = (width * bits + 31) // 32 * 4
    if compression not in (0, 3) or length <= 0 or not start:
        return None
    rows, need = (len(data) - start) // length, abs(height)
    if not MIN_SHARE * need <= rows < need:
        return None
    body = data[: start + rows * length]
    return body + body[-length:] * (need - rows), _remark(rows / need)


def _png(data: bytes) -> tuple[bytes, str] | None:
    head: list[bytes] = []
    bodies: list[bytes] = []
    header = b""
    lost_text = has_end = False
    for name, body, is_intact in _png_chunks(data):
        if name == b"IDAT":
            bodies.append(body)
        elif not is_intact:
            if name[:1].isupper():  # a critical chunk
                break
            lost_text = True
        elif name == b"IEND":
            has_end = True
            break
        elif name == b"IHDR":
            header = body
        elif name not in (b"acTL", b"fcTL", b"fdAT"):
            head.append(_png_chunk(name, body))
    if len(header) != 13 or not bodies:
        return None
    rows = _png_rows(header)
    need = sum(count * length for count, length in rows)
    raw = _inflate(bodies, need)
    if len(raw) < MIN_SHARE * need or (len(raw) == need and has_end and not lost_text):
        return None
    if len(raw) == need:
        content, note = b"".join(bodies), _TEXT_LOST if lost_text else _END_LOST
    else:
        content, note = zlib.compress(_fill_rows(raw, rows), 1), _remark(len(raw) / need)
    chunks = [_png_chunk(b"IHDR", header), *head, _png_chunk(b"IDAT", content), _png_chunk(b"IEND", b"")]
    return _PNG + b"".join(chunks), note


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, content and whether it is intact, of each PNG chunk; the last one may be truncated."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if not name.isalpha():
            return
        body = data[at + 8 : at + 8 + length]
        check = data[at + 8 + length : at + 12 + length]
        yield name, body, check == struct.pack(">I", zlib.crc32(name + body))
        at += 12 + length


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_rows(header: bytes) -> list[tuple[int, int]]:
    """The number of rows and the bytes of a row, with its filter byte, for each pass."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = []
    for x, y, across, down in passes if interlaced else ((0, 0, 1, 1),):
        columns, count = -(-max(0, width - x) // across), -(-max(0, height - y) // down)
        if columns and count:
            rows.append((count, 1 + (columns * bits + 7) // 8))
    return rows


def _inflate(bodies: list[bytes], need: int) -> bytes:
    """The decompressed bytes before the end or the first error, at most `need`."""
    stream, raw = zlib.decompressobj(), bytearray()
    try:
        for body in bodies:
            for at in range(0, len(body), 4096):
                raw += stream.decompress(body[at : at + 4096], max(1, need - len(raw)))
                if len(raw) >= need:
                    return bytes(raw[:need])
    except zlib.error:
        pass
    return bytes(raw)


def _fill_rows(raw: bytes, rows: list[tuple[int, int]]) -> bytes:
    """The existing rows, and for each missing row one with the filter "up", which repeats the row above."""
    out, at = bytearray(), 0
    for count, length in rows:
        available = min(count, (len(raw) - at) // length) if at < len(raw) else 0
        out += raw[at : at + available * length] + (b"\x02" + bytes(length - 1)) * (count - available)
        at += count * length
    return bytes(out)
