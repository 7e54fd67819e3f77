"""Images as the benchmark decodes them, in evaluation and in the recipe's training alike.

Built around Pillow's `convert("RGB")`, the original's: no turning by EXIF, no white below transparency, 16 bits cut
off. The friendly reader of a person's own images is `data/media/image.py`. It knows nothing of tasks or pairs.
"""

from __future__ import annotations

import io

import numpy as np

from data.media.kinds import MediaError


def decode(data: bytes) -> np.ndarray:
    """Returns uint8 RGB [H, W, 3]. Raises `MediaError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"is not a readable image ({error})", "damaged") from None
