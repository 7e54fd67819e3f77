"""The image of a sound recording: its album cover, else a waveform.

Built around one image per range of seconds, for thumbnails and models. Knows nothing of speech.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.media.container import is_cover, open_container, packets_of
from data.media.sound import read_sound

if TYPE_CHECKING:
    from PIL import Image

_SIZE = (640, 360)
_GROUND, _CURVE = (24, 28, 36), (120, 190, 240)


def sound_picture(path: Path, start_s: float, end_s: float, max_side: int) -> np.ndarray:
    """Returns the cover of a recording, else the waveform of [start_s, end_s): uint8 RGB [H, W, 3]. Raises
    `MediaError`."""
    image = _cover(path) or _waveform(read_sound(path, start_s, end_s))
    image.thumbnail((max_side, max_side))
    return np.asarray(image)


def _cover(path: Path) -> Image.Image | None:
    import av

    with open_container(path, sound=True) as container:
        for stream in filter(is_cover, container.streams.video):
            try:
                for packet in packets_of(container, stream):
                    for frame in packet.decode():
                        cover: Image.Image = frame.to_image()
                        return cover
            except av.FFmpegError:  # a recording with a damaged cover is still readable
                continue
    return None


def _waveform(samples: np.ndarray) -> Image.Image:
    """The peak of float32 [n] samples in [-1, 1] per column, mirrored about the middle."""
    from PIL import Image

    width, height = _SIZE
    image = np.full((height, width, 3), _GROUND, np.uint8)
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    peaks = np.array([np.abs(samples[a:b]).max(initial=0.0) for a, b in itertools.pairwise(edges)])
    rows = np.abs(np.arange(height) - height / 2 + 0.5)[:, None]
    image[rows <= np.maximum(1.0, peaks * (height / 2 - 8))[None, :]] = _CURVE
    return Image.fromarray(image)
