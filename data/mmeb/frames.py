"""The saved frames of a clip that a model receives.

Built around `saved_clip`: files in natural order, those at the benchmark's indices (`frame_indices.py`). It opens no
image.
"""

from __future__ import annotations

import re
from pathlib import Path

from data.mmeb.frame_indices import sample_indices
from data.mmeb.task_data import ImageFile, TaskVisual

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Returns a sort key that puts `frame_10` after `frame_9`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part]


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
