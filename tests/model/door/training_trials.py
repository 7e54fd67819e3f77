"""Trials of Qwen3-VL in training, through sentence-transformers; run as `trials.py` is."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch

import model
from data.sources.pair import LoadedSide, load
from data.sources.pairs import Pairs
from model.embedder import ModelError
from tests.train.conftest import draw_collection, run_keys
from train.config import Config, ConfigError, from_dict
from train.loading import Loader, _copy_tensors
from train.mining import mine_source
from train.towers.open import open_tower
from train.towers.qwen import merge
from train.towers.sentence_transformers import SentenceTransformersTower
from train.trainer import train

KINDS = ("qwen3-vl-embedding", "qwen3-vl")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """As sentence-transformers saves one, and as the hub has the chat model."""
    made = tiny_models.qwen3_vl_embedding(tmp_path_factory.mktemp("towers") / "qwen3-vl-embedding")
    return {"qwen3-vl-embedding": made, "qwen3-vl": made.with_name(made.name + "-raw")}


@pytest.fixture
def config(collection: Path, tiny: dict[str, Path]) -> Callable[..., Config]:
    keys = run_keys(collection) | {"min_pixels": 4096, "max_pixels": 4096, "batch_size": 8, "sub_batch_size": 8}
    keys |= {"chunk_size": 4, "lora_rank": 4}
    return lambda kind, **changes: from_dict({**keys, "model_name": str(tiny[kind]), **changes})


def sides(collection: Path) -> list[LoadedSide]:
    """Texts and pictures with and without an exact prompt, and a clip, in one chunk."""
    source = Pairs(collection)
    texts, pictures = [load(source[n].query) for n in range(2)], [load(source[n].positive) for n in range(2)]
    exact = LoadedSide("<|image_pad|>\nWhich colour?", pictures[1].frames, "image", True, None, "query", 7)
    clip = LoadedSide("", pictures[0].frames * 3, "video", False, None, "document", 8)
    return [texts[0], pictures[0], exact, texts[1], clip, pictures[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_qwen3_vl_in_training_is_told_and_gives_what_the_one_in_use_is_told_and_gives(
    kind: str, config: Callable[..., Config], collection: Path
) -> None:
    tower = open_tower(config(kind))
    assert isinstance(tower, SentenceTransformersTower)
    tower.module.eval()
    shown = sides(collection)
    with torch.no_grad():
        vectors = tower.encode(tower.collator()(shown)).numpy()
    assert vectors.shape == (6, 64) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors - tower.embedder.embed([side.to_input() for side in shown])).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_qwen3_vl_trains_loads_and_merges(
    kind: str, config: Callable[..., Config], collection: Path, tmp_path: Path
) -> None:
    run = config(kind, max_steps=2, lora_dropout=0.1, gradient_checkpointing=True, workers=1)
    outcome = train(run, tmp_path / "run")
    assert outcome.checkpoint is not None
    tower: Any = open_tower(run)
    inputs = [load(Pairs(collection)[n].positive).to_input() for n in range(2)]
    inputs.append(load(Pairs(collection)[0].query).to_input())
    untrained = tower.embedder.embed(inputs)
    tower.restore(outcome.checkpoint)
    tower.module.eval()
    trained = tower.embedder.embed(inputs)
    used = model.load(str(outcome.checkpoint), device="cpu")
    assert np.abs(used.embed(inputs) - trained).max() < 1e-4
    assert np.abs(trained - untrained).max() > 1e-3
    merge(outcome.checkpoint, tmp_path / "merged")
    assert np.abs(model.load(str(tmp_path / "merged"), device="cpu").embed(inputs) - trained).max() < 1e-4


def test_all_weights_of_a_qwen3_vl_train_and_load(
    config: Callable[..., Config], collection: Path, tmp_path: Path
) -> None:
    run = config("qwen3-vl-embedding", lora_rank=0, max_steps=1, warmup_steps=0)
    outcome = train(run, tmp_path / "run")
    assert outcome.checkpoint is not None
    tower: Any = open_tower(run)
    before = {name: p.detach().clone() for name, p in tower.trainable().items()}
    tower.restore(outcome.checkpoint)
    assert any(not torch.equal(before[name], p) for name, p in tower.trainable().items())
    inputs = [load(Pairs(collection)[0].query).to_input()]
    used = model.load(str(outcome.checkpoint), device="cpu").embed(inputs)
    assert np.abs(used - tower.embedder.embed(inputs)).max() < 1e-4


def test_what_cannot_be_trained_is_refused_in_one_line(config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no vision encoder that can be trained here"):
        open_tower(config("qwen3-vl", lora_rank=0, train_vision=True))
    with pytest.raises(ConfigError, match="the language model has no qkv"):
        open_tower(config("qwen3-vl", lora_target_modules=["qkv"]))
    with pytest.raises(ModelError, match="is a model for text alone"):
        open_tower(config("qwen3-vl", model_name=str(tiny_models.text_only(tmp_path / "bert"))))


def test_a_collator_for_loader_processes_holds_no_weights_and_its_tensors_are_copied(
    config: Callable[..., Config], collection: Path
) -> None:
    tower = open_tower(config("qwen3-vl"))
    weights = sum(p.numel() * p.element_size() for p in tower.module.parameters())
    pickled = pickle.dumps(tower.collator())
    assert len(pickled) < len(pickle.dumps(tower.module)) - 0.9 * weights
    collate = pickle.loads(pickled)
    assert len(collate(sides(collection)).groups) >= 3
    (batch,) = Loader([Pairs(collection)], collate, 1).batches([(0, 0), (0, 1)], 2)  # type: ignore[misc]
    copied = _copy_tensors(batch)
    for group, own in zip(batch.positives.groups, copied.positives.groups, strict=True):
        assert all(own[n].data_ptr() != t.data_ptr() for n, t in group.items() if isinstance(t, torch.Tensor))


def test_a_qwen3_vl_mines_as_a_teacher(tiny: dict[str, Path], collection: Path) -> None:
    mined = mine_source(Pairs(collection, limit=12), model.load(str(tiny["qwen3-vl-embedding"])), cluster=4)
    assert sorted(mined.order.tolist()) == list(range(12)) and mined.negatives.shape == (12, 4)
