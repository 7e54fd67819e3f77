"""Colours come out as a colour-managed viewer shows them: ICC profiles, colour spaces by number, HDR."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from data.media.colour import Colours, from_numbers
from data.media.image import read_image
from tests.data.media.profiles import ADOBE, P3, SRGB, cmyk_profile, grey_profile, rgb_profile
from tests.data.media.test_mend import png_piece
from tests.media import picture

SIZE = (320, 240)


def off(found: np.ndarray, truth: Image.Image | np.ndarray) -> float:
    return float(np.abs(found.astype(int) - np.asarray(truth).astype(int)).mean())


def saved(image: Image.Image, format: str, **save: Any) -> bytes:
    if format == "HEIF":
        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, format, **save)
    return out.getvalue()


def by_littlecms(image: Image.Image, profile: bytes) -> Image.Image:
    found = ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert found is not None
    return found


LOSSLESS: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "HEIF": {"quality": 95, "chroma": 444}}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize("columns", [ADOBE, P3], ids=["adobe", "p3"])
def test_a_profile_is_obeyed_in_every_format(format: str, columns: Any) -> None:
    profile, image = rgb_profile(columns), picture(size=SIZE, seed=4)
    truth = by_littlecms(image, profile)
    assert off(np.asarray(image), truth) > 4, "the profile matters"
    save = LOSSLESS.get(format, {"quality": 95} if format in ("JPEG", "AVIF") else {})
    data = saved(image, format, icc_profile=profile, **save)
    assert off(read_image(data), truth) < 3
    assert off(read_image(data, 160), truth.resize((160, 120), Image.Resampling.BICUBIC)) < 4


def test_a_profile_that_is_srgb_by_another_name_changes_nothing() -> None:
    image = picture(size=SIZE, seed=4)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert off(read_image(saved(image, "PNG", icc_profile=profile)), image) == 0
    assert off(read_image(saved(image, "PNG", icc_profile=rgb_profile(SRGB, 2.2))), image) < 3


@pytest.mark.parametrize("profile", [b"junk", rgb_profile()[:200], grey_profile(1.0), cmyk_profile()])
def test_a_profile_that_is_broken_or_of_another_kind_is_passed_over(profile: bytes) -> None:
    image = picture(size=SIZE, seed=4)
    assert off(read_image(saved(image, "PNG", icc_profile=profile)), image) == 0


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_inks_look_as_on_paper(format: str) -> None:
    image = Image.new("CMYK", (40, 30), (255, 0, 0, 0))
    found = read_image(saved(image, format, icc_profile=cmyk_profile()))
    assert off(found, by_littlecms(image, cmyk_profile())) < 2
    assert found[15, 20, 0] < 90 and 120 < found[15, 20, 1] < 190, "cyan ink is darker than a screen's"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_a_grey_scan_with_its_own_gamma(format: str) -> None:
    image, profile = picture(size=SIZE, seed=4).convert("L"), grey_profile(1.2)
    truth = by_littlecms(image, profile)
    assert off(np.asarray(image.convert("RGB")), truth) > 15
    assert off(read_image(saved(image, format, icc_profile=profile)), truth) < 3


def test_a_profile_holds_under_transparency_and_in_palettes() -> None:
    profile, image = rgb_profile(ADOBE), picture(size=SIZE, seed=4)
    clear = image.copy()
    clear.putalpha(Image.new("L", SIZE, 255))
    assert off(read_image(saved(clear, "PNG", icc_profile=profile)), by_littlecms(image, profile)) < 1
    few = image.quantize(32)
    truth = by_littlecms(few.convert("RGB"), profile)
    assert off(read_image(saved(few, "PNG", icc_profile=profile)), truth) < 1


def test_adobe_rgb_without_a_profile_as_cameras_write_it() -> None:
    image = picture(size=SIZE, seed=4)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    plain = saved(image, "JPEG", quality=95, exif=exif.tobytes())
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    data = saved(image, "JPEG", quality=95, exif=exif.tobytes())
    assert off(read_image(plain), image) < 2
    assert off(read_image(data), by_littlecms(image, rgb_profile(ADOBE))) < 2


def png16(values: np.ndarray, *pieces: bytes) -> bytes:
    """A PNG of uint16 [H, W, 3] with these pieces before the pixels."""
    import zlib

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_piece(b"IHDR", head),
            *pieces,
            png_piece(b"IDAT", zlib.compress(rows)),
            png_piece(b"IEND", b""),
        ]
    )


def linear(image: Image.Image) -> np.ndarray:
    code = np.asarray(image) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def test_sixteen_bits_and_a_gamma_of_a_png() -> None:
    image = picture(size=SIZE, seed=4)
    assert off(read_image(png16(np.asarray(image).astype("u2") * 257)), image) == 0
    light = (linear(image) * 65535).astype("u2")
    gamma = png_piece(b"gAMA", struct.pack(">I", 100_000))
    assert off(read_image(png16(light, gamma)), image) < 6
    assert off(read_image(png16(light)), image) > 20


# Chromaticities of white, red, green and blue.
D65, P3_D65 = (0.3127, 0.3290), ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
TRIANGLES = {
    "sRGB": (D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "Display P3": (D65, *P3_D65),
    "Adobe RGB": (D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "a monitor of its own": (D65, (0.66, 0.335), (0.24, 0.66), (0.148, 0.055)),
    "DCI's white": ((0.314, 0.351), *P3_D65),
}


def in_space(image: Image.Image, triangle: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Linear light of an sRGB image in the space of a white and three primaries, white kept white."""

    def to_xyz(white: tuple[float, float], *primaries: tuple[float, float]) -> np.ndarray:
        columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
        return columns * np.linalg.solve(columns, (white[0] / white[1], 1, (1 - sum(white)) / white[1]))

    matrix = np.linalg.inv(to_xyz(*TRIANGLES["sRGB"])) @ to_xyz(*triangle)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.clip(linear(image) @ np.linalg.inv(matrix).T, 0, 1)


@pytest.mark.parametrize("name", TRIANGLES)
@pytest.mark.parametrize("gamma", [2.2, 1.8])
def test_a_png_states_its_primaries_and_its_gamma(name: str, gamma: float) -> None:
    image = picture(size=SIZE, seed=6)
    stored = (in_space(image, TRIANGLES[name]) ** (1 / gamma) * 65535).round().astype("u2")
    triangle = [round(value * 100_000) for pair in TRIANGLES[name] for value in pair]
    stated = (
        png_piece(b"gAMA", struct.pack(">I", round(100_000 / gamma))),
        png_piece(b"cHRM", struct.pack(">8I", *triangle)),
    )
    assert off(read_image(png16(stored, *stated)), image) < 4
    plain = read_image(png16(stored))
    assert (read_image(png16(stored, png_piece(b"sRGB", b"\0"), *stated)) == plain).all(), "sRGB leads"
    assert (read_image(png16(stored, stated[1])) == plain).all(), "primaries without a gamma, as browsers"


def test_impossible_primaries_of_a_png_are_passed_over() -> None:
    stored = (linear(picture(size=SIZE, seed=7)) * 65535).astype("u2")
    gamma = png_piece(b"gAMA", struct.pack(">I", 100_000))
    alone = read_image(png16(stored, gamma))
    for values in ((0,) * 8, (31270, 32900) * 4, (31270, 0, 64000, 33000, 30000, 60000, 15000, 6000)):
        assert (read_image(png16(stored, gamma, png_piece(b"cHRM", struct.pack(">8I", *values)))) == alone).all()


def pq(light: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 of light in units of paper white, in BT.2020."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    y = np.clip(light @ to_2020.T, 0, None) * 203 / 10_000
    y = y ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hdr_heic(code: np.ndarray, transfer: int) -> bytes:
    out = io.BytesIO()
    pillow_heif.encode(
        "RGB;16",
        (code.shape[1], code.shape[0]),
        (code * 65535).round().astype("<u2").tobytes(),
        out,
        quality=90,
        color_primaries=9,
        transfer_characteristics=transfer,
        matrix_coefficients=9,
        full_range_flag=1,
    )
    return out.getvalue()


def test_hdr_pictures_within_paper_white_are_what_they_were() -> None:
    image = picture(size=SIZE, seed=4)
    code = pq(linear(image))
    assert off(read_image(hdr_heic(code, 16)), image) < 4
    small = image.resize((160, 120), Image.Resampling.BICUBIC)
    assert off(read_image(hdr_heic(code, 16), 160), small) < 4
    label = png_piece(b"cICP", bytes((9, 16, 0, 1)))
    assert off(read_image(png16((code * 65535).astype("u2"), label)), image) < 4
    avif = bytearray(saved(Image.fromarray((code * 255).round().astype("u1")), "AVIF", quality=95))
    at = avif.index(b"colrnclx")
    avif[at + 8 : at + 12] = struct.pack(">HH", 9, 16)
    assert off(read_image(bytes(avif)), image) < 5


def test_an_animation_that_begins_blank_keeps_the_colours_it_declares() -> None:
    image = picture(size=SIZE, seed=4)
    shown = Image.fromarray((pq(linear(image)) * 255).round().astype("u1"))
    end = Image.new("RGB", SIZE, "white")  # the best frame is one before the last that is looked at
    animation = saved(Image.new("RGB", SIZE), "PNG", save_all=True, append_images=[shown, end], duration=100)
    after_header = 8 + 25
    label = png_piece(b"cICP", bytes((9, 16, 0, 1)))
    assert off(read_image(animation[:after_header] + label + animation[after_header:]), image) < 8


def test_highlights_are_compressed_and_not_cut() -> None:
    ramp = np.repeat(np.linspace(0, 1, 256)[None, :, None], 3, axis=2)
    for transfer in (16, 18):
        found = from_numbers((ramp * 65535).astype("u2"), Colours(9, transfer))[0, :, 0].astype(int)
        assert (np.diff(found) >= 0).all() and found[-1] >= 254
        assert len(set(found[150:].tolist())) > 10, "the bright half keeps its steps"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg is the referee")
@pytest.mark.parametrize(("transfer", "name"), [(16, "smpte2084"), (18, "arib-std-b67")])
def test_hdr_agrees_with_ffmpeg(tmp_path: Path, transfer: int, name: str) -> None:
    code = pq(linear(picture(size=SIZE, seed=4))) if transfer == 16 else linear(picture(size=SIZE, seed=4)) ** 0.5 * 0.7
    values = (code * 65535).round().astype("<u2")
    values.tofile(tmp_path / "a.raw")
    chain = (
        f"setparams=color_primaries=bt2020:color_trc={name}:colorspace=gbr:range=pc,"
        "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,zscale=t=iec61966-2-1,format=gbrp,format=rgb24"
    )
    source = ["-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "320x240", "-i", str(tmp_path / "a.raw")]
    done = subprocess.run(
        ["ffmpeg", "-v", "error", *source, "-vf", chain, "-f", "rawvideo", "-"], capture_output=True, check=False
    )
    if not done.stdout:
        pytest.skip("this FFmpeg has no zscale")
    truth = np.frombuffer(done.stdout, np.uint8).reshape(240, 320, 3)
    assert off(from_numbers(values.astype(np.uint16), Colours(9, transfer)), truth) < (4 if transfer == 16 else 8)


def test_a_gain_map_is_left_alone() -> None:
    """An Ultra HDR photo is an MPO of the base picture and a small bright map."""
    image = picture(size=SIZE, seed=4)
    out = io.BytesIO()
    image.save(out, "MPO", save_all=True, append_images=[Image.new("L", (80, 60), 255)], quality=95)
    assert off(read_image(out.getvalue()), image) < 2
