"""Read an ONNX file without the `onnx` package: bytes in, nodes and arrays out.

Built around the protobuf wire format, as `onnx_writer.py` is. It reads what the networks that set-up fetches hold:
nodes whose attributes are numbers, strings, lists of integers and arrays, and constants inside the file. It knows
nothing of what a graph computes. Field numbers: `onnx/onnx.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.embedder import ModelError

_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}


@dataclass
class Node:
    """An operation; `attributes` are int, float, str, list[int] or an array."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Model:
    """A graph: nodes in the order they run, constants by name, names of inputs and outputs, notes of the file."""

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    inputs: list[str]
    outputs: list[str]
    notes: dict[str, str]


def read(content: bytes) -> Model:
    """Raises `ModelError` for a file that is damaged, or holds what this reader does not know."""
    try:
        model = _grouped(content)
        graph = _grouped(model[7][0])
        constants = dict(_constant(tensor) for tensor in graph.get(5, []))
        inputs = [_name(value) for value in graph.get(11, [])]
        notes = {_text(note[1][0]): _text(note.get(2, [b""])[0]) for note in map(_grouped, model.get(14, []))}
        nodes = [_node(node) for node in graph[1]]
        return Model(nodes, constants, [n for n in inputs if n not in constants], [_name(v) for v in graph[12]], notes)
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise ModelError(f"not an ONNX file that can be read ({error!r})") from error


def _node(content: bytes) -> Node:
    fields = _grouped(content)
    attributes = dict(_attribute(attribute) for attribute in fields.get(5, []))
    inputs, outputs = ([_text(name) for name in fields.get(number, [])] for number in (1, 2))
    return Node(_text(fields[4][0]), inputs, outputs, attributes)


def _attribute(content: bytes) -> tuple[str, Any]:
    fields = _grouped(content)
    name, kind = _text(fields[1][0]), fields[20][0]
    if kind == 1:
        return name, struct.unpack("<f", fields[2][0])[0]
    if kind == 2:
        return name, _signed(fields.get(3, [0])[0])
    if kind == 3:
        return name, _text(fields[4][0])
    if kind == 4:
        return name, _constant(fields[5][0])[1]
    if kind == 7:
        return name, [_signed(number) for number in _numbers(fields.get(8, []))]
    raise ValueError(f"attribute {name} is of type {kind}")


def _constant(content: bytes) -> tuple[str, np.ndarray]:
    fields = _grouped(content)
    shape, dtype = list(_numbers(fields.get(1, []))), _DTYPES[fields[2][0]]
    if 9 in fields:
        array = np.frombuffer(fields[9][0], dtype)
    elif 4 in fields:
        array = np.frombuffer(b"".join(fields[4]), "<f4")
    else:
        array = np.array([_signed(n) for n in _numbers(fields.get(5, []) + fields.get(7, []))], dtype)
    return _text(fields.get(8, [b""])[0]), array.reshape(shape)


def _name(value_info: bytes) -> str:
    return _text(_grouped(value_info)[1][0])


def _text(content: bytes) -> str:
    return content.decode()


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _numbers(values: list[Any]) -> Iterator[int]:
    """Repeated integers, packed or not."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield number


def _grouped(content: bytes) -> dict[int, list[Any]]:
    """The fields of a message by number: integers, or bytes."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        wire = tag & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(content, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, at = _varint(content, at)
            if size is None or at + size > len(content):
                raise ValueError(f"field {tag >> 3} of wire type {wire} at byte {at}")
            value, at = content[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at
