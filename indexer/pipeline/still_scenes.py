"""What the children run for the pipeline, and how two video windows are found to be alike.

Built around `data.reader`; kept apart from the pipeline so that a child imports neither the
catalogue nor a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data import reader
from indexer.types import Kind

if TYPE_CHECKING:
    from data.reader import Chunk, Outline

STILL = 2.0
"""Mean difference, in grey levels of 255, up to which two windows show the same (`still`). A locked
camera's sensor noise, averaged over the cells, stays below 1; a person entering a corner gives 3 and more."""

CELLS = 16


def first_look(
    path: Path, kind: Kind, count: int, *, window_s: float, overlap_s: float, max_frames: int, max_side: int
) -> tuple[Outline, list[Chunk]]:
    """The outline and the first `count` chunks in one trip to a child: a photo needs no second one."""
    found = reader.outline(path, kind, window_s=window_s, overlap_s=overlap_s)
    specs = found.chunks[:count]
    return found, reader.decode(path, kind, specs, max_frames=max_frames, max_side=max_side) if specs else []


def signature(frames: np.ndarray) -> np.ndarray:
    """float32 [T, CELLS, CELLS]: brightness of each frame of uint8 [T, H, W, 3] on a coarse grid."""
    h, w = frames.shape[1:3]
    step = max(1, min(h, w) // (4 * CELLS))
    grey = frames[:, ::step, ::step].mean(axis=3, dtype=np.float32)
    rows = np.linspace(0, grey.shape[1], CELLS + 1).astype(int)[:-1]
    columns = np.linspace(0, grey.shape[2], CELLS + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
    ones = np.ones(grey.shape[1:], np.float32)
    return sums / np.add.reduceat(np.add.reduceat(ones, rows, axis=0), columns, axis=1)


def still(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two windows' signatures show one still scene: nothing moves within, nothing differs between."""
    if one.shape != other.shape:
        return False
    worst = np.abs(one - one[:1]).mean(axis=(1, 2)).max()
    between = np.abs(other - one[:1]).mean(axis=(1, 2)).max()
    return bool(worst < STILL and between < STILL)
