"""The network that says whether a picture shows letters: the detector's first two thirds in 8-bit whole numbers.

Built around the detector as it comes (`detector.py`), down to its two coarsest levels of features, of which a linear
probe scores each 16 by 16 pixels. Values and weights are rounded to 8 bits, by ranges that were measured once: half the
CPU time, and scores that tell pictures without letters as well.

It knows nothing of how the probe and the ranges were found (`tests/quality/letters.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from model.embedder import ModelError
from model.lite.build.detector import Probe, append, filled, needed_for, plain, score
from model.onnx_reader import Model, Node, read
from model.onnx_writer import MICROSOFT, Graph

_GELU = 1.702  # x times the sigmoid of 1.702 x is within .02 of gelu (Hendrycks and Gimpel, 2016)
# 7 bits of a weight: without VNNI two products are summed in 16 bits, where 8 would overflow. Channels that go through
# a convolution each for itself are summed in 32.
_LARGEST, _LARGEST_ALONE = 63, 127
_ROUNDED = {"Conv", "Relu", "GlobalAveragePool", "Mul", "Gelu", "Add"}


class Value(NamedTuple):
    """A rounded result: its name, and what is taken for one and for zero."""

    name: str
    scale: np.float32
    zero: np.uint8


def letters(content: bytes, probe: Probe) -> bytes:
    """Returns the network with the input pixels (uint8 RGB [1, H, W, 3], H and W multiples of 32) and the output score
    ([1, 1, H / 16, W / 16]). Raises `ModelError`."""
    model, features = _first_part(content)
    names = _rounded(model)
    if len(names) != len(probe.ranges):
        raise ModelError("the detector is not the network that this Sightline knows")
    writer = _Writer(model, dict(zip(names, probe.ranges.tolist(), strict=True)))
    graph = writer.graph
    for node in model.nodes:
        writer.add(node)
    score(graph, [writer.plain(name) for name in features], probe)
    graph.output("score", "float32", [1, 1, "cell rows", "cell columns"])
    return graph.to_bytes()


def with_values(content: bytes) -> bytes:
    """Returns the network as it comes, with all results that `letters` rounds as outputs: to measure their ranges."""
    graph = Graph("values")
    graph.input("x", "float32", [1, 3, "h", "w"])
    model, _ = plain(read(content))
    append(graph, model, model.nodes)
    for number, name in enumerate(_rounded(_first_part(content)[0])):
        graph.output(name, "float32", [1, f"channels {number}", f"rows {number}", f"columns {number}"])
    return graph.to_bytes()


def _first_part(content: bytes) -> tuple[Model, list[str]]:
    """What the two coarsest levels of features are made of, and their names."""
    model, features = plain(read(content))
    needed = needed_for(model, features)
    nodes = [node for node in model.nodes if node.outputs[0] in needed]
    for node in nodes:
        if node.op == "ReduceMean":
            node.op, node.attributes = "GlobalAveragePool", {}
    made_by = {node.outputs[0]: node for node in nodes}
    used_by = {name: node for node in nodes for name in node.inputs}
    for erf in [node for node in nodes if node.op == "Erf"]:
        divided = made_by[erf.inputs[0]]
        plus = used_by[erf.outputs[0]]
        times = used_by[plus.outputs[0]]
        halved = used_by[times.outputs[0]]
        nodes[nodes.index(halved)] = Node("Gelu", [divided.inputs[0]], halved.outputs)
        nodes = [node for node in nodes if not any(node is part for part in (divided, erf, plus, times))]
    constants = dict(model.constants)
    second, third = [node for node in nodes if node.op == "Conv"][1:3]  # 16 channels between are quicker than 12
    for name, axis in ((second.inputs[1], 0), (second.inputs[2], 0), (third.inputs[1], 1)):
        constants[name] = filled(constants[name], axis)
    return Model(nodes, constants, model.inputs, features, model.notes), features


def _rounded(model: Model) -> list[str]:
    """Names of the results that are rounded by a range of their own, in order."""
    squeezed, before_relu = _squeezed(model), {node.inputs[0] for node in model.nodes if node.op == "Relu"}
    names = [node.outputs[0] for node in model.nodes if node.op in _ROUNDED]
    means = {node.outputs[0] for node in model.nodes if node.op == "GlobalAveragePool"}
    return [name for name in names if name not in before_relu and (name in means or name not in squeezed)]


def _squeezed(model: Model) -> set[str]:
    """Names of the few numbers that are a mean over all pixels and what comes of it, as far as the excitation."""
    names = set[str]()
    for node in model.nodes:
        if node.op == "GlobalAveragePool" or (node.inputs[0] in names and node.op in ("Conv", "Relu")):
            names.add(node.outputs[0])
    return names


class _Writer:
    """Appends to `graph`, node by node, what computes the same with rounded values."""

    def __init__(self, model: Model, ranges: dict[str, list[float]]) -> None:
        self.graph = Graph("letters")
        self._constants, self._squeezed = dict(model.constants), _squeezed(model)
        self._relus = {node.inputs[0]: node.outputs[0] for node in model.nodes if node.op == "Relu"}
        for node in model.nodes:
            if node.op == "Concat":  # of the second, and of what is pooled of the first: equal scales need no copy
                pooled = next(other for other in model.nodes if other.outputs[0] == node.inputs[0])
                names = pooled.inputs[0], node.inputs[1]
                both = np.array([ranges[name] for name in names])
                ranges |= {name: [float(both.min()), float(both.max())] for name in names}
        self._ranges = ranges
        self.graph.input("pixels", "uint8", [1, "h", "w", 3])
        pixels = self.graph.node("Transpose", ["pixels"], perm=[0, 3, 1, 2])
        self._values = {model.inputs[0]: Value(pixels, np.float32(1 / 127.5), np.uint8(128))}
        first = model.nodes[0]
        kernel = self._constants[first.inputs[1]]  # of BGR; 127.5 is the middle of its numbers, not 128
        self._constants[first.inputs[1]] = np.ascontiguousarray(kernel[:, ::-1])
        self._constants[first.inputs[2]] = self._constants[first.inputs[2]] + kernel.sum((1, 2, 3), np.float64) / 255

    def add(self, node: Node) -> None:
        name, source = node.outputs[0], node.inputs[0]
        if node.op == "GlobalAveragePool":
            mean = self._value(name, f"{name} rounded")
            inputs = [*self._of(source), *self._scale(mean)]
            self._node("QLinearGlobalAveragePool", inputs, mean, domain=MICROSOFT, channels_last=0)
            self.graph.node("DequantizeLinear", self._of(name), [name])
        elif source in self._squeezed:
            constants = [self.graph.constant(self._constants[name]) for name in node.inputs[1:]]
            self.graph.node(node.op, [source, *constants], [name], **node.attributes)
            if name not in self._squeezed:
                share = self._values[name] = Value(f"{name} rounded", np.float32(1 / 255), np.uint8(0))
                self.graph.node("QuantizeLinear", [name, *self._scale(share)], [share.name])
        elif node.op == "Conv":
            value = self._value(self._relus.get(name, name))
            inputs = [*self._of(source), *self._weights(node, value)]
            self._node("QLinearConv", inputs, value, **node.attributes)
        elif node.op in ("MaxPool", "Concat"):
            parts = [self._values[part] for part in node.inputs]
            self._values[name] = parts[0]._replace(name=name)
            self.graph.node(node.op, [part.name for part in parts], [name], **node.attributes)
        elif node.op == "Gelu":
            value = self._values[source]
            share = self._values[f"{name} share"] = Value(f"{name} share", np.float32(1 / 255), np.uint8(0))
            inner = self._scale(value._replace(scale=np.float32(value.scale * np.float32(_GELU))))
            self._node("QLinearSigmoid", [value.name, *inner, *self._scale(share)], share, domain=MICROSOFT)
            self._combine("QLinearMul", source, share.name, name)
        elif node.op in ("Mul", "Add"):
            self._combine(f"QLinear{node.op}", node.inputs[0], node.inputs[1], name)
        elif node.op != "Relu":  # which is the lower end of the range before it
            raise ModelError(f"the detector holds {node.op}, which this Sightline does not know")

    def plain(self, name: str) -> str:
        """A result as float32."""
        return self.graph.node("DequantizeLinear", self._of(name))

    def _combine(self, op: str, one: str, other: str, name: str) -> None:
        value = self._value(name)
        self._node(op, [*self._of(one), *self._of(other), *self._scale(value)], value, domain=MICROSOFT)

    def _node(self, op: str, inputs: list[str], value: Value, **how: Any) -> None:
        self.graph.node(op, inputs, [value.name], **how)

    def _value(self, name: str, of: str = "") -> Value:
        """The rounded result of that name, by its range."""
        low, high = self._ranges[name]
        low, high = min(low, 0.0), max(high, 1e-6)  # zero stays zero: it pads
        scale = (high - low) / 255
        self._values[name] = Value(of or name, np.float32(scale), np.uint8(round(-low / scale)))
        return self._values[name]

    def _of(self, name: str) -> list[str]:
        """A rounded result as an operation takes it."""
        return [self._values[name].name, *self._scale(self._values[name])]

    def _scale(self, value: Value) -> list[str]:
        return [self.graph.constant(np.asarray(part)) for part in (value.scale, value.zero)]

    def _weights(self, node: Node, value: Value) -> list[str]:
        """The inputs of a convolution after its first value: weights int8 by output channel, the result's scale, and
        the bias in units of a product."""
        graph, kernel = self.graph, self._constants[node.inputs[1]]
        largest = np.float32(_LARGEST_ALONE if kernel.shape[1] == 1 else _LARGEST)
        scales = np.maximum(np.abs(kernel).reshape(len(kernel), -1).max(1), 1e-8) / largest
        whole = np.rint(kernel / scales.reshape(-1, 1, 1, 1)).astype(np.int8)
        units = scales.astype(np.float64) * self._values[node.inputs[0]].scale
        bias = np.rint(self._constants[node.inputs[2]] / units).clip(-(2**31), 2**31 - 1).astype(np.int32)
        weights = [graph.constant(part) for part in (whole, scales, np.zeros(len(kernel), np.int8))]
        return [*weights, *self._scale(value), graph.constant(bias)]
