"""How a decoding process answers: MessagePack and raw arrays, read against the type that its function declares.

Built around msgspec, which builds what the declared type says and nothing else, so an answer cannot run code in its
reader. Arrays travel beside the message as raw bytes; the message holds their dtype, shape and place. It knows
nothing of processes and pipes.
"""

from __future__ import annotations

import builtins
import math
import numbers
import os
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import msgspec
import numpy as np

from data.media.kinds import Cause, MediaError

_ARRAY = 1  # the code of MessagePack's extension type
_MOST_AXES = 8
_REASON_CHARACTERS = 2000


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
    """Returns the message for `value`, and the bytes of its arrays in order. Raises TypeError for an object that is
    neither plain nor a dataclass."""
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
        if isinstance(item, Path):
            return os.fsencode(item)
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, numbers.Real):  # Pillow's fractions
            return float(item)
        raise TypeError(f"{type(item).__name__} cannot leave the sandbox")

    try:
        return msgspec.msgpack.encode(value, enc_hook=special), arrays
    except UnicodeEncodeError:  # a lone surrogate, which no catalogue stores either
        arrays.clear()
        size = 0
        return msgspec.msgpack.encode(_encodable(value), enc_hook=special), arrays


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if is_dataclass(value):
        return {field.name: _encodable(getattr(value, field.name)) for field in fields(value)}
    return [_encodable(item) for item in value] if isinstance(value, (list, tuple)) else value


def pack_error(error: BaseException) -> bytes:
    cause = error.cause if isinstance(error, MediaError) else None
    name = "MediaError" if isinstance(error, MediaError) else type(error).__name__
    return msgspec.msgpack.encode(_Fault(name, _encodable(str(error))[:_REASON_CHARACTERS], cause))


@lru_cache
def declared(function: Callable[..., Any]) -> Any:
    """Returns the type of what `function` returns; anything plain if it declares none."""
    if not isinstance(function, FunctionType):
        return Any
    return typing.get_type_hints(function).get("return", Any)


def unpack(message: bytes | bytearray, arrays: memoryview, expected: Any) -> Any:
    """Returns the value of a message made by `pack`, of the type `expected`. Raises `Unreadable`."""

    def array(code: int, body: memoryview) -> np.ndarray:
        place = msgspec.msgpack.decode(body, type=_Place)
        dtype = np.dtype(place.dtype)
        if code != _ARRAY or dtype.kind not in "biuf" or len(place.shape) > _MOST_AXES:
            raise ValueError("no such array")
        end = place.start + dtype.itemsize * math.prod(place.shape)
        if end > len(arrays):
            raise ValueError("an array is longer than its bytes")
        return np.frombuffer(arrays[place.start : end], dtype).reshape(place.shape)

    def special(kind: type, item: Any) -> Any:
        if kind is Path and isinstance(item, bytes):
            return Path(os.fsdecode(item))
        if isinstance(item, kind):
            return item
        raise TypeError(f"not of {kind}")

    try:
        plain = msgspec.msgpack.decode(message, ext_hook=array)
        return msgspec.convert(plain, expected, dec_hook=special)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise Unreadable(str(error)) from error


def unpack_error(message: bytes | bytearray) -> Exception:
    """Returns the exception of a message made by `pack_error`: a MediaError, one of Python's own, or a RuntimeError.
    Raises `Unreadable`."""
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
