"""A picture as 48 bytes that stay nearly the same when it is resized, compressed again, lightened or trimmed.

Built around three parts: the 8 x 8 lowest frequencies of the grey picture, each above their median or not (the "pHash"
of Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010); whether each of 16 x 16 parts is
brighter than the part to its left; and the colour of its four quarters. It is made from the thumbnail, so that an older
library can have it, too. It knows nothing of what near means: `indexer.search.near_equal` says that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SIDE = 32
FLAT = 4.0
"""Standard deviation of the 8 x 8 grey picture, of 255, below which the bits are noise."""
WAVES, STEPS, COLOURS = slice(0, 8), slice(8, 40), slice(40, 48)
"""The bytes of the three parts; colours are Cb and Cr of each quarter."""

_PLACES = np.arange(SIDE)
_COSINES = np.cos(np.pi / SIDE * (_PLACES[None] + 0.5) * np.arange(8)[:, None]).astype(np.float32)
"""float32 [8, 32]: the discrete cosine transform, of which the lowest eight frequencies are used."""


def hash_of_thumbnail(thumbnail: bytes) -> bytes:
    """Returns 48 bytes; none for a picture that is too flat or cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(thumbnail)) as picture:
            return picture_hash(picture.convert("RGB"))
    except (OSError, ValueError):
        return b""


def picture_hash(picture: Image.Image) -> bytes:
    """Returns 48 bytes of an RGB image in the size of a thumbnail; none if it is too flat."""
    from PIL.Image import Resampling

    small = picture.resize((SIDE + 2, SIDE), Resampling.BOX).convert("YCbCr")
    planes = np.asarray(small, np.float32)
    wide, grey = planes[:, :, 0], planes[:, 1:-1, 0]
    if _parts(grey, 8).std() < FLAT:
        return b""
    waves = (_COSINES @ grey @ _COSINES.T).ravel()
    high = waves > np.median(waves[1:])  # the first one is the brightness
    high[0] = False
    columns = wide.reshape(16, 2, 17, 2).mean((1, 3))
    steps = columns[:, 1:] > columns[:, :-1]
    colours = np.stack([_parts(planes[:, 1:-1, n], 2) for n in (1, 2)]).round().astype(np.uint8)
    return np.packbits(high).tobytes() + np.packbits(steps).tobytes() + colours.tobytes()


def _parts(plane: np.ndarray, count: int) -> np.ndarray:
    """Returns the means of `count` x `count` equal parts."""
    size = SIDE // count
    means: np.ndarray = plane.reshape(count, size, count, size).mean((1, 3))
    return means
