"""The network in whole numbers scores each place of a picture nearly as the detector's own features are scored."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont

from model.embedder import ModelError
from model.lite import weights
from model.lite.build.detector import FEATURES, Probe, with_features
from model.lite.build.letters import letters, with_values
from model.onnx_writer import Graph

CHANNELS = 20, 28
"""Of the two levels of features of the small network below."""


def small_network(other: str = "") -> bytes:
    """A network with every operation of the detector's first part, and random weights. `other`: one more before
    the coarsest level."""
    graph, rng = Graph("small"), np.random.default_rng(3)
    graph.input("x", "float32", ["n", 3, "h", "w"])

    def conv(source: str, size: int, of: int, kernel: int, stride: int = 1, **how: int | str | list[int]) -> str:
        weight = (rng.standard_normal((size, of, kernel, kernel)) / (kernel * np.sqrt(of))).astype(np.float32)
        bias = graph.constant(rng.standard_normal((1, size, 1, 1)).astype(np.float32))
        how = {"auto_pad": "SAME_UPPER"} | how
        how |= {"strides": [stride, stride], "kernel_shape": [kernel, kernel], "dilations": [1, 1], "group": 1}
        return graph.node("Add", [graph.node("Conv", [source, graph.constant(weight)], **how), bias])

    def gelu(source: str) -> str:
        one, root, half = (graph.constant(np.array(number, np.float32)) for number in (1, 2**0.5, 0.5))
        plus = graph.node("Add", [graph.node("Erf", [graph.node("Div", [source, root])]), one])
        return graph.node("Mul", [graph.node("Mul", [source, plus]), half])

    start = graph.node("Relu", [conv("x", 24, 3, 3, 2)])
    aside = graph.node("Relu", [conv(graph.node("Relu", [conv(start, 12, 24, 2)]), 24, 12, 2)])
    pooled = graph.node("MaxPool", [start], kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER")
    both = graph.node("Concat", [pooled, aside], axis=1)
    level = graph.node("Relu", [conv(both, 24, 48, 3, 2)])
    mean = graph.node("GlobalAveragePool", [level])
    squeezed = graph.node("Relu", [conv(mean, 6, 24, 1, auto_pad="VALID")])
    share = graph.node("HardSigmoid", [conv(squeezed, 24, 6, 1, auto_pad="VALID")], alpha=0.2, beta=0.5)
    excited = graph.node("Mul", [level, share])
    level = graph.node("Add", [excited, conv(gelu(conv(excited, 48, 24, 1)), 24, 48, 1)])
    level = graph.node("Relu", [conv(level, 16, 24, 3, 2)])
    fine = conv(level, CHANNELS[0], 16, 3, 2)
    graph.node("Identity", [fine], [FEATURES[0]])
    coarse = conv(graph.node(other, [FEATURES[0]]) if other else FEATURES[0], CHANNELS[1], CHANNELS[0], 3, 2)
    graph.node("Identity", [coarse], [FEATURES[1]])
    graph.node("Sigmoid", [FEATURES[1]], ["found"])
    graph.output("found", "float32", ["n", 1, "h", "w"])
    return graph.to_bytes()


def runner(content: bytes) -> Callable[..., list[np.ndarray]]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda **feeds: session.run(None, feeds)


def as_input(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., ::-1].transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)


def drawn_probe(content: bytes, pixels: np.ndarray) -> Probe:
    """A probe with random weights, and the ranges that the values of one picture have."""
    rng = np.random.default_rng(5)
    weights = (rng.standard_normal(size).astype(np.float32) for size in (*CHANNELS, 1))
    values = runner(with_values(content))(x=as_input(pixels))
    return Probe(*weights, np.array([(value.min(), value.max()) for value in values], np.float32))


def scores(content: bytes, probe: Probe, pixels: np.ndarray) -> np.ndarray:
    """What the probe makes of the features in float32."""
    _, fine, coarse = runner(with_features(content))(x=as_input(pixels))
    cells = np.concatenate([fine[0], coarse[0].repeat(2, 1).repeat(2, 2)])
    return np.asarray(np.tensordot(np.append(probe.fine, probe.coarse), cells, 1) + probe.bias)


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_each_place_has_the_score_that_the_probe_gives(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1, *size, 3), np.uint8)
    content = small_network()
    probe = drawn_probe(content, pixels)
    (found,) = runner(letters(content, probe))(pixels=pixels)
    expected = scores(content, probe, pixels)
    assert found.shape == (1, 1, size[0] // 16, size[1] // 16)
    error = np.abs(found[0, 0] - expected)
    assert error.mean() < 0.1 * expected.std() and error.max() < 0.3 * expected.std()


def test_the_installed_network_tells_a_word_from_none() -> None:
    run = runner((weights.find("ocr") / "letters.onnx").read_bytes())
    picture = Image.new("RGB", (320, 256), "#dcd8c8")
    assert run(pixels=np.asarray(picture)[None])[0].max() < -1.5
    ImageDraw.Draw(picture).text((120, 100), "Harbour", "#203040", ImageFont.load_default(24))
    score = run(pixels=np.asarray(picture)[None])[0][0, 0]
    assert score.max() > 2
    row, column = np.unravel_index(score.argmax(), score.shape)
    assert 96 <= row * 16 + 8 <= 144 and 112 <= column * 16 + 8 <= 240


def test_a_network_of_another_build_is_refused() -> None:
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    content = small_network("Softplus")
    probe = drawn_probe(content, pixels)
    with pytest.raises(ModelError, match="holds Softplus"):
        letters(content, probe)
    with pytest.raises(ModelError, match="is not the network"):
        letters(small_network(), probe._replace(ranges=probe.ranges[1:]))
