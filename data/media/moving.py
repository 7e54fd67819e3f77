"""Chooses the frame to display: of animations, sequences, stereo photos and video windows.

Built around two measures on small grey copies: whether a frame is blank, and which of several is the best. A
file is searched only if its first frame is blank, within a budget of pixels. Knows nothing of pages, which are
images of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.media.colour import plain, to_srgb

_BLANK = 4.0  # standard deviation in grey levels
_FORMATS = ("GIF", "PNG", "WEBP", "AVIF", "HEIF", "MPO")
_LOOKS = 24
_LOOK_PIXELS = 400_000_000  # decoded in search of a frame: a GIF of 0.3 million pixels for 1,300 frames
_SIDE = 160
_MEAN = np.full(3, 1 / 3, np.float32)


def starts_blank(image: Any, pixels: np.ndarray) -> bool:
    """Whether the frame [H, W, 3] is blank and the open file holds others. The number of frames, which takes a walk
    through a GIF, is read only for blank ones."""
    return image.format in _FORMATS and _spread(pixels) < _BLANK and getattr(image, "n_frames", 1) > 1


def best_frame(image: Any) -> int:
    """Returns the index of the best frame of a file with a blank first frame; 0 if none is better."""
    numbers = [i for i in range(1, image.n_frames) if _is_a_view(image, i)]
    numbers = numbers[: max(1, _LOOK_PIXELS // (image.width * image.height))]
    looks = []
    for number in (numbers := numbers[:: -(-len(numbers) // _LOOKS) or 1]):
        try:
            image.seek(number)
            image.load()
        except (OSError, EOFError, SyntaxError, ValueError, RuntimeError):
            break  # frames before a damaged frame are good
        looks.append(np.asarray(to_srgb(plain(image).resize((_SIDE, _SIDE)))))
    if not looks or max(map(_spread, looks)) < _BLANK:
        return 0
    return numbers[best_of(np.stack(looks))]


def _is_a_view(image: Any, number: int) -> bool:
    """Whether a further image shows the scene; a gain map or a preview in an MPO does not."""
    if image.format != "MPO":
        return True
    entries = (image.mpinfo or {}).get(0xB002, ())
    kind = entries[number].get("Attribute", {}).get("MPType", "") if number < len(entries) else ""
    return str(kind).startswith("Multi-Frame")


def _spread(picture: np.ndarray) -> float:
    """The standard deviation of the brightness of uint8 [H, W, 3], in grey levels: near 0 for a blank image."""
    step = max(1, max(picture.shape[:2]) // _SIDE)
    return float((picture[::step, ::step] @ _MEAN).std())


def best_of(frames: np.ndarray) -> int:
    """Returns the index of the best of the frames [T, H, W, 3]: neither black, nor blank, nor blurred.

    The score is the geometric mean of the standard deviation of brightness and the sharpness (mean step between
    neighbouring pixels), on small grey copies. Of the frames within 10 % of the best score the middlemost wins.
    """
    if len(frames) == 1:
        return 0
    step = max(1, max(frames.shape[1:3]) // _SIDE)
    grey = frames[:, ::step, ::step].astype(np.float32).mean(axis=3)
    spreads = grey.std(axis=(1, 2))
    sharp = np.abs(np.diff(grey, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    score = np.sqrt(spreads * sharp)
    good = np.flatnonzero(score >= 0.9 * score.max())
    return int(good[np.argmin(np.abs(good - (len(frames) - 1) / 2))])
