"""Images for EmbeddingGemma 2: patches of 16 x 16 pixels, 3 x 3 patches per token.

Built around `size_within`, the size of an image for a budget of tokens: the largest multiples of 48 pixels that keep
the aspect ratio; small images are enlarged. The arithmetic is that of transformers' `Gemma4ImageProcessorPil`. It
knows nothing of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BUDGETS = (70, 140, 280, 560, 1120)
"""The numbers of tokens per image in the model's training."""
PATCH, POOL = 16, 3
TOKEN_SIDE = PATCH * POOL
"""Pixels along a side of the square that becomes one token."""
CELLS = 16
NEAR = 8
"""Two frames are near-equal if no cell of a 16 x 16 grid differs by more than 8 of 255 in any channel."""


def size_within(shape: tuple[int, ...], budget: int) -> tuple[int, int]:
    """Returns the (height, width) to which an image of shape [H, W, …] is resized for at most `budget` tokens."""
    height, width = shape[:2]
    factor = math.sqrt(budget * TOKEN_SIDE**2 / (height * width))
    new_height = math.floor(factor * height / TOKEN_SIDE) * TOKEN_SIDE
    new_width = math.floor(factor * width / TOKEN_SIDE) * TOKEN_SIDE
    if new_height == 0:
        return TOKEN_SIDE, min(width // height, budget) * TOKEN_SIDE
    if new_width == 0:
        return min(height // width, budget) * TOKEN_SIDE, TOKEN_SIDE
    return new_height, new_width


def n_tokens(shape: tuple[int, ...], budget: int) -> int:
    """Returns the number of tokens of an image of shape [H, W, …]."""
    height, width = size_within(shape, budget)
    return height * width // TOKEN_SIDE**2


def patches(image: np.ndarray, budget: int) -> np.ndarray:
    """Returns float32 [rows * columns, 768] in 0..1, the patches of an image, uint8 RGB [H, W, 3]."""
    from PIL import Image

    height, width = size_within(image.shape, budget)
    pil_image = Image.fromarray(np.ascontiguousarray(image))
    # Width first, as torchvision and Pillow up to 12 do; Pillow 13 chooses the order, and rounds between the axes.
    for size in ((width, pil_image.height), (width, height)):
        if pil_image.size != size:
            pil_image = pil_image.resize(size, Image.Resampling.BICUBIC)
    rows, columns = height // PATCH, width // PATCH
    grid = np.asarray(pil_image).reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * columns, -1).astype(np.float32) * np.float32(1 / 255)


def positions(grid: tuple[int, int]) -> np.ndarray:
    """Returns int64 [rows * columns, 2]: x and y of each patch."""
    rows, columns = grid
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.int64)


def distinct(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the frames without each that is near-equal to the last one returned: a slide is embedded once."""
    from PIL import Image

    result: list[np.ndarray] = []
    last: np.ndarray | None = None
    for frame in frames:
        thumbnail = Image.fromarray(np.ascontiguousarray(frame)).resize((CELLS, CELLS), Image.Resampling.BOX)
        cells = np.asarray(thumbnail).astype(np.int16)
        if last is None or np.abs(cells - last).max() > NEAR:
            result.append(frame)
            last = cells
    return result
