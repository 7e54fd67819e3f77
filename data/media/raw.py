"""Cameras' raw files through LibRaw (rawpy): `RawFile`, with the interface of an open Pillow image.

Built around the preview that every camera embeds: if it is large enough it is decoded, and shows what the
photographer saw; otherwise the sensor data are developed, at half size. EXIF is read from the file's own TIFF
structure, from Canon's boxes (CR3), or from the preview (RAF).
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from data.media.kinds import MediaError

_UNSUPPORTED = "the camera's raw format is not known here; save a copy as JPEG or DNG"
_DAMAGED = "the raw file is damaged and cannot be developed"
# EXIF: orientation, two dates, the Exif and the GPS directory.
_TURN, _DATE, _ORIGINAL, _DETAIL, _GPS = 0x0112, 0x0132, 0x9003, 0x8769, 0x8825
# LibRaw's flips, in degrees counter-clockwise.
_TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}


class RawFile:
    """An open raw file; the caller closes it. `size` is as displayed, upright. Raises `MediaError`."""

    format = "RAW"

    def __init__(self, source: Path | bytes) -> None:
        try:
            import rawpy
        except ImportError as error:
            raise MediaError("camera raw needs the package rawpy; install it or save a JPEG", "unsupported") from error
        self._rawpy = rawpy
        self._source = source
        self.info: dict[str, Any] = {}
        with self._media_errors():
            self._raw: Any = rawpy.imread(str(source) if isinstance(source, Path) else io.BytesIO(source))
            sizes = self._raw.sizes
        self._flip = sizes.flip
        size = (sizes.width, sizes.height)
        self.size = size[::-1] if self._flip in (5, 6) else size
        self._preview: Image.Image | None = None
        self._exif = self._read_exif()

    def getexif(self) -> Image.Exif:
        return self._exif

    def close(self) -> None:
        self._raw.close()

    def picture(self, max_side: int | None) -> Image.Image:
        """Returns an upright image of at least `max_side` or half the sensor's size, not scaled to `max_side`."""
        need = min(max(self.size) // 2, max_side or max(self.size))
        preview = self.preview()
        if preview is not None and max(preview.size) >= 0.95 * need:
            return self._upright(preview, max_side)
        try:
            with self._media_errors():
                pixels = self._raw.postprocess(half_size=True, use_camera_wb=True, gamma=(2.4, 12.92))
            return Image.fromarray(pixels)
        except MediaError:
            if preview is None:
                raise
            return self._upright(preview, max_side)

    def preview(self) -> Image.Image | None:
        """Returns the embedded preview as stored, not yet decoded; None without one."""
        if self._preview is None:
            rawpy = self._rawpy
            try:
                with self._media_errors():
                    thumbnail = self._raw.extract_thumb()
                if thumbnail.format == rawpy.ThumbFormat.JPEG:
                    self._preview = Image.open(io.BytesIO(_as_stored(thumbnail.data)), formats=["JPEG", "MPO"])
                else:
                    self._preview = Image.fromarray(np.asarray(thumbnail.data))
            except (MediaError, OSError, SyntaxError, ValueError, TypeError):
                return None
        return self._preview

    def _upright(self, preview: Image.Image, max_side: int | None) -> Image.Image:
        if max_side is not None:
            preview.draft(None, tuple(-(-side * max_side // max(preview.size)) for side in preview.size))  # type: ignore[arg-type]
        preview.load()
        turn = _TURNS.get(self._flip)
        same_shape = (preview.width > preview.height) == (self.size[0] > self.size[1])
        if turn is None or (self._flip in (5, 6) and same_shape):
            return preview  # the preview is upright already
        if self._flip == 3 and preview.getexif().get(_TURN) == 1:
            return preview
        turned = preview.transpose(turn)
        turned.info = preview.info
        return turned

    def _read_exif(self) -> Image.Exif:
        exif = Image.Exif()
        try:
            with _open_file(self._source) as file:
                head = file.read(16)
                if head[:2] in (b"II", b"MM"):
                    exif = _exif_of_tiff(file, head)
                elif head[4:12] == b"ftypcrx ":
                    exif = _exif_of_cr3(file)
                elif (preview := self.preview()) is not None:
                    exif = preview.getexif()
            if not (exif.get(_DATE) or exif.get_ifd(_DETAIL)) and self._raw.other.timestamp:
                moment = time.localtime(self._raw.other.timestamp)
                exif.get_ifd(_DETAIL)[_ORIGINAL] = time.strftime("%Y:%m:%d %H:%M:%S", moment)
        except (OSError, ValueError, TypeError, LookupError, SyntaxError, AttributeError, struct.error):
            pass  # an image without a date is better than none
        packet = exif.get(700)
        if isinstance(packet, bytes):
            self.info["xmp"] = packet
        return exif

    @contextmanager
    def _media_errors(self) -> Iterator[None]:
        rawpy = self._rawpy
        try:
            yield
        except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError) as error:
            raise MediaError(_UNSUPPORTED, "unsupported") from error
        except rawpy.LibRawError as error:
            raise MediaError(_DAMAGED, "damaged") from error


_LIBRAW_EXIF = b"\xff\xd8\xff\xe1\x05\x68Exif\x00\x00"
"""The beginning of a preview with an EXIF block of 1,384 bytes that LibRaw makes of the raw file's facts."""


def _as_stored(preview: bytes) -> bytes:
    """Returns a preview as the camera stored it: where it begins with a JFIF block, LibRaw lays EXIF of its own before
    it, which hides the camera's."""
    end = 4 + 0x568
    if preview.startswith(_LIBRAW_EXIF) and preview[end : end + 2] == b"\xff\xe0":
        return preview[:2] + preview[end:]
    return preview


def _open_file(source: Path | bytes) -> BinaryIO:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


def _exif_of_tiff(file: BinaryIO, head: bytes) -> Image.Exif:
    """EXIF of NEF, DNG, CR2, ARW and the like, which are TIFFs, and of ORF and RW2, which are TIFFs with another
    magic number."""
    exif = Image.Exif()
    if head[2:4] in (b"*\x00", b"\x00*"):
        file.seek(0)
        exif.load_from_fp(file)
        for part in (_DETAIL, _GPS):
            exif.get_ifd(part)  # while the file is open
    else:
        file.seek(0)
        magic = b"II*\x00" if head[:2] == b"II" else b"MM\x00*"
        exif.load(b"Exif\x00\x00" + magic + file.read(4 << 20)[4:])
    return exif


def _exif_of_cr3(file: BinaryIO) -> Image.Exif:
    """EXIF of CR3: Canon stores the main, the Exif and the GPS directory in three boxes."""
    file.seek(0)
    data = file.read(1 << 20)
    exif = Image.Exif()
    for name, part in ((b"CMT1", None), (b"CMT2", _DETAIL), (b"CMT4", _GPS)):
        at = data.find(name)
        if at < 4:
            continue
        part_exif = Image.Exif()
        part_exif.load(b"Exif\x00\x00" + data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")])
        if part is None:
            exif.update(dict(part_exif))
        else:
            exif.get_ifd(part).update(dict(part_exif))
    return exif
