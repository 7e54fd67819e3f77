"""Which saved frames of a clip are shown.

Built around the benchmark's rule: files in natural order, `numpy.linspace(0, n - 1, k)` cut
to integers. It opens no picture.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from data.mmeb.task_data import FilePicture, TaskVisual

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which `frame_10` follows `frame_9`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part]


def chosen(count: int, wanted: int | None) -> list[int]:
    """Indices of those shown out of `count` saved frames; all if there are fewer, or `wanted` is None."""
    if wanted is None or count < wanted:
        return list(range(count))
    return np.linspace(0, count - 1, wanted, dtype=int).tolist()


def saved_clip(folder: Path, wanted: int | None) -> TaskVisual:
    """The clip whose frames lie in `folder`, or the video file of that name beside it.

    A clip without frames is a `TaskVisual` all the same; reading it fails and names the folder,
    so that one missing video costs its own queries only.
    """
    if folder.is_dir():
        names = sorted((p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural)
        if names:
            return TaskVisual("video", tuple(FilePicture(folder / names[i]) for i in chosen(len(names), wanted)))
    for suffix in VIDEO_SUFFIXES:
        for candidate in (folder.with_name(folder.name + suffix), folder):
            if candidate.suffix == suffix and candidate.is_file():
                return TaskVisual("video", (), video=candidate, frames=wanted or 8)
    return TaskVisual("video", (FilePicture(folder / "(no frames saved)"),))
