"""Read the two weight formats that the lite model's wheels carry, trusting neither.

`read_pth` takes torch's legacy `.pth` (a pickle) through an unpickler that knows four
names and refuses every other, so that nothing in the file can run. `read_safetensors`
parses the header. Both return plain arrays by name, need no torch, and raise
`WeightFileError` with one sentence.

Formats: `torch/serialization.py` (`_legacy_save`), the safetensors README.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class WeightFileError(Exception):
    """A weight file is damaged, or is not what it claims to be."""


def read_safetensors(content: bytes) -> dict[str, np.ndarray]:
    """Arrays by name. Only float32 and int64 are read; another dtype is an error."""
    dtypes: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > len(content) - 8:
            raise WeightFileError("the safetensors file is cut short")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            dtype, shape = dtypes[entry["dtype"]], entry["shape"]
            array = np.frombuffer(content[8 + length + start : 8 + length + end], dtype)
            tensors[name] = array.reshape(shape)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightFileError(f"not a safetensors file that can be read: {error!r}") from error
    return tensors


def read_pth(content: bytes) -> dict[str, np.ndarray]:
    """Arrays by name of a legacy torch state dict (float32 and int64), strides honoured."""
    stream = io.BytesIO(content)
    try:
        if _load(stream) != _MAGIC or _load(stream) != _PROTOCOL:
            raise WeightFileError("not a legacy torch file (its magic number is missing)")
        if _load(stream).get("little_endian") is not True:
            raise WeightFileError("the torch file is not little-endian")
        storages: dict[str, _Storage] = {}
        state = _Unpickler(stream, storages).load()
        for key in _load(stream):
            storage = storages[key]
            (length,) = struct.unpack("<q", stream.read(8))
            if length != storage.length:
                raise WeightFileError(f"storage {key} holds {length} numbers, {storage.length} were promised")
            storage.data = np.frombuffer(stream.read(length * storage.dtype.itemsize), storage.dtype)
        return {str(name): tensor.array() for name, tensor in state.items()}
    except (pickle.UnpicklingError, struct.error, EOFError, KeyError, ValueError) as error:
        raise WeightFileError(f"the torch file is damaged: {error!r}") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise WeightFileError(f"the torch file does not hold a plain state dict: {error!r}") from error


@dataclass
class _Storage:
    dtype: np.dtype
    length: int
    data: np.ndarray | None = None


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """These tensors are views permuted from another layout: strides are counted in numbers."""
        data = self.storage.data
        if data is None:
            raise WeightFileError("a tensor's storage is missing from the torch file")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides, *self.shape), default=0) < 0 or last >= len(data):
            raise WeightFileError("a tensor reaches outside its storage")
        step = data.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, [s * step for s in self.strides], writeable=False
        )
        return view.copy(order="C")


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise WeightFileError("a tensor of the torch file has no storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, storages: dict[str, _Storage] | None = None) -> None:
        super().__init__(stream)
        self._storages = {} if storages is None else storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise WeightFileError(f"the torch file asks for {module}.{name}, which weights do not need") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, length, _view = pid
        if kind != "storage":
            raise WeightFileError(f"the torch file refers to a {kind!r}")
        return self._storages.setdefault(key, _Storage(dtype, length))


def _load(stream: io.BytesIO) -> Any:
    return _Unpickler(stream).load()
