"""Adapters land whole, under every naming of their keys, or are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_cases import ADAPTER, CHECKPOINT, prompts, visuals, wanted
from safetensors.torch import load_file, save_file

import model
from model.embedder import ModelError
from model.qwen.checkpoint import load_qwen

WEIGHTS = "adapter_model.safetensors"
Tensors = dict[str, torch.Tensor]


def rewrite(folder: Path, change: Callable[[Tensors], Tensors], **config: object) -> Path:
    """A copy of the parity adapter with other tensors and settings, its base named absolutely."""
    shutil.copytree(ADAPTER, folder)
    tensors = {key: value.clone().contiguous() for key, value in change(load_file(folder / WEIGHTS)).items()}
    save_file(tensors, folder / WEIGHTS)
    said = json.loads((folder / "adapter_config.json").read_text())
    said |= {"base_model_name_or_path": str(CHECKPOINT)} | config
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


def same(tensors: Tensors) -> Tensors:
    return tensors


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key.replace(old, new): value for key, value in tensors.items()}


def embedded(folder: Path, **options: object) -> np.ndarray:
    return model.load(str(folder), **options).embed_prompts(prompts(), visuals())  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize(
    "new",
    [
        "base_model.model.model.language_model.layers.",
        "base_model.model.language_model.layers.",
        "base_model.model.layers.",
        "base_model.model.language_model.model.layers.",
        "base_model.model.model.model.language_model.layers.",
    ],
)
def test_every_librarys_name_for_a_layer_lands_in_it(tmp_path: Path, new: str) -> None:
    folder = rewrite(tmp_path / "adapter", renamed("base_model.model.model.layers.", new))
    np.testing.assert_allclose(embedded(folder), wanted("embedding_adapter"), atol=2e-6)


def test_peft_made_adapters_on_the_current_model_merge_to_what_peft_computes(tmp_path: Path) -> None:
    """Saved by today's PEFT from today's model: DoRA, rsLoRA and patterns of rank and alpha."""
    from peft import LoraConfig, get_peft_model

    for number, options in enumerate(
        (
            {"use_dora": True, "lora_alpha": 16},
            {"use_rslora": True, "lora_alpha": 4},
            {"rank_pattern": {"up_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 9, "k_proj": 1}},
        )
    ):
        torch.manual_seed(number)
        embedder = load_qwen(CHECKPOINT)
        targets = ["q_proj", "k_proj", "up_proj", "down_proj", "qkv"]
        wrapped = get_peft_model(embedder.model, LoraConfig(r=3, target_modules=targets, **options))
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.data.add_(torch.randn_like(parameter) * 0.05)
        folder = tmp_path / f"adapter-{number}"
        wrapped.eval().save_pretrained(folder)
        expected = embedder.embed_prompts(prompts(), visuals())
        assert np.abs(expected - wanted()).max() > 0.01
        np.testing.assert_allclose(embedded(folder, base=str(CHECKPOINT)), expected, atol=3e-6)


def test_a_pattern_of_alpha_speaks_of_the_names_in_the_adapter(tmp_path: Path) -> None:
    """Older libraries called the layers otherwise; a pattern that fits no name leaves the scale wrong."""
    short, full = (
        rewrite(tmp_path / name.replace(".", "-"), same, alpha_pattern={name: 64})
        for name in ("layers.1.mlp.down_proj", "^model.layers.1.mlp.down_proj")
    )
    changed = embedded(short)
    assert np.abs(changed - wanted("embedding_adapter")).max() > 1e-3
    assert (embedded(full) == changed).all()


def test_a_merged_model_saved_by_the_library_loads_to_the_same_vectors(tmp_path: Path) -> None:
    merged = load_qwen(ADAPTER)
    merged.model.save_pretrained(tmp_path / "merged")
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copy(CHECKPOINT / name, tmp_path / "merged" / name)
    np.testing.assert_allclose(embedded(tmp_path / "merged"), wanted("embedding_adapter"), atol=2e-6)


# -- what is refused --------------------------------------------------------------------------------


def without(word: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if word not in key}


def zeroed(tensors: Tensors) -> Tensors:
    """As PEFT starts an adapter: B at zero, magnitudes those of the base."""
    base = load_qwen(CHECKPOINT).model
    fresh = {}
    for key, value in tensors.items():
        module = key.removeprefix("base_model.model.model.").rsplit(".lora_", 1)[0]
        if "lora_B" in key:
            value = torch.zeros_like(value)
        if "magnitude" in key:
            value = base.get_parameter(f"language_model.{module}.weight").norm(dim=1)
        fresh[key] = value
    return fresh


@pytest.mark.parametrize(
    "change, config, said",
    [
        (renamed("layers.2.", "layers.7."), {}, "21 of the 63 tensors.*layers.7"),
        (renamed("up_proj", "gate_up_proj"), {}, "belong to no layer"),
        (renamed("lora_A", "lora_Q"), {}, "belong to no layer"),
        (without("layers.1.mlp.up_proj.lora_B"), {}, "incomplete"),
        (without("magnitude"), {}, "incomplete"),
        (same, {"use_dora": False}, "lora_magnitude_vector.* needed"),
        (lambda t: {k: v * 0 if "lora_B" in k else v for k, v in without("magnitude")(t).items()},
         {"use_dora": False}, "changes nothing"),
        (lambda t: {k: v[..., :-1] if "lora_A" in k else v for k, v in t.items()}, {}, "another base"),
        (lambda t: {k: v * float("inf") if "layers.0.mlp.up_proj.lora_A" in k else v for k, v in t.items()},
         {}, "not numbers"),
        (lambda t: {}, {}, "empty"),
        (same, {"peft_type": "IA3"}, "IA3"),
        (same, {"modules_to_save": ["lm_head"]}, "modules_to_save"),
        (same, {"bias": "all"}, "biases"),
        (same, {"alora_invocation_tokens": [5, 6]}, "alora_invocation_tokens"),
        (same, {"init_lora_weights": "pissa_niter_16"}, "begun with pissa_niter_16, which changes the base"),
        (same, {"init_lora_weights": "olora"}, "begun with olora"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_land_whole_is_refused(
    tmp_path: Path, change: Callable[[Tensors], Tensors], config: dict[str, object], said: str
) -> None:
    folder = rewrite(tmp_path / "adapter", change, **config)
    with pytest.raises(ModelError, match=said):
        model.load(str(folder))


def test_an_untrained_dora_adapter_changes_nothing_worth_having(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="changes nothing"):
        model.load(str(rewrite(tmp_path / "adapter", zeroed)))


def test_a_pickled_or_cut_adapter_is_refused(tmp_path: Path) -> None:
    folder = rewrite(tmp_path / "adapter", same)
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="cut short"):
        model.load(str(folder))
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        model.load(str(folder))


# -- where the base is --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoint", "../checkpoint", "./checkpoint", "some/dir/checkpoint"])
def test_a_base_beside_the_adapter_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "models" / "checkpoint")
    folder = rewrite(tmp_path / "models" / "adapter", same, base_model_name_or_path=name)
    monkeypatch.chdir(tmp_path)
    assert model.load(str(folder)).dim == 64
    assert model.load("models/adapter").dim == 64


@pytest.mark.parametrize("named", ["nowhere", "", None, "Nobody/Never", "/no/such/place"])
def test_base_overrides_whatever_the_adapter_names(tmp_path: Path, named: object) -> None:
    folder = rewrite(tmp_path / "adapter", same, base_model_name_or_path=named)
    np.testing.assert_allclose(embedded(folder, base=str(CHECKPOINT)), wanted("embedding_adapter"), atol=2e-6)


@pytest.mark.parametrize("named, said", [("nowhere", "nowhere"), (None, "does not name its base")])
def test_a_missing_base_is_named(tmp_path: Path, named: object, said: str) -> None:
    folder = rewrite(tmp_path / "adapter", same, base_model_name_or_path=named)
    with pytest.raises(ModelError, match=said):
        model.load(str(folder))


def test_an_adapter_on_an_adapter_is_refused() -> None:
    with pytest.raises(ModelError, match="itself an adapter"):
        model.load(str(ADAPTER), base=str(ADAPTER))
