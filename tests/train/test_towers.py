"""Qwen2-VL and Qwen2.5-VL in training, and their adapters on disk, in peft and back. Qwen3-VL: tests/model/door."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import model
from data.sources.pair import LoadedSide, load
from data.sources.pairs import Pairs
from model.inputs import Input
from train.config import Config
from train.towers import adapters
from train.towers.open import open_tower
from train.towers.qwen import QwenTower, merge
from train.trainer import train

Configure = Callable[..., Config]
MODELS = Path(__file__).parents[1] / "model"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random checkpoints by kind."""
    sys.path.insert(0, str(MODELS))
    import tiny_models

    folder = tmp_path_factory.mktemp("towers")
    return {"qwen2-vl": MODELS / "parity" / "checkpoint", "qwen2.5-vl": tiny_models.qwen2_5_vl(folder / "qwen2_5")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2-vl", "qwen2.5-vl"])
def test_every_backbone_trains_resumes_merges_and_loads(
    kind: str, config: Configure, collection: Path, tiny: dict[str, Path], tmp_path: Path
) -> None:
    run = config(
        model_name=str(tiny[kind]), min_pixels=4096, max_pixels=4096, batch_size=8, sub_batch_size=8, chunk_size=4,
        lora_rank=4, lora_dropout=0.1, max_steps=2, save_steps=1, gradient_checkpointing=True,
    )  # fmt: skip
    outcome = train(run, tmp_path / "run")
    assert outcome.checkpoint is not None
    first, second = (load_file(tmp_path / f"run/checkpoint-{n}/{adapters.WEIGHTS}") for n in (1, 2))
    assert all("language_model.layers" in name for name in first)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    tower = open_tower(run)
    tower.restore(outcome.checkpoint)
    tower.module.eval()
    shown = [load(Pairs(collection)[n].positive) for n in range(2)] + [load(Pairs(collection)[0].query)]
    with torch.no_grad():
        trained = tower.encode(tower.collator()(shown)).numpy()
    inputs = [side.to_input() for side in shown]
    used = model.load(str(outcome.checkpoint), device="cpu").embed(inputs)
    assert np.abs(used - trained).max() < 1e-4
    assert np.abs(used - open_tower(run).embedder.embed(inputs)).max() > 1e-3  # type: ignore[attr-defined]
    merge(outcome.checkpoint, tmp_path / "merged")
    assert np.abs(model.load(str(tmp_path / "merged"), device="cpu").embed(inputs) - trained).max() < 1e-4


# -- adapters on disk


def _in_peft(folder: Path, base: Path, side: LoadedSide, tower: QwenTower) -> np.ndarray:
    """The vector of a text by peft's own loading of an adapter, in eval mode."""
    from peft import PeftModel
    from transformers import Qwen2VLForConditionalGeneration

    whole = Qwen2VLForConditionalGeneration.from_pretrained(base)
    theirs = PeftModel.from_pretrained(whole, str(folder)).eval()
    batch = tower.collator()([side])
    with torch.no_grad():
        hidden = theirs.base_model.model.model.language_model(
            inputs_embeds=theirs.get_input_embeddings()(batch.input_ids), position_ids=batch.position_ids
        ).last_hidden_state
    return torch.nn.functional.normalize(hidden[:, -1].float(), dim=-1).numpy()


def _random(tower: QwenTower) -> None:
    generator = torch.Generator().manual_seed(5)
    for name, parameter in sorted(tower.trainable().items()):
        if "lora_B" in name:
            parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
        elif "magnitude" in name:
            parameter.data *= 1 + 0.1 * torch.rand(parameter.shape, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("use_dora", [False, True])
def test_an_adapter_that_is_saved_here_loads_in_peft_with_the_same_vectors(
    use_dora: bool, config: Configure, collection: Path, tiny: dict[str, Path], tmp_path: Path
) -> None:
    tower = open_tower(config(use_dora=use_dora))
    assert isinstance(tower, QwenTower)
    side = load(Pairs(collection)[0].query)
    with torch.no_grad():
        untrained = tower.encode(tower.collator()([side])).numpy()
        _random(tower)
        tower.module.eval()
        trained = tower.encode(tower.collator()([side])).numpy()
    tower.save(tmp_path)
    assert np.abs(_in_peft(tmp_path, tiny["qwen2-vl"], side, tower) - trained).max() < 1e-5
    assert np.abs(trained - untrained).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("use_dora", [False, True])
def test_an_adapter_that_peft_saved_is_restored_here_with_the_same_vectors(
    use_dora: bool, config: Configure, collection: Path, tiny: dict[str, Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLForConditionalGeneration

    run = config(use_dora=use_dora, lora_target_modules=["q_proj", "down_proj"])
    whole = Qwen2VLForConditionalGeneration.from_pretrained(tiny["qwen2-vl"])
    about = LoraConfig(
        r=8, lora_alpha=64, use_dora=use_dora, target_modules=r".*language_model\..*\.(q_proj|down_proj)"
    )  # fmt: skip
    theirs = get_peft_model(whole, about)
    torch.manual_seed(6)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    theirs.save_pretrained(tmp_path)
    tower = open_tower(run)
    assert isinstance(tower, QwenTower)
    tower.restore(tmp_path)
    tower.module.eval()
    side = load(Pairs(collection)[0].query)
    with torch.no_grad():
        ours = tower.encode(tower.collator()([side])).numpy()
    assert np.abs(ours - _in_peft(tmp_path, tiny["qwen2-vl"], side, tower)).max() < 1e-5
    used = model.load(str(tmp_path), device="cpu", base=str(tiny["qwen2-vl"])).embed([Input("a", role="query")])
    assert np.isfinite(used).all()
