"""The table in docs/media.md, cell by cell: what is read of each format of pictures. exiftool is the referee
of sizes and turns."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from data.media.boxes import inside
from data.media.dates import Taken
from data.media.image import inspect, read_image
from data.media.kinds import MediaError, kind_of
from tests.data.media.heics import box
from tests.data.media.profiles import ADOBE, rgb_profile
from tests.data.media.test_colour import by_littlecms
from tests.data.media.tiffs import Tags, dng
from tests.media import exif_bytes, picture, xmp_packet

SIZE = (640, 428)
SCENE = picture(size=SIZE, seed=8)
PROFILE = rgb_profile(ADOBE)
WORDS = "geese on the pond"
DOCS = Path(__file__).parents[3] / "docs" / "media.md"


def pillow(format: str, **save: Any) -> Callable[..., bytes]:
    def write(
        image: Image.Image = SCENE,
        orientation: int | None = None,
        profile: bytes | None = None,
        packet: bytes | None = None,
    ) -> bytes:
        more: dict[str, Any] = {}
        if orientation is not None:
            more["exif"] = exif_bytes(orientation=orientation)
        if profile is not None:
            more["icc_profile"] = profile
        if packet is not None:
            more |= written(format, packet)
        if format == "HEIF":
            pillow_heif.register_heif_opener()
        out = io.BytesIO()
        image.save(out, format, **save, **more)
        return out.getvalue()

    return write


def written(format: str, packet: bytes) -> dict[str, Any]:
    if format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
        return {"pnginfo": chunks}
    return {"tiffinfo": {700: packet}} if format == "TIFF" else {"xmp": packet}


def gif(packet: bytes | None = None, **_: Any) -> bytes:
    """A GIF, with XMP where exiftool and Adobe write it: before the first frame, with a trailer of falling numbers."""
    data = pillow("GIF")()
    if packet is None:
        return data
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)  # behind the palette
    trailer = bytes([1, *range(255, -1, -1), 0])
    return data[:at] + b"\x21\xff\x0bXMP DataXMP" + packet + trailer + data[at:]


XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def jpeg_2000(
    profile: bytes | None = None, packet: bytes | None = None, more: tuple[bytes, ...] = (), **_: Any
) -> bytes:
    data = pillow("JPEG2000", quality_mode="dB", quality_layers=[45])()
    more = (*more, box(b"uuid", XMP_UUID + packet)) if packet else more
    if more:
        code = inside(data, (b"jp2c",))
        assert code is not None
        return data[: code[0] - 8] + box(b"jp2c", data[slice(*code)]) + b"".join(more)
    if profile is None:
        return data
    header, colour = inside(data, (b"jp2h",)), inside(data, (b"jp2h", b"colr"))
    assert header is not None and colour is not None
    content = data[header[0] : colour[0] - 8] + box(b"colr", b"\x02\0\0" + profile) + data[colour[1] : header[1]]
    return data[: header[0] - 8] + box(b"jp2h", content) + data[header[1] :]


def jpeg_xl(orientation: int | None = None, profile: bytes | None = None, packet: bytes | None = None) -> bytes:
    import pylibjxl

    return pylibjxl.encode(np.asarray(SCENE), effort=3, distance=0.5, icc=profile, xmp=packet)


def camera_raw(orientation: int = 1, profile: bytes | None = None, packet: bytes | None = None) -> bytes:
    out = io.BytesIO()
    SCENE.save(out, "JPEG", quality=95, icc_profile=profile)
    more: Tags = {700: ("B", tuple(packet))} if packet else {}
    return dng(np.asarray(SCENE), preview=out.getvalue(), orientation=orientation, more=more)


STATED = ("date", "place", "text")
# Format, how a file of it is made, and what is not in it or not read.
FORMATS: dict[str, tuple[Callable[..., bytes], str, set[str]]] = {
    "JPEG": (pillow("JPEG", quality=95), "jpg", set()),
    "PNG": (pillow("PNG"), "png", set()),
    "WebP": (pillow("WEBP", lossless=True), "webp", set()),
    "GIF": (gif, "gif", {"orientation", "colour"}),
    "BMP": (pillow("BMP"), "bmp", {"orientation", "colour", *STATED}),
    "TIFF": (pillow("TIFF"), "tif", set()),
    "HEIC": (pillow("HEIF", quality=95, chroma=444), "heic", set()),
    "AVIF": (pillow("AVIF", quality=95, subsampling="4:4:4"), "avif", set()),
    "JPEG 2000": (jpeg_2000, "jp2", {"orientation"}),
    "JPEG XL": (jpeg_xl, "jxl", {"orientation"}),
    "MPO": (pillow("MPO", quality=95), "mpo", set()),
    "icon": (pillow("ICO"), "ico", {"orientation", "colour", *STATED}),
    "camera raw (DNG)": (camera_raw, "dng", set()),
}
CELLS = ("decodes", "orientation", "colour", *STATED)


def cells(name: str) -> list[str]:
    return [format for format, (_, _, missing) in FORMATS.items() if name not in missing]


def off(found: np.ndarray, truth: Image.Image) -> float:
    shown = truth.resize((found.shape[1], found.shape[0]), Image.Resampling.BICUBIC)
    return float(np.abs(found.astype(int) - np.asarray(shown).astype(int)).mean())


@pytest.mark.parametrize("format", cells("decodes"))
def test_it_decodes(format: str) -> None:
    make, suffix, _ = FORMATS[format]
    data = make()
    found = read_image(data)
    assert off(found, SCENE) < 8 and kind_of(f"a.{suffix}") == "image"
    assert max(read_image(data, 100).shape) == 100
    if format != "icon":
        assert (inspect(data).width, inspect(data).height) == SIZE
    if not format.startswith("camera raw"):  # whose preview lies in front
        with pytest.raises(MediaError):
            read_image(data[: len(data) // 8])


@pytest.mark.parametrize("format", cells("orientation"))
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_it_stands_upright(tmp_path: Path, format: str, orientation: int) -> None:
    make, suffix, _ = FORMATS[format]
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    upright = SCENE.transpose(turn[orientation])
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(make(orientation=orientation))
    if format == "HEIC":  # its writer turns the pixels; the file says nothing of a turn
        upright = upright if read_image(path).shape[:2] == upright.size[::-1] else SCENE
    assert off(read_image(path), upright) < 6
    assert (inspect(path).width, inspect(path).height) == upright.size
    if shutil.which("exiftool") and format in ("JPEG", "PNG", "WebP", "TIFF"):
        asked = ["exiftool", "-n", "-j", "-ImageWidth", "-ImageHeight", "-Orientation", str(path)]
        said = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)[0]
        assert said["Orientation"] == orientation
        stored = (said["ImageWidth"], said["ImageHeight"])
        assert upright.size == (stored[::-1] if orientation >= 5 else stored)


@pytest.mark.parametrize("format", cells("colour"))
def test_its_colours_are_managed(format: str) -> None:
    make = FORMATS[format][0]
    truth = by_littlecms(SCENE, PROFILE)
    assert off(np.asarray(SCENE), truth) > 4
    assert off(read_image(make(profile=PROFILE)), truth) < 4


@pytest.mark.parametrize("format", cells("text"))
def test_its_words_are_read(tmp_path: Path, format: str) -> None:
    assert inspect(FORMATS[format][0](packet=xmp_packet(dc_description=WORDS))).caption == WORDS


@pytest.mark.parametrize("format", cells("date"))
def test_its_date_is_read(format: str) -> None:
    packet = xmp_packet(exif_DateTimeOriginal="2023-01-01T00:30:00+09:00")
    assert inspect(FORMATS[format][0](packet=packet)).metadata.taken == Taken("2023-01-01T00:30:00+09:00", "xmp")


@pytest.mark.parametrize("format", cells("place"))
def test_its_place_is_read(format: str) -> None:
    packet = xmp_packet(exif_GPSLatitude="38,43.2N", exif_GPSLongitude="9,8.4W")
    found = inspect(FORMATS[format][0](packet=packet)).metadata
    assert (found.lat, found.lon) == (pytest.approx(38.72), pytest.approx(-9.14))


def test_the_table_says_what_is_tested() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Images, format by format", 1)[1].split("\n## ", 1)[0]
    rows = {
        cells[0]: cells[1:]
        for line in section.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("| ").split("|")]) == 7
    }
    header = rows.pop("format")
    assert set(FORMATS) == {name for name in rows if not re.fullmatch("-+", name)}
    for format, (_, _, missing) in FORMATS.items():
        row = dict(zip(header, rows[format], strict=True))
        assert {name for name in CELLS if row[name] != "yes"} == missing, format


def test_a_jpeg_2000_without_a_container() -> None:
    out = io.BytesIO()
    SCENE.save(out, "JPEG2000", no_jp2=True, quality_mode="dB", quality_layers=[45])
    assert out.getvalue()[:4] == b"\xff\x4f\xff\x51" and off(read_image(out.getvalue()), SCENE) < 4


def test_a_jpeg_2000_holds_exif_and_xml_in_boxes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "1999:07:04 12:00:00"
    data = jpeg_2000(more=(box(b"uuid", b"JpgTiffExif->JP2" + exif.tobytes()[6:]),))
    found = inspect(data)
    assert found.metadata.taken == Taken("1999-07-04T12:00:00", "exif")
    assert (found.width, found.height) == SIZE and read_image(data).shape[:2] == SIZE[::-1]
    packet = xmp_packet(dc_description=WORDS)
    assert inspect(jpeg_2000(more=(box(b"xml ", b"<other/>"), box(b"xml ", packet)))).caption == WORDS
    cut = jpeg_2000(more=(box(b"uuid", b"JpgTiffExif->JP2" + exif.tobytes()[6:40]), box(b"uuid", b"short")))
    assert off(read_image(cut), SCENE) < 4


def test_an_animation_with_words_shows_its_frames() -> None:
    """Its packet lies among the blocks of the first frame; a packet without its trailer is none."""
    blank = Image.new("RGB", SCENE.size)
    out = io.BytesIO()
    blank.save(out, "GIF", save_all=True, append_images=[SCENE, SCENE], duration=90, loop=0)
    data = out.getvalue()
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    block = b"\x21\xff\x0bXMP DataXMP" + xmp_packet(dc_description=WORDS)
    told = data[:at] + block + bytes([1, *range(255, -1, -1), 0]) + data[at:]
    assert inspect(told).caption == WORDS and off(read_image(told), SCENE) < 12
    assert inspect(data).caption == ""


def test_an_exif_turn_of_a_jpeg_xl_is_not_followed_twice() -> None:
    """Its codestream has a turn of its own, which the decoder follows; EXIF's is ignored."""
    import pylibjxl

    exif = exif_bytes(orientation=6)[6:]
    data = pylibjxl.encode(np.asarray(SCENE), effort=3, distance=0.5, exif=exif)
    assert read_image(data).shape == (428, 640, 3)
    assert (inspect(data).width, inspect(data).height) == SIZE


@pytest.mark.parametrize("name", ["p3", "pq", "icc", "lossless_icc", "grey"])
def test_a_jpeg_xl_names_its_colours_in_many_ways(name: str) -> None:
    """By number (Display P3, PQ of BT.2020), by a profile for coded and for lossless pixels."""
    folder = Path(__file__).parent / "jxl"
    with Image.open(folder / "truth.png") as image:
        truth = image.convert("L").convert("RGB") if name == "grey" else image.convert("RGB")
    assert off(read_image(folder / f"{name}.jxl"), truth) < 6
