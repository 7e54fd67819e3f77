"""Frames as a player shows them: upright, unmirrored, square pixels, true colours. FFmpeg is the referee."""

from __future__ import annotations

import itertools
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.media.clip import Cut, cut, join
from data.media.video import probe, sample_frames
from data.reader import decode, outline
from tests.media import draw_video, picture

ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's program is not installed")
# (a, b, c, d) of the display matrix: a pixel (x, y) goes to (a·x + c·y, b·x + d·y).
MATRICES = {
    "as stored": (1, 0, 0, 1),
    "turned 90": (0, 1, -1, 0),
    "turned 180": (-1, 0, 0, -1),
    "turned 270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "mirrored, turned 90": (0, 1, 1, 0),
    "mirrored, turned 270": (0, -1, -1, 0),
}


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix into the first track of an MP4."""
    a, b, c, d = (number << 16 for number in matrix)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd")
    at += 4 + (40 if data[at + 4] == 0 else 52)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def transformed(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Each pixel carried where the matrix sends it: the definition, pixel by pixel."""
    height, width = image.shape[:2]
    ys, xs = np.mgrid[:height, :width]
    a, b, c, d = matrix
    x, y = a * xs + c * ys, b * xs + d * ys
    out = np.zeros((y.max() - y.min() + 1, x.max() - x.min() + 1, 3), image.dtype)
    out[y - y.min(), x - x.min()] = image
    return out


def first(path: Path, max_side: int | None = None) -> np.ndarray:
    return sample_frames(path, 0, 0.2, 1, max_side)[0][0].astype(int)


def by_ffmpeg(path: Path, *options: str) -> np.ndarray:
    target = path.with_suffix(".png")
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(path), "-frames:v", "1", *options, str(target)]
    subprocess.run(command, check=True)
    return np.asarray(Image.open(target).convert("RGB")).astype(int)


def film(path: Path, **how: Any) -> Path:
    """Not alike in any of the eight orientations."""
    return draw_video(path, 2, 10, size=(160, 120), frame=lambda _: picture("Ly", (160, 120), seed=4), **how)


@pytest.mark.parametrize("name", MATRICES)
def test_a_film_is_shown_as_its_matrix_says(tmp_path: Path, name: str) -> None:
    plain = first(film(tmp_path / "plain.mp4"))
    path = with_matrix(film(tmp_path / "a.mp4"), MATRICES[name])
    shown = first(path)
    assert (shown == transformed(plain, MATRICES[name])).all()
    info = probe(path)
    assert (info.width, info.height) == (shown.shape[1], shown.shape[0])


@ffmpeg
@pytest.mark.parametrize("name", MATRICES)
def test_ffmpeg_turns_and_mirrors_it_alike(tmp_path: Path, name: str) -> None:
    path = with_matrix(film(tmp_path / "a.mp4"), MATRICES[name])
    theirs, ours = by_ffmpeg(path), first(path)
    assert theirs.shape == ours.shape and np.abs(theirs - ours).mean() < 3


@pytest.mark.parametrize("name", ["mirrored", "mirrored, turned 90", "turned 270"])
def test_window_thumbnail_clip_and_reel_show_it_alike(tmp_path: Path, name: str) -> None:
    path = with_matrix(film(tmp_path / "a.mp4"), MATRICES[name])
    truth = first(path)
    (chunk,) = decode(path, "video", outline(path, "video").chunks)
    assert (chunk.frames[0] == truth).all()
    cut(path, 0, 2, tmp_path / "copy.mp4")
    assert (first(tmp_path / "copy.mp4") == truth).all(), "the matrix goes along"
    join([Cut(path, 0, 2)], tmp_path / "reel.mp4")
    assert np.abs(first(tmp_path / "reel.mp4") - truth).mean() < 4


@pytest.mark.parametrize("name", ["turned 90", "mirrored, turned 270"])
def test_oblong_pixels_are_stretched_before_the_turn(tmp_path: Path, name: str) -> None:
    path = draw_video(tmp_path / "a.mp4", 1, 10, size=(96, 80), sample_aspect=2)
    assert first(with_matrix(path, MATRICES[name])).shape == (192, 80, 3)
    assert (probe(path).width, probe(path).height) == (80, 192)


# Colours


def coloured(path: Path, rgb: Any, size: tuple[int, int], codec: str = "libx264", **tags: Any) -> Path:
    """A film of one picture (a colour, or an array) in the YCbCr of `matrix` and `full` range, saying what
    `tags` say: colorspace, color_primaries, color_trc, color_range."""
    import av

    matrix, full = tags.pop("matrix", 1), tags.pop("full", False)
    depth = 10 if tags.pop("ten", False) else 8
    array = np.broadcast_to(np.asarray(rgb, dtype=np.float64), (size[1], size[0], 3)) / 255
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    luma = array @ (kr, 1 - kr - kb, kb)
    blue, red = (array[..., 2] - luma) / (2 - 2 * kb), (array[..., 0] - luma) / (2 - 2 * kr)
    unit = 1 << (depth - 8)
    scale, low, chroma = (255, 0, 255) if full else (219, 16, 224)
    planes = [(luma * scale + low) * unit] + [(one * chroma + 128) * unit for one in (blue, red)]
    small = [one.reshape(size[1] // 2, 2, size[0] // 2, 2).mean(axis=(1, 3)) for one in planes[1:]]
    kind = np.uint16 if depth == 10 else np.uint8
    whole = np.concatenate([np.round(one).astype(kind).ravel() for one in (planes[0], *small)])
    pixels = "yuv420p10le" if depth == 10 else "yuv420p"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 30_000)
        options = {"x265-params": "log-level=none:qp=4"} if codec == "libx265" else {"qp": "4"}
        stream.options = {"preset": "ultrafast", **options}
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(whole.reshape(-1, size[0]), format=pixels)
            frame.pts, frame.time_base = i * 6000, Fraction(1, 30_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


GREEN = (32, 192, 64)


@pytest.mark.parametrize(
    ("size", "tags"),
    [
        ((1280, 720), {}),
        ((720, 1280), {}),
        ((1440, 1080), {}),
        ((640, 360), {"matrix": 5}),
        ((720, 576), {"matrix": 5}),
        ((640, 360), {"colorspace": 1}),
        ((1280, 720), {"matrix": 5, "colorspace": 5}),
        ((1280, 720), {"full": True, "color_range": 2}),
        ((640, 360), {"full": True, "color_range": 2, "matrix": 5}),
        ((1280, 720), {"full": True, "color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1}),
    ],
)
@pytest.mark.parametrize("max_side", [None, 320])
def test_a_colour_is_the_one_that_was_filmed(
    tmp_path: Path, size: tuple[int, int], tags: dict[str, Any], max_side: int | None
) -> None:
    """Untagged: BT.709 from HD on, BT.601 below, as players do."""
    path = coloured(tmp_path / "a.mp4", GREEN, size, **tags)
    assert np.abs(first(path, max_side).reshape(-1, 3) - GREEN).max() <= 3
    join([Cut(path, 0, 0.8)], tmp_path / "reel.mp4", max_side=max_side)
    assert np.abs(first(tmp_path / "reel.mp4").reshape(-1, 3).mean(axis=0) - GREEN).max() <= 4, "and of a reel"


def test_old_motion_jpeg_is_full_range_bt601_at_any_size(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mov", 1, 5, (1280, 720), codec="mjpeg", frame=lambda _: flat(GREEN))
    assert np.abs(first(path).reshape(-1, 3).mean(axis=0) - GREEN).max() <= 3


def flat(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (1280, 720), colour)


TO_BT2020 = np.array(((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)))
HDR = {
    "pq": {"color_trc": 16, "color_primaries": 9, "colorspace": 9, "matrix": 9, "ten": True},
    "hlg": {"color_trc": 18, "color_primaries": 9, "colorspace": 9, "matrix": 9, "ten": True},
    "pq without a matrix": {"color_trc": 16, "color_primaries": 9, "matrix": 9, "ten": True},
}


def to_hdr(srgb: np.ndarray, transfer: str) -> np.ndarray:
    """A picture as an HDR camera would code it, its white at 203 cd/m² (PQ) or at 75 % (HLG): 0..255."""
    share = srgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ TO_BT2020.T
    light = np.clip(light, 0, 1)
    if transfer == "pq":
        power = (light * 203 / 10_000) ** (2610 / 16384)
        code = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        scene = light * 0.265
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return np.asarray(code * 255)


@pytest.mark.parametrize("name", HDR)
@pytest.mark.parametrize("seed", [1, 5])
def test_hdr_is_shown_as_the_picture_that_was_filmed(tmp_path: Path, name: str, seed: int) -> None:
    truth = np.asarray(picture("sea", (320, 240), seed=seed)).astype(float)
    path = coloured(tmp_path / "a.mp4", to_hdr(truth, name[:3].strip()), (320, 240), "libx265", **HDR[name])
    assert np.abs(first(path) - truth).mean() < 7
    join([Cut(path, 0, 0.8)], tmp_path / "reel.mp4")
    assert np.abs(first(tmp_path / "reel.mp4") - truth).mean() < 9, "a reel is not HDR any more"


def test_highlights_of_hdr_keep_their_order_and_their_hue(tmp_path: Path) -> None:
    """203, 400 and 1,000 cd/m²: brighter is brighter, and none is more than white."""
    codes = [0.5807 * 255, 0.6525 * 255, 0.7518 * 255]
    shown = [
        first(coloured(tmp_path / f"{i}.mp4", (code,) * 3, (64, 64), "libx265", **HDR["pq"])).mean()
        for i, code in enumerate(codes)
    ]
    assert 225 < shown[0] < shown[1] < shown[2] <= 255


def test_display_p3_is_narrowed(tmp_path: Path) -> None:
    """The P3 coordinates of the sRGB colour (255, 64, 32) are (235, 81, 52)."""
    path = coloured(tmp_path / "a.mp4", (235, 81, 52), (320, 240), color_primaries=12, colorspace=1, color_trc=1)
    assert np.abs(first(path).reshape(-1, 3).mean(axis=0) - (255, 64, 32)).max() <= 4


@ffmpeg
def test_ffmpegs_tone_mapping_is_near(tmp_path: Path) -> None:
    filters = subprocess.run(["ffmpeg", "-v", "quiet", "-filters"], capture_output=True, text=True).stdout
    if "zscale" not in filters:
        pytest.skip("this FFmpeg has no zscale")
    truth = np.asarray(picture("sea", (320, 240), seed=5)).astype(float)
    for name, npl in itertools.product(("pq", "hlg"), (203,)):
        path = coloured(tmp_path / f"{name}.mp4", to_hdr(truth, name), (320, 240), "libx265", **HDR[name])
        chain = (
            f"zscale=t=linear:npl={npl},format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=mobius:desat=0,"
            "zscale=t=iec61966-2-1:m=bt709:r=tv,format=rgb24"
        )
        assert np.abs(by_ffmpeg(path, "-vf", chain) - first(path)).mean() < 20
