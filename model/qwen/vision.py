"""Images to the patch rows of a Qwen2-VL vision tower.

Built around one rule of sizes (`smart_resize`) and one layout (`patchify`), on NumPy
and Pillow alone: no torchvision. It knows nothing of prompts, tokens or torch, and
works out sizes before touching pixels, so that batches can be planned first.

Source of the rules: the published evaluation of VLM2Vec-V2 (arXiv 2507.04590), whose
resizer differs from the library's in two places: sides under 28 px and aspect
ratios over 200 do not fail, they become square.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError

# The limits of the published evaluation and training: 4 and 1280 merged patches of 28 × 28.
PROTOCOL_MIN_PIXELS = 4 * 28 * 28
PROTOCOL_MAX_PIXELS = 1280 * 28 * 28
MAX_ASPECT = 200
TINY_SIDE = 56

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Pixels:
    """How images are sized and scaled: what a `preprocessor_config.json` says."""

    min_pixels: int = PROTOCOL_MIN_PIXELS
    max_pixels: int = PROTOCOL_MAX_PIXELS
    patch: int = 14
    merge: int = 2
    temporal: int = 2
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    rescale: float = 1 / 255

    @property
    def factor(self) -> int:
        """Sides are multiples of this many pixels: one merged patch, one token."""
        return self.patch * self.merge

    @classmethod
    def read(cls, folder: Path, min_pixels: int | None = None, max_pixels: int | None = None) -> Pixels:
        """From a checkpoint folder; the protocol's own limits where it says nothing."""
        said = _preprocessor(folder)
        size = said.get("size") or {}
        pixels = cls(
            min_pixels=said.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or cls.min_pixels,
            max_pixels=said.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or cls.max_pixels,
            patch=said.get("patch_size", cls.patch),
            merge=said.get("merge_size", cls.merge),
            temporal=said.get("temporal_patch_size", cls.temporal),
            mean=tuple(said.get("image_mean", cls.mean)),
            std=tuple(said.get("image_std", cls.std)),
            rescale=said.get("rescale_factor", cls.rescale),
        )
        pixels = replace(pixels, min_pixels=min_pixels or pixels.min_pixels, max_pixels=max_pixels or pixels.max_pixels)
        if pixels.max_pixels < pixels.factor**2 or pixels.min_pixels > pixels.max_pixels:
            raise ModelError(
                f"Pixel limits {pixels.min_pixels} to {pixels.max_pixels} leave no image: the smallest is "
                f"{pixels.factor**2}, and the lower limit must not exceed the upper one."
            )
        return pixels

    def table(self) -> np.ndarray:
        """float32 [3, 256]: what each of the 256 values of each channel becomes."""
        values = (np.arange(256, dtype=np.float64) * self.rescale).astype(np.float32)
        mean = np.asarray(self.mean, dtype=np.float32)[:, None]
        std = np.asarray(self.std, dtype=np.float32)[:, None]
        return (values[None, :] - mean) / std


@dataclass(frozen=True, eq=False)
class Visual:
    """One image or clip with the size it will be given: `grid` is (t, h, w) in patches."""

    frames: tuple[np.ndarray, ...]
    size: tuple[int, int]
    grid: tuple[int, int, int]
    stretch: tuple[int, int] | None = None

    def tokens(self, pixels: Pixels) -> int:
        t, h, w = self.grid
        return t * h * w // pixels.merge**2

    def patches(self, pixels: Pixels) -> np.ndarray:
        """float32 [t * h * w, 3 * temporal * patch²]: the rows that the vision tower takes."""
        resized = [resize(resize(f, *self.stretch) if self.stretch else f, *self.size) for f in self.frames]
        return patchify(np.stack(resized), pixels)


def image_visual(image: Any, pixels: Pixels, first: tuple[int, int] | None = None) -> Visual:
    """An image: uint8 RGB [H, W, 3] or a PIL image. A side under 28 px is stretched to 56 × 56 first.

    `first` = (min, max) pixels sizes it once before (GME's own way with images).
    """
    frame = as_rgb(image)
    height, width = frame.shape[:2]
    stretch = None
    if min(height, width) < pixels.factor:
        stretch = (TINY_SIDE, TINY_SIDE)
    elif first is not None:
        stretch = smart_resize(height, width, pixels.factor, *first)
    height, width = stretch or (height, width)
    return _visual((frame,), (height, width), pixels, stretch)


def video_visual(frames: Sequence[Any] | np.ndarray, pixels: Pixels) -> Visual:
    """A clip: frames in order of time; the first one sets the size, an odd count repeats the last."""
    images = tuple(as_rgb(frame) for frame in frames)
    if not images:
        raise ModelError("A video without frames cannot be embedded.")
    return _visual(images, images[0].shape[:2], pixels, None)


def sample_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` frames evenly spaced over a clip, first and last included; all of them where there are fewer.

    The protocol's choice: `linspace(0, n - 1, count)` cut to whole numbers (of 64 frames: 0, 9, 18 … 63).
    """
    if len(frames) <= count:
        return frames
    return frames[np.linspace(0, len(frames) - 1, count).astype(int)]


def smart_resize(
    height: int,
    width: int,
    factor: int = 28,
    min_pixels: int = PROTOCOL_MIN_PIXELS,
    max_pixels: int = PROTOCOL_MAX_PIXELS,
) -> tuple[int, int]:
    """The (height, width) in multiples of `factor` nearest to the aspect ratio and within the limits.

    A side under `factor`, or an aspect ratio over 200, makes the image square.
    """
    if min(height, width) < factor or max(height, width) / min(height, width) > MAX_ASPECT:
        height = width = max(factor, height, width)
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    if tall * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif tall * wide < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return tall, wide


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3], bicubic with antialiasing, the same bytes under every Pillow.

    Pillow resizes one axis after the other and rounds between; an image that grows wider and
    shorter is done height first from Pillow 13 on (and in the parity cases), width first before.
    Asked for in two steps, the order is ours. Worth 6e-4 in an embedding's largest difference.
    """
    from PIL import Image

    if frame.shape[0] > height and frame.shape[1] < width:
        frame = resize(frame, height, frame.shape[1])
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def patchify(frames: np.ndarray, pixels: Pixels) -> np.ndarray:
    """uint8 [T, H, W, 3] of final size to normalised rows, float32 [t * h * w, 3 * temporal * patch²].

    Rows run over time, then merged patches, then the patches inside each; a row holds
    channel, time, y, x. Rearranged as bytes and normalised by table: a quarter of the memory traffic.
    """
    p, m, tp = pixels.patch, pixels.merge, pixels.temporal
    if short := -len(frames) % tp:
        frames = np.concatenate([frames, np.repeat(frames[-1:], short, axis=0)])
    t, h, w = len(frames) // tp, frames.shape[1] // p, frames.shape[2] // p
    cut = frames.reshape(t, tp, h // m, m, p, w // m, m, p, 3)
    rows = np.ascontiguousarray(cut.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)).reshape(t * h * w, 3, tp * p * p)
    table, out = pixels.table(), np.empty(rows.shape, dtype=np.float32)
    for channel in range(3):
        out[:, channel] = table[channel][rows[:, channel]]
    return out.reshape(t * h * w, 3 * tp * p * p)


def as_rgb(image: Any) -> np.ndarray:
    """uint8 [H, W, 3] from an array of that kind or any PIL image."""
    if not isinstance(image, np.ndarray):
        if not hasattr(image, "convert"):
            raise ModelError(f"An image must be a uint8 array [H, W, 3] or a PIL image, not {type(image).__name__}.")
        image = np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ModelError(f"An image must be uint8 RGB [H, W, 3]; this one is {image.dtype} {list(image.shape)}.")
    if 0 in image.shape:
        raise ModelError(f"An image of {image.shape[1]} × {image.shape[0]} pixels holds nothing to embed.")
    return image


def _visual(
    frames: tuple[np.ndarray, ...], sides: tuple[int, ...], pixels: Pixels, stretch: tuple[int, int] | None
) -> Visual:
    tall, wide = smart_resize(sides[0], sides[1], pixels.factor, pixels.min_pixels, pixels.max_pixels)
    grid = (-(-len(frames) // pixels.temporal), tall // pixels.patch, wide // pixels.patch)
    return Visual(frames, (tall, wide), grid, stretch)


def _preprocessor(folder: Path) -> dict[str, Any]:
    own, joint = folder / "preprocessor_config.json", folder / "processor_config.json"
    try:
        if own.is_file():
            return json.loads(own.read_text("utf-8"))
        if joint.is_file():
            return json.loads(joint.read_text("utf-8")).get("image_processor") or {}
    except ValueError as error:
        raise ModelError(f"{own if own.is_file() else joint} is not valid JSON ({error}).") from None
    return {}
