"""The wrapper for mteb: its batches in, unit vectors out; result files that mteb reads.

mteb itself is not among the development requirements; where it is installed, its own classes are used too.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from eval.embedding import Rank
from eval.mteb_model import MtebModel, results_file
from eval.runner import run
from eval.task_list import select
from tests.eval.embedders import HashEmbedder
from tests.eval.fixtures import picture

has_mteb = pytest.mark.skipif(importlib.util.find_spec("mteb") is None, reason="mteb is not installed")


def test_texts_images_and_frames_become_inputs_of_the_role_that_mteb_names() -> None:
    embedder = HashEmbedder()
    model = MtebModel(embedder)
    frames = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    vectors = model.encode([{"text": ["a", "b"]}, {"text": ["c"]}], prompt_type=SimpleNamespace(value="query"))
    assert vectors.shape == (3, 32) and [i.role for i in embedder.seen] == ["query"] * 3
    model.encode([{"image": [picture(1)], "text": ["words"]}], prompt_type="document")
    model.encode([{"video": [frames]}])
    model.encode([{"image": [picture(2)]}], task_metadata=SimpleNamespace(type="DocumentUnderstanding"))
    image, clip, page = embedder.seen[3:]
    assert (image.kind, image.role, image.text, image.images[0].shape) == ("image", "document", "words", (56, 56, 3))
    assert clip.video is not None and clip.video.shape == (2, 4, 5, 3)
    assert (clip.video == frames.permute(0, 2, 3, 1).numpy()).all()
    assert page.kind == "pdf"


def test_similarity_is_the_dot_product() -> None:
    model = MtebModel(HashEmbedder())
    a = model.encode([{"text": ["x", "y"]}])
    assert np.allclose(model.similarity(a, torch.from_numpy(a)), a @ a.T)
    assert np.allclose(model.similarity_pairwise(a, a), [1, 1], atol=1e-6)


def test_scores_become_result_files_of_mteb(mmeb: Path, tmp_path: Path) -> None:
    run(select(["MSVD", "GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="mine", rank=Rank())
    paths = results_file(tmp_path, "mine")
    assert sorted(p.name for p in paths) == ["GQA.json", "MSVD.json"]
    result = json.loads(next(p for p in paths if p.name == "MSVD.json").read_text("utf-8"))
    (row,) = result["scores"]["test"]
    assert row["main_score"] == row["hit_at_1"] and {"ndcg_linear_at_5", "mrr_at_10", "hf_subset", "languages"} < set(
        row
    )


@has_mteb
def test_mteb_takes_the_model_and_reads_the_results(mmeb: Path, tmp_path: Path) -> None:
    from mteb.models.models_protocols import EncoderProtocol
    from mteb.results import TaskResult

    model = MtebModel(HashEmbedder())
    assert isinstance(model, EncoderProtocol)
    assert (model.mteb_model_meta.name, model.mteb_model_meta.embed_dim) == ("sightline/hash", 32)
    run(select(["MSVD"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="mine", rank=Rank())
    (path,) = results_file(tmp_path, "mine")
    result = TaskResult.from_disk(path)
    assert result.get_score() == json.loads(path.read_text("utf-8"))["scores"]["test"][0]["main_score"]


@pytest.mark.parametrize(
    ("prompt", "instructions"),
    [
        (None, [None, None, None]),
        ("Find the answer.", ["Find the answer.", None, "Find the answer."]),
        ({"query": "Find the page."}, ["Find the page.", None, None]),
        ({"query": "Find.", "document": "Represent."}, ["Find.", "Represent.", None]),
    ],
)
def test_a_tasks_own_prompt_is_the_instruction(prompt: Any, instructions: list[str | None]) -> None:
    embedder = HashEmbedder()
    task = SimpleNamespace(type="Retrieval", prompt=prompt)
    for side in ("query", "document", None):
        MtebModel(embedder).encode([{"text": ["x"]}], task_metadata=task, prompt_type=side)
    assert [item.instruction for item in embedder.seen] == instructions
