"""JPEG XL for Pillow, through pylibjxl (libjxl, both BSD): `JxlImageFile`.

Built around the header: size, colour space, EXIF and XMP are read from it and the container's boxes without
decoding; `load` decodes. Pixels are upright with 8 bits. The decoder returns the last frame of an animation.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from PIL import Image, ImageFile

from data.media.boxes import boxes
from data.media.colour import Colours
from data.media.kinds import MediaError


class JxlImageFile(ImageFile.ImageFile):
    """`colours` is None if an ICC profile holds the colour space, or none is given."""

    format = "JXL"
    colours: Colours | None = None

    def _open(self) -> None:
        try:
            import pylibjxl
        except ImportError as error:
            raise MediaError("JPEG XL needs the package pylibjxl; install it or save a PNG", "unsupported") from error
        assert self.fp is not None
        self._bytes = self.fp.read()
        facts = pylibjxl.probe(self._bytes)
        self._size = facts["width"], facts["height"]
        self._mode = {1: "L", 2: "LA", 4: "RGBA"}.get(facts["channels"], "RGB")
        stream = self._bytes[:256]
        for name, start, end in boxes(self._bytes) if self._bytes[:2] == b"\x00\x00" else ():
            body = self._bytes[start:end] if name in (b"Exif", b"xml ", b"brob") else b""
            if name in (b"jxlc", b"jxlp") and not stream.startswith(b"\xff\x0a"):
                stream = self._bytes[start + (4 if name == b"jxlp" else 0) :][:256]
            if name == b"brob":  # another box, compressed
                name, body = body[:4], _decompress_brotli(body[4:])
            if name == b"Exif" and len(body) > 4:  # the first four bytes are the offset of the TIFF header
                self.info["exif"] = b"Exif\x00\x00" + body[4 + int.from_bytes(body[:4], "big") :]
            elif name == b"xml ":
                self.info["xmp"] = body
        with suppress(ValueError):
            self.colours = _Header(stream).colours()

    def load(self) -> Any:
        if self._im is None:
            import pylibjxl

            pixels, metadata = pylibjxl.decode(self._bytes, metadata=True)
            decoded = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            self._im, self._mode = decoded.im, decoded.mode
            if "icc" in metadata:
                self.info["icc_profile"] = metadata["icc"]
        return Image.Image.load(self)


def _decompress_brotli(body: bytes) -> bytes:
    """Decompressed Brotli data; empty if they are damaged or the package is missing."""
    with suppress(Exception):  # brotli.error is not known without the package
        import brotli

        return bytes(brotli.decompress(body))
    return b""


class _Header:
    """The bits of a codestream's header, lowest first (ISO/IEC 18181-1, 9 and Annexes D and E)."""

    def __init__(self, stream: bytes) -> None:
        self._all = int.from_bytes(stream[2:], "little")
        self._bits_left = 8 * (len(stream) - 2)

    def colours(self) -> Colours | None:
        """Returns the colour space by number; None for sRGB and with an ICC profile. Raises `ValueError` for a
        truncated or rare header."""
        self._size()
        if self._bits(1):  # all default
            return None
        if self._bits(1):
            self._bits(3)  # the orientation, which the decoder applies
            if self._bits(1):
                self._size()
            if self._bits(1):
                raise ValueError("a preview")
            if self._bits(1):
                self._animation()
        self._depth()
        self._bits(1)
        for _ in range(self._choice((0, 0), (1, 0), (2, 4), (1, 12))):
            self._extra_channel()
        xyb = self._bits(1)
        if self._bits(1):  # sRGB
            return None
        if self._bits(1):  # an ICC profile; for XYB, libjxl without a colour engine returns linear sRGB anyway
            return Colours(gamma=1.0) if xyb else None
        space = self._enum()
        white = self._enum() if space < 2 else 0
        if white != 1:
            return None
        primaries = self._enum() if space == 0 else 1
        if primaries == 2:
            return None
        if self._bits(1):
            return Colours(_PRIMARIES.get(primaries, 1), gamma=1e7 / max(1, self._bits(24)))
        return Colours(_PRIMARIES.get(primaries, 1), self._enum())

    def _bits(self, count: int) -> int:
        if count > self._bits_left:
            raise ValueError("the header goes on")
        value = self._all & ((1 << count) - 1)
        self._all >>= count
        self._bits_left -= count
        return value

    def _choice(self, *ways: tuple[int, int]) -> int:
        """Reads two bits, which select a base and a number of bits to add."""
        base, count = ways[self._bits(2)]
        return base + self._bits(count)

    def _enum(self) -> int:
        return self._choice((0, 0), (1, 0), (2, 4), (18, 6))

    def _size(self) -> None:
        eighths = self._bits(1)
        for is_height in (True, False):
            self._bits(5) if eighths else self._choice((1, 9), (1, 13), (1, 18), (1, 30))
            if is_height and self._bits(3):
                return  # the width follows from the height

    def _animation(self) -> None:
        self._choice((100, 0), (1000, 0), (1, 10), (1, 30))
        self._choice((1, 0), (1001, 0), (1, 8), (1, 10))
        self._choice((0, 0), (0, 3), (0, 16), (0, 32))
        self._bits(1)

    def _depth(self) -> None:
        if self._bits(1):
            self._choice((32, 0), (16, 0), (24, 0), (1, 6))
            self._bits(4)
        else:
            self._choice((8, 0), (10, 0), (12, 0), (1, 6))

    def _extra_channel(self) -> None:
        if self._bits(1):
            return
        kind = self._enum()
        self._depth()
        self._choice((0, 0), (3, 0), (4, 0), (1, 3))
        self._bits(8 * self._choice((0, 0), (0, 4), (16, 5), (48, 10)))
        if kind == 0:
            self._bits(1)
        elif kind in (2, 5):
            raise ValueError("spot colours or a sensor's")


_PRIMARIES = {1: 1, 9: 9, 11: 12}  # JPEG XL's numbers and those of H.273 for a white of D65
