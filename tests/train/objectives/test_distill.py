"""A student learns its teacher's vectors, and loads with `model.load` without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import model
from model.embedder import ModelError
from model.inputs import Input
from train.config import Config
from train.trainer import train

ROOT = Path(__file__).parents[3]
CHECKPOINT = ROOT / "tests" / "model" / "parity" / "checkpoint"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("student")


def student_config(config: Callable[..., Config], **changes: object) -> Config:
    (source,) = config().datasets
    return config(
        datasets=[{**source, "limit": 120}],
        model_name="lite",
        objective="distill",
        teacher=str(CHECKPOINT),
        lora_rank=0,
        batch_size=32,
        sub_batch_size=32,
        chunk_size=0,
        learning_rate=1e-3,
        temperature=0.2,
        **changes,
    )


@pytest.fixture
def student(config: Callable[..., Config], runs: Path) -> Path:
    """A trained student, made once."""
    folder = runs / "checkpoint-40"
    if not folder.exists():
        train(student_config(config, max_steps=40, eval_steps=40, eval_rows=24, save_steps=20), runs)
    return folder


def test_the_student_comes_to_agree_with_its_teacher(student: Path, collection: Path) -> None:
    told = [json.loads(line) for line in (student.parent / "log.jsonl").read_text().splitlines()]
    steps = [line for line in told if "teacher_cosine" in line]
    assert steps[0]["teacher_cosine"] < 0.3
    assert np.mean([line["teacher_cosine"] for line in steps[-5:]]) > 0.8
    rows = [json.loads(line) for line in collection.read_text().splitlines()][:24]
    pictures = [np.asarray(Image.open(collection.parent / row["positive"]["image"])) for row in rows]
    inputs = [Input(images=(picture,), kind="image") for picture in pictures]
    teacher, small = (model.load(str(p), device="cpu").embed(inputs) for p in (CHECKPOINT, student))
    assert small.shape == teacher.shape and np.allclose(np.linalg.norm(small, axis=1), 1, atol=1e-5)
    assert (small * teacher).sum(1).mean() > 0.8


def test_the_student_runs_without_torch(student: Path) -> None:
    code = (
        "import sys, model\nfrom model.inputs import Input\n"
        f"e = model.load({str(student)!r})\n"
        "assert e.embed([Input('a dog', role='query')]).shape == (1, e.dim)\n"
        "assert e.embed([]).shape == (0, e.dim)\n"
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_student_of_another_lite_is_refused(student: Path, tmp_path: Path) -> None:
    for name in ("student.json", "student.safetensors"):
        (tmp_path / name).write_bytes((student / name).read_bytes())
    (tmp_path / "student.json").write_text('{"lite": "lite@other"}')
    with pytest.raises(ModelError, match="was trained on lite@other, this Sightline has"):
        model.load(str(tmp_path))


def test_distillation_resumes_to_the_bit(student: Path, config: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "checkpoint-20").symlink_to(student.parent / "checkpoint-20", target_is_directory=True)
    train(student_config(config, max_steps=40, eval_steps=40, eval_rows=24, save_steps=40), tmp_path)
    again = (tmp_path / "checkpoint-40" / "student.safetensors").read_bytes()
    assert again == (student / "student.safetensors").read_bytes()
