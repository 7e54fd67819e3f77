"""The ONNX files that set-up writes are what the onnx package accepts."""

import numpy as np
import onnx

from model.lite import weights
from model.onnx_writer import Graph


def test_our_onnx_writer_makes_what_the_onnx_package_accepts() -> None:
    import onnxruntime

    graph = Graph("sum")
    left = graph.input("left", "float32", ["n", 3])
    both = graph.node("Add", [left, graph.constant(np.array([1, 2, 3], np.float32))])
    graph.node("Transpose", [both], ["out"], perm=[1, 0])
    graph.output("out", "float32", [3, "n"])
    content = graph.to_bytes()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"left": np.zeros((2, 3), np.float32)})
    assert np.array_equal(out, [[1, 1], [2, 2], [3, 3]])


def test_the_installed_networks_pass_the_onnx_checker() -> None:
    for name in ("text.onnx", "image.onnx"):
        onnx.checker.check_model(onnx.load(weights.find() / name), full_check=True)
