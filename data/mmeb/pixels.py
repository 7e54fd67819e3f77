"""Images as the benchmark decodes them, in evaluation and in the recipe's training alike.

Built around Pillow's `convert("RGB")`, the original's: no turning by EXIF, no white below transparency, 16 bits cut
off. Qwen3-VL-Embedding's authors put images with an alpha channel on white (`on_white`). The friendly reader of a
person's own images is `data/media/image.py`. It knows nothing of tasks or pairs.
"""

from __future__ import annotations

import io

import numpy as np

from data.media.kinds import MediaError


def decode(data: bytes, on_white: bool = False) -> np.ndarray:
    """Returns uint8 RGB [H, W, 3]. Raises `MediaError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            if on_white and image.mode == "RGBA":
                white = Image.new("RGB", image.size, (255, 255, 255))
                white.paste(image, mask=image.getchannel("A"))
                return np.asarray(white)
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"is not a readable image ({error})", "damaged") from None
