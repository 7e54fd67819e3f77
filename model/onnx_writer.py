"""Write an ONNX file without the `onnx` package: nodes and arrays in, bytes out.

Built around the protobuf wire format, of which a model file needs two shapes: a
varint and a length-delimited field. So set-up installs nothing that running does
not need, and the bytes depend on nothing but the graph: the same weights give the
same file on every machine, and its SHA-256 can be pinned.

It knows nothing of what a graph computes. Field numbers: `onnx/onnx.proto` (IR version 9).
Operations of onnxruntime's own are of the domain `MICROSOFT`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

IR_VERSION = 9
OPSET = 20  # the first with Gelu; LayerNormalization is there since 17
MICROSOFT = "com.microsoft"

INLINE_BYTES = 1024
ALIGNMENT = 4096
"""Of an array in the file beside the model, which onnxruntime maps into memory."""

_DATA_TYPE = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
Attribute = int | float | str | Sequence[int]


@dataclass
class Graph:
    """A graph under construction: call `node` and `constant` in order, then `to_bytes`."""

    name: str
    data: BinaryIO | None = None
    """The file beside the model for arrays above `INLINE_BYTES`; None: all are in the model file."""
    data_name: str = ""
    _domains: set[str] = field(default_factory=set)
    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)
    _count: int = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare an input; a string in `shape` names a free dimension."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare that the value `name` is an output."""
        self._outputs.append(_value_info(name, dtype, shape))

    def constant(self, array: np.ndarray, name: str = "") -> str:
        """Store an array (float32, uint8, int8, int32 or int64) in the model file, or in the file beside it."""
        name = name or self._fresh("constant")
        array = np.asarray(array)
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        dims = b"".join(_varint_field(1, n) for n in array.shape)
        kind = _varint_field(2, _DATA_TYPE[array.dtype.name])
        self._constants.append(dims + kind + _bytes_field(8, name.encode()) + self._content(little))
        return name

    def _content(self, array: np.ndarray) -> bytes:
        """Returns the fields of a tensor's content: its bytes, or where they are in the file beside the model."""
        if self.data is None or array.nbytes <= INLINE_BYTES:
            return _bytes_field(9, array.tobytes())
        self.data.write(bytes(-self.data.tell() % ALIGNMENT))
        place = {"location": self.data_name, "offset": str(self.data.tell()), "length": str(array.nbytes)}
        self.data.write(array.data.cast("B"))
        entries = [_bytes_field(1, key.encode()) + _bytes_field(2, value.encode()) for key, value in place.items()]
        return b"".join(_bytes_field(13, entry) for entry in entries) + _varint_field(14, 1)

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        domain: str = "",
        **attributes: Attribute,
    ) -> str:
        """Append an operation; returns the name of its first output."""
        outputs = outputs or [self._fresh(op)]
        body = [_bytes_field(1, name.encode()) for name in inputs]
        body += [_bytes_field(2, name.encode()) for name in outputs]
        body += [_bytes_field(3, self._fresh("node").encode()), _bytes_field(4, op.encode())]
        body += [_bytes_field(5, _attribute(name, value)) for name, value in sorted(attributes.items())]
        if domain:
            body.append(_bytes_field(7, domain.encode()))
            self._domains.add(domain)
        self._nodes.append(b"".join(body))
        return outputs[0]

    def to_bytes(self) -> bytes:
        """The model file."""
        graph = b"".join(
            [
                *(_bytes_field(1, node) for node in self._nodes),
                _bytes_field(2, self.name.encode()),
                *(_bytes_field(5, constant) for constant in self._constants),
                *(_bytes_field(11, value) for value in self._inputs),
                *(_bytes_field(12, value) for value in self._outputs),
            ]
        )
        opsets = [_bytes_field(1, b"") + _varint_field(2, OPSET)]
        opsets += [_bytes_field(1, domain.encode()) + _varint_field(2, 1) for domain in sorted(self._domains)]
        return (
            _varint_field(1, IR_VERSION)
            + _bytes_field(2, b"sightline")
            + _bytes_field(7, graph)
            + b"".join(_bytes_field(8, opset) for opset in opsets)
        )

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


def _attribute(name: str, value: Attribute) -> bytes:
    head = _bytes_field(1, name.encode())
    if isinstance(value, str):
        return head + _bytes_field(4, value.encode()) + _varint_field(20, 3)
    if isinstance(value, float):
        return head + _tag(2, 5) + struct.pack("<f", value) + _varint_field(20, 1)
    if isinstance(value, int):
        return head + _varint_field(3, value) + _varint_field(20, 2)
    return head + b"".join(_varint_field(8, n) for n in value) + _varint_field(20, 7)


def _value_info(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    def dimension(size: int | str) -> bytes:
        return _bytes_field(2, size.encode()) if isinstance(size, str) else _varint_field(1, size)

    dims = b"".join(_bytes_field(1, dimension(size)) for size in shape)
    tensor = _varint_field(1, _DATA_TYPE[dtype]) + _bytes_field(2, dims)
    return _bytes_field(1, name.encode()) + _bytes_field(2, _bytes_field(1, tensor))


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint_field(number: int, value: int) -> bytes:
    return _tag(number, 0) + _varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes(_varint_bytes(value & (1 << 64) - 1))  # a negative int64 is its two's complement


def _varint_bytes(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
