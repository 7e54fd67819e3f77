"""The directories of a TIFF: which of its images are pages, whether it is a camera's raw file, and why Pillow
cannot read it; and the pixels that Pillow misreads.

Built around `Tiff`, which walks the chain of directories (classic and BigTIFF, either byte order) within
limits. Thumbnails, masks and the smaller copies of a pyramid are no pages.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_PAGES = 20_000
_MAX_ENTRIES = 1_000
_FORMATS = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}
# Tag numbers of TIFF 6.0, its supplements and DNG.
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_COLOUR_MAP = 320
_PLANES, _PAGE_NUMBER, _SUB_IFDS, _SAMPLE_FORMAT, _DNG = 284, 297, 330, 339, 50706
_RAW_PHOTOMETRIC = (32803, 34892)  # a colour filter array; linear raw

_THUMBNAIL = 512  # the longest side of an unmarked thumbnail before its image; a first page may be small too
_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34676, 34677, 34925, 50000)
_RARE_COMPRESSIONS = {
    32809: "ThunderScan", 32909: "PixarLog", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG",
    34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34933: "PNG", 34934: "JPEG XR", 50001: "WebP",
    50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip

Directory = dict[int, tuple[float, ...]]


class Tiff:
    """The directories of a TIFF, in the order of the chain, without unreadable ones."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        file.seek(0)
        head = file.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[2:4] in (b"+\x00", b"\x00+")
        self.is_cr2 = head[8:10] == b"CR"
        self.directories: list[Directory] = []
        visited: set[int] = set()
        at = self._number(head[8:16]) if self.big else self._number(head[4:8])
        while at and at not in visited and len(self.directories) <= MAX_PAGES:
            visited.add(at)
            directory, at = self._directory(at)
            if directory:
                self.directories.append(directory)

    def pages(self) -> tuple[int, ...]:
        """Returns the indexes of the images that are pages, from 0; (0,) if none is."""
        return tuple(i for i, directory in enumerate(self.directories) if self._is_page(i, directory)) or (0,)

    def _is_page(self, number: int, directory: Directory) -> bool:
        if int(directory.get(_SUBFILE, (0,))[0]) & 0b101 or directory.get(_OLD_SUBFILE, (0,))[0] == 2:
            return False  # a smaller copy, a mask
        if _PAGE_NUMBER in directory or _SUBFILE in directory:
            return True
        if number:
            return not _is_small_copy(directory, self.directories[0])
        follows = self.directories[1] if len(self.directories) > 1 else directory
        return max(_size(directory)) > _THUMBNAIL or not _is_small_copy(directory, follows)

    def is_raw(self) -> bool:
        """Whether the file holds raw sensor data (DNG, CR2, NEF, ARW …), which LibRaw develops."""
        if self.is_cr2 or any(_DNG in directory for directory in self.directories):
            return True
        offsets = [offset for directory in self.directories[:4] for offset in directory.get(_SUB_IFDS, ())[:8]]
        candidates = [*self.directories, *(self._directory(int(offset))[0] for offset in offsets)]
        return any(directory.get(_PHOTOMETRIC, (0,))[0] in _RAW_PHOTOMETRIC for directory in candidates)

    def unusual_format(self) -> str:
        """Returns the compression or the number format of the first image, for an error message."""
        directory = self.directories[0] if self.directories else {}
        if compression := self.rare_compression():
            return compression
        if self.big and self.order == ">":
            return "a BigTIFF with the highest byte first"
        bits, samples = int(directory.get(_BITS, (1,))[0]), len(directory.get(_BITS, (1,)))
        number_type = {2: "signed", 3: "floating-point"}.get(int(directory.get(_SAMPLE_FORMAT, (1,))[0]), "whole")
        return f"{samples} x {bits}-bit {number_type} numbers a pixel"

    def rare_compression(self) -> str:
        """Returns the name of the first image's compression if Pillow has no decoder for it; else empty."""
        number = int(self.directories[0].get(_COMPRESSION, (1,))[0]) if self.directories else 1
        name = _RARE_COMPRESSIONS.get(number, "" if number in _COMPRESSIONS else f"number {number}")
        return f"compressed as {name}" if name else ""

    def _directory(self, at: int) -> tuple[Directory, int]:
        """The directory at offset `at` and the offset of the next one, 0 for none."""
        directory: Directory = {}
        size, entry, word = (8, 20, 8) if self.big else (2, 12, 4)
        try:
            self.file.seek(at)
            count = self._number(self.file.read(size))
            data = self.file.read(count * entry + word) if count <= _MAX_ENTRIES else b""
            for i in range(len(data) // entry):
                tag, kind = struct.unpack(f"{self.order}HH", data[i * entry : i * entry + 4])
                number = self._number(data[i * entry + 4 : i * entry + 4 + word])
                value = data[i * entry + 4 + word : (i + 1) * entry]
                if tag in _READ_TAGS and kind in _FORMATS and number <= 64:
                    directory[tag] = self._values(_FORMATS[kind], number, value)
            return directory, self._number(data[count * entry : count * entry + word])
        except (OSError, struct.error, ValueError, OverflowError):
            return directory, 0

    def _values(self, form: str, number: int, value: bytes) -> tuple[float, ...]:
        length = struct.calcsize(f"{self.order}{form * number}")
        if length > len(value):
            self.file.seek(self._number(value))
            value = self.file.read(length)
        return struct.unpack(f"{self.order}{form * number}", value[:length])

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")


_READ_TAGS = frozenset(
    (_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _PAGE_NUMBER, _SUB_IFDS,
     _SAMPLE_FORMAT, _DNG)
)  # fmt: skip


def _size(directory: Directory) -> tuple[float, float]:
    return directory.get(_WIDTH, (0,))[0], directory.get(_HEIGHT, (0,))[0]


def _is_small_copy(directory: Directory, full: Directory) -> bool:
    """Whether an unmarked image has the shape of another at half its size or less."""
    (width, height), (full_width, full_height) = _size(directory), _size(full)
    same_shape = abs(width * full_height - height * full_width) <= max(full_width, full_height)
    return same_shape and 2 * width <= full_width


def is_tiff(head: bytes) -> bool:
    return head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


# -----------------------------------------------------------------------------------------------------------
# ---- What Pillow misreads


def loaded(image: Any) -> Image.Image:
    """Returns the selected image of an open TIFF, decoded, with its values as they are meant: Pillow takes planes of 16
    bits for 8, swaps the bytes of numbers that libtiff has swapped already, takes unsigned numbers of 32 bits for
    signed ones and signed ones of 8 bits for unsigned ones, shows 16-bit images whose 0 is white as negatives, and
    palettes of old programs, whose values end at 255, as black."""
    from PIL import Image

    tags = image.tag_v2
    bits, number_type = tags.get(_BITS, (1,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0]
    white_is_zero = tags.get(_PHOTOMETRIC) == 0
    little = tags._endian == "<"
    image.tile = [tile._replace(args=_corrected(tile, bits, tags.get(_PLANES) == 2, little)) for tile in image.tile]
    image.load()
    if image.mode == "P" and 0 < max(tags.get(_COLOUR_MAP, (0,))) < 256:
        image.putpalette(bytes(tags[_COLOUR_MAP]), "RGB;L")
    elif image.mode == "L" and bits == 8 and number_type == 2:
        signed = np.asarray(image).view(np.int8)
        image.putdata((2 * np.maximum(signed, 0).astype(np.uint8)).ravel().tolist())
    if image.mode == "I" and bits == 32 and number_type == 1:
        values = np.asarray(image).view(np.uint32) >> 16
    elif white_is_zero and image.mode.startswith("I;16"):
        values = np.asarray(image)
    else:
        return image  # type: ignore[no-any-return]
    most = 65535 if bits == 32 else (1 << bits) - 1
    result = Image.fromarray((most - np.minimum(values, most) if white_is_zero else values).astype(np.uint16))
    result.info = image.info
    return result


def _corrected(tile: Any, bits: int, planes: bool, little: bool) -> Any:
    """The arguments of a tile for its decoder; the first one names the layout of the pixels."""
    layout = tile.args[0]
    if planes and bits == 16 and layout in tuple("RGBACMYKX"):
        layout += ";16L" if little else ";16B"
    if tile.codec_name == "libtiff" and sys.byteorder == "little":
        layout = _SWAPPED.get(layout, layout)
    return (layout, *tile.args[1:])


_SWAPPED = {"I;16BS": "I;16S", "I;32B": "I;32", "I;32BS": "I;32S", "F;32BF": "F;32F", "F;64BF": "F;64F"}
"""Layouts of numbers with the highest byte first: libtiff returns them in the order of this computer."""
