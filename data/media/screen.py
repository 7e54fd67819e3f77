"""A decoded frame as players display it: `Screen.rgb`, upright, with square pixels, in sRGB.

Built around one place for every step between a decoded frame and the screen: the shape of pixels, the display
matrix (rotation and mirroring) and the colours. Windows, thumbnails, clips and the page's player all use it, so
they cannot differ. Knows nothing of files, packets and seconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

# FFmpeg's numbers (libavutil/pixfmt.h, after ITU-T H.273).
_BT709, _SMPTE170M, _BT2020 = 1, 6, 9
_PQ, _HLG = 16, 18
_TO_BT709: dict[int, tuple[tuple[float, float, float], ...]] = {  # primaries -> linear RGB to BT.709, white D65
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
# swscale's bilinear scaling with full chroma and accurate rounding. Without the last two a flat colour is off by
# up to 5 of 255; with one reformatter for all frames they cost no more than PyAV's default with a new one each
# (720p to 640: 2.5 against 3.1 ms of CPU a frame).
_SCALING = 0x2 | 0x2000 | 0x40000
# Diffuse white: in PQ in cd/m² (ITU-R BT.2408), in HLG as a share of the scene light.
WHITE_NITS, WHITE_HLG = 203.0, 0.265
# Light up to KNEE times white stays; brighter light, up to PEAK times white, is compressed.
KNEE, PEAK = 0.7, 5.0


class Screen:
    """Converts the frames of one stream for display."""

    def __init__(self, stream: Any) -> None:
        from av.video.reformatter import VideoReformatter

        aspect = float(stream.sample_aspect_ratio or 1)
        self._aspect = aspect if 0.2 < aspect < 5 else 1.0
        self._reformatter = VideoReformatter()

    def size(self, width: int, height: int, max_side: int | None) -> tuple[int, int]:
        """Returns width and height with square pixels and at most `max_side`, before rotation."""
        wide = width * self._aspect
        scale = min(1.0, max_side / max(wide, height)) if max_side else 1.0
        return max(1, round(wide * scale)), max(1, round(height * scale))

    def rgb(self, frame: Any, max_side: int | None = None) -> np.ndarray:
        """Returns uint8 RGB [H, W, 3], upright, with square pixels, in sRGB."""
        width, height = self.size(frame.width, frame.height, max_side)
        array: np.ndarray = self._reformatter.reformat(
            frame, width, height, "rgb24", src_colorspace=_assumed_matrix(frame), interpolation=_SCALING, threads=1
        ).to_ndarray()
        array = _to_srgb(array, frame.color_trc, frame.color_primaries)
        transposed, flip_x, flip_y = orientation(frame)
        if not (transposed or flip_x or flip_y):
            return array
        turned = array.transpose(1, 0, 2) if transposed else array
        return np.ascontiguousarray(turned[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def is_plain(frame: Any) -> bool:
    """Whether every decoder displays the frame alike: not mirrored, no HDR or wide gamut, and a matrix that is declared
    or BT.601."""
    transposed, flip_x, flip_y = orientation(frame)
    hdr = frame.color_trc in (_PQ, _HLG) or frame.color_primaries in _TO_BT709
    return (flip_x != flip_y) == transposed and not hdr and _assumed_matrix(frame) in (None, _SMPTE170M)


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """Returns (transposed, then mirrored left to right, then top to bottom), by the frame's display matrix.

    The nearest of the eight orientations: the matrix maps a pixel (x, y) to (a·x + c·y, b·x + d·y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = (int(number) for number in np.frombuffer(data, dtype=np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def clockwise(transposed: bool, flip_x: bool, flip_y: bool) -> int:
    """Returns the rotation of an orientation in degrees clockwise; for a mirrored frame, the one after mirroring."""
    if transposed:
        return 90 if flip_x else 270
    return 180 if flip_y else 0


def _assumed_matrix(frame: Any) -> int | None:
    """The YCbCr matrix that players assume for a frame that declares none, or one that swscale does not support.

    BT.2020 for HDR; else by size: BT.709 from 1280 pixels of width or more than 576 lines, BT.601 below.
    """
    if frame.colorspace in (1, 4, 5, 6, 7, 9) or frame.format.is_rgb or len(frame.format.components) < 3:
        return None
    if frame.color_trc in (_PQ, _HLG) or frame.colorspace in (10, 14):
        return _BT2020
    return _BT709 if frame.width >= 1280 or frame.height > 576 else _SMPTE170M


def _to_srgb(array: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Maps HDR and wide gamuts to sRGB; returns other frames unchanged."""
    if transfer in (_PQ, _HLG):
        primaries = primaries if primaries in _TO_BT709 else 9
    elif primaries not in _TO_BT709:
        return array
    from PIL import Image

    return np.asarray(Image.fromarray(array).filter(_table(transfer, primaries)))


@lru_cache(maxsize=8)
def _table(transfer: int, primaries: int) -> Any:
    """A lookup table from a video's R'G'B' to sRGB, for Pillow: 65 steps per side, computed once in 0.1 s.

    Light is relative to white: 203 cd/m² in PQ; in HLG the scene's light, which is what a screen of
    334 cd/m² shows (ITU-R BT.2100: there the system gamma is 1). BT.2020 or P3 becomes BT.709. The largest of
    the three goes through a Möbius curve, which is a straight line up to KNEE and reaches 1 at PEAK, and the
    others with it, so that hues stay.
    """
    from PIL import ImageFilter

    steps = np.linspace(0, 1, 65)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    signal = np.stack([red, green, blue], axis=-1)
    light = np.maximum(_light(signal, transfer) @ np.array(_TO_BT709[primaries]).T, 0)
    if transfer in (_PQ, _HLG):
        most = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
        light = light * (_moebius(most) / most)
    light = np.clip(light, 0, 1)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return ImageFilter.Color3DLUT(len(steps), srgb.reshape(-1, 3))


def _light(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Linear light, 1 for white."""
    if transfer == _PQ:  # SMPTE ST 2084
        power = signal ** (32 / 2523)
        share = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
        return np.asarray(share ** (16384 / 2610) * 10_000 / WHITE_NITS)
    if transfer == _HLG:  # ARIB STD-B67
        high = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        return np.where(signal <= 0.5, signal * signal / 3, high) / WHITE_HLG
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _moebius(light: np.ndarray) -> np.ndarray:
    """FFmpeg's `tonemap=mobius` (libavfilter/vf_tonemap.c)."""
    j, peak = KNEE, PEAK
    a = -j * j * (peak - 1) / (j * j - 2 * j + peak)
    b = (j * j - 2 * j * peak + peak) / (peak - 1)
    curve = (b * b + 2 * b * j + j * j) / (b - a) * (light + a) / (light + b)
    return np.where(light <= j, light, curve)
