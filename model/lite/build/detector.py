"""The network that finds lines of text, written so that onnxruntime runs it faster, and the probe that tells letters.

Built around the detector as it comes (PP-OCRv6, differentiable binarisation): four levels of features, at a quarter to
a thirty-second of the picture's size, and a map made of them. A linear probe of the two coarsest levels says of each
16 by 16 pixels whether letters stand there (`letters.py` asks it first).

It knows nothing of how the probe was fitted (`tests/quality/letters.py`).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.embedder import ModelError
from model.onnx_reader import Model, Node, read
from model.onnx_writer import Graph

LETTERS = Path(__file__).parents[1] / "letters.npz"

FEATURES = ("p2o.pd_op.add.50.0", "p2o.pd_op.add.63.0")
"""The two coarsest levels, the finer first."""
_BLOCK = 16  # channels that onnxruntime's fast convolutions take at once; other numbers it brings into another order
_EACH: dict[str, Any] = {
    "kernel_shape": [1, 1],
    "strides": [1, 1],
    "pads": [0, 0, 0, 0],
    "dilations": [1, 1],
    "group": 1,
}


class Probe(NamedTuple):
    """Weights float32 [channels] of the third and of the fourth level, and the bias float32 [1]; and the least and the
    largest of each result that `letters.py` rounds, float32 [results, 2]."""

    fine: np.ndarray
    coarse: np.ndarray
    bias: np.ndarray
    ranges: np.ndarray

    @classmethod
    def load(cls) -> Probe:
        with np.load(LETTERS) as stored:
            return cls(*(stored[name] for name in cls._fields))


def detector(content: bytes) -> bytes:
    """Returns the network with the input x (float32 [1, 3, H, W]) and the output map ([1, 1, H, W]). Raises
    `ModelError`."""
    model, _ = plain(read(content))
    _quicken(model)
    graph = Graph("detect")
    graph.input("x", "float32", ["n", 3, "h", "w"])
    append(graph, model, model.nodes)
    graph.node("Identity", model.outputs, ["map"])
    graph.output("map", "float32", ["n", 1, "h", "w"])
    return graph.to_bytes()


def with_features(content: bytes) -> bytes:
    """Returns the network with the input x, and as outputs the map and what the probe sees: to fit one."""
    model, features = plain(read(content))
    graph = Graph("features")
    graph.input("x", "float32", ["n", 3, "h", "w"])
    append(graph, model, model.nodes)
    for number, name in enumerate((*model.outputs, *features)):
        graph.output(name, "float32", ["n", f"channels {number}", f"rows {number}", f"columns {number}"])
    return graph.to_bytes()


def score(graph: Graph, features: list[str], probe: Probe) -> str:
    """Append the probe of both levels: a sum of each level's channels, the coarser one's for all four cells that it
    covers."""
    weights = [graph.constant(part[None, :, None, None]) for part in (probe.fine, probe.coarse)]
    fine = graph.node("Conv", [features[0], weights[0], graph.constant(probe.bias)], **_EACH)
    coarse = graph.node("Conv", [features[1], weights[1]], **_EACH)
    twice = graph.constant(np.array([1, 1, 2, 2], np.float32))
    how: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Add", [fine, graph.node("Resize", [coarse, "", twice], **how)], ["score"])


def plain(model: Model) -> tuple[Model, list[str]]:
    """The same network without operations that only rename, each bias in its convolution; and the features' names."""
    constants, renamed = dict(model.constants), dict[str, str]()
    nodes: list[Node] = []
    for node in model.nodes:
        inputs = [renamed.get(name, name) for name in node.inputs]
        if node.op == "Constant":
            constants[node.outputs[0]] = node.attributes["value"]
        elif node.op == "Identity":
            renamed[node.outputs[0]] = inputs[0]
        else:
            nodes.append(Node(node.op, inputs, list(node.outputs), dict(node.attributes)))
    nodes = _with_biases(nodes, constants)
    features = [renamed.get(name, name) for name in FEATURES]
    outputs = [renamed.get(name, name) for name in model.outputs]
    return Model(nodes, constants, model.inputs, outputs, model.notes), features


def _with_biases(nodes: list[Node], constants: dict[str, np.ndarray]) -> list[Node]:
    made_by: dict[str, Node] = {}
    uses = Counter(name for node in nodes for name in node.inputs)
    kept: list[Node] = []
    for node in nodes:
        source = made_by.get(node.inputs[0]) if node.op == "Add" and node.inputs[1] in constants else None
        if source is not None and source.op == "Conv" and len(source.inputs) == 2 and uses[node.inputs[0]] == 1:
            source.inputs.append(f"{node.inputs[1]}.bias")
            constants[source.inputs[2]] = constants[node.inputs[1]].reshape(-1)
            source.outputs = node.outputs
        else:
            source = node
            kept.append(node)
        made_by[node.outputs[0]] = source
    return kept


def _quicken(model: Model) -> None:
    """Rewrite the first convolutions, of 24, 12 and 24 channels, at half of the picture's size: more channels of zeros
    fill blocks, and the largest result of all, two joined for the fourth, is never made: each goes through its half of
    that convolution. With 480 x 640 pixels the detector takes 47 ms in place of 53."""
    convolutions = [node for node in model.nodes if node.op == "Conv"]
    if len(convolutions) < 5:
        raise ModelError("the detector is not the network that this Sightline knows")
    first, second, third, fourth = convolutions[:4]
    after = next(node for node in model.nodes if node.inputs[0] == fourth.outputs[0])
    fifth = next(node for node in model.nodes if node.inputs[0] == after.outputs[0])
    joined = next(node for node in model.nodes if node.outputs[0] == fourth.inputs[0])
    if (joined.op, after.op, fifth.op) != ("Concat", "Relu", "Conv"):
        raise ModelError("the detector does not begin as that which this Sightline knows")
    constants = model.constants
    halves = np.split(constants[fourth.inputs[1]], 2, axis=1)
    for name, half in zip(("half 0", "half 1"), halves, strict=True):
        constants[name] = filled(filled(half, 0), 1)
    for node in (first, second, third):
        constants[node.inputs[1]] = filled(constants[node.inputs[1]], 0)
        constants[node.inputs[2]] = filled(constants[node.inputs[2]], 0)
    for node in (second, third, fifth):
        constants[node.inputs[1]] = filled(constants[node.inputs[1]], 1)
    constants[fourth.inputs[2]] = filled(constants[fourth.inputs[2]], 0)
    at = model.nodes.index(fourth)
    model.nodes[at : at + 1] = [
        Node("Conv", [joined.inputs[0], "half 0"], ["sum 0"], fourth.attributes),
        Node("Conv", [joined.inputs[1], "half 1", fourth.inputs[2]], ["sum 1"], fourth.attributes),
        Node("Add", ["sum 0", "sum 1"], fourth.outputs),
    ]
    model.nodes.remove(joined)


def filled(array: np.ndarray, axis: int) -> np.ndarray:
    """The array with zeros along `axis` up to whole blocks."""
    widths = [(0, -size % _BLOCK if number == axis else 0) for number, size in enumerate(array.shape)]
    return np.pad(array, widths)


def needed_for(model: Model, names: list[str]) -> set[str]:
    """Returns the names of all results that `names` are made of, these included."""
    made_by = {name: node for node in model.nodes for name in node.outputs}
    needed, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name in made_by and name not in needed:
            needed.add(name)
            waiting += made_by[name].inputs
    return needed


def append(graph: Graph, model: Model, nodes: list[Node]) -> None:
    """Append nodes of the model, and the constants that they read."""
    for name in dict.fromkeys(name for node in nodes for name in node.inputs if name in model.constants):
        graph.constant(model.constants[name], name)
    for node in nodes:
        if node.op == "ReduceMean":  # over all pixels; its attribute became an input since
            graph.node("GlobalAveragePool", node.inputs, node.outputs)
        else:
            graph.node(node.op, node.inputs, node.outputs, **node.attributes)
