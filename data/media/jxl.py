"""JPEG XL for Pillow, through pylibjxl (libjxl, both BSD): `JxlImageFile`.

Built around the header's size alone until `load`; EXIF and XMP come from the container's boxes, so that they
cost no decoding. The pixels come upright and with 8 bits. Of an animation the decoder gives its last picture.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageFile

from data.media.boxes import boxes
from data.media.kinds import MediaError

MAGIC = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")


class JxlImageFile(ImageFile.ImageFile):
    format = "JXL"

    def _open(self) -> None:
        try:
            import pylibjxl
        except ImportError as error:
            raise MediaError("JPEG XL needs the package pylibjxl; install it or save a PNG", "unsupported") from error
        assert self.fp is not None
        self._bytes = self.fp.read()
        said = pylibjxl.probe(self._bytes)
        self._size = said["width"], said["height"]
        self._mode = {1: "L", 2: "LA", 4: "RGBA"}.get(said["channels"], "RGB")
        for name, start, end in boxes(self._bytes) if self._bytes[:2] == b"\x00\x00" else ():
            if name == b"Exif":  # four bytes say where the TIFF header begins
                start += 4 + int.from_bytes(self._bytes[start : start + 4], "big")
                self.info["exif"] = b"Exif\x00\x00" + self._bytes[start:end]
            elif name == b"xml ":
                self.info["xmp"] = self._bytes[start:end]

    def load(self) -> Any:
        if self._im is None:
            import pylibjxl

            pixels, more = pylibjxl.decode(self._bytes, metadata=True)
            decoded = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            self._im, self._mode = decoded.im, decoded.mode
            if "icc" in more:
                self.info["icc_profile"] = more["icc"]
        return Image.Image.load(self)
