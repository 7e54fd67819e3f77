"""Live and motion photos: where the film lies, and which film belongs to which picture."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image

from data.media.beside_names import lies_with, stem
from data.media.image import read_image
from data.media.live import image_beside, is_live_pair, video_beside, video_inside
from data.media.video import probe
from tests.data.media.heics import box, heic_bytes
from tests.media import draw_image, draw_video, picture


def film(tmp_path: Path, seconds: float = 3, name: str = "film.mp4", **metadata: str) -> Path:
    # Keys of the `mdta` kind, as phones write them.
    return draw_video(
        tmp_path / name, seconds, 5, size=(64, 48), metadata=metadata, options={"movflags": "use_metadata_tags"}
    )


@pytest.mark.parametrize("trailer", [b"", b"SEFH\x6b\x00\x00\x00\x01\x00\x00\x00" + bytes(40) + b"SEFT"])
@pytest.mark.parametrize("before", [b"", b"\x00\x00\x30\x0a\x10\x00\x00\x00MotionPhoto_Data"])
def test_a_jpeg_with_a_film_behind_it(tmp_path: Path, before: bytes, trailer: bytes) -> None:
    still = draw_image(tmp_path / "a.jpg").read_bytes()
    moving = film(tmp_path).read_bytes()
    path = tmp_path / "PXL_1.MP.jpg"
    path.write_bytes(still + before + moving + trailer)
    assert video_inside(path) == (len(still + before), len(moving))
    (tmp_path / "out.mp4").write_bytes(path.read_bytes()[len(still + before) :][: len(moving)])
    assert probe(tmp_path / "out.mp4").duration_s == pytest.approx(3, abs=0.3)
    assert (read_image(path) == read_image(still)).all()


def test_a_heic_with_a_film_in_a_box(tmp_path: Path) -> None:
    still, moving = heic_bytes(picture(size=(128, 64))), film(tmp_path).read_bytes()
    (tmp_path / "a.heic").write_bytes(still + box(b"mpvd", moving))
    assert video_inside(tmp_path / "a.heic") == (len(still) + 8, len(moving))
    (tmp_path / "b.heic").write_bytes(still)
    assert video_inside(tmp_path / "b.heic") is None


def test_an_ordinary_picture_holds_no_film(tmp_path: Path) -> None:
    assert video_inside(draw_image(tmp_path / "a.jpg")) is None
    data = draw_image(tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(data + b"\x00\x00\x00\x18ftypmp42 is a word in a text" + bytes(50))
    assert video_inside(tmp_path / "b.jpg") is None
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8")
    assert video_inside(tmp_path / "c.jpg") is None


def apple_photo(path: Path, identifier: str) -> Path:
    value = identifier.encode() + b"\0"
    note = b"Apple iOS\0\0\1MM" + struct.pack(">HHHII", 1, 0x11, 2, len(value), 32) + bytes(4) + value
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = note
    picture(size=(64, 48)).save(path, exif=exif.tobytes())
    return path


ONE, OTHER = "6F9C1E6A-95D2-4C8E-9A0B-111111111111", "6F9C1E6A-95D2-4C8E-9A0B-222222222222"
KEY = "com.apple.quicktime.content.identifier"


def test_apples_identifier_decides(tmp_path: Path) -> None:
    still = apple_photo(tmp_path / "IMG_1.jpg", ONE)
    assert is_live_pair(still, film(tmp_path, name="IMG_1.mov", **{KEY: ONE}))
    assert is_live_pair(still, film(tmp_path, name="renamed.mov", **{KEY: ONE}))
    assert not is_live_pair(still, film(tmp_path, name="IMG_1.mp4", **{KEY: OTHER})), "another moment of that name"


@pytest.mark.slow
def test_without_identifiers_the_name_and_a_few_seconds_do(tmp_path: Path) -> None:
    still = draw_image(tmp_path / "IMG_2.jpg")
    assert is_live_pair(still, film(tmp_path, 3, "IMG_2.mov"))
    assert not is_live_pair(still, film(tmp_path, 3, "IMG_3.mov"))
    assert not is_live_pair(still, film(tmp_path, 20, "img_2.mp4")), "a film of its own"
    (tmp_path / "IMG_2.avi").write_bytes(b"junk" * 100)
    assert not is_live_pair(still, tmp_path / "IMG_2.avi") and not is_live_pair(still, tmp_path / "IMG_2.srt")


@pytest.mark.slow
def test_a_pixels_picture_and_its_film_find_each_other(tmp_path: Path) -> None:
    for name in ("PXL_20210508_091011123.MP", "PXL_20210508_091011124.mp4"):
        clip = film(tmp_path, 2, f"{Path(name).stem}.mp4").rename(tmp_path / name)
        still = draw_image(tmp_path / f"{clip.stem}.MP.jpg", format="JPEG")
        assert video_beside(still) == clip and image_beside(clip) == still
        assert lies_with(clip.name, still.name) and lies_with(still.name, clip.name)


@pytest.mark.parametrize(
    ("picture_name", "film_name"),
    [
        ("IMG_1.HEIC", "IMG_1.MOV"),
        ("IMG_1.HEIC", "img_1_hevc.mov"),
        ("IMG_1.HEIC", "IMG_1.HEIC.MOV"),
        ("IMG_1(1).HEIC", "IMG_1(1).MP4"),
        ("PXL_2021.MP.jpg", "PXL_2021.MP"),
        ("PXL_2021.MP.jpg", "PXL_2021.MP~2"),
        ("MVIMG_2020.jpg", "MVIMG_2020.MP4"),
    ],
)
def test_names_of_pairs(picture_name: str, film_name: str) -> None:
    assert stem(picture_name) == stem(film_name)
    assert stem("IMG_1.HEIC") != stem("IMG_10.MOV")
