"""docs/models.md tells the truth: its Python runs, its table is the catalogue's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from parity_cases import CHECKPOINT

from model.cards import CARDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text("utf-8")


def test_its_python_runs_as_written() -> None:
    random = np.random.default_rng(0)
    names = {
        "photo": random.integers(0, 256, (90, 120, 3), dtype=np.uint8),
        "frames": random.integers(0, 256, (8, 60, 80, 3), dtype=np.uint8),
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.replace("runs/v2/checkpoint-5000", str(CHECKPOINT)), "docs/models.md", "exec"), names)
    gradient = names["embedder"].model.get_parameter("language_model.layers.0.mlp.up_proj.weight").grad  # type: ignore[attr-defined]
    assert gradient is not None and gradient.abs().max() > 0


def test_its_table_is_the_catalogue() -> None:
    for card in CARDS:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{card.name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        scores = [card.scores.get(key) for key in ("overall", "image", "video", "visdoc")]
        assert cells[1:5] == [f"{score}" if score is not None else "–" for score in scores]
        assert cells[5] == str(card.dim) and cells[6] == f"{card.memory_gb:g} GB"


def test_every_message_it_explains_is_one_that_the_code_gives() -> None:
    folder = Path(__file__).resolve().parents[2] / "model"
    code = re.sub(r'"\n\s*f?"', "", "".join(path.read_text("utf-8") for path in folder.rglob("*.py")))
    table = PAGE.split("## When it does not load")[1].split("\n## ")[0]
    said = re.findall(r"`… ?(.*?) ?…?`", table)
    assert len(said) >= 7
    for message in said:
        words = message.replace("pytorch_model.bin", "{pickles[0].name}")
        assert words.strip(" …") in code, message
