"""Images to arrays: `read_image`, upright RGB of the size that is needed, and `inspect`, what the header
says.

Built around Pillow (and pillow-heif for HEIC), opened with the formats of people's photographs only: never
with those that start other programs (EPS). Big JPEGs are decoded at the fraction that is needed (`draft`).
Limits of size are checked on the header, before a byte is decoded. Knows nothing of colour profiles.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media.captions import caption_of_image
from data.media.kinds import HEAD_BYTES, MediaError, from_os_error, require, require_content, sniff
from data.media.metadata import Metadata, image_metadata

if TYPE_CHECKING:
    from PIL import Image

# Decoded at once: 180 million pixels are 540 MB of RGB, which leaves room for one conversion within the
# sandbox's 2 GB. A JPEG is decoded at 1/8 of its side, so it may be larger; its time is the sandbox's matter.
MAX_PIXELS = 180_000_000
MAX_JPEG_PIXELS = 1_500_000_000
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF")

# What Pillow's decoders throw at broken files, seen over its own test images and fuzzed ones.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class ImageInfo:
    """`width` and `height` as shown, upright; `caption` the words that come with it, a line each."""

    width: int
    height: int
    format: str
    metadata: Metadata
    caption: str = ""


def read_image(source: Path | bytes, max_side: int | None = None) -> np.ndarray:
    """The (first) picture of an image file as uint8 RGB [H, W, 3], upright, transparent parts on white.

    `max_side` bounds the longest side; smaller pictures are not enlarged. Raises `MediaError`.
    """
    with _open(source) as image:
        return np.asarray(_decode(image, max_side))


def read_captioned(path: Path, max_side: int | None = None) -> tuple[np.ndarray, str]:
    """The same, and the words that come with the picture (`ImageInfo.caption`), in one opening."""
    with _open(path) as image:
        return np.asarray(_decode(image, max_side)), caption_of_image(image, path)


def inspect(source: Path | bytes) -> ImageInfo:
    """Size and metadata from the header, without decoding. Raises `MediaError`."""
    with _open(source) as image:
        exif = image.getexif()
        width, height = image.size
        if exif.get(0x0112) in (5, 6, 7, 8):
            width, height = height, width
        path = source if isinstance(source, Path) else None
        return ImageInfo(width, height, image.format or "", image_metadata(exif), caption_of_image(image, path))


@contextmanager
def _open(source: Path | bytes) -> Iterator[Image.Image]:
    """The image, opened and within the limits; every decoder's complaint becomes a `MediaError`."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    if isinstance(source, bytes):
        head = source[:HEAD_BYTES]
        require_content(head, "image")
    else:
        head = require(source, "image")
    if head[4:8] == b"ftyp" and head[8:11] not in (b"avi",):
        _enable_heif()
    Image.MAX_IMAGE_PIXELS = None  # ours below has a better sentence
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
                _require_size(image)
                yield image
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError("decoding it needs more memory than allowed", "memory") from error
    except UnidentifiedImageError as error:
        if sniff(head) == "image":
            raise MediaError("the image is damaged; its header makes no sense", "damaged") from error
        raise MediaError("its content is not an image that Sightline knows", "unsupported") from error
    except _DECODER_ERRORS as error:
        raise _reason(error) from error


def _formats() -> list[str]:
    from PIL import Image

    Image.preinit()
    if not {"WEBP", "AVIF", "TIFF"} <= Image.OPEN.keys():
        from PIL import AvifImagePlugin, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401
    return [name for name in FORMATS if name in Image.OPEN]


def _enable_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MediaError("HEIC needs the package pillow-heif; install it or save a JPEG", "unsupported") from error
    pillow_heif.register_heif_opener(thumbnails=False)


def _require_size(image: Image.Image) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise MediaError("the image is damaged; it says that it has no pixels", "damaged")
    limit = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PIXELS
    if width * height > limit:
        raise MediaError(
            f"{width:,} x {height:,} pixels are more than Sightline opens ({limit // 1_000_000:,} million); "
            "save a smaller copy",
            "too large",
        )


def _reason(error: Exception) -> MediaError:
    text = str(error).lower()
    if isinstance(error, OSError) and error.errno is not None:
        return from_os_error(error)
    if "truncated" in text or isinstance(error, EOFError) or "unexpected end" in text or "broken data" in text:
        return MediaError("the image is cut off: its end is missing; copy it again from where it came", "cut off")
    if isinstance(error, NotImplementedError) or "unsupported" in text or "not supported" in text or "unknown " in text:
        return MediaError("the image uses a rare variant of its format; save a copy as PNG", "unsupported")
    return MediaError("the image is damaged and cannot be decoded", "damaged")


def _decode(image: Image.Image, max_side: int | None) -> Image.Image:
    from PIL import Image

    if max_side is not None and image.format in ("JPEG", "MPO"):
        scale = max_side / max(image.size)  # of the longest side: by both, a 4:3 photo came twice as large
        image.draft(None, (ceil(image.width * scale), ceil(image.height * scale)))
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise MediaError("at full size it has more pixels than Sightline opens", "too large")
    image.load()
    orientation = image.getexif().get(0x0112, 1)
    picture = _to_rgb(image)
    if max_side is not None and max(picture.size) > max_side:
        scale = max_side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return _grey_of_many_bits(image)
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGB", clear.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white
    return image.convert("RGB")


def _grey_of_many_bits(image: Image.Image) -> Image.Image:
    """16- and 32-bit grey to 8 bits. Cameras and scanners store 10, 12 or 14 bits in 16: the scale is the
    smallest of these that holds the brightest pixel, so that none of them comes out black."""
    from PIL import Image

    values: Any = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 255 or high <= 1:
            low = min(low, 0.0)
            values = (values - low) * (255.0 / max(high - low, 1.0 if high <= 1 and low >= 0 else 1e-12))
        grey = np.clip(values, 0, 255)
    else:
        values = np.clip(values.astype(np.int64), 0, None)
        brightest = int(values.max())
        bits = next((b for b in (8, 10, 12, 14, 16, 24, 32) if brightest < 1 << b), 64)
        grey = values >> (bits - 8)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
