"""Cameras' raw files: the preview first, else the sensor; upright, with what the camera wrote."""

from __future__ import annotations

import io
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.media.image import inspect, read_image
from data.media.kinds import MediaError, kind_of, sniff
from data.media.raw import RawFile, _exif_of_cr3
from data.reader import decode, outline
from tests.data.media.heics import box
from tests.data.media.tiffs import dng
from tests.media import exif_bytes, picture, xmp_packet

SIZE = (640, 428)
SCENE = picture(size=SIZE, seed=8)
DEVELOPED = 30  # LibRaw brightens what it develops


def jpeg(image: Image.Image, orientation: int | None = None, jfif: bool = False) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, exif=exif_bytes(orientation=orientation))
    # Without JFIF, as most cameras write it, EXIF comes first.
    return out.getvalue() if jfif else out.getvalue()[:2] + out.getvalue()[20:]


def off(found: np.ndarray, truth: Image.Image) -> float:
    shown = truth.resize((found.shape[1], found.shape[0]))
    return float(np.abs(found.astype(int) - np.asarray(shown).astype(int)).mean())


def test_the_cameras_own_preview_is_shown() -> None:
    grey = SCENE.convert("L").convert("RGB")  # unlike the sensor, so that one can tell
    data = dng(np.asarray(SCENE), preview=jpeg(grey))
    assert off(read_image(data), grey) < 4 and read_image(data).shape == (428, 640, 3)
    assert read_image(data, 160).shape == (107, 160, 3)


def test_without_a_preview_the_sensor_is_developed_at_half_size() -> None:
    found = read_image(dng(np.asarray(SCENE)))
    assert found.shape == (214, 320, 3) and off(found, SCENE) < DEVELOPED
    assert max(read_image(dng(np.asarray(SCENE)), 100).shape) == 100


def test_a_preview_the_size_of_a_stamp_is_enough_for_a_stamp_only() -> None:
    grey = SCENE.convert("L").convert("RGB").resize((160, 107))
    data = dng(np.asarray(SCENE), preview=jpeg(grey))
    assert off(read_image(data, 120), grey) < 6
    assert off(read_image(data, 320), SCENE) < DEVELOPED


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("with_preview", [False, True])
def test_raw_files_stand_upright(orientation: int, with_preview: bool) -> None:
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    upright = SCENE.transpose(turn[orientation]) if orientation > 1 else SCENE
    data = dng(np.asarray(SCENE), preview=jpeg(SCENE) if with_preview else None, orientation=orientation)
    assert off(read_image(data), upright) < (4 if with_preview else DEVELOPED)
    assert off(read_image(data), upright.transpose(Image.Transpose.ROTATE_180)) > DEVELOPED
    assert (inspect(data).width, inspect(data).height) == upright.size


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("jfif", [False, True])
def test_a_preview_that_the_camera_has_turned_already_stays(orientation: int, jfif: bool) -> None:
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    upright = SCENE.transpose(turn[orientation])
    data = dng(np.asarray(SCENE), preview=jpeg(upright, 1, jfif), orientation=orientation)
    assert off(read_image(data), upright) < 4
    data = dng(np.asarray(SCENE), preview=jpeg(SCENE, orientation, jfif), orientation=orientation)
    assert off(read_image(data), upright) < 4, "one that it has not turned"


@pytest.mark.parametrize("exif", [exif_bytes(orientation=8, model="Pinhole 2"), None])
def test_the_exif_of_a_preview_that_begins_with_jfif_is_the_cameras(exif: bytes | None) -> None:
    out = io.BytesIO()
    SCENE.save(out, "JPEG", exif=exif or b"")
    data = dng(np.asarray(SCENE), preview=out.getvalue(), orientation=3)
    with closing(RawFile(data)) as raw:
        preview = raw.preview()
        assert preview is not None
        found = preview.getexif()
        assert (found.get(0x0112), found.get(0x0110)) == ((8, "Pinhole 2") if exif else (None, None))


def test_what_the_camera_wrote_is_read(tmp_path: Path) -> None:
    packet = xmp_packet(dc_title="Regatta")
    more = {306: ("s", ("2020:01:02 03:04:05",)), 700: ("B", tuple(packet))}
    (tmp_path / "a.dng").write_bytes(dng(np.asarray(SCENE), preview=jpeg(SCENE), more=more))
    found = outline(tmp_path / "a.dng", "image")
    assert found.metadata.camera == "Sightline Pinhole" and found.metadata.taken is not None
    assert (found.width, found.height) == SIZE and found.caption == "Regatta"
    assert len(decode(tmp_path / "a.dng", "image", found.chunks)) == 1


def test_a_canon_cr3_keeps_its_exif_in_boxes() -> None:
    def structure(**facts: object) -> bytes:
        return exif_bytes(**facts)[6:]  # type: ignore[arg-type]

    detail = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x9003, 2, 20, 26) + bytes(4) + b"2021:02:03 04:05:06\0"
    parts = box(b"CMT1", structure(make="Canon", model="Canon EOS R5")) + box(b"CMT2", detail)
    data = box(b"ftyp", b"crx " + bytes(4)) + box(b"moov", box(b"uuid", bytes(16) + parts))
    exif = _exif_of_cr3(io.BytesIO(data))
    assert exif[0x0110] == "Canon EOS R5" and exif.get_ifd(0x8769)[0x9003] == "2021:02:03 04:05:06"


@pytest.mark.parametrize("name", ["dng", "cr2", "CR3", "nef", "arw", "raf", "rw2", "orf", "pef", "srw"])
def test_raw_names_are_looked_at(name: str) -> None:
    assert kind_of(f"a.{name}") == "image"


@pytest.mark.parametrize(
    "head", [b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\x00", b"IIU\x00\x18", b"\x00\x00\x00\x18ftypcrx \x00"]
)
def test_a_raw_file_without_content_is_refused_in_words(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.nef").write_bytes(head.ljust(9000, b"\x01"))
    assert sniff(head) == "image"
    with pytest.raises(MediaError, match="raw"):
        read_image(tmp_path / "a.nef")


def test_a_cut_off_raw_file_is_refused() -> None:
    data = dng(np.asarray(SCENE))
    with pytest.raises(MediaError):
        read_image(data[: len(data) // 3])
