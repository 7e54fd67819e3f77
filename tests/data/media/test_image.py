"""Images as people have them: every format, orientation and pixel type comes out as upright RGB."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.media.image import MAX_PIXELS, inspect, read_image
from data.media.kinds import MediaError
from tests.media import draw_image, exif_bytes, picture

FORMATS = ["jpg", "png", "webp", "gif", "bmp", "tiff", "heic", "avif"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_shows_the_same_picture(tmp_path: Path, suffix: str) -> None:
    path = draw_image(tmp_path / f"a.{suffix}", size=(320, 240), seed=5)
    truth = np.asarray(picture(size=(320, 240), seed=5)).astype(int)
    found = read_image(path)
    assert found.shape == (240, 320, 3) and found.dtype == np.uint8
    assert np.abs(found - truth).mean() < 8, "a lossy codec may err a little"
    assert read_image(path.read_bytes()).tolist() == found.tolist(), "bytes read like the file"
    assert max(read_image(path, 100).shape) == 100
    assert read_image(path, 4000).shape == found.shape, "nothing is enlarged"
    assert (inspect(path).width, inspect(path).height) == (320, 240)


def oriented(orientation: int) -> bytes:
    """A JPEG whose stored pixels, after the turn that `orientation` asks for, have red at the top left."""
    upright = Image.new("RGB", (64, 32), "blue")
    upright.paste("red", (0, 0, 32, 16))
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    out = io.BytesIO()
    stored.save(out, "JPEG", quality=95, exif=exif_bytes(orientation=orientation))
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright_however_the_camera_was_held(orientation: int) -> None:
    found = read_image(oriented(orientation))
    assert found.shape == (32, 64, 3)
    assert found[4, 8, 0] > 200 and found[4, 56, 2] > 200 and found[28, 8, 2] > 200
    info = inspect(oriented(orientation))
    assert (info.width, info.height) == (64, 32)


def test_heic_is_turned_once_and_not_twice(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.heic", size=(128, 64), seed=1, exif={"orientation": 6})
    assert read_image(path).shape == (128, 64, 3)
    assert (inspect(path).width, inspect(path).height) == (64, 128)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_parts_are_white(mode: str) -> None:
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 10, 10))
    out = io.BytesIO()
    if mode == "P":
        image.quantize(4).save(out, "PNG")
    elif mode == "PA":
        image.save(out, "WEBP", lossless=True)
    else:
        image.convert(mode).save(out, "PNG")
    found = read_image(out.getvalue())
    assert (found[5, 15] == 255).all() and found[5, 5].min() < 120


def test_white_letters_on_a_transparent_ground_can_be_seen() -> None:
    image = Image.new("RGBA", (60, 30), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (10, 10, 30, 20))
    out = io.BytesIO()
    image.save(out, "PNG")
    found = read_image(out.getvalue())
    assert found[15, 20].tolist() == [255, 255, 255] and found[2, 2].tolist() == [0, 0, 0]


def test_a_palette_with_one_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    image.paste(0, (0, 0, 10, 10))
    image.save(tmp_path / "a.gif", transparency=1)
    found = read_image(tmp_path / "a.gif")
    assert found[5, 5].tolist() == [255, 0, 0] and found[5, 15].tolist() == [255, 255, 255]


def test_cmyk_from_a_print_shop(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (40, 30), (255, 0, 0, 0))
    for name in ("a.jpg", "a.tif"):
        cyan.save(tmp_path / name)
        red, green, blue = read_image(tmp_path / name)[15, 20].astype(int)
        assert red < 60 and green > 180 and blue > 180, name


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_grey_is_neither_black_nor_white(tmp_path: Path, bits: int) -> None:
    ramp = np.tile(np.linspace(0, (1 << bits) - 1, 64).astype(np.uint16), (8, 1))
    for name in ("a.png", "a.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert found[0, 0, 0] == 0 and found[0, -1, 0] == 255 and 100 < found[0, 32, 0] < 156, name


def test_float_tiffs_with_and_without_nonsense(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 64).astype(np.float32), (8, 1))
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif")
    assert found[0, 0, 0] == 0 and found[0, -1, 0] >= 254
    ramp[0, 0], ramp[0, 1] = np.nan, np.inf
    Image.fromarray(ramp).save(tmp_path / "b.tif")
    assert read_image(tmp_path / "b.tif")[4, -1, 0] >= 254


def test_black_and_white_scans(tmp_path: Path) -> None:
    Image.new("1", (33, 17), 1).save(tmp_path / "a.tif", compression="group4")
    assert (read_image(tmp_path / "a.tif") == 255).all()


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (16, 16), c) for c in ("red", "blue"))
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        red.save(tmp_path / name, save_all=True, append_images=[blue])
        assert read_image(tmp_path / name)[8, 8, 0] > 200, name


def test_a_big_jpeg_is_decoded_at_the_fraction_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw_image(tmp_path / "a.jpg", size=(4000, 3000))
    decoded: list[tuple[int, int]] = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: (decoded.append(self.size), load(self))[1])
    assert read_image(path, 480).shape == (360, 480, 3)
    assert max(max(size) for size in decoded) <= 1000


def png_header(width: int, height: int) -> bytes:
    def box(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00" * 1000)
    return b"\x89PNG\r\n\x1a\n" + box(b"IHDR", head) + box(b"IDAT", rows) + box(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(
        MediaError, match=r"50,000 x 50,000 pixels are more than Sightline opens \(180 million\)"
    ) as caught:
        read_image(png_header(50_000, 50_000), 512)
    assert caught.value.cause == "too large"
    assert MAX_PIXELS == 180_000_000


@pytest.mark.parametrize(
    ("name", "data", "reason", "cause"),
    [
        ("a.jpg", b"", r"the file is empty \(0 bytes\)", "empty"),
        ("a.jpg", b"Dear diary, today\n" * 50, "this is not an image: the file holds text", "wrong kind"),
        ("a.png", b"MZ\x90\x00" + bytes(range(256)) * 20, "holds a Windows program", "wrong kind"),
        ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "an SVG drawing", "unsupported"),
        ("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "holds a PostScript file", "wrong kind"),
        ("a.jpg", b"%PDF-1.4\n", r"this is a PDF, although its name ends in \.jpg; rename it", "wrong kind"),
        ("a.jpg", bytes(9000), "nothing but zeros", "damaged"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + b"\x07" * 5000, "the image is damaged", "damaged"),
        ("a.png", png_header(100, 100), "the image is cut off", "cut off"),
        ("a.png", png_header(0, 7), "the image is damaged", "damaged"),
    ],
)
def test_what_is_no_image_says_so(tmp_path: Path, name: str, data: bytes, reason: str, cause: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError, match=reason) as caught:
        read_image(tmp_path / name)
    assert caught.value.cause == cause


def test_a_photo_cut_off_in_the_middle(tmp_path: Path) -> None:
    data = draw_image(tmp_path / "a.jpg", size=(640, 480)).read_bytes()
    with pytest.raises(MediaError, match="the image is cut off: its end is missing"):
        read_image(data[: len(data) // 2])


def test_a_file_that_is_not_there_or_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError, match="no longer there"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").mkdir()
    with pytest.raises(MediaError, match=r"a folder|no permission"):
        read_image(tmp_path / "b.jpg")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = draw_image(tmp_path / "c.jpg")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MediaError, match="no permission to read"):
        read_image(path)


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    draw_image(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape == (240, 320, 3)
