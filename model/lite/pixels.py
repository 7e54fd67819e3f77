"""Pictures as lite's image network takes them: a square, on white if it shows a page.

Built around one look at a picture's colours, by which a page, a scan or a cut-out is told from a photo. It knows
nothing of networks.
"""

from __future__ import annotations

import numpy as np

from model.lite.weights import IMAGE_SIDE


def fit(picture: np.ndarray, squash: bool, side: int = IMAGE_SIDE) -> np.ndarray:
    """uint8 [side, side, 3]: the middle square; or all of a page, squashed so that no line is cut."""
    from PIL import Image

    height, width = picture.shape[:2]
    ground = background(picture)
    if not squash and ground is None:
        square = min(height, width)
        top, left = (height - square) // 2, (width - square) // 2
        picture = picture[top : top + square, left : left + square]
    image = Image.fromarray(np.ascontiguousarray(picture))
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    if ground is not None and ground.min() < 255:
        # The features depend on a pure white background: page image -> page MRR .33 as it is, .85 on white.
        pixels = np.minimum(pixels * np.minimum(255 / ground, 2), 255).astype(np.uint8)
    return pixels


def reduced(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture [H, W, 3] with a longest side of at most `side`, as files are reduced when they are read."""
    from PIL import Image

    if picture.ndim != 3 or picture.dtype != np.uint8 or max(picture.shape[:2]) <= side or not picture.size:
        return picture
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def background(picture: np.ndarray) -> np.ndarray | None:
    """The colour [3] of the one light background that most of a picture is: a page, a scan, a cut-out; or None.

    A page dropped as a picture is so seen as pages are: page image -> page MRR .26 -> .85, text -> stamp
    (cut-outs on white) .303 -> .314, other rows within .003 (`make bench-quality`).
    """
    height, width = picture.shape[:2]
    sample = picture[:: max(1, height // 100), :: max(1, width // 100)].reshape(-1, 3)
    middle, light = _percentiles(sample, (50, 95))
    return middle if middle.min() > 90 and (middle > 0.8 * light).all() else None


def _percentiles(sample: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """float64 [shares, colours] of uint8 [n, colours]: what np.percentile gives in four times the time."""
    counts = np.stack([np.bincount(colour, minlength=256) for colour in sample.T]).cumsum(axis=1)
    places = np.array(shares) / 100 * (len(sample) - 1)
    before = places.astype(int)
    low, high = ([[np.searchsorted(c, at, "right") for c in counts] for at in row] for row in (before, before + 1))
    return np.asarray(np.asarray(low) + (places - before)[:, None] * np.subtract(high, low))
