"""Which of several pictures to show: animations, sequences, stereo photos, the frames of a video window.

Built around two questions on small grey copies: whether a picture is blank, and which of several tells most.
A file is searched only when it begins blank, and only as far as a budget of pixels goes. Knows nothing of
pages, which are pictures of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.media.colour import plain, to_srgb

_BLANK = 4.0  # grey levels of spread
_FORMATS = ("GIF", "PNG", "WEBP", "AVIF", "HEIF", "MPO")
_LOOKS = 24
_LOOK_PIXELS = 400_000_000  # decoded in search of a frame: a GIF of 0.3 million pixels for 1,300 frames
_SIDE = 160


def starts_blank(image: Any, pixels: np.ndarray) -> bool:
    """Whether the picture [H, W, 3] is blank and the opened file holds others. Only the few blank ones ask
    the file how many, which takes a walk through a GIF."""
    return image.format in _FORMATS and _spread(pixels) < _BLANK and getattr(image, "n_frames", 1) > 1


def best_frame(image: Any) -> int:
    """The frame that tells most of a file that begins blank; 0 where none does better."""
    numbers = [i for i in range(1, image.n_frames) if _is_a_view(image, i)]
    numbers = numbers[: max(1, _LOOK_PIXELS // (image.width * image.height))]
    looks = []
    for number in (numbers := numbers[:: -(-len(numbers) // _LOOKS) or 1]):
        try:
            image.seek(number)
            image.load()
        except (OSError, EOFError, SyntaxError, ValueError, RuntimeError):
            break  # what comes before a broken frame is good
        looks.append(np.asarray(to_srgb(plain(image).resize((_SIDE, _SIDE)))))
    if not looks or max(map(_spread, looks)) < _BLANK:
        return 0
    return numbers[best_of(np.stack(looks))]


def _is_a_view(image: Any, number: int) -> bool:
    """Whether a further picture shows the scene: of an MPO not a gain map or a preview."""
    if image.format != "MPO":
        return True
    entries = (image.mpinfo or {}).get(0xB002, ())
    kind = entries[number].get("Attribute", {}).get("MPType", "") if number < len(entries) else ""
    return str(kind).startswith("Multi-Frame")


def _spread(picture: np.ndarray) -> float:
    """How far the brightness of uint8 [H, W, 3] spreads, in grey levels: near 0 for a blank picture."""
    step = max(1, max(picture.shape[:2]) // _SIDE)
    return float(picture[::step, ::step].mean(axis=2).std())


def best_of(frames: np.ndarray) -> int:
    """Which of the frames [T, H, W, 3] to show for all: neither black, nor blank, nor blurred.

    Spread of brightness times sharpness (the mean step between neighbouring pixels), on small grey copies.
    Ties, and frames nearly as good, go to the one nearest the middle.
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
