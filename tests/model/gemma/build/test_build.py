"""The graphs that `python -m model.gemma.build` makes of a checkpoint give what transformers gives."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import ModelError, load
from model.gemma.build import graphs
from model.gemma.build.__main__ import build, main
from model.gemma.embedder import load_gemma
from model.inputs import Input
from tests.model.gemma import tiny
from tests.model.gemma.samples import DOCUMENT, QUERY, SAME, SCRIPTS, picture

pytestmark = pytest.mark.slow

INT8_COSINE = 0.99
"""The stated tolerance of int8: the cosine to the exact vector of the random checkpoint here. q4 is exact arithmetic on
rounded weights, and is held to `SAME`."""


@pytest.fixture(scope="module")
def built(checkpoint, tmp_path_factory) -> dict[str, Path]:
    """The folder of the graphs in each precision."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("float32", "q4", "int8")}
    for precision, folder in folders.items():
        assert main([str(checkpoint), str(folder), "--precision", precision]) == 0
    return folders


def clip(frames: int) -> np.ndarray:
    return np.stack([picture(90, 160, seed) for seed in range(frames)])


def cases() -> list[tuple[Input, dict[str, Any]]]:
    """Inputs, and what transformers is given for each."""
    page, one = picture(400, 283), picture(90, 160)
    pairs: list[tuple[Input, dict[str, Any]]] = []
    pairs += [(Input(text, role="query"), {"text": QUERY + text}) for text in SCRIPTS]
    pairs.append((Input("the snow " * 150), {"text": DOCUMENT + "the snow " * 150}))
    for size in [(1, 1), (480, 640), (20, 5000)]:
        shown = picture(*size)
        pairs.append((Input(images=(shown,), kind="image"), {"text": "", "images": [shown]}))
    for count in (1, 3, 16):
        pairs.append((Input(video=clip(count), kind="video"), {"text": "", "frames": list(clip(count))}))
    pairs.append((Input(images=(page,), kind="pdf"), {"text": DOCUMENT, "images": [page], "image_budget": 560}))
    composed = Input("but in red", images=(one, one), video=clip(2), role="query", kind="image")
    pairs.append((composed, {"text": QUERY + "but in red", "images": [one, one], "frames": list(clip(2))}))
    return pairs


@pytest.fixture(scope="module")
def exact(expected) -> np.ndarray:
    return np.stack([expected(**given) for _, given in cases()])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_texts_images_pages_and_clips_equal_transformers(precision, built, exact):
    vectors = load_gemma(built[precision]).embed([item for item, _ in cases()])
    if precision == "float32":
        assert np.abs(vectors - exact).max() < SAME
    else:
        assert (vectors * exact).sum(1).min() > INT8_COSINE


def test_q4_equals_transformers_on_the_rounded_weights(built, made, expected):
    rounded = copy.deepcopy(made[0])
    for name, weight in rounded.named_parameters():
        if weight.ndim == 2 and ("layers." in name or "per_layer_model_projection" in name):
            weight.data[:] = _from_four_bits(weight.numpy(force=True))
    table = rounded.language_model.embed_tokens.weight
    scale = table.abs().amax(1, keepdim=True) / 127
    table.data[:] = (table / scale).round() * scale
    vectors = load_gemma(built["q4"]).embed([item for item, _ in cases()])
    exact = np.stack([expected(**given, model=rounded) for _, given in cases()])
    assert np.abs(vectors - exact).max() < SAME


def _from_four_bits(weight: np.ndarray) -> Any:
    """Returns the values of a weight's codes; read nibble by nibble, as onnxruntime's documents say."""
    import torch

    codes, scales = graphs.four_bits(weight)
    values = np.empty((*codes.shape[:2], graphs.BLOCK), np.float32)
    values[..., 0::2], values[..., 1::2] = (codes & 15).astype(np.float32) - 8, (codes >> 4).astype(np.float32) - 8
    return torch.from_numpy((values * scales[..., None]).reshape(len(weight), -1)[:, : weight.shape[1]])


def test_four_bits_keep_each_value_within_half_a_step():
    weight = np.random.default_rng(0).standard_normal((7, 50)).astype(np.float32)
    steps = np.abs(graphs.four_bits(weight)[1]).repeat(graphs.BLOCK, 1)[:, :50]
    assert (np.abs(_from_four_bits(weight).numpy() - weight) <= steps + 1e-6).all()  # a whole step at the other end
    assert (np.abs(_from_four_bits(weight).numpy() - weight) <= steps / 2 + 1e-6).mean() > 0.95
    assert not _from_four_bits(np.zeros((2, 32), np.float32)).any()


@pytest.mark.parametrize("precision", ["float32", "q4", "int8"])
def test_a_vector_does_not_depend_on_its_batch(precision, built):
    embedder = load_gemma(built[precision])
    inputs = [Input("a"), Input("the snow " * 60), Input(images=(picture(300, 200),), kind="image"),
              Input(images=(picture(300, 200, 1),), kind="image"), Input(video=clip(3), kind="video")]  # fmt: skip
    together = embedder.embed(inputs)
    for item, row in zip(inputs, together, strict=True):
        assert np.abs(embedder.embed([item])[0] - row).max() < SAME
    assert f":{precision}@" in embedder.id


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_query_is_embedded_beside_a_batch(precision, built):
    """A search does not wait for the images that are indexed."""
    embedder = load_gemma(built[precision])
    assert embedder.is_thread_safe
    inputs = [Input("a dog", role="query"), Input(images=(picture(480, 640),), kind="image"), Input(video=clip(8))]
    alone = [embedder.embed([item]) for item in inputs]
    with ThreadPoolExecutor(6) as threads:
        beside = list(threads.map(lambda n: embedder.embed([inputs[n % 3]]), range(24)))
    for number, vectors in enumerate(beside):
        assert np.abs(vectors - alone[number % 3]).max() < SAME


def test_clipped_layers_and_standardized_tokens_equal_transformers(tmp_path, expected):
    """The vision tower has both in some checkpoints of its family."""
    import torch

    model = tiny.model(vision={"use_clipped_linears": True, "standardize": True})
    for name, buffer in model.named_buffers():
        if name.endswith(("_min", "_max")):
            buffer.fill_(-0.5 if name.endswith("_min") else 0.7)
        elif "std_" in name:
            torch.nn.init.normal_(buffer, mean=1.0, std=0.1)
    model.save_pretrained(tmp_path / "checkpoint")
    tiny.tokenizer(tmp_path / "checkpoint")
    build(tmp_path / "checkpoint", tmp_path / "graphs", "float32")
    shown = picture(300, 200)
    got = load_gemma(tmp_path / "graphs").embed([Input(images=(shown,), kind="image")])[0]
    assert np.abs(got - expected("", [shown], model=model)).max() < SAME


def test_a_checkpoint_in_bfloat16_is_read(made, tmp_path, expected):
    import torch

    copy.deepcopy(made[0]).to(torch.bfloat16).save_pretrained(tmp_path / "checkpoint")
    model = type(made[0]).from_pretrained(tmp_path / "checkpoint", dtype=torch.float32).eval()
    tiny.tokenizer(tmp_path / "checkpoint")
    build(tmp_path / "checkpoint", tmp_path / "graphs", "float32")
    got = load_gemma(tmp_path / "graphs").embed([Input("a dog")])[0]
    assert np.abs(got - expected(DOCUMENT + "a dog", model=model)).max() < SAME


def test_torch_is_not_needed(checkpoint, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from model.gemma.build.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "graphs")]
    assert subprocess.run(command, cwd=Path(__file__).parents[4], check=False).returncode == 0
    assert ":int8@" in load(str(tmp_path / "graphs")).id


def test_graphs_that_are_built_again_are_other_graphs(checkpoint, tmp_path):
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    ids = set()
    for layers in (3, 2):
        config = json.loads((copied / "config.json").read_text())
        config["text_config"]["num_hidden_layers"] = layers
        config["text_config"]["layer_types"] = config["text_config"]["layer_types"][:layers]
        (copied / "config.json").write_text(json.dumps(config))
        build(copied, tmp_path / "graphs")
        ids.add(load_gemma(tmp_path / "graphs").id)
    assert len(ids) == 2


def test_another_checkpoint_is_refused_in_one_line_and_leaves_nothing(checkpoint, tmp_path, capsys):
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main([str(copied), str(tmp_path / "graphs")]) == 1
    said = capsys.readouterr().err
    assert "cut short" in said and said.count("\n") == 1
    shutil.copyfile(checkpoint / "model.safetensors", weights)
    config = json.loads((copied / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    config["text_config"]["layer_types"].append("full_attention")
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has no tensor language_model.layers.3\..* another model's checkpoint"):
        build(copied, tmp_path / "graphs")
    (copied / "config.json").write_text('{"model_type": "gemma3"}')
    with pytest.raises(ModelError, match="of kind gemma3, not EmbeddingGemma 2"):
        build(copied, tmp_path / "graphs")
    assert not [path for path in (tmp_path / "graphs").rglob("*") if path.is_file()]


def test_damaged_weights_are_named(checkpoint, tmp_path):
    from safetensors.numpy import load_file, save_file

    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    tensors = load_file(copied / "model.safetensors")
    tensors["language_model.norm.weight"][3] = np.nan
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(ModelError, match=r"not numbers, in language_model\.norm\.weight"):
        build(copied, tmp_path / "graphs")
