"""The detector that set-up writes computes what the one that it read computes."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from model.embedder import ModelError
from model.lite import weights
from model.lite.build.detector import FEATURES, detector, with_features
from model.onnx_writer import Graph

CHANNELS = 20, 28
"""Of the third and fourth level of the small network below."""


@pytest.fixture(scope="module")
def small() -> bytes:
    """A network with the detector's beginning, its two coarsest levels under their names, and random weights."""
    graph, rng = Graph("small"), np.random.default_rng(3)
    graph.input("x", "float32", ["n", 3, "h", "w"])

    def conv(source: str, size: int, of: int, kernel: int, stride: int, **how: int | str | list[int]) -> str:
        weight = (rng.standard_normal((size, of, kernel, kernel)) / (kernel * np.sqrt(of))).astype(np.float32)
        bias = graph.constant(rng.standard_normal((1, size, 1, 1)).astype(np.float32))
        how |= {"strides": [stride, stride], "kernel_shape": [kernel, kernel], "dilations": [1, 1], "group": 1}
        added = graph.node("Add", [graph.node("Conv", [source, graph.constant(weight)], **how), bias])
        return graph.node("Identity", [added])

    def relu(source: str) -> str:
        return graph.node("Relu", [source])

    start = relu(conv("x", 24, 3, 3, 2, pads=[1, 1, 1, 1]))
    aside = relu(conv(start, 12, 24, 2, 1, auto_pad="SAME_UPPER"))
    aside = relu(conv(aside, 24, 12, 2, 1, auto_pad="SAME_UPPER"))
    pooled = graph.node("MaxPool", [start], kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER")
    both = graph.node("Concat", [pooled, aside], axis=1)
    level = conv(relu(conv(both, 24, 48, 3, 2, pads=[1, 1, 1, 1])), 48, 24, 1, 1, pads=[0, 0, 0, 0])
    level = conv(relu(level), 16, 48, 3, 2, pads=[1, 1, 1, 1])
    for name, size, of in zip(FEATURES, CHANNELS, (16, CHANNELS[0]), strict=True):
        level = conv(relu(level), size, of, 3, 2, pads=[1, 1, 1, 1])
        graph.node("Identity", [level], [name])
    squeezed = graph.node("GlobalAveragePool", [FEATURES[1]])
    scaled = graph.node("Mul", [FEATURES[1], squeezed])
    graph.node("Sigmoid", [conv(scaled, 1, CHANNELS[1], 1, 1, pads=[0, 0, 0, 0])], ["found"])
    graph.output("found", "float32", ["n", 1, "h", "w"])
    return graph.to_bytes()


def runner(content: bytes) -> Callable[..., list[np.ndarray]]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda **feeds: session.run(None, feeds)


@pytest.mark.parametrize("size", [(32, 32), (96, 160), (64, 416)])
def test_the_map_is_as_before(small: bytes, size: tuple[int, int]) -> None:
    x = np.random.default_rng(1).standard_normal((1, 3, *size)).astype(np.float32)
    (expected,) = runner(small)(x=x)
    assert np.allclose(runner(detector(small))(x=x)[0], expected, atol=1e-5)
    again, fine, coarse = runner(with_features(small))(x=x)
    assert np.allclose(again, expected, atol=1e-5)
    assert (fine.shape[1], coarse.shape[1]) == CHANNELS


def test_a_detector_of_another_build_is_refused() -> None:
    graph = Graph("other")
    graph.input("x", "float32", [1, 3, 8, 8])
    graph.node("Relu", ["x"], ["out"])
    graph.output("out", "float32", [1, 3, 8, 8])
    with pytest.raises(ModelError, match="the detector"):
        detector(graph.to_bytes())


def test_the_installed_detector_passes_the_onnx_checker() -> None:
    onnx.checker.check_model(onnx.load(weights.find("ocr") / "detect.onnx"), full_check=True)
