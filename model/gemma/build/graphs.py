"""The two towers of EmbeddingGemma 2 as ONNX graphs with the inputs of the published ones.

Built around `Network`, which writes the layers that both towers have: linear layers in a precision, norms, rotary
positions, attention, the gated MLP. The arithmetic is that of transformers' `EmbeddingGemma2Model`; attention, norms
and rotary positions are operations of onnxruntime, so that a score matrix is never in memory whole where no mask is
needed. It knows nothing of files.

Precisions of the weights of linear layers; patches, projections between the towers and to the vector stay float32:

- float32
- q4: four bits, a scale for each 32 values of a row; activations are float32
- int8: seven bits of eight, a scale for each row, and activations of eight bits with a scale for each token: a token
  with large values, which trained networks have, costs the others no precision. On processors with AVX2 alone an int8
  product is summed in 16 bits, where 2 * 255 * 127 does not fit.

In q4 and int8 the token table has eight bits and a scale for each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model.gemma.build.checkpoint import Checkpoint
from model.onnx_writer import MICROSOFT, Graph

BLOCK = 32
INT8_LIMIT = 63
MASKED = -1e30
FLOAT = 1
"""ONNX's number of float32."""


class Network:
    """The layers of a tower, appended to `graph`; values are [batch, tokens, size]."""

    def __init__(self, graph: Graph, checkpoint: Checkpoint, config: dict[str, Any], precision: str) -> None:
        self.graph, self.checkpoint, self.precision = graph, checkpoint, precision
        self.eps = float(config["rms_norm_eps"])
        self._quantized: dict[str, tuple[str, str]] = {}

    def number(self, value: float | Sequence[int] | int) -> str:
        is_float = isinstance(value, float)
        return self.graph.constant(np.asarray(value, np.float32 if is_float else np.int64))

    def linear(self, value: str, weight: np.ndarray, *, exact: bool = False) -> str:
        """`weight`: float32 [out, in]. `exact`: in float32 in any precision."""
        if exact or self.precision == "float32":
            return self.graph.node("MatMul", [value, self.graph.constant(np.ascontiguousarray(weight.T))])
        return self._q4(value, weight) if self.precision == "q4" else self._int8(value, weight)

    def _q4(self, value: str, weight: np.ndarray) -> str:
        codes, scales = four_bits(weight)
        inputs = [value, self.graph.constant(codes), self.graph.constant(scales.reshape(-1))]
        sizes = {"N": weight.shape[0], "K": weight.shape[1], "bits": 4, "block_size": BLOCK, "accuracy_level": 1}
        return self.graph.node("MatMulNBits", inputs, domain=MICROSOFT, **sizes)

    def _int8(self, value: str, weight: np.ndarray) -> str:
        if value not in self._quantized:  # several layers read one value
            self._quantized[value] = self._eight_bits(value)
        codes, largest = self._quantized[value]
        weight_scale = np.maximum(np.abs(weight).max(1), 1e-12) / np.float32(INT8_LIMIT)
        weight_codes = np.rint(weight / weight_scale[:, None]).astype(np.int8)
        inputs = [codes, self.graph.constant(np.ascontiguousarray(weight_codes.T)), self.number(1 / 127)]
        inputs += [self.graph.constant(weight_scale.astype(np.float32)), self._zero()]
        product = self.graph.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
        return self.graph.node("Mul", [product, largest])

    def _eight_bits(self, value: str) -> tuple[str, str]:
        """Returns uint8 codes of value / largest, from 1 to 255, and the largest size of a value in each token."""
        graph, last = self.graph, self.number([-1])
        high, low = (graph.node(op, [value, last], keepdims=1) for op in ("ReduceMax", "ReduceMin"))
        largest = graph.node("Max", [high, graph.node("Neg", [low]), self.number(1e-12)])
        codes = graph.node("QuantizeLinear", [graph.node("Div", [value, largest]), self.number(1 / 127), self._zero()])
        return codes, largest

    def _zero(self) -> str:
        return self.graph.constant(np.array(128, np.uint8))

    def norm(self, value: str, weight: np.ndarray) -> str:
        """RMS norm over the last axis."""
        inputs = [value, self.graph.constant(weight)]
        return self.graph.node("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=self.eps, stash_type=1)

    def norm_heads(self, value: str, weight: np.ndarray) -> str:
        """RMS norm over each head, `len(weight)` values."""
        heads = self.graph.node("Reshape", [value, self.number([0, 0, -1, len(weight)])])
        return self.graph.node("Reshape", [self.norm(heads, weight), self.number([0, 0, -1])])

    def gated(self, gate: str, value: str) -> str:
        return self.graph.node("Mul", [self.graph.node("Gelu", [gate], approximate="tanh"), value])

    def add(self, left: str, right: str) -> str:
        return self.graph.node("Add", [left, right])

    def attend(self, query: str, key: str, value: str, heads: int, mask: str | None = None) -> str:
        """Attention that is not scaled. `mask`: added to the scores, [batch, 1, tokens, tokens]."""
        inputs = [query, key, value, *(("", "", mask) if mask else ())]
        return self.graph.node("MultiHeadAttention", inputs, domain=MICROSOFT, num_heads=heads, scale=1.0)

    def rotate(self, value: str, positions: str, angles: tuple[str, str]) -> str:
        return self.graph.node("RotaryEmbedding", [value, positions, *angles], domain=MICROSOFT, interleaved=0)


def text_graph(graph: Graph, checkpoint: Checkpoint, precision: str) -> bytes:
    """Returns the graph of the text tower: token ids and rows of media to the mean of all tokens."""
    config = checkpoint.text
    net = Network(graph, checkpoint, config, precision)
    ids = graph.input("input_ids", "int64", ["batch", "tokens"])
    attention_mask = graph.input("attention_mask", "int64", ["batch", "tokens"])
    hidden_size = int(config["hidden_size"])
    media = [
        (graph.input(f"{kind}_features", "float32", [f"{kind}_tokens", hidden_size]), f"{kind}_token_id")
        for kind in ("image", "video", "audio")
    ]
    embedded = _embed_tokens(net, ids, "language_model.embed_tokens.weight")
    for rows, token in media:
        is_token = graph.node("Equal", [ids, net.number(checkpoint.config[token])])
        places = graph.node("Transpose", [graph.node("NonZero", [is_token])], perm=[1, 0])
        embedded = graph.node("ScatterND", [embedded, places, rows])
    masks, angles = _masks(net, attention_mask, config), _text_angles(net, ids, config)
    first = net.number([0])
    heads = int(config["num_attention_heads"])
    projection = checkpoint["language_model.ple.per_layer_model_projection.weight"] * np.float32(hidden_size**-0.5)
    size = int(config["hidden_size_per_layer_input"])
    projection_norm = checkpoint["language_model.ple.per_layer_projection_norm.weight"]
    hidden = embedded
    for number, kind in enumerate(config["layer_types"]):
        at = f"language_model.layers.{number}."
        special = _of_layer(config, number)
        head, kv_heads = special["head_dim"], special["num_key_value_heads"]
        value = net.norm(hidden, checkpoint[at + "input_layernorm.weight"])
        parts = [net.linear(value, checkpoint[f"{at}self_attn.{name}_proj.weight"]) for name in "qkv"]
        weights = [checkpoint[f"{at}self_attn.{name}_norm.weight"] for name in "qk"]
        query, key, plain = (
            net.norm_heads(part, weight)
            for part, weight in zip(parts, [*weights, np.ones(head, np.float32)], strict=True)
        )
        query, key = (net.rotate(part, first, angles[kind]) for part in (query, key))
        key, plain = (_repeat(net, part, kv_heads, heads) for part in (key, plain))
        context = net.linear(
            net.attend(query, key, plain, heads, masks[kind]), checkpoint[at + "self_attn.o_proj.weight"]
        )
        hidden = net.add(hidden, net.norm(context, checkpoint[at + "post_attention_layernorm.weight"]))
        hidden = net.add(hidden, _mlp(net, hidden, at, ""))
        gate = net.linear(hidden, checkpoint[at + "ple_block.per_layer_input_gate.weight"])
        own = net.norm(net.linear(embedded, projection[number * size : (number + 1) * size]), projection_norm)
        mixed = net.linear(net.gated(gate, own), checkpoint[at + "ple_block.per_layer_projection.weight"])
        hidden = net.add(hidden, net.norm(mixed, checkpoint[at + "ple_block.post_per_layer_input_norm.weight"]))
        scalar = float(checkpoint[at + "layer_scalar"][0])
        if scalar != 1.0:
            hidden = graph.node("Mul", [hidden, net.number(scalar)])
    hidden = net.norm(hidden, checkpoint["language_model.norm.weight"])
    weights_of_tokens = graph.node("Unsqueeze", [graph.node("Cast", [attention_mask], to=FLOAT), net.number([-1])])
    total = graph.node("ReduceSum", [graph.node("Mul", [hidden, weights_of_tokens]), net.number([1])], keepdims=0)
    count = graph.node("ReduceSum", [weights_of_tokens, net.number([1])], keepdims=0)
    mean = graph.node("Div", [total, count])
    out = checkpoint["language_model.embedding_projection.weight"]
    graph.node("Identity", [net.linear(mean, out, exact=True)], ["sentence_embedding"])
    graph.output("sentence_embedding", "float32", ["batch", len(out)])
    return graph.to_bytes()


def vision_graph(graph: Graph, checkpoint: Checkpoint, precision: str) -> bytes:
    """Returns the graph of the vision tower: patches of images of one grid, without padding, to rows of tokens."""
    config = checkpoint.vision
    net = Network(graph, checkpoint, config, precision)
    table = checkpoint["vision_tower.patch_embedder.position_embedding_table"]
    weight = checkpoint["vision_tower.patch_embedder.input_proj.weight"]
    pixels = graph.input("pixel_values", "float32", ["images", "patches", weight.shape[1]])
    places = graph.input("pixel_position_ids", "int64", ["images", "patches", 2])
    x, y = (graph.node("Gather", [places, net.number(axis)], axis=2) for axis in (0, 1))
    centred = graph.node("Sub", [graph.node("Mul", [pixels, net.number(2.0)]), net.number(1.0)])
    hidden = net.linear(centred, weight, exact=True)
    for side, position in enumerate((x, y)):
        hidden = net.add(hidden, graph.node("Gather", [graph.constant(table[side]), position]))
    angles, rows = _vision_angles(net, x, y, config)
    head, heads = int(config["head_dim"]), int(config["num_attention_heads"])
    order = _halves(head)
    for number in range(int(config["num_hidden_layers"])):
        at = f"vision_tower.encoder.layers.{number}."
        value = net.norm(hidden, checkpoint[at + "input_layernorm.weight"])
        query, key = (
            net.rotate(
                net.norm_heads(
                    _clipped(net, value, f"{at}self_attn.{name}_proj.", order),
                    checkpoint[f"{at}self_attn.{name}_norm.weight"][order],
                ),
                rows,
                angles,
            )
            for name in "qk"
        )
        plain = net.norm_heads(_clipped(net, value, at + "self_attn.v_proj."), np.ones(head, np.float32))
        kv_heads = int(config["num_key_value_heads"])
        key, plain = (_repeat(net, part, kv_heads, heads) for part in (key, plain))
        context = _clipped(net, net.attend(query, key, plain, heads), at + "self_attn.o_proj.")
        hidden = net.add(hidden, net.norm(context, checkpoint[at + "post_attention_layernorm.weight"]))
        hidden = net.add(hidden, _mlp(net, hidden, at, "linear."))
    pooled = graph.node("Mul", [_pool(net, hidden, x, y, config), net.number(float(config["hidden_size"]) ** 0.5)])
    if config.get("standardize"):
        bias, scale = (checkpoint[f"vision_tower.std_{name}"] for name in ("bias", "scale"))
        pooled = graph.node("Mul", [graph.node("Sub", [pooled, graph.constant(bias)]), graph.constant(scale)])
    out = checkpoint["embed_vision.embedding_projection.weight"]
    tokens = net.linear(net.norm(pooled, np.ones(out.shape[1], np.float32)), out, exact=True)
    graph.node("Reshape", [tokens, net.number([-1, len(out)])], ["image_features"])
    graph.output("image_features", "float32", ["image_tokens", len(out)])
    return graph.to_bytes()


def four_bits(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (codes uint8 [out, blocks, 16], scales float32 [out, blocks]) of float32 [out, in], for `MatMulNBits`.

    The value of largest size in a block is -8 scales, as 16 codes are -8 to 7.
    """
    n_out, n_in = weight.shape
    blocks = np.pad(weight, ((0, 0), (0, -n_in % BLOCK))).reshape(n_out, -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scales = np.where(largest == 0, 1, largest / -8).astype(np.float32)
    codes = np.clip(np.rint(blocks / scales) + 8, 0, 15).astype(np.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4, scales[..., 0]


def _embed_tokens(net: Network, ids: str, name: str) -> str:
    """`name`: of the token table, 0.5 GB as float32, which only that precision has in memory whole."""
    n_tokens, size = net.checkpoint.shape(name)
    scale = float(size) ** 0.5
    if net.precision == "float32":
        table = net.graph.constant(net.checkpoint[name])
        return net.graph.node("Mul", [net.graph.node("Gather", [table, ids]), net.number(scale)])
    codes, scales = np.empty((n_tokens, size), np.int8), np.empty((n_tokens, 1), np.float32)
    first = 0
    for block in net.checkpoint.blocks(name):
        places = slice(first, first := first + len(block))
        scales[places] = np.maximum(np.abs(block).max(1, keepdims=True), 1e-12) / np.float32(127)
        codes[places] = np.rint(block / scales[places])
    rows = net.graph.node("Cast", [net.graph.node("Gather", [net.graph.constant(codes), ids])], to=FLOAT)
    factors = net.graph.constant((scales * scale).astype(np.float32))
    return net.graph.node("Mul", [rows, net.graph.node("Gather", [factors, ids])])


def _of_layer(config: dict[str, Any], number: int) -> dict[str, int]:
    """Returns head_dim and num_key_value_heads of a layer."""
    layers = {int(name): values for name, values in (config.get("per_layer_config") or {}).items()}
    return {name: int(layers.get(number, {}).get(name, config[name])) for name in ("head_dim", "num_key_value_heads")}


def _masks(net: Network, attention_mask: str, config: dict[str, Any]) -> dict[str, str]:
    """Returns what is added to the scores, by kind of layer, float32 [batch, 1, tokens, tokens]."""
    graph = net.graph
    seen = graph.node("Cast", [graph.node("Unsqueeze", [attention_mask, net.number([1, 2])])], to=FLOAT)
    padding = graph.node("Mul", [graph.node("Sub", [net.number(1.0), seen]), net.number(MASKED)])
    places = _places(net, attention_mask)
    row, column = (graph.node("Unsqueeze", [places, net.number([axis])]) for axis in (1, 0))
    distance = graph.node("Abs", [graph.node("Sub", [row, column])])
    is_far = graph.node("Greater", [distance, net.number(int(config["sliding_window"]))])
    far = graph.node("Mul", [graph.node("Cast", [is_far], to=FLOAT), net.number(MASKED)])
    square = graph.node("Mul", [graph.node("Cast", [distance], to=FLOAT), net.number(0.0)])
    return {"full_attention": net.add(padding, square), "sliding_attention": net.add(padding, far)}


def _places(net: Network, ids: str) -> str:
    """Returns int64 [tokens]: 0, 1 …"""
    length = net.graph.node("Shape", [ids], start=1, end=2)
    return net.graph.node("Range", [net.number(0), net.graph.node("Squeeze", [length, net.number([0])]), net.number(1)])


def _text_angles(net: Network, ids: str, config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Returns cosines and sines by kind of layer, float32 [tokens, head / 2]."""
    graph = net.graph
    places = graph.node("Unsqueeze", [graph.node("Cast", [_places(net, ids)], to=FLOAT), net.number([1])])
    angles = {}
    for number, kind in enumerate(config["layer_types"]):
        if kind not in angles:
            head = _of_layer(config, number)["head_dim"]
            steps = _frequencies(float(config["rope_parameters"][kind]["rope_theta"]), head)
            turned = graph.node("Mul", [places, graph.constant(steps)])
            angles[kind] = (graph.node("Cos", [turned]), graph.node("Sin", [turned]))
    return angles


def _vision_angles(net: Network, x: str, y: str, config: dict[str, Any]) -> tuple[tuple[str, str], str]:
    """Returns (cosines, sines), float32 [images * patches, head / 2], of x in the first half and y in the second; and
    the row of each patch in them, int64 [images, patches]."""
    graph, head = net.graph, int(config["head_dim"])
    steps = graph.constant(_frequencies(float(config["rope_parameters"]["rope_theta"]), head // 2))
    sides = []
    for position in (x, y):
        flat = graph.node("Cast", [graph.node("Reshape", [position, net.number([-1, 1])])], to=FLOAT)
        sides.append(graph.node("Mul", [flat, steps]))
    turned = graph.node("Concat", sides, axis=1)
    count = graph.node("Squeeze", [graph.node("Shape", [turned], start=0, end=1), net.number([0])])
    every = graph.node("Range", [net.number(0), count, net.number(1)])
    rows = graph.node("Reshape", [every, graph.node("Shape", [x])])
    return (graph.node("Cos", [turned]), graph.node("Sin", [turned])), rows


def _frequencies(base: float, size: int) -> np.ndarray:
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    steps: np.ndarray = 1 / np.power(np.float32(base), exponents)
    return steps.astype(np.float32)


def _halves(head: int) -> np.ndarray:
    """Returns the order of a head's values in which one rotation of the whole head is two, one for each side.

    transformers turns (0, 16), (1, 17) … by x and (32, 48) … by y, for a head of 64. In this order a pair is half a
    head apart. Queries and keys have the same order, so that their products stay.
    """
    quarters = np.arange(head).reshape(4, -1)
    return quarters[[0, 2, 1, 3]].reshape(-1)


def _clipped(net: Network, value: str, at: str, order: np.ndarray | None = None) -> str:
    """A linear layer of the vision tower, with the bounds of its input and output if it has them."""
    weight = net.checkpoint[at + "linear.weight"]
    if order is not None:
        weight = weight.reshape(-1, len(order), weight.shape[1])[:, order].reshape(weight.shape)
    value = _clip(net, value, at + "input_")
    return _clip(net, net.linear(value, weight), at + "output_")


def _clip(net: Network, value: str, at: str) -> str:
    low, high = (net.checkpoint.bound(f"{at}{side}") for side in ("min", "max"))
    if low is None and high is None:
        return value
    limits = [value, "" if low is None else net.number(low), *([] if high is None else [net.number(high)])]
    return net.graph.node("Clip", limits)


def _mlp(net: Network, hidden: str, at: str, inner: str) -> str:
    value = net.norm(hidden, net.checkpoint[at + "pre_feedforward_layernorm.weight"])

    def linear(name: str, given: str) -> str:
        if inner:
            return _clipped(net, given, f"{at}mlp.{name}_proj.")
        return net.linear(given, net.checkpoint[f"{at}mlp.{name}_proj.weight"])

    gated = net.gated(linear("gate", value), linear("up", value))
    return net.norm(linear("down", gated), net.checkpoint[at + "post_feedforward_layernorm.weight"])


def _repeat(net: Network, value: str, kv_heads: int, heads: int) -> str:
    """Returns `value` with each of its heads as often as a query head reads it."""
    if kv_heads == heads:
        return value
    parts = [f"{value}.{number}" for number in range(kv_heads)]
    if kv_heads > 1:
        net.graph.node("Split", [value], parts, axis=2, num_outputs=kv_heads)
    else:
        parts = [value]
    return net.graph.node("Concat", [part for part in parts for _ in range(heads // kv_heads)], axis=2)


def _pool(net: Network, hidden: str, x: str, y: str, config: dict[str, Any]) -> str:
    """Returns the mean of each square of patches, in order of rows: float32 [images, patches / 9, hidden]."""
    graph, side = net.graph, int(config["pooling_kernel_size"])
    across = graph.node(
        "Div", [net.add(graph.node("ReduceMax", [x, net.number([1])]), net.number(1)), net.number(side)]
    )
    column, row = (graph.node("Div", [position, net.number(side)]) for position in (x, y))
    square = net.add(column, graph.node("Mul", [across, row]))
    count = graph.node("Div", [graph.node("Shape", [x], start=1, end=2), net.number(side * side)])
    values = graph.constant(np.array([0, 1 / side**2], np.float32))
    weights = graph.node("OneHot", [square, count, values], axis=1)
    return graph.node("MatMul", [weights, hidden])
