"""The first look at a file in a child process, and whether two video windows show one still scene.

Built around `data.reader`; a file of its own, so that a child process imports neither the catalogue nor a
model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data import reader
from data.reader import Chunk, Outline
from indexer.types import Kind

STILL = 2.0
"""Mean difference in grey levels (0 to 255) below which two windows show the same scene (`still`). The sensor
noise of a fixed camera, averaged over the cells, stays below 1; a person who enters a corner makes 3 or more."""

CELLS = 16


def first_look(
    path: Path, kind: Kind, count: int, *, window_s: float, overlap_s: float, max_frames: int, max_side: int
) -> tuple[Outline, list[Chunk]]:
    """Returns the outline and the first `count` chunks with thumbnails; an image needs no second call."""
    if kind == "image":
        return reader.outline_and_image(path, max_side)
    outline = reader.outline(path, kind, window_s=window_s, overlap_s=overlap_s)
    specs = outline.chunks[:count]
    if not specs:
        return outline, []
    return outline, reader.decode(path, kind, specs, max_frames=max_frames, max_side=max_side, thumbnails=True)


def signature(frames: np.ndarray) -> np.ndarray:
    """Returns float32 [T, CELLS, CELLS], the brightness of uint8 frames [T, H, W, 3] on a coarse grid."""
    h, w = frames.shape[1:3]
    step = max(1, min(h, w) // (4 * CELLS))
    grey = frames[:, ::step, ::step].mean(axis=3, dtype=np.float32)
    rows = np.linspace(0, grey.shape[1], CELLS + 1).astype(int)[:-1]
    columns = np.linspace(0, grey.shape[2], CELLS + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
    ones = np.ones(grey.shape[1:], np.float32)
    return sums / np.add.reduceat(np.add.reduceat(ones, rows, axis=0), columns, axis=1)


def still(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two windows' signatures show one still scene: no frame of either differs from the first one."""
    if one.shape != other.shape:
        return False
    within = np.abs(one - one[:1]).mean(axis=(1, 2)).max()
    between = np.abs(other - one[:1]).mean(axis=(1, 2)).max()
    return bool(within < STILL and between < STILL)
