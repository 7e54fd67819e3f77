"""Dates, cameras and positions, sensible and not."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from data.media.dates import Taken
from data.media.image import inspect
from data.media.metadata import pdf_date, video_metadata
from data.media.video import probe, tag_metadata
from tests.media import draw_image, draw_video, xmp_packet


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.heic", "a.avif"])
def test_a_photo_tells_when_where_and_with_what(tmp_path: Path, name: str) -> None:
    exif = {"taken": "2023:07:14 09:30:00", "offset": "+02:00", "make": "Canon", "model": "Canon EOS R5"}
    if name == "a.tiff":
        exif.pop("offset")  # Pillow writes no nested tags of a TIFF but these
    found = inspect(draw_image(tmp_path / name, exif={**exif, "gps": (-33.8568, 151.2153)})).metadata
    assert found.camera == "Canon EOS R5"
    if name != "a.tiff":
        assert found.taken == Taken("2023-07-14T09:30:00+02:00", "exif")
    assert (found.lat, found.lon) == pytest.approx((-33.8568, 151.2153), abs=1e-4)


@pytest.mark.parametrize(
    "taken", ["0000:00:00 00:00:00", "2023:13:40 25:61:61", "    ", "yesterday", "1804:01:01 00:00:00"]
)
def test_nonsense_is_unknown(tmp_path: Path, taken: str) -> None:
    found = inspect(draw_image(tmp_path / "a.jpg", exif={"taken": taken, "gps": (0.0, 0.0)})).metadata
    assert found.taken is None and found.lat is None and found.camera is None


IPTC = b"\x1c\x02\x37\x00\x0819990704\x1c\x02\x3c\x00\x0b120000+0200\x1c\x02\x69\x00\x0aKite flown"


def test_iptc_of_a_tiff_is_read_however_its_tag_is_stored(tmp_path: Path) -> None:
    tags = ImageFileDirectory_v2()
    tags.tagtype[33723], tags[33723] = 7, IPTC
    data = draw_image(tmp_path / "a.tif", size=(64, 48), tiffinfo=tags).read_bytes()
    entry = struct.pack("<HHL", 33723, 7, len(IPTC))
    assert data.count(entry) == 1
    for kind, count in ((7, len(IPTC)), (1, len(IPTC)), (4, len(IPTC) // 4)):
        (tmp_path / "b.tif").write_bytes(data.replace(entry, struct.pack("<HHL", 33723, kind, count)))
        found = inspect(tmp_path / "b.tif")
        assert found.metadata.taken == Taken("1999-07-04T12:00:00+02:00", "iptc"), kind
        assert found.caption == "Kite flown", kind


def raw_profile(name: str, data: bytes) -> PngInfo:
    """A block of metadata as ImageMagick writes it into a PNG."""
    text, info = data.hex(), PngInfo()
    rows = "\n".join(text[at : at + 72] for at in range(0, len(text), 72))
    info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(data):8d}\n{rows}\n", zip=True)
    return info


def test_blocks_in_the_text_of_a_png_are_read(tmp_path: Path) -> None:
    photoshop = b"8BIM\x04\x22\x03abc\0\0\0\x01x\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    for data in (photoshop, IPTC):
        found = inspect(draw_image(tmp_path / "a.png", pnginfo=raw_profile("iptc", data)))
        assert found.metadata.taken == Taken("1999-07-04T12:00:00+02:00", "iptc") and found.caption == "Kite flown"
    packet = xmp_packet(**{"photoshop:DateCreated": "1968-05-12"})
    found = inspect(draw_image(tmp_path / "b.png", pnginfo=raw_profile("xmp", packet)))
    assert found.metadata.taken == Taken("1968-05-12", "xmp")
    for damaged in (b"", b"8BIM", b"8BIM\x04\x04\0\0\xff\xff\xff\xff", b"\x1c\x02"):
        assert inspect(draw_image(tmp_path / "c.png", pnginfo=raw_profile("iptc", damaged))).metadata.taken is None
    info = PngInfo()
    info.add_text("Raw profile type iptc", "\niptc\n  8\nno hexadecimal")
    assert inspect(draw_image(tmp_path / "d.png", pnginfo=info)).metadata.taken is None


def test_video_tags_of_phones_and_cameras() -> None:
    apple = video_metadata(
        {
            "com.apple.quicktime.creationdate": "2021-08-01T18:30:00+0200",
            "creation_time": "2021-08-02T00:00:00.000000Z",
            "com.apple.quicktime.location.ISO6709": "+52.5163+013.3777+035.000/",
            "com.apple.quicktime.make": "Apple",
            "com.apple.quicktime.model": "iPhone 12",
        }
    )
    assert apple.taken == Taken("2021-08-01T18:30:00+02:00", "film"), "the moment of the shot, not of the export"
    assert (apple.lat, apple.lon, apple.camera) == (52.5163, 13.3777, "Apple iPhone 12")
    assert video_metadata({"creation_time": "1904-01-01T00:00:00.000000Z"}).taken is None
    assert video_metadata({}, {"creation_time": "2020-02-30T00:00:00Z"}).taken is None
    assert video_metadata({"location": "somewhere"}).lat is None
    assert video_metadata({"location": "+95.0+010.0/"}).lat is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("D:20230714093000+02'00'", "2023-07-14T09:30:00+02:00"),
        ("D:20230714093000+02'", "2023-07-14T09:30:00+02:00"),
        ("D:20230714073000Z", "2023-07-14T07:30:00+00:00"),
        ("20230714073000Z00'00'", "2023-07-14T07:30:00+00:00"),
        ("D:20230714", "2023-07-14"),
        ("D:2023", "2023"),
        ("D:19700101000000Z", None),
        ("D:99999999999999", None),
        ("", None),
        (None, None),
        ("Friday", None),
    ],
)
def test_dates_of_pdfs(text: str | None, at: str | None) -> None:
    assert pdf_date(text) == (Taken(at, "pdf") if at else None)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_xmp_inside_a_film_says_when_and_where_and_what(tmp_path: Path, suffix: str) -> None:
    path = draw_video(tmp_path / f"a.{suffix}", 2, 5, size=(64, 48))
    stated = {
        "XMP-exif:DateTimeOriginal": "1999:07:04 12:30:00+02:00",
        "XMP-exif:GPSLatitude": "38.72",
        "XMP-exif:GPSLongitude": "-9.14",
        "XMP-tiff:Make": "Leica",
        "XMP-tiff:Model": "M3",
        "XMP-dc:Description": "geese on the pond",
    }
    command = ["exiftool", "-q", "-overwrite_original", *(f"-{key}={value}" for key, value in stated.items()), path]
    subprocess.run(command, check=True, capture_output=True)
    for found in (probe(path).metadata, tag_metadata(path)):
        assert found.taken == Taken("1999-07-04T12:30:00+02:00", "xmp") and found.camera == "Leica M3"
        assert (found.lat, found.lon) == (pytest.approx(38.72), pytest.approx(-9.14))
    assert probe(path).caption == "geese on the pond"
