"""ONNX files are read as the onnx package reads them, and damaged ones are refused in one sentence."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model.embedder import ModelError
from model.lite import weights
from model.onnx_reader import read
from model.onnx_writer import Graph


def test_our_reader_finds_in_a_network_what_the_onnx_package_finds() -> None:
    path = weights.find("ocr") / "recognise.onnx"
    ours, theirs = read(path.read_bytes()), onnx.load(path)
    assert ours.inputs == ["x"]
    assert ours.outputs == [value.name for value in theirs.graph.output]
    assert [(node.op, node.inputs, node.outputs) for node in ours.nodes] == [
        (node.op_type, list(node.input), list(node.output)) for node in theirs.graph.node
    ]
    for mine, other in zip(ours.nodes, theirs.graph.node, strict=True):
        assert mine.attributes.keys() == {attribute.name for attribute in other.attribute}
        for attribute in other.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                assert np.array_equal(mine.attributes[attribute.name], numpy_helper.to_array(value))
            else:
                expected = value.decode() if isinstance(value, bytes) else value
                assert mine.attributes[attribute.name] == pytest.approx(expected) if expected != "" else True
    for tensor in theirs.graph.initializer:
        assert np.array_equal(ours.constants[tensor.name], numpy_helper.to_array(tensor))
    assert ours.notes == {note.key: note.value for note in theirs.metadata_props}


def test_what_our_writer_writes_is_read_back() -> None:
    graph = Graph("sum")
    graph.input("left", "float32", ["n", 3])
    right = graph.constant(np.array([[-1, 2, 3]], np.int64))
    graph.node("Conv", ["left", right], ["out"], pads=[1, 0, -1], alpha=0.5, group=-2, mode="floor")
    graph.output("out", "float32", [3, "n"])
    model = read(graph.to_bytes())
    assert (model.inputs, model.outputs, list(model.constants)) == (["left"], ["out"], [right])
    assert np.array_equal(model.constants[right], [[-1, 2, 3]])
    assert model.nodes[0].attributes == {"pads": [1, 0, -1], "alpha": 0.5, "group": -2, "mode": "floor"}


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a network", b"\x3a\xff\xff\x03ab", b"\xff" * 40])
def test_a_damaged_file_is_said_to_be_no_network(content: bytes) -> None:
    with pytest.raises(ModelError, match="not an ONNX file that can be read"):
        read(content)


def test_a_file_cut_short_is_refused() -> None:
    content = (weights.find("ocr") / "recognise.onnx").read_bytes()
    for size in (10, 1000, len(content) // 2, len(content) - 1):
        with pytest.raises(ModelError, match="not an ONNX file that can be read"):
            read(content[:size])
