"""A made-up collection, shapes in two colours and their captions, for a tiny random Qwen2-VL."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from train.config import Config, from_dict

CHECKPOINT = Path(__file__).parents[1] / "model" / "parity" / "checkpoint"
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "black": (10, 10, 10),
    "white": (250, 250, 250),
    "purple": (150, 40, 170),
    "orange": (250, 140, 20),
}
SHAPES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "square": ((10, 10, 40, 40),),
    "bar": ((4, 20, 52, 32),),
    "cross": ((4, 22, 52, 32), (22, 4, 32, 52)),
    "frame": ((4, 4, 52, 12), (4, 44, 52, 52), (4, 4, 12, 52), (44, 4, 52, 52)),
}


def draw_collection(folder: Path) -> Path:
    """224 pictures of 56 × 56 and `pairs.jsonl`: every shape in every two colours, one caption each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    shift = np.random.default_rng(0)
    for number, (shape, front, back) in enumerate(itertools.product(SHAPES, COLOURS, COLOURS)):
        if front == back:
            continue
        picture = Image.new("RGB", (56, 56), COLOURS[back])
        dx, dy = (int(n) for n in shift.integers(-3, 4, 2))
        for left, top, right, bottom in SHAPES[shape]:
            box = (left + dx, top + dy, right + dx, bottom + dy)
            ImageDraw.Draw(picture).rectangle(box, fill=COLOURS[front])
        picture.save(folder / f"{number}.png")
        rows.append({"query": f"a {front} {shape} on {back}", "positive": {"image": f"{number}.png"}})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "pairs.jsonl"


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The same sums in every process of a test, and no quarrel over cores. Before any fixture of a module,
    too: a run that one trains is compared to the bit."""
    torch.set_num_threads(1)


@pytest.fixture
def keys(collection: Path) -> dict[str, Any]:
    return run_keys(collection)


def run_keys(collection: Path) -> dict[str, Any]:
    """Keys of a run of seconds."""
    return {
        "model_name": str(CHECKPOINT),
        "lora_rank": 8,
        "lora_dropout": 0.0,
        "batch_size": 16,
        "sub_batch_size": 16,
        "chunk_size": 8,
        "max_steps": 6,
        "warmup_steps": 1,
        "learning_rate": 2e-3,
        "min_pixels": 3136,
        "max_pixels": 3136,
        "gradient_checkpointing": False,
        "workers": 0,
        "save_steps": 100,
        "datasets": [{"type": "pairs", "path": str(collection)}],
    }


@pytest.fixture
def config(keys: dict[str, Any]) -> Callable[..., Config]:
    return lambda **changes: from_dict({**keys, **changes})
