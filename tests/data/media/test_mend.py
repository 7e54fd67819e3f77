"""Slightly damaged pictures are shown with a note, as viewers show them; badly damaged ones are refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.media.image import inspect, read_image, read_picture
from data.media.kinds import MediaError
from data.reader import ChunkSpec, decode
from tests.media import picture


def png_piece(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def photo(size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A picture whose detail is spread evenly, as a photo's, so that rows cost alike."""
    noise = np.random.default_rng(5).integers(0, 60, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(picture(size=size, seed=3)) // 2 + noise).astype(np.uint8))


def saved(image: Image.Image, format: str, **save: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **save)
    return out.getvalue()


def cut(tmp_path: Path, data: bytes, share: float) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize(
    ("mode", "save"),
    [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"subsampling": 0}), ("RGB", {"restart_marker_rows": 1})],
)
@pytest.mark.parametrize("share", [0.99, 0.95, 0.85])
def test_a_jpeg_without_its_end(tmp_path: Path, mode: str, save: dict[str, Any], share: float) -> None:
    image = photo().convert(mode)
    whole = saved(image, "JPEG", quality=85, **save)
    path = cut(tmp_path, whole, share)
    found = read_picture(path)
    assert found.note is not None and "the end of the file is missing" in found.note
    rows = int(480 * (share - 0.1))
    assert (found.pixels[:rows] == read_image(whole)[:rows]).all()
    assert (inspect(path).width, inspect(path).height) == (640, 480)
    assert read_image(path, 160).shape == (120, 160, 3)
    (chunk,) = decode(path, "image", (ChunkSpec(0),))
    assert chunk.note == found.note


@pytest.mark.parametrize("share", [0.97, 0.9, 0.8])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_progressive_jpeg_without_its_end(tmp_path: Path, share: float, mode: str) -> None:
    whole = saved(photo().convert(mode), "JPEG", progressive=True, quality=85)
    found = read_picture(cut(tmp_path, whole, share))
    assert found.note is not None and "lacks some of its detail" in found.note
    assert np.abs(found.pixels.astype(int) - read_image(whole)).mean() < 6


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.4, 0.3, 0.1])
def test_a_jpeg_cut_off_much_earlier(tmp_path: Path, progressive: bool, share: float) -> None:
    path = cut(tmp_path, saved(photo(), "JPEG", progressive=progressive, quality=85), share)
    with pytest.raises(MediaError, match="the image is cut off: its end is missing"):
        read_image(path)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA", "1"])
@pytest.mark.parametrize("share", [0.99, 0.9])
def test_a_png_without_its_end(mode: str, share: float) -> None:
    image = photo().quantize(64) if mode == "P" else photo().convert(mode)
    data = saved(image, "PNG")
    found = read_image(data[: int(len(data) * share)])
    rows = int(480 * (share - 0.1))
    assert (found[:rows] == read_image(data)[:rows]).all()
    assert (found[-1] == found[-20]).all() if share == 0.9 else True, "the last row goes on"


def test_a_png_cut_off_much_earlier() -> None:
    data = saved(photo(), "PNG")
    for share in (0.6, 0.3, 0.05):
        with pytest.raises(MediaError, match="the image is cut off"):
            read_image(data[: int(len(data) * share)])


def interlaced(pixels: np.ndarray) -> bytes:
    """Adam7, without filters."""
    height, width = pixels.shape[:2]
    raw = b""
    for x, y, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        raw += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::across])
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    body = png_piece(b"IHDR", head) + png_piece(b"IDAT", zlib.compress(raw)) + png_piece(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_an_interlaced_png_without_its_end() -> None:
    image = photo()
    data = interlaced(np.asarray(image))
    assert (read_image(data) == np.asarray(image)).all()
    found = read_image(data[: int(len(data) * 0.97)])
    assert (found[::2] == np.asarray(image)[::2]).all()
    assert (found[:440] == np.asarray(image)[:440]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"eXIf", b"iCCP", b"prVt"])
@pytest.mark.parametrize("late", [False, True])
def test_a_png_with_a_wrong_checksum_beside_the_picture(tmp_path: Path, name: bytes, late: bool) -> None:
    data = saved(photo(), "PNG")
    at = data.rindex(b"IEND") - 4 if late else data.index(b"IDAT") - 4
    bad = png_piece(name, b"a\0bc")[:-4] + b"\0\0\0\0"
    (tmp_path / "a.png").write_bytes(data[:at] + bad + data[at:])
    assert (read_image(tmp_path / "a.png") == np.asarray(photo())).all()
    assert inspect(tmp_path / "a.png").width == 640


def test_the_note_says_what_was_left_out(tmp_path: Path) -> None:
    data = saved(photo(), "PNG")
    at = data.index(b"IDAT") - 4
    bad = png_piece(b"tEXt", b"a\0bc")[:-4] + b"\0\0\0\0"
    (tmp_path / "a.png").write_bytes(data[:at] + bad + data[at:])
    assert read_picture(tmp_path / "a.png").note == (
        "a part of the file that is not the picture is damaged and was left out"
    )
    (tmp_path / "b.png").write_bytes(data)
    assert read_picture(tmp_path / "b.png").note is None


@pytest.mark.slow
def test_a_png_whose_palette_or_header_is_damaged_is_refused() -> None:
    data = bytearray(saved(photo().quantize(16), "PNG"))
    data[data.index(b"PLTE") + 4] ^= 255
    with pytest.raises(MediaError):
        read_image(bytes(data))
    data = bytearray(saved(photo(), "PNG"))
    data[18] ^= 1
    with pytest.raises(MediaError):
        read_image(bytes(data))


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
@pytest.mark.parametrize("share", [0.99, 0.9, 0.8])
def test_a_gif_and_a_bmp_without_their_end(tmp_path: Path, mode: str, share: float) -> None:
    for format, save in (("GIF", {"interlace": 0}), ("GIF", {"interlace": 1}), ("BMP", {})):
        whole = saved(photo().convert(mode), format, **save)
        path = cut(tmp_path, whole, share)
        found = read_picture(path)
        assert found.note is not None and "the end of the file is missing" in found.note, format
        assert found.pixels.shape == (480, 640, 3)
        rows = int(480 * (share - 0.05))
        there = slice(480 - rows, None) if format == "BMP" else slice(rows)
        if save.get("interlace"):
            there = slice(0, None, 2)  # the other half comes last
        assert (found.pixels[there] == read_image(whole)[there]).all(), format
        assert found.pixels.std(axis=(1, 2)).min() > 5, "no row is blank"
        with pytest.raises(MediaError, match="cut off"):
            read_image(whole[: len(whole) // 2])


def test_damaged_headers_of_a_gif_and_a_bmp_are_refused() -> None:
    for data in (b"GIF89a" + bytes(200), b"BM" + bytes(200), b"BM\0\0", saved(photo(), "BMP")[:60]):
        with pytest.raises(MediaError):
            read_image(data)


@pytest.mark.parametrize("save", [{}, {"lossless": True}])
def test_a_webp_without_its_end_is_refused_as_cut_off(save: dict[str, Any]) -> None:
    whole = saved(photo(), "WEBP", **save)
    for share in (0.97, 0.5):
        with pytest.raises(MediaError, match="cut off"):
            read_image(whole[: int(len(whole) * share)])
