"""The 10-minute trial: pictures, pages and clips in one run, each learnt to 5 × chance on held-out rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image, ImageDraw

from train.config import Config
from train.trainer import train

COLOURS = {"red": (1, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.2, 0.2, 0.9), "yellow": (0.9, 0.9, 0.1),
           "black": (0, 0, 0), "orange": (1, 0.6, 0.1)}  # fmt: skip
MOVES = {"left": (-6, 0), "right": (6, 0), "up": (0, -6), "down": (0, 6)}


def draw_pages(folder: Path) -> Path:
    """A report of 216 pages, each with three bars; the query names their colours from top to bottom."""
    folder.mkdir()
    report, rows = pymupdf.open(), []
    for number, names in enumerate(itertools.product(COLOURS, repeat=3), 1):
        page = report.new_page(width=200, height=200)
        for at, name in enumerate(names):
            page.draw_rect((10, 20 + 60 * at, 190, 60 + 60 * at), fill=COLOURS[name], color=COLOURS[name])
        rows.append({"query": " ".join(names), "positive": {"pdf": "report.pdf", "page": number}})
    report.save(folder / "report.pdf")
    return written(folder / "pages.jsonl", rows)


def draw_clips(folder: Path) -> Path:
    """120 clips of 4 frames: a square of one colour on another, moving."""
    rows = []
    for front, back, (name, (dx, dy)) in itertools.product(COLOURS, COLOURS, MOVES.items()):
        if front == back:
            continue
        clip = folder / f"{front}-{back}-{name}"
        clip.mkdir(parents=True)
        for at in range(4):
            frame = Image.new("RGB", (56, 56), tuple(round(255 * c) for c in COLOURS[back]))
            x, y = 18 + dx * (at - 1), 18 + dy * (at - 1)
            colour = tuple(round(255 * c) for c in COLOURS[front])
            ImageDraw.Draw(frame).rectangle((x, y, x + 20, y + 20), fill=colour)
            frame.save(clip / f"{at}.png")
        rows.append({"query": f"{front} on {back} goes {name}", "positive": {"frames": clip.name}})
    return written(folder / "clips.jsonl", rows)


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_tiny_qwen_learns_pictures_pages_and_clips_together(
    config: Callable[..., Config], collection: Path, tmp_path: Path
) -> None:
    sources = [collection, draw_pages(tmp_path / "pages"), draw_clips(tmp_path / "clips")]
    run = config(
        datasets=[{"type": "pairs", "path": str(path)} for path in sources],
        lora_rank=16,
        lora_dropout=0.05,
        batch_size=48,
        sub_batch_size=12,
        chunk_size=12,
        max_steps=240,
        warmup_steps=20,
        learning_rate=2e-3,
        max_frames=4,
        eval_steps=240,
        eval_rows=40,
    )
    outcome = train(run, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    curve = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(curve[-10:]) < 0.5 * min(np.mean(curve[:10]), np.log(48))
    assert outcome.evaluation is not None
    chance = outcome.evaluation["chance"]
    assert {name: hit for name, hit in outcome.evaluation["by_source"].items() if hit < 5 * chance} == {}
