"""Images to arrays: `read_image` returns upright sRGB of the required size, `inspect` the header's metadata.

Built around Pillow (with pillow-heif, pylibjxl and LibRaw), restricted to formats of people's photographs, never
those that start other programs (EPS). Images come out as viewers display them: a TIFF page is an image of its
own, an animation with a blank first frame shows its best frame, pixels become square, colours become sRGB, and
slight damage is repaired and noted. Large JPEGs are decoded at the required fraction (`draft`). Size limits are
checked on the header, before decoding.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from data.media import heif, mend, moving, tiff
from data.media.boxes import inside
from data.media.captions import caption_of_image
from data.media.colour import ADOBE_RGB, Colours, plain, primaries_near, to_srgb
from data.media.embedded import FORMATS as FORMATS_WITH_MORE
from data.media.embedded import embedded
from data.media.kinds import Cause, MediaError, from_os_error, is_raw, open_file, require_of, sniff
from data.media.metadata import Metadata, image_metadata

if TYPE_CHECKING:
    from PIL import Image

# Decoded at once: 180 million pixels are 540 MB of RGB, which leaves room for one conversion within the
# sandbox's 2 GB. A JPEG may be larger, since it is decoded at 1/8 of its side; the sandbox limits its time. A
# HEIC is reduced band by band from the decoder's own memory.
MAX_PIXELS = 180_000_000
MAX_JPEG_PIXELS = 1_500_000_000
MAX_HEIF_PIXELS = 260_000_000
FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF", "JPEG2000", "JXL", "ICO",
)  # fmt: skip
# Formats that decoders return upright, or whose EXIF orientation viewers do not follow.
_UPRIGHT = ("TIFF", "HEIF", "JXL", "JPEG2000", "RAW")

# Errors of Pillow's decoders on damaged files, measured over its test images and fuzzed copies.
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
    """`width` and `height`: as displayed, upright, of the first page. `pages`: more than 1 only for a TIFF.
    `caption`: what people wrote into the file, one fact per line."""

    width: int
    height: int
    format: str
    metadata: Metadata
    caption: str = ""
    pages: int = 1


@dataclass(eq=False)
class DecodedImage:
    """`pixels`: uint8 RGB [H, W, 3]. `caption`: what people wrote into the file, one fact per line. `note`: the
    fault of the file that is repaired in `pixels`."""

    pixels: np.ndarray
    caption: str = ""
    note: str | None = None


def read_image(source: Path | bytes, max_side: int | None = None, page: int | None = None) -> np.ndarray:
    """Returns an image as uint8 RGB [H, W, 3] in sRGB, upright, transparent parts on white (of
    an image that is white itself, on black).

    `max_side` bounds the longest side; smaller images are not enlarged. `page` (from 1) selects a page of a TIFF.
    Raises `MediaError`.
    """
    return _read_or_repair(partial(_read, max_side=max_side, page=page), source)[0].pixels


def read_picture(path: Path, max_side: int | None = None, page: int | None = None) -> DecodedImage:
    """Like `read_image`, with the caption and the fault of the file."""
    picture, note = _read_or_repair(partial(_read, max_side=max_side, page=page), path)
    return replace(picture, note=note)


def inspect(source: Path | bytes) -> ImageInfo:
    """Returns size and metadata from the header, without decoding. Raises `MediaError`."""
    return _read_or_repair(_inspect, source)[0]


def inspect_and_read(path: Path, max_side: int | None = None) -> tuple[ImageInfo, DecodedImage]:
    """Returns what `inspect` and `read_picture` return of the first page, in one opening: the metadata of a PNG may
    follow its pixels, which are decoded once so. Raises `MediaError`."""
    (info, picture), picture_note = _read_or_repair(partial(_inspect_and_read, max_side=max_side), path)
    return info, replace(picture, note=picture_note)


def maker_note(path: Path) -> bytes:
    """Returns EXIF's MakerNote, or b"". Raises `MediaError`."""
    with _open(path) as image:
        note = image.getexif().get_ifd(0x8769).get(0x927C)
        return note if isinstance(note, bytes) else b""


_CUT_OFF: tuple[str, Cause] = ("the image is cut off: its end is missing; copy it again from where it came", "cut off")

_Read = TypeVar("_Read")


def _read_or_repair(read: Callable[[Path | bytes], _Read], source: Path | bytes) -> tuple[_Read, str | None]:
    """Returns the result of `read` for a file, or for its repaired bytes, and their fault, if a decoder refuses it."""
    try:
        return read(source), None
    except MediaError as error:
        if error.cause not in ("cut off", "damaged", "unsupported"):
            raise
        repaired = mend.repaired_copy(source) if _head(source, 8).startswith(mend.MAGIC) else None
        if repaired is None:
            raise
        return read(repaired[0]), repaired[1]


def _read(source: Path | bytes, max_side: int | None, page: int | None = None) -> DecodedImage:
    with _open(source) as image:
        _choose_page(image, page)
        pixels = _decode(image, max_side, source)
        return DecodedImage(pixels, caption_of_image(image))


def _inspect(source: Path | bytes) -> ImageInfo:
    with _open(source) as image:
        return _info(image)


def _inspect_and_read(source: Path | bytes, max_side: int | None) -> tuple[ImageInfo, DecodedImage]:
    with _open(source) as image:
        info = _info(image)
        return info, DecodedImage(_decode(image, max_side, source), info.caption)


def _info(image: Image.Image) -> ImageInfo:
    """Returns the metadata of an open image, at its first page from then on."""
    pages = _pages(image)
    _choose_page(image, None)
    width, height = _square(image)
    if _orientation(image) in (5, 6, 7, 8):
        width, height = height, width
    caption = caption_of_image(image)
    return ImageInfo(width, height, image.format or "", image_metadata(image), caption, len(pages))


@contextmanager
def _open(source: Path | bytes) -> Iterator[Image.Image]:
    """Opens an image within the size limits; every error of a decoder becomes a `MediaError`. One
    opening reads most formats: each costs a confined process a round trip to its parent."""
    with io.BytesIO(source) if isinstance(source, bytes) else open_file(source) as file:
        head = require_of(file, "image", "" if isinstance(source, bytes) else source.suffix)
        with _decoder_of(source, file, head) as image:
            yield image


@contextmanager
def _decoder_of(source: Path | bytes, file: BinaryIO, head: bytes) -> Iterator[Image.Image]:
    from PIL import Image, ImageFile, UnidentifiedImageError

    if head[12:16] == b"CgBI":
        raise MediaError(
            "this PNG was rewritten for an iOS app (CgBI), which no other program reads; save a copy as PNG",
            "unsupported",
        )
    Image.MAX_IMAGE_PIXELS = None  # `_require_size` has a better message
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(source, file, head) as image:
                _require_size(image)
                if image.format == "PNG" and (at := head.find(b"\x00\x00\x00\x04cICP")) > 0:
                    image.cicp = Colours(head[at + 8], head[at + 9])
                if image.format in FORMATS_WITH_MORE:
                    image.info.update(embedded(image.format, file, head))
                yield image
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError("decoding it needs more memory than allowed", "memory") from error
    except UnidentifiedImageError as error:
        if tiff.is_tiff(head):
            raise _rare_tiff(file) from error
        if sniff(head) == "image":
            raise MediaError("the image is damaged; its header makes no sense", "damaged") from error
        raise MediaError("its content is not an image that Sightline knows", "unsupported") from error
    except _DECODER_ERRORS as error:
        if _ends_early(file, head):
            raise MediaError(*_CUT_OFF) from error
        if tiff.is_tiff(head) and _tiff(file).rare_compression():
            raise _rare_tiff(file) from error
        raise _reason(error) from error


def _ends_early(file: BinaryIO, head: bytes) -> bool:
    """Whether a WebP is shorter than it says."""
    return head[:4] == b"RIFF" and file.seek(0, io.SEEK_END) < int.from_bytes(head[4:8], "little") + 8


def _opened(source: Path | bytes, file: BinaryIO, head: bytes) -> AbstractContextManager[Any]:
    from PIL import Image

    if is_raw(head) or (tiff.is_tiff(head) and _tiff(file).is_raw()):
        from data.media.raw import RawFile

        try:
            return closing(RawFile(source))
        except MediaError:
            with suppress(*_DECODER_ERRORS):  # LibRaw does not support it; the file may have a preview
                return Image.open(file, formats=["TIFF"])
            raise
    if head[:2] == b"\xff\x0a" or head[4:8] == b"JXL ":
        from data.media.jxl import JxlImageFile

        return JxlImageFile(file)
    if head[4:8] == b"ftyp" and head[8:11] not in (b"avi",):
        _enable_heif()
    return Image.open(file, formats=_formats())


def _tiff(file: BinaryIO) -> tiff.Tiff:
    file.seek(0)
    directories = tiff.Tiff(file)
    file.seek(0)
    return directories


def _rare_tiff(file: BinaryIO) -> MediaError:
    directories = _tiff(file)
    if not directories.directories:
        return MediaError("the image is damaged; its header makes no sense", "damaged")
    return MediaError(
        f"a rare kind of TIFF ({directories.unusual_format()}), which Sightline does not read; save a copy as PNG",
        "unsupported",
    )


def _formats() -> list[str]:
    from PIL import Image

    Image.preinit()
    if not {"WEBP", "AVIF", "TIFF", "JPEG2000", "ICO"} <= Image.OPEN.keys():
        from PIL import (  # noqa: F401
            AvifImagePlugin,
            IcoImagePlugin,
            Jpeg2KImagePlugin,
            MpoImagePlugin,
            TiffImagePlugin,
            WebPImagePlugin,
        )
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
    limit = {"JPEG": MAX_JPEG_PIXELS, "MPO": MAX_JPEG_PIXELS, "HEIF": MAX_HEIF_PIXELS}.get(
        image.format or "", MAX_PIXELS
    )
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
        return MediaError(*_CUT_OFF)
    if isinstance(error, NotImplementedError) or "unsupported" in text or "not supported" in text or "unknown " in text:
        return MediaError("the image uses a rare variant of its format; save a copy as PNG", "unsupported")
    return MediaError("the image is damaged and cannot be decoded", "damaged")


# -----------------------------------------------------------------------------------------------------------
# ---- From an open file to pixels


def _pages(image: Image.Image) -> tuple[int, ...]:
    """The indexes of the frames that are pages."""
    fp = getattr(image, "fp", None)
    return tiff.Tiff(fp).pages() if image.format == "TIFF" and fp is not None else (0,)


def _choose_page(image: Image.Image, page: int | None) -> None:
    """Selects a page (from 1; None for the first page, which need not be the first image of a TIFF)."""
    if page is None and image.format != "TIFF":
        return
    pages = _pages(image)
    if not 1 <= (page or 1) <= len(pages):
        raise MediaError(f"there is no page {page} in the image", "damaged")
    if number := pages[(page or 1) - 1]:
        image.seek(number)
        _require_size(image)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1 for formats that are upright."""
    return 1 if image.format in _UPRIGHT else image.getexif().get(0x0112, 1)


def _square(image: Image.Image) -> tuple[int, int]:
    """The size with square pixels, the coarser side stretched: a fax has 204 x 98 dots per inch."""
    width, height = image.size
    if image.format != "TIFF":
        return width, height
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    try:
        across, down = float(tags[282]), float(tags[283])
        ratio = across / down
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return width, height
    if tags.get(274) in (5, 6, 7, 8):
        ratio = 1 / ratio if ratio else 0
    if not 0.2 < ratio < 5 or abs(ratio - 1) < 0.01:
        return width, height
    square = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    return square if square[0] * square[1] <= MAX_PIXELS else (width, height)


def _decode(image: Any, max_side: int | None, source: Path | bytes) -> np.ndarray:
    pixels = np.asarray(_displayed_frame(image, max_side, source))
    if moving.starts_blank(image, pixels):
        image.seek(moving.best_frame(image))
        pixels = np.asarray(_displayed_frame(image, max_side, source))
    return pixels


def _displayed_frame(image: Any, max_side: int | None, source: Path | bytes) -> Image.Image:
    """The selected frame as viewers display it."""
    from PIL import Image

    orientation, square = _orientation(image), _square(image)
    stored, colours = _stored(image, max_side, source)
    picture = plain(stored)
    sides = picture.size if square == image.size or image.format != "TIFF" else square
    scale = min(1.0, max_side / max(sides)) if max_side is not None else 1.0
    size = (max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    picture = to_srgb(picture, None if colours else stored.info.get("icc_profile"), colours)
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


def _stored(image: Any, max_side: int | None, source: Path | bytes) -> tuple[Image.Image, Colours | None]:
    """The decoded pixels, not much larger than required, and their colour space if numbers declare it."""
    if image.format == "RAW":
        return image.picture(max_side), None
    colours = _colours(image, source)
    if image.format == "HEIF" and colours is not None and colours.is_hdr:
        return heif.read_reduced(source, image.tell(), max_side, colours), None
    if image.format == "HEIF" and image.width * image.height > MAX_PIXELS // 2 and max_side is not None:
        small = heif.read_reduced(source, image.tell(), max_side, None)
        small.info = image.info
        return small, colours
    if max_side is not None and image.format in ("JPEG", "MPO"):
        # By the longest side: with both sides a 4:3 photo was decoded twice as large.
        scale = max_side / max(image.size)
        image.draft(None, (ceil(image.width * scale), ceil(image.height * scale)))
    elif max_side is not None and image.format == "JPEG2000":
        image.reduce = max(0, (max(image.size) // max_side).bit_length() - 1)
    if image.format == "JPEG2000" and (box := inside(_head(source, heif.HEAD_BYTES), (b"jp2h", b"colr"))):
        colour = _head(source, box[1])[box[0] :]
        if colour[:1] == b"\x02":  # an ICC profile, which Pillow ignores
            image.info["icc_profile"] = colour[3:]
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise MediaError("at full size it has more pixels than Sightline opens", "too large")
    if image.format == "TIFF":
        return tiff.loaded(image), colours
    image.load()
    return image, colours


def _colours(image: Any, source: Path | bytes) -> Colours | None:
    """The colour space that numbers declare, if it takes precedence over an ICC profile or there is none."""
    if image.format == "HEIF":
        return heif.colours_of_heif(image)
    if image.format == "JXL":
        declared: Colours | None = image.colours
        return declared
    if hasattr(image, "cicp"):  # takes precedence over a profile (PNG, third edition)
        numbers: Colours = image.cicp
        return numbers
    if "icc_profile" in image.info:
        return None
    gamma = image.info.get("gamma")
    if image.format == "PNG" and gamma and "srgb" not in image.info:
        chromaticity = image.info.get("chromaticity")
        primaries = primaries_near(chromaticity) if chromaticity else 1
        usual = abs(gamma * 2.2 - 1) <= 0.05 and primaries == 1
        return Colours(primaries, gamma=1 / gamma) if 0.2 < gamma < 2 and not usual else None
    if image.format == "AVIF":
        return heif.colours_of_avif(_head(source, heif.HEAD_BYTES))
    if image.format == "JPEG" and _is_adobe_rgb(image.getexif()):
        return ADOBE_RGB
    return None


def _is_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether EXIF declares Adobe RGB without a profile (DCF 2.0): uncalibrated, interoperability index R03."""
    try:
        return exif.get_ifd(0x8769).get(0xA001) == 0xFFFF and exif.get_ifd(0xA005).get(1) == "R03"
    except _DECODER_ERRORS:
        return False


def _head(source: Path | bytes, size: int) -> bytes:
    if isinstance(source, bytes):
        return source[:size]
    with source.open("rb") as file:
        return file.read(size)
