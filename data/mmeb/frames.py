"""The saved frames of a clip that a model receives.

Built around the benchmark's rule: files in natural order, `numpy.linspace(0, n - 1, k)` truncated to integers. Of a
video without saved frames, the same of those that the benchmark's code would save (`save_frames`,
TIGER-AI-Lab/VLM2Vec). It opens no image.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from data.mmeb.task_data import ImageFile, TaskVisual

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
SAVED = 64
"""Frames that the benchmark's code saves of a video."""
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Returns a sort key that puts `frame_10` after `frame_9`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part]


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


def saved_clip(folder: Path, count: int | None) -> TaskVisual:
    """Returns the clip with its frames in `folder`, or the video file of that name beside the folder.

    Returns a `TaskVisual` also for a clip without frames: reading it fails and names the folder, so a missing
    video costs only its own queries.
    """
    if folder.is_dir():
        names = sorted((p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural)
        if names:
            return TaskVisual("video", tuple(ImageFile(folder / names[i]) for i in sample_indices(len(names), count)))
    for suffix in VIDEO_SUFFIXES:
        for candidate in (folder.with_name(folder.name + suffix), folder):
            if candidate.suffix == suffix and candidate.is_file():
                return TaskVisual("video", (), video=candidate, frames=count or 8)
    return TaskVisual("video", (ImageFile(folder / "(no frames saved)"),))
