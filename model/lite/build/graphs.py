"""The lite model's three networks as ONNX graphs, from arrays by name.

`text_graph` is all-MiniLM-L6-v2 (BERT, 6 layers of 384) with int8 weights, `multilingual_graph` the
Universal Sentence Encoder with int8 convolutions, `image_graph` EfficientNet-Lite0 in float32 with its
batch norms folded. All are built around
`onnx_writer.Graph` and know nothing of where the arrays come from.
"""

from __future__ import annotations

import numpy as np

from model.lite.weights import MAX_TOKENS, MULTILINGUAL_DIM, TEXT_DIM
from model.onnx_writer import Graph

FEATURES = 1280
CLASSES = 1000

_HEADS = 12
_LAYERS = 6

# 7 bits, not 8: on CPUs with AVX2 but without VNNI an int8 product is summed in 16 bits, where
# 2 * 255 * 127 does not fit. Mean cosine to float32 over 200 texts: .9935 with 7 bits, .9943 with 8.
_WEIGHT_LIMIT = 63


def text_graph(weights: dict[str, np.ndarray], quantize: bool = True) -> bytes:
    """BERT -> mean over tokens -> unit vector.

    Input `ids` int64 [1, tokens <= 256], output `embedding` float32 [1, 384]. One text at a
    time: activations are quantised over a whole tensor, so that texts in one batch would
    colour each other, and without padding no mask is needed.
    """
    graph = Graph("all-MiniLM-L6-v2")
    ids = graph.input("ids", "int64", [1, "tokens"])
    hidden = _embed_tokens(graph, weights, ids, quantize)
    for number in range(_LAYERS):
        hidden = _bert_layer(graph, weights, f"encoder.layer.{number}.", hidden, quantize)
    mean = graph.node("ReduceMean", [hidden, graph.constant(np.array([1]))], keepdims=0)
    graph.node("LpNormalization", [mean], ["embedding"], axis=1, p=2)
    graph.output("embedding", "float32", [1, TEXT_DIM])
    return graph.to_bytes()


def _embed_tokens(graph: Graph, weights: dict[str, np.ndarray], ids: str, quantize: bool) -> str:
    table = weights["embeddings.word_embeddings.weight"]
    if quantize:  # one scale a word: twice as fine as one scale for the table
        scale = np.abs(table).max(1, keepdims=True) / np.float32(127)
        rows = graph.node("Gather", [graph.constant(np.rint(table / scale).astype(np.int8)), ids])
        scales = graph.node("Gather", [graph.constant(scale), ids])
        words = graph.node("Mul", [graph.node("Cast", [rows], to=1), scales])
    else:
        words = graph.node("Gather", [graph.constant(table), ids])
    # Every token is of type 0: its row is added to the positions once, here.
    places = weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    places = places + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.node("Shape", [ids], start=1, end=2)
    zero = graph.constant(np.array([0]))
    here = graph.node("Slice", [graph.constant(places), zero, length, zero])
    return _layer_norm(graph, weights, "embeddings.LayerNorm.", graph.node("Add", [words, here]))


def _bert_layer(graph: Graph, weights: dict[str, np.ndarray], prefix: str, hidden: str, quantize: bool) -> str:
    def linear(value: str, *names: str) -> str:
        weight = np.concatenate([weights[f"{prefix}{name}.weight"].T for name in names], 1)
        bias = np.concatenate([weights[f"{prefix}{name}.bias"] for name in names])
        return _linear(graph, value, weight, bias, quantize)

    def heads(value: str, order: list[int]) -> str:
        shape = graph.constant(np.array([1, -1, _HEADS, TEXT_DIM // _HEADS]))
        return graph.node("Transpose", [graph.node("Reshape", [value, shape])], perm=order)

    joined = linear(hidden, *(f"attention.self.{name}" for name in ("query", "key", "value")))
    parts = ["query", "key", "value"]
    parts = [f"{prefix}{part}" for part in parts]
    graph.node("Split", [joined], parts, axis=2, num_outputs=3)
    query, key, value = (heads(parts[0], [0, 2, 1, 3]), heads(parts[1], [0, 2, 3, 1]), heads(parts[2], [0, 2, 1, 3]))
    root = graph.constant(np.array((TEXT_DIM // _HEADS) ** -0.5, np.float32))
    scores = graph.node("Softmax", [graph.node("Mul", [graph.node("MatMul", [query, key]), root])], axis=-1)
    context = graph.node("Transpose", [graph.node("MatMul", [scores, value])], perm=[0, 2, 1, 3])
    context = graph.node("Reshape", [context, graph.constant(np.array([1, -1, TEXT_DIM]))])

    context = graph.node("Add", [linear(context, "attention.output.dense"), hidden])
    context = _layer_norm(graph, weights, f"{prefix}attention.output.LayerNorm.", context)
    wide = graph.node("Gelu", [linear(context, "intermediate.dense")])
    wide = graph.node("Add", [linear(wide, "output.dense"), context])
    return _layer_norm(graph, weights, f"{prefix}output.LayerNorm.", wide)


def _linear(graph: Graph, value: str, weight: np.ndarray, bias: np.ndarray, quantize: bool) -> str:
    """value @ weight + bias; `weight` float32 [in, out], quantised with one scale an output."""
    if not quantize:
        return graph.node("Add", [graph.node("MatMul", [value, graph.constant(weight)]), graph.constant(bias)])
    scale = np.abs(weight).max(0) / np.float32(_WEIGHT_LIMIT)
    packed = graph.constant(np.rint(weight / scale).astype(np.int8))
    quantized = graph._fresh("quantized")
    outputs = [quantized, f"{quantized}_scale", f"{quantized}_zero"]
    graph.node("DynamicQuantizeLinear", [value], outputs)
    zero = graph.constant(np.zeros(len(scale), np.int8))
    product = graph.node("MatMulInteger", [outputs[0], packed, outputs[2], zero])
    product = graph.node("Cast", [product], to=1)
    product = graph.node("Mul", [product, graph.node("Mul", [outputs[1], graph.constant(scale)])])
    return graph.node("Add", [product, graph.constant(bias)])


def _layer_norm(graph: Graph, weights: dict[str, np.ndarray], prefix: str, value: str) -> str:
    scale, bias = graph.constant(weights[prefix + "weight"]), graph.constant(weights[prefix + "bias"])
    return graph.node("LayerNormalization", [value, scale, bias], axis=-1, epsilon=1e-12)


_ORDERS = ((2, 0), (3, 1), (5, 2))
"""Tokens that a convolution sees at once, and how many of them stand before its own."""


def multilingual_graph(weights: dict[str, np.ndarray], quantize: bool = True) -> bytes:
    """Universal Sentence Encoder, multilingual v3 (the CNN): convolutions over 2, 3 and 5 tokens -> sums over
    tokens -> five dense layers -> a unit vector.

    Input `tokens` float32 [1, tokens, 512] (rows of the table), output `embedding` float32 [1, 512].
    """
    graph = Graph("universal-sentence-encoder-multilingual-3")
    tokens = graph.input("tokens", "float32", [1, "tokens", MULTILINGUAL_DIM])
    epsilon = float(weights["eps"])

    def normed(value: str, scale: np.ndarray, bias: np.ndarray) -> str:
        inputs = [value, graph.constant(scale), graph.constant(bias)]
        return graph.node("LayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([weights[f"{name}{order}"] for order, _ in _ORDERS], axis=-1)

    def convolved(value: str, order: int, before: int, name: str) -> str:
        """relu(convolution) + value."""
        ends = graph.constant(np.array([0, before, 0, 0, order - 1 - before, 0]))
        padded = graph.node("Pad", [value, ends])
        one = graph.constant(np.array([1]))
        shifted = [
            graph.node(
                "Slice",
                [
                    padded,
                    graph.constant(np.array([at])),
                    graph.node("Add", [length, graph.constant(np.array([at]))]),
                    one,
                ],
            )
            for at in range(order)
        ]
        seen = graph.node("Concat", shifted, axis=2)
        result = _linear(graph, seen, weights[f"w{name}_{order}"], weights[f"b{name}_{order}"], quantize)
        return graph.node("Add", [graph.node("Relu", [result]), value])

    length = graph.node("Shape", [tokens], start=1, end=2)
    value = _linear(graph, tokens, joined("proj"), joined("proj_b"), quantize)
    value = normed(value, joined("ln_g"), joined("ln_b"))
    branches = [f"branch_{order}" for order, _ in _ORDERS]
    graph.node("Split", [value], branches, axis=2, num_outputs=len(branches))
    for number, (order, before) in enumerate(_ORDERS):
        for name in "12":
            branches[number] = convolved(branches[number], order, before, name)
    features = normed(graph.node("Concat", [tokens, *branches], axis=2), weights["ln_g"], weights["ln_b"])
    features = graph.node("ReduceSum", [features, graph.constant(np.array([1]))], keepdims=0)

    def dense(value: str, name: str) -> str:
        return graph.node("MatMul", [value, graph.constant(weights[name])])

    root = graph.node("Sqrt", [graph.node("Cast", [length], to=1)])  # the sum over n tokens, by sqrt(n)
    bias = graph.node("Mul", [root, graph.constant(weights["cnn_b"])])
    mean = graph.node("Add", [graph.node("Div", [dense(features, "cnn_W"), root]), bias])
    first = graph.node("Relu", [dense(mean, "d0")])
    second = graph.node("Relu", [graph.node("Add", [dense(mean, "p1"), dense(first, "d1")])])
    third = graph.node("Relu", [dense(second, "d2")])
    last = graph.node("Tanh", [graph.node("Add", [dense(second, "p3"), dense(third, "d3")])])
    graph.node("LpNormalization", [last], ["embedding"], axis=1, p=2)
    graph.output("embedding", "float32", [1, MULTILINGUAL_DIM])
    return graph.to_bytes()


# (repeats, kernel, stride of the first, output channels); the first stage does not expand.
_STAGES = [(1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320)]


def image_graph(weights: dict[str, np.ndarray]) -> bytes:
    """EfficientNet-Lite0, preprocessing inside.

    Input `pixels` uint8 RGB [batch, side, side, 3], the side 224, or 192 of a page with words; outputs `features`
    float32 [batch, 1280]
    (pooled, before the classifier) and `logits` float32 [batch, 1000].
    """
    graph = Graph("EfficientNet-Lite0")
    pixels = graph.input("pixels", "uint8", ["batch", "height", "width", 3])
    value = graph.node("Cast", [pixels], to=1)
    value = graph.node("Sub", [value, graph.constant(np.array(127, np.float32))])
    value = graph.node("Mul", [value, graph.constant(np.array(1 / 128, np.float32))])
    value = graph.node("Transpose", [value], perm=[0, 3, 1, 2])
    limits = graph.constant(np.array(0, np.float32)), graph.constant(np.array(6, np.float32))

    def conv(value: str, kernel: str, norm: str, stride: int = 1, relu6: bool = True) -> str:
        weight, bias = _fold(weights, kernel, norm)
        groups = weight.shape[0] if "depthwise" in kernel else 1
        value = graph.node(
            "Conv",
            [value, graph.constant(weight), graph.constant(bias)],
            auto_pad="SAME_UPPER",  # TensorFlow's padding, under which these weights were trained
            strides=[stride, stride],
            kernel_shape=list(weight.shape[2:]),
            group=groups,
        )
        return graph.node("Clip", [value, *limits]) if relu6 else value

    value = conv(value, "_conv_stem", "_bn0", stride=2)
    block = 0
    for repeats, kernel_side, first_stride, channels in _STAGES:
        for repeat in range(repeats):
            at = f"_blocks.{block}."
            entry = value
            if block > 0:
                value = conv(value, at + "_expand_conv", at + "_bn0")
            assert weights[at + "_depthwise_conv.weight"].shape[-1] == kernel_side
            value = conv(value, at + "_depthwise_conv", at + "_bn1", stride=1 if repeat else first_stride)
            value = conv(value, at + "_project_conv", at + "_bn2", relu6=False)
            assert weights[at + "_project_conv.weight"].shape[0] == channels
            if repeat:
                value = graph.node("Add", [value, entry])
            block += 1
    value = conv(value, "_conv_head", "_bn1")
    pooled = graph.node("GlobalAveragePool", [value])
    graph.node("Flatten", [pooled], ["features"], axis=1)
    classifier = graph.constant(weights["_fc.weight"]), graph.constant(weights["_fc.bias"])
    graph.node("Gemm", ["features", *classifier], ["logits"], transB=1)
    graph.output("features", "float32", ["batch", FEATURES])
    graph.output("logits", "float32", ["batch", CLASSES])
    return graph.to_bytes()


def _fold(weights: dict[str, np.ndarray], kernel: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """A convolution followed by a batch norm (epsilon 1e-3) as one convolution with a bias."""
    deviation = np.sqrt(weights[norm + ".running_var"].astype(np.float64) + 1e-3)
    factor = weights[norm + ".weight"] / deviation
    bias = weights[norm + ".bias"] - weights[norm + ".running_mean"] * factor
    weight = weights[kernel + ".weight"] * factor[:, None, None, None]
    return weight.astype(np.float32), bias.astype(np.float32)
