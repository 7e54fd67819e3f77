"""Pictures as EmbeddingGemma 2 sees them: patches of 16 pixels, three by three of them to a token.

Built around one rule, `size_within`: the largest sides, multiples of 48, that keep the aspect within a budget of
tokens; small pictures are enlarged to it. The arithmetic is that of transformers' `Gemma4ImageProcessorPil`. It knows
nothing of graphs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BUDGETS = (70, 140, 280, 560, 1120)
"""Tokens of one picture that the model was trained with."""
PATCH, POOL = 16, 3
SIDE = PATCH * POOL
CELLS = 16
NEAR = 8
"""Two frames are near-equal if no cell of a 16 x 16 grid differs by more than 8 of 255 in any colour."""


def size_within(height: int, width: int, budget: int) -> tuple[int, int]:
    """(height, width) that a picture is resized to for at most `budget` tokens."""
    factor = math.sqrt(budget * SIDE**2 / (height * width))
    high, wide = math.floor(factor * height / SIDE) * SIDE, math.floor(factor * width / SIDE) * SIDE
    if high == 0:
        return SIDE, min(width // height, budget) * SIDE
    if wide == 0:
        return min(height // width, budget) * SIDE, SIDE
    return high, wide


def tokens(height: int, width: int, budget: int) -> int:
    """How many tokens a picture of this size becomes."""
    high, wide = size_within(height, width, budget)
    return high * wide // SIDE**2


def patches(picture: np.ndarray, budget: int) -> tuple[np.ndarray, tuple[int, int]]:
    """float32 [rows * columns, 768] in 0..1, and the grid (rows, columns) of patches.

    `picture`: uint8 RGB [H, W, 3].
    """
    from PIL import Image

    high, wide = size_within(*picture.shape[:2], budget)
    image = Image.fromarray(np.ascontiguousarray(picture))
    # Width first, as torchvision and Pillow up to 12 do; Pillow 13 chooses, and rounds between the axes.
    for size in ((wide, image.height), (wide, high)):
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
    picture = np.asarray(image)
    rows, columns = high // PATCH, wide // PATCH
    cut = picture.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    return cut.astype(np.float32) * np.float32(1 / 255), (rows, columns)


def positions(grid: tuple[int, int]) -> np.ndarray:
    """int64 [rows * columns, 2]: x and y of each patch."""
    rows, columns = grid
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.int64)


def distinct(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The frames without those that are near-equal to the last one that stays: a slide is embedded once."""
    from PIL import Image

    kept: list[np.ndarray] = []
    last: np.ndarray | None = None
    for frame in frames:
        small = Image.fromarray(np.ascontiguousarray(frame)).resize((CELLS, CELLS), Image.Resampling.BOX)
        cells = np.asarray(small).astype(np.int16)
        if last is None or np.abs(cells - last).max() > NEAR:
            kept.append(frame)
            last = cells
    return kept
