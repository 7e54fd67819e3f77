"""The wire format of `Input`s and vectors between `model/remote/client.py` and a model server. It is lossless.

Built around one frame: four bytes of length, JSON of that length, then the arrays in order. An array is raw, or
lossless WebP over a network (`COMPACT`), so that the server embeds the same pixels as a local model. Nothing is
unpickled, and every size is checked against its bound before memory is allocated. It knows nothing of HTTP.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from typing import Any, cast, get_args

import numpy as np

from model.inputs import Input, InputKind, Role

CONTENT_TYPE = "application/x-sightline-inputs"
VECTORS_TYPE = "application/x-sightline-vectors"

COMPACT = "webp"
"""Photographs at 1280 pixels as lossless WebP (method 0): 30 % of the bytes at 59 MB/s on one core; PNG (level 1)
39 % at 48, zlib (level 1) 59 % at 72. Raw is faster above about 80 MB/s: on loopback."""

MAX_INPUTS = 256
MAX_PIXELS = 64 << 20
"""The sum over one request. 64 windows of 8 frames at 360p are 94 million; a client sends fewer."""
MAX_TEXT = 400_000
"""Characters of one input, far above the longest page of a model."""
MAX_HEAD = 16 << 20
"""Bytes of the JSON of a frame: all texts of a request."""
WEBP_SIDE = 16_383


class WireError(Exception):
    """A frame cannot be read. The message is the reason."""


def pack(inputs: Sequence[Input], *, compact: bool = False) -> bytes:
    """Returns the frame of `inputs`. `compact`: images as lossless WebP."""
    parts: list[bytes] = []

    def put(array: np.ndarray) -> dict[str, Any]:
        array = np.ascontiguousarray(array, np.uint8)
        raw = not compact or max(array.shape[:2], default=0) > WEBP_SIDE
        parts.append(array.tobytes() if raw else _webp(array))
        return {"shape": list(array.shape), "coding": "raw" if raw else COMPACT, "bytes": len(parts[-1])}

    fields = [
        {
            "text": item.text,
            "instruction": item.instruction,
            "title": item.title,
            "role": item.role,
            "kind": item.kind,
            "images": [put(image) for image in item.images],
            "video": None if item.video is None else [put(frame) for frame in item.video],
        }
        for item in inputs
    ]
    return _frame({"inputs": fields}, parts)


def unpack(body: bytes) -> list[Input]:
    """Returns the inputs of an untrusted frame. Raises `WireError`."""
    head, rest = _unframe(body)
    fields = head.get("inputs")
    if not isinstance(fields, list) or len(fields) > MAX_INPUTS:
        raise WireError(f"inputs must be a list of at most {MAX_INPUTS}")
    reader = _ImageReader(rest)
    inputs = [_input(one, reader) for one in fields]
    reader.require_end()
    return inputs


def pixels_of(body: bytes) -> int:
    """Returns how many pixels an untrusted frame says that it has; `unpack` holds it to that. Raises `WireError`."""
    inputs = _unframe(body)[0].get("inputs")
    images: list[Any] = []
    for item in inputs if isinstance(inputs, list) else ():
        for name in ("images", "video"):
            value = item.get(name) if isinstance(item, dict) else None
            images += value if isinstance(value, list) else []
    shapes = [image.get("shape") for image in images if isinstance(image, dict)]
    return sum(s[0] * s[1] for s in shapes if isinstance(s, list) and len(s) == 3 and all(map(_whole, s)))


def pack_vectors(vectors: np.ndarray, model_id: str) -> bytes:
    """Returns the frame of float32 [n, dim] and the id of their model."""
    array = np.ascontiguousarray(vectors, "<f4")
    return _frame({"model": model_id, "shape": list(array.shape)}, [array.tobytes()])


def unpack_vectors(body: bytes) -> tuple[np.ndarray, str]:
    """Returns float32 [n, dim] and the id of their model. Raises `WireError`."""
    head, rest = _unframe(body)
    shape, model_id = head.get("shape"), head.get("model")
    if not (isinstance(shape, list) and len(shape) == 2 and all(_whole(n) for n in shape)):
        raise WireError("the answer does not say the shape of its vectors")
    if not isinstance(model_id, str) or len(rest) != 4 * shape[0] * shape[1]:
        raise WireError("the answer is cut short")
    return np.frombuffer(rest, "<f4").reshape(shape).astype(np.float32), model_id


class _ImageReader:
    """Reads the images behind a frame's JSON, in order, within the bounds."""

    def __init__(self, rest: memoryview) -> None:
        self._rest, self._offset, self._pixels = rest, 0, 0

    def read(self, fields: Any) -> np.ndarray:
        """Returns uint8 [H, W, 3]."""
        if not isinstance(fields, dict) or not isinstance(fields.get("shape"), list) or not _whole(fields.get("bytes")):
            raise WireError("an array has no shape")
        shape, size = fields["shape"], fields["bytes"]
        if len(shape) != 3 or shape[2] != 3 or not all(_whole(n) and n > 0 for n in shape):
            raise WireError(f"an image is [height, width, 3], not {shape}")
        self._pixels += shape[0] * shape[1]
        if self._pixels > MAX_PIXELS:
            raise WireError(f"more than {MAX_PIXELS >> 20} million pixels in one request")
        data = self._rest[self._offset : self._offset + size]
        if len(data) != size:
            raise WireError("the request is cut short")
        self._offset += size
        if fields.get("coding") == COMPACT:
            return _from_webp(data, (shape[0], shape[1]))
        if fields.get("coding") != "raw" or size != shape[0] * shape[1] * 3:
            raise WireError(f"an array of shape {shape} does not have {size} bytes")
        return np.frombuffer(data, np.uint8).reshape(shape)

    def read_clip(self, fields: list[Any]) -> np.ndarray:
        """Returns uint8 [T, H, W, 3], in which each frame is decoded: the frames are in memory once."""
        first = self.read(fields[0])
        if len(fields) * first.shape[0] * first.shape[1] > MAX_PIXELS:
            raise WireError(f"more than {MAX_PIXELS >> 20} million pixels in one request")
        clip = np.empty((len(fields), *first.shape), np.uint8)
        clip[0] = first
        for frame, one in zip(clip[1:], fields[1:], strict=True):
            image = self.read(one)
            if image.shape != first.shape:
                raise WireError("the frames of a clip are of one size")
            frame[:] = image
        return clip

    def require_end(self) -> None:
        if self._offset != len(self._rest):
            raise WireError("there is more in the request than it says")


def _input(fields: Any, reader: _ImageReader) -> Input:
    if not isinstance(fields, dict):
        raise WireError("an input is an object")
    text, instruction, title = fields.get("text"), fields.get("instruction"), fields.get("title")
    for value in (text, instruction, title):
        if value is not None and not (isinstance(value, str) and len(value) <= MAX_TEXT):
            raise WireError(f"a text has at most {MAX_TEXT:,} characters")
    role, kind = fields.get("role"), fields.get("kind")
    if role not in get_args(Role) or kind not in get_args(InputKind):
        raise WireError(f"no input has role {role!r:.30} and kind {kind!r:.30}")
    image_fields, frame_fields = fields.get("images") or [], fields.get("video")
    if not isinstance(image_fields, list) or not (frame_fields is None or isinstance(frame_fields, list)):
        raise WireError("images and video are lists")
    images = tuple(reader.read(one) for one in image_fields)
    video = reader.read_clip(frame_fields) if frame_fields else None
    if not (text or images or video is not None):
        raise WireError("an input holds words, images or a clip")
    return Input(text, images, video, instruction, cast(Role, role), cast(InputKind, kind), title)


def _frame(head: dict[str, Any], parts: Sequence[bytes]) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((struct.pack("<I", len(text)), text, *parts))


def _unframe(body: bytes) -> tuple[dict[str, Any], memoryview]:
    try:
        (length,) = struct.unpack_from("<I", body)
        if length > MAX_HEAD:
            raise WireError(f"the texts of a request have at most {MAX_HEAD >> 20} MB")
        head = json.loads(body[4 : 4 + length])
    except (struct.error, ValueError, RecursionError) as error:
        raise WireError("not a frame of inputs or vectors") from error
    if not isinstance(head, dict):
        raise WireError("not a frame of inputs or vectors")
    return head, memoryview(body)[4 + length :]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _webp(image: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


def _from_webp(data: memoryview, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            if (image.height, image.width) != size:
                raise WireError("an image is not of the size that its frame gives")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WireError("an image cannot be read") from error
