"""How a decoding process answers: MessagePack and raw arrays, read against the types that its function declares.

Built around msgspec, which builds what the declared type says and nothing else, so an answer cannot run code
in its reader. Arrays travel beside the message as raw bytes; the message holds their dtype, shape and place.
It knows nothing of processes and pipes.
"""

from __future__ import annotations

import builtins
import numbers
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

import msgspec
import numpy as np

from data.media.kinds import Cause, MediaError

MESSAGE_BYTES = 64 << 20
"""The longest message, arrays left out: the text of a page, the words of a film, thumbnails."""
_ARRAY = 1  # the code of MessagePack's extension type


class _Place(msgspec.Struct, array_like=True, frozen=True):
    dtype: str
    shape: tuple[typing.Annotated[int, msgspec.Meta(ge=0)], ...]
    start: typing.Annotated[int, msgspec.Meta(ge=0)]


class _Fault(msgspec.Struct, array_like=True, frozen=True):
    name: str
    reason: str
    cause: Cause | None = None


class Unreadable(Exception):
    """An answer is not what its function declares."""


def pack(value: Any) -> tuple[bytes, list[memoryview]]:
    """The message for `value`, and the bytes of its arrays in order."""
    arrays: list[memoryview] = []
    size = 0

    def special(item: Any) -> Any:
        nonlocal size
        if isinstance(item, np.ndarray):
            flat = np.ascontiguousarray(item)
            place = _Place(flat.dtype.str, flat.shape, size)
            size += flat.nbytes
            arrays.append(flat.reshape(-1).view(np.uint8).data)
            return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(place))
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, numbers.Real):  # Pillow's fractions
            return float(item)
        raise TypeError(f"{type(item).__name__} cannot leave the sandbox")

    return msgspec.msgpack.encode(value, enc_hook=special), arrays


def pack_error(error: BaseException) -> bytes:
    cause = error.cause if isinstance(error, MediaError) else None
    name = "MediaError" if isinstance(error, MediaError) else type(error).__name__
    reason = str(error).encode("utf-8", "replace").decode()[:2000]
    return msgspec.msgpack.encode(_Fault(name, reason, cause))


def declared(function: Callable[..., Any]) -> Any:
    """The type of what `function` returns; anything plain where it declares none."""
    if not isinstance(function, FunctionType):
        return Any
    return typing.get_type_hints(function).get("return", Any)


def unpack(message: bytes | bytearray, arrays: memoryview, expected: Any) -> Any:
    """The value of a message made by `pack`, of the type `expected`. Raises `Unreadable`."""

    def array(code: int, body: memoryview) -> np.ndarray:
        place = msgspec.msgpack.decode(body, type=_Place)
        dtype = np.dtype(place.dtype)
        if code != _ARRAY or dtype.kind not in "biuf" or len(place.shape) > 8:
            raise ValueError("no such array")
        end = place.start + dtype.itemsize * int(np.prod([float(n) for n in place.shape]))
        if end > len(arrays):
            raise ValueError("an array is longer than its bytes")
        return np.frombuffer(arrays[place.start : end], dtype).reshape(place.shape)

    def special(kind: type, item: Any) -> Any:
        if isinstance(item, kind):
            return item
        raise TypeError(f"not of {kind}")

    try:
        plain = msgspec.msgpack.decode(message, ext_hook=array)
        return msgspec.convert(plain, expected, dec_hook=special)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise Unreadable(str(error)) from error


def unpack_error(message: bytes | bytearray) -> Exception:
    """The exception of a message made by `pack_error`: one of ours, of Python's own, or a RuntimeError."""
    try:
        fault = msgspec.msgpack.decode(message, type=_Fault)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    if fault.name == "MediaError":
        return MediaError(fault.reason, fault.cause or "damaged")
    kind = getattr(builtins, fault.name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
        return kind(fault.reason)
    return RuntimeError(f"{fault.name}: {fault.reason}")
