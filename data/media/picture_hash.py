"""A picture as 64 bits that stay nearly the same when it is resized, compressed again, lightened or trimmed.

Built around the 8 x 8 lowest frequencies of the grey picture, each above their median or not (the "pHash" of Zauner,
Implementation and Benchmarking of Perceptual Image Hash Functions, 2010). It is made from the thumbnail, so that
libraries of any age have it. It knows nothing of what near means: `indexer.search.near_equal` says that.
"""

from __future__ import annotations

import io

import numpy as np

SIDE = 32
FLAT = 4.0
"""Standard deviation of the 8 x 8 grey picture, of 255, below which the bits are noise."""

_STEPS = np.arange(SIDE)
_COSINES = np.cos(np.pi / SIDE * (_STEPS[None] + 0.5) * np.arange(8)[:, None]).astype(np.float32)
"""float32 [8, 32]: the discrete cosine transform, whose lowest eight frequencies are used."""


def picture_hash(thumbnail: bytes) -> int:
    """Returns 64 bits as a signed number; 0 for a picture that is too flat or cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(thumbnail)) as picture:
            grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    except (OSError, ValueError):
        return 0
    if grey.reshape(8, 4, 8, 4).mean((1, 3)).std() < FLAT:
        return 0
    waves = (_COSINES @ grey @ _COSINES.T).ravel()
    bits = waves > np.median(waves[1:])  # the first one is the brightness
    bits[0] = False
    return int(np.packbits(bits).view(">i8")[0])
