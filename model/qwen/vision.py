"""From images to the patch rows of a Qwen2-VL vision tower.

Built around one rule of sizes (`smart_resize`) and one layout (`patchify`), with NumPy and Pillow instead of
torchvision. Sizes are computed before pixels, so that batches can be planned first. It knows nothing of prompts,
tokens or torch.

Source: the published evaluation of VLM2Vec-V2 (arXiv 2507.04590). Its resize differs from the library's in two points:
images with a side under 28 px or an aspect ratio over 200 become square instead of an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError
from model.hub_files import read_json

# The limits of the published evaluation and training: 4 and 1280 merged patches of 28 × 28.
PROTOCOL_MIN_PIXELS = 4 * 28 * 28
PROTOCOL_MAX_PIXELS = 1280 * 28 * 28
MAX_ASPECT = 200
TINY_SIDE = 56

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Pixels:
    """The size limits and the normalisation of images: the content of a `preprocessor_config.json`."""

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
        """The side of a merged patch, which is one token, in pixels; sides are multiples of it."""
        return self.patch * self.merge

    @classmethod
    def read(cls, folder: Path, min_pixels: int | None = None, max_pixels: int | None = None) -> Pixels:
        """Returns the values of a checkpoint folder, with the protocol's as defaults. Raises `ModelError`."""
        config = _preprocessor_config(folder)
        size = config.get("size") or {}
        low = min_pixels or config.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels")
        high = max_pixels or config.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels")
        pixels = cls(
            min_pixels=low or cls.min_pixels,
            max_pixels=high or cls.max_pixels,
            patch=config.get("patch_size", cls.patch),
            merge=config.get("merge_size", cls.merge),
            temporal=config.get("temporal_patch_size", cls.temporal),
            mean=tuple(config.get("image_mean", cls.mean)),
            std=tuple(config.get("image_std", cls.std)),
            rescale=config.get("rescale_factor", cls.rescale),
        )
        if pixels.max_pixels < pixels.factor**2 or pixels.min_pixels > pixels.max_pixels:
            raise ModelError(
                f"Pixel limits {pixels.min_pixels} to {pixels.max_pixels} leave no image: the smallest is "
                f"{pixels.factor**2}, and the lower limit must not exceed the upper one."
            )
        return pixels

    def table(self) -> np.ndarray:
        """Returns float32 [3, 256]: the normalised value of each byte, for each channel."""
        values = (np.arange(256, dtype=np.float64) * self.rescale).astype(np.float32)
        mean = np.asarray(self.mean, dtype=np.float32)[:, None]
        std = np.asarray(self.std, dtype=np.float32)[:, None]
        return np.asarray((values[None, :] - mean) / std)


@dataclass(frozen=True, eq=False)
class Visual:
    """One image or clip with its size in the model: `grid` is (t, h, w) in patches.

    `stretch`: the (height, width) of a first resize, before `size`.
    """

    frames: tuple[np.ndarray, ...]
    size: tuple[int, int]
    grid: tuple[int, int, int]
    stretch: tuple[int, int] | None = None

    def tokens(self, pixels: Pixels) -> int:
        t, h, w = self.grid
        return t * h * w // pixels.merge**2

    def patches(self, pixels: Pixels) -> np.ndarray:
        """Returns the input of the vision tower, float32 [t * h * w, 3 * temporal * patch²]."""
        resized = [resize(resize(f, *self.stretch) if self.stretch else f, *self.size) for f in self.frames]
        return patchify(np.stack(resized), pixels)


def image_visual(image: Any, pixels: Pixels, first: tuple[int, int] | None = None) -> Visual:
    """Returns the visual of an image: uint8 RGB [H, W, 3] or PIL. One with a side under 28 px becomes 56 × 56 first.

    `first`: (min, max) pixels of a first resize (GME), which keeps the form of such an image too.
    """
    frame = as_rgb(image)
    height, width = frame.shape[:2]
    stretch = None
    if first is not None:
        stretch = smart_resize(height, width, pixels.factor, *first, squares=False)
    elif min(height, width) < pixels.factor:
        stretch = (TINY_SIDE, TINY_SIDE)
    height, width = stretch or (height, width)
    return _visual((frame,), (height, width), pixels, stretch)


def video_visual(frames: Sequence[Any] | np.ndarray, pixels: Pixels) -> Visual:
    """Returns the visual of a clip, frames in order of time. The first frame sets the size."""
    images = tuple(as_rgb(frame) for frame in frames)
    if not images:
        raise ModelError("A video without frames cannot be embedded.")
    return _visual(images, images[0].shape[:2], pixels, None)


def sample_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` frames of a clip, first and last included; all if there are fewer.

    The protocol's rule: `linspace(0, n - 1, count)` truncated to integers (of 64 frames: 0, 9, 18 … 63).
    """
    if len(frames) <= count:
        return frames
    return np.asarray(frames[np.linspace(0, len(frames) - 1, count).astype(int)])


def smart_resize(
    height: int,
    width: int,
    factor: int = 28,
    min_pixels: int = PROTOCOL_MIN_PIXELS,
    max_pixels: int = PROTOCOL_MAX_PIXELS,
    squares: bool = True,
) -> tuple[int, int]:
    """Returns (height, width) in multiples of `factor`, within the limits and close to the aspect ratio.

    An image with a side under `factor` or an aspect ratio over 200 becomes square; without `squares` (GME) its short
    side becomes `factor` and its long one is cut at 200 times that.
    """
    if squares and (min(height, width) < factor or max(height, width) / min(height, width) > MAX_ASPECT):
        height = width = max(factor, height, width)
    tall, wide = (max(factor, round(side / factor) * factor) for side in (height, width))
    if tall * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif tall * wide < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return (tall, wide) if squares else (min(tall, wide * MAX_ASPECT), min(wide, tall * MAX_ASPECT))


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns uint8 [height, width, 3], bicubic with antialiasing, the same bytes with every version of Pillow.

    Pillow resizes one axis after the other and rounds between: Pillow 12 always begins with the width, Pillow 13 with
    the height where that is cheaper. One call for each axis fixes the order: the height first for an image that becomes
    wider and shorter (like the parity cases), else the width. The largest difference in an embedding is 6e-4.
    """
    from PIL import Image

    tall, wide = frame.shape[:2]
    first = (height, wide) if tall > height and wide < width else (tall, width)
    for size in (first, (height, width)):
        if frame.shape[:2] != size:
            frame = np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
    return frame


def patchify(frames: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Converts uint8 [T, H, W, 3] of final size to normalised rows, float32 [t * h * w, 3 * temporal * patch²].

    Rows run over time, then merged patches, then the patches inside each; a row holds channel, time, y, x. The last
    frame is repeated to a multiple of `temporal`. Bytes are rearranged before their conversion by a table, which
    takes a quarter of the memory traffic.
    """
    p, m, tp = pixels.patch, pixels.merge, pixels.temporal
    if n_missing := -len(frames) % tp:
        frames = np.concatenate([frames, np.repeat(frames[-1:], n_missing, axis=0)])
    t, h, w = len(frames) // tp, frames.shape[1] // p, frames.shape[2] // p
    blocks = frames.reshape(t, tp, h // m, m, p, w // m, m, p, 3)
    rows = np.ascontiguousarray(blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)).reshape(t * h * w, 3, tp * p * p)
    table, out = pixels.table(), np.empty(rows.shape, dtype=np.float32)
    for channel in range(3):
        out[:, channel] = table[channel][rows[:, channel]]
    return out.reshape(t * h * w, 3 * tp * p * p)


def as_rgb(image: Any) -> np.ndarray:
    """Returns uint8 [H, W, 3] of such an array or a PIL image. Raises `ModelError`."""
    if not isinstance(image, np.ndarray):
        if not hasattr(image, "convert"):
            raise ModelError(f"An image must be a uint8 array [H, W, 3] or a PIL image, not {type(image).__name__}.")
        image = np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ModelError(f"An image must be uint8 RGB [H, W, 3]; this one is {image.dtype} {list(image.shape)}.")
    if 0 in image.shape:
        raise ModelError(f"An image of {image.shape[1]} × {image.shape[0]} pixels holds nothing to embed.")
    return np.asarray(image)


def _visual(
    frames: tuple[np.ndarray, ...], sides: tuple[int, ...], pixels: Pixels, stretch: tuple[int, int] | None
) -> Visual:
    tall, wide = smart_resize(sides[0], sides[1], pixels.factor, pixels.min_pixels, pixels.max_pixels)
    grid = (-(-len(frames) // pixels.temporal), tall // pixels.patch, wide // pixels.patch)
    return Visual(frames, (tall, wide), grid, stretch)


def _preprocessor_config(folder: Path) -> dict[str, Any]:
    path, joint_path = folder / "preprocessor_config.json", folder / "processor_config.json"
    if path.is_file():
        return read_json(path)
    return read_json(joint_path).get("image_processor") or {} if joint_path.is_file() else {}
