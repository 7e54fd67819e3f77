"""How `Input`s and vectors travel between `model/remote/client.py` and a model server, without losing a bit.

Built around one frame: four bytes of length, that much JSON, then the arrays one after another. An array
goes raw, or as lossless WebP where a network lies between (`COMPACT` tells what that is worth); either
way the server embeds the very pixels that a local model would have seen. Nothing is ever unpickled, and every
size is checked against its bound before memory is taken. It knows nothing of HTTP.
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
"""Photos at 1280 pixels as lossless WebP (method 0): 30 % of the bytes at 59 MB/s on one core; PNG (level 1)
39 % at 48, zlib (level 1) 59 % at 72. Raw is quicker where the line does more than about 80 MB/s: on
loopback."""

MOST_INPUTS = 256
MOST_PIXELS = 64 << 20
"""Of one request, in all: 64 windows of 8 frames at 360p are 94 million; a client sends less at a time."""
MOST_TEXT = 400_000
"""Characters of one input; the longest page that a model looks at is far shorter."""
WEBP_SIDE = 16_383


class WireError(Exception):
    """A frame that cannot be read. `str(error)` says what is wrong with it."""


def pack(inputs: Sequence[Input], *, compact: bool = False) -> bytes:
    """The frame of some inputs. `compact`: pictures as lossless WebP."""
    parts: list[bytes] = []

    def put(array: np.ndarray) -> dict[str, Any]:
        array = np.ascontiguousarray(array, np.uint8)
        raw = not compact or max(array.shape[:2], default=0) > WEBP_SIDE
        parts.append(array.tobytes() if raw else _webp(array))
        return {"shape": list(array.shape), "coding": "raw" if raw else COMPACT, "bytes": len(parts[-1])}

    told = [
        {
            "text": item.text,
            "instruction": item.instruction,
            "title": item.title,
            "role": item.role,
            "kind": item.kind,
            "images": [put(picture) for picture in item.images],
            "video": None if item.video is None else [put(frame) for frame in item.video],
        }
        for item in inputs
    ]
    return _frame({"inputs": told}, parts)


def unpack(body: bytes) -> list[Input]:
    """The inputs of a frame, for a server that trusts nobody. Raises `WireError`."""
    head, rest = _unframe(body)
    told = head.get("inputs")
    if not isinstance(told, list) or len(told) > MOST_INPUTS:
        raise WireError(f"inputs must be a list of at most {MOST_INPUTS}")
    taker = _Taker(rest)
    inputs = [_input(one, taker) for one in told]
    taker.done()
    return inputs


def pack_vectors(vectors: np.ndarray, model_id: str) -> bytes:
    """The frame of float32 [n, dim], with the id of the model that made them."""
    array = np.ascontiguousarray(vectors, "<f4")
    return _frame({"model": model_id, "shape": list(array.shape)}, [array.tobytes()])


def unpack_vectors(body: bytes) -> tuple[np.ndarray, str]:
    """float32 [n, dim], and the id of the model that made them. Raises `WireError`."""
    head, rest = _unframe(body)
    shape, model_id = head.get("shape"), head.get("model")
    if not (isinstance(shape, list) and len(shape) == 2 and all(_whole(n) for n in shape)):
        raise WireError("the answer does not say the shape of its vectors")
    if not isinstance(model_id, str) or len(rest) != 4 * shape[0] * shape[1]:
        raise WireError("the answer is cut short")
    return np.frombuffer(rest, "<f4").reshape(shape).astype(np.float32), model_id


class _Taker:
    """Arrays out of a frame's tail, in order, within the bounds."""

    def __init__(self, rest: memoryview) -> None:
        self._rest, self._at, self._pixels = rest, 0, 0

    def picture(self, told: Any) -> np.ndarray:
        """uint8 [H, W, 3]"""
        if not isinstance(told, dict) or not isinstance(told.get("shape"), list) or not _whole(told.get("bytes")):
            raise WireError("an array has no shape")
        shape, size = told["shape"], told["bytes"]
        if len(shape) != 3 or shape[2] != 3 or not all(_whole(n) and n > 0 for n in shape):
            raise WireError(f"a picture is [height, width, 3], not {shape}")
        self._pixels += shape[0] * shape[1]
        if self._pixels > MOST_PIXELS:
            raise WireError(f"more than {MOST_PIXELS >> 20} million pixels in one request")
        piece = self._rest[self._at : self._at + size]
        if len(piece) != size:
            raise WireError("the request is cut short")
        self._at += size
        if told.get("coding") == COMPACT:
            return _from_webp(piece, (shape[0], shape[1]))
        if told.get("coding") != "raw" or size != shape[0] * shape[1] * 3:
            raise WireError(f"an array of shape {shape} does not have {size} bytes")
        return np.frombuffer(piece, np.uint8).reshape(shape)

    def done(self) -> None:
        if self._at != len(self._rest):
            raise WireError("there is more in the request than it says")


def _input(told: Any, taker: _Taker) -> Input:
    if not isinstance(told, dict):
        raise WireError("an input is an object")
    text, instruction, title = told.get("text"), told.get("instruction"), told.get("title")
    for value in (text, instruction, title):
        if value is not None and not (isinstance(value, str) and len(value) <= MOST_TEXT):
            raise WireError(f"a text has at most {MOST_TEXT:,} characters")
    role, kind = told.get("role"), told.get("kind")
    if role not in get_args(Role) or kind not in get_args(InputKind):
        raise WireError(f"no input has role {role!r:.30} and kind {kind!r:.30}")
    pictures, frames = told.get("images") or [], told.get("video")
    if not isinstance(pictures, list) or not (frames is None or isinstance(frames, list)):
        raise WireError("images and video are lists")
    images = tuple(taker.picture(one) for one in pictures)
    shots = None if frames is None else [taker.picture(one) for one in frames]
    if shots is not None and len({shot.shape for shot in shots}) != 1:
        raise WireError("the frames of a clip are of one size")
    if not (text or images or shots):
        raise WireError("an input holds words, images or a clip")
    clip = None if shots is None else np.stack(shots)
    return Input(text, images, clip, instruction, cast(Role, role), cast(InputKind, kind), title)


def _frame(head: dict[str, Any], parts: Sequence[bytes]) -> bytes:
    said = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((struct.pack("<I", len(said)), said, *parts))


def _unframe(body: bytes) -> tuple[dict[str, Any], memoryview]:
    try:
        (length,) = struct.unpack_from("<I", body)
        head = json.loads(body[4 : 4 + length])
    except (struct.error, ValueError, RecursionError) as error:
        raise WireError("not a frame of inputs or vectors") from error
    if not isinstance(head, dict):
        raise WireError("not a frame of inputs or vectors")
    return head, memoryview(body)[4 + length :]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _webp(picture: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


def _from_webp(piece: memoryview, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(piece), formats=["WEBP"]) as image:
            if (image.height, image.width) != size:
                raise WireError("a picture is not of the size that was told")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WireError("a picture cannot be read") from error
