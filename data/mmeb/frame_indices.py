"""Which frames of a clip a model receives.

Built around the benchmark's rule, `numpy.linspace(0, n - 1, k)` truncated to integers. Of a video without saved
frames, the same of those that the benchmark's code would save (`save_frames`, TIGER-AI-Lab/VLM2Vec). It knows no file.
"""

from __future__ import annotations

import math

import numpy as np

SAVED = 64
"""Frames that the benchmark's code saves of a video."""


def sample_indices(n_frames: int, count: int | None) -> list[int]:
    """Returns the indices of `count` of `n_frames` frames; all if there are fewer, or `count` is None."""
    if count is None or n_frames < count:
        return list(range(n_frames))
    return [int(i) for i in np.linspace(0, n_frames - 1, count, dtype=int)]


def raw_indices(n_frames: int, count: int) -> list[int]:
    """Returns the frames of a video that a model receives, of the `SAVED` that the benchmark's code would save."""
    saved = list(range(n_frames))
    if n_frames > SAVED:
        saved = [math.floor(i * (n_frames / SAVED)) for i in range(SAVED)]
    return [saved[i] for i in sample_indices(len(saved), count)]
