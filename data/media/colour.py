"""Pixels of any mode and colour space to 8-bit sRGB on white, as viewers display them.

Built around `plain`, which cheaply reduces Pillow's modes to four (L, RGB, RGBA, CMYK), and `to_srgb`, called on
the reduced image. LittleCMS applies ICC profiles; NumPy converts colour spaces declared by number (ITU-T H.273,
`Colours`) and HDR, whose highlights are compressed to the range of a screen. Knows nothing of files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

WHITE_NITS = 203.0  # diffuse white of HDR in cd/m² (ITU-R BT.2408)
PQ, HLG = 16, 18
# An ICC profile that changes no colour by more than this counts as sRGB.
_MAX_DIFFERENCE = 3
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Colours:
    """A colour space by the numbers of ITU-T H.273: `primaries` (1 BT.709, 9 BT.2020, 12 Display P3) and
    `transfer` (13 sRGB, 16 PQ, 18 HLG). `gamma` replaces a transfer without a number; primaries without a number are
    the chromaticities x, y of white, red, green and blue."""

    primaries: int | tuple[float, ...] = 1
    transfer: int = 13
    gamma: float | None = None

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)


ADOBE_RGB = Colours(primaries=-1, gamma=563 / 256)


def plain(image: Image.Image) -> Image.Image:
    """Returns the image in mode L, RGB, RGBA or CMYK."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode in ("CMYK", "RGBA"):
        return image
    if image.mode.startswith(("I", "F")):
        return _grey_of_many_bits(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(picture: Image.Image, profile: bytes | None = None, colours: Colours | None = None) -> Image.Image:
    """Returns a `plain` image in sRGB, mode RGB, transparent parts on white, or on black if white hides the rest. A
    profile that is damaged or of another mode is ignored, as viewers do."""
    from PIL import Image

    if picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size, "black" if _is_white(picture) else "white")
        ground.paste(to_srgb(picture.convert("RGB"), profile, colours), mask=picture.getchannel("A"))
        return ground
    if profile:
        transform = _transform(profile, picture.mode)
        if transform is not None:
            converted: Image.Image = transform.apply(picture)
            return converted
    elif colours is not None:
        return Image.fromarray(from_numbers(np.asarray(picture.convert("RGB")), colours))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _is_white(picture: Image.Image) -> bool:
    """Whether what is visible of an RGBA image with transparent parts is nearly white: letters for dark pages."""
    visible = np.asarray(picture.getchannel("A")) > 127
    if not 0 < np.count_nonzero(visible) < 0.75 * visible.size:
        return False
    return bool((np.asarray(picture.convert("L"))[visible] < 230).mean() < 0.1)


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    """LittleCMS's transform from `profile` to sRGB; None if the profile is unusable or is sRGB."""
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "RGB":
            axis = np.linspace(0, 255, 9).astype(np.uint8)
            colours = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(27, 27, 3)
            difference = np.asarray(transform.apply(Image.fromarray(colours))).astype(int) - colours
            if np.abs(difference).max() <= _MAX_DIFFERENCE:
                return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
    return transform


# -----------------------------------------------------------------------------------------------------------
# ---- Colour spaces by number

# Chromaticities (x, y) of red, green and blue; the white point of all is D65.
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    -1: ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}


def from_numbers(pixels: np.ndarray, colours: Colours) -> np.ndarray:
    """Converts uint8 or uint16 [H, W, 3] from the colour space `colours` to uint8 sRGB."""
    matrix = _to_bt709(colours.primaries)
    if matrix is None and not colours.is_hdr and (colours.gamma or _GAMMAS.get(colours.transfer)) is None:
        return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    light = _linear_table(colours, np.iinfo(pixels.dtype).max + 1)[pixels]
    if colours.transfer == HLG:  # BT.2100: the display's gamma is 1.2 of the scene's luminance
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (1000 / WHITE_NITS) * np.power(np.maximum(luminance, 1e-6), 0.2)[..., None]
    if colours.is_hdr:
        _compress(light)
    if matrix is not None:
        light = light @ matrix.T
    return np.asarray(_srgb_table()[(np.clip(light, 0, 1) * 65535 + 0.5).astype(np.uint16)])


def _compress(light: np.ndarray) -> None:
    """Compresses highlights above diffuse white into the range of a screen, in place.

    Values below a knee stay; above it the brightest channel follows Reinhard's curve, which reaches 1 at the
    image's peak, and hues stay.
    """
    knee = 0.75
    brightest = light.max(axis=-1)
    peak = float(np.quantile(brightest[::4, ::4], 0.999)) if brightest.size else 0.0
    if peak <= 1.0:
        return
    reach = (peak - knee) / (1 - knee)
    over = np.maximum(brightest - knee, 0) / (1 - knee)
    compressed = np.minimum(brightest, knee) + (1 - knee) * over * (1 + over / reach**2) / (1 + over)
    light *= (compressed / np.maximum(brightest, 1e-6))[..., None]


def primaries_near(white_and_primaries: tuple[float, ...]) -> int | tuple[float, ...]:
    """Returns the number of chromaticities (x, y of white, red, green and blue) that are those of BT.709, of BT.2020 or
    of Display P3, or themselves; BT.709's for impossible ones."""
    white, triangle = np.reshape(white_and_primaries, (4, 2))[:1], np.reshape(white_and_primaries, (4, 2))[1:]
    for number in (1, 9, 12):
        if np.abs(triangle - _PRIMARIES[number]).max() < 0.004 and np.abs(white - _D65).max() < 0.004:
            return number
    (rx, ry), (gx, gy), (bx, by) = triangle
    area = (gx - rx) * (by - ry) - (bx - rx) * (gy - ry)
    return white_and_primaries if min(white_and_primaries[1::2]) > 0.001 and abs(area) > 0.01 else 1


@lru_cache(maxsize=8)
def _to_bt709(primaries: int | tuple[float, ...]) -> np.ndarray | None:
    if primaries == 1 or not (isinstance(primaries, tuple) or primaries in _PRIMARIES):
        return None
    if isinstance(primaries, tuple):
        white, *triangle = (tuple(pair) for pair in np.reshape(primaries, (4, 2)))
        matrix = np.linalg.inv(_to_xyz(_PRIMARIES[1], _D65)) @ _to_xyz(triangle, white)
        matrix /= matrix.sum(axis=1, keepdims=True)  # its white is the screen's
    else:
        matrix = np.linalg.inv(_to_xyz(_PRIMARIES[1], _D65)) @ _to_xyz(_PRIMARIES[primaries], _D65)
    return np.asarray(matrix, np.float32)


def _to_xyz(triangle: Sequence[tuple[float, ...]], white: tuple[float, ...]) -> np.ndarray:
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in triangle]).T
    x, y = white
    return columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y]))


@lru_cache(maxsize=4)
def _linear_table(colours: Colours, levels: int) -> np.ndarray:
    """float32 [levels], linear light of each stored level; 1 is diffuse white."""
    code = np.linspace(0, 1, levels)
    gamma = colours.gamma or _GAMMAS.get(colours.transfer)
    if colours.transfer == PQ:  # SMPTE ST 2084
        root = np.power(code, 32 / 2523)
        nits = 10_000 * np.power(np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root), 16384 / 2610)
        light = nits / WHITE_NITS
    elif colours.transfer == HLG:  # ARIB STD-B67, of the scene
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    elif gamma is not None:
        light = code**gamma
    else:
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@lru_cache(maxsize=1)
def _srgb_table() -> np.ndarray:
    light = np.linspace(0, 1, 65536)
    code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(code * 255).astype(np.uint8)


def _grey_of_many_bits(image: Image.Image) -> Image.Image:
    """16- and 32-bit grey to 8 bits. Cameras and scanners store 10, 12 or 14 bits in 16: the smallest of these
    depths that holds the brightest pixel sets the scale, so that no image comes out black."""
    from PIL import Image

    values: Any = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 255 or high <= 1:
            low = min(low, 0.0)
            values = (values - low) * (255.0 / max(high - low, 1.0 if high <= 1 and low >= 0 else 1e-12))
        grey = np.clip(values, 0, 255)
    else:
        values = np.clip(values.astype(np.int64), 0, None)
        brightest = int(values.max())
        bits = next((b for b in (8, 10, 12, 14, 16, 24, 32) if brightest < 1 << b), 64)
        grey = values >> (bits - 8)
    return Image.fromarray(grey.astype(np.uint8))
