"""A tiny random EmbeddingGemma 2: transformers' model, graphs with the published signature, what transformers gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.model.gemma import tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(transformers' model, the folder of its graphs)"""
    folder = tmp_path_factory.mktemp("gemma") / "tiny"
    folder.mkdir()
    model = tiny.model()
    tiny.tokenizer(folder)
    tiny.export(model, folder)
    return model, folder


@pytest.fixture(scope="session")
def checkpoint(made, tmp_path_factory) -> Path:
    """The same weights in the layout of the published checkpoint: safetensors, without an audio tower."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    made[0].save_pretrained(folder)
    tiny.tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def expected(made):
    """What transformers gives: its tokenizer over the written-out prompt, its image processor, its forward pass."""
    from transformers import PreTrainedTokenizerFast

    model, folder = made
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))

    def run(
        text: str, images=(), frames=(), image_budget: int = 280, frame_budget: int = 140, model=model
    ) -> np.ndarray:
        for group, budget, token in ((images, image_budget, "<|image|>"), (frames, frame_budget, "<|video|>")):
            for picture in group:
                count = tiny.soft_tokens(picture, budget)
                text += "<|image>" + token * count + "<image|>"
        ids = tokenizer(text)["input_ids"]
        return tiny.reference(model, ids, list(images), list(frames), (image_budget, frame_budget))

    return run
