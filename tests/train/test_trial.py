"""The trial: a tiny random Qwen2-VL, trained on real media, finds what it was not shown.

One run undisturbed, one killed and started again, one on two processes: same weights, same losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.runs import TWO_PROCESSES, assert_same, kill_after, log_of, losses, started
from tests.train.sample_pairs import real_media, write_pairs
from train import checkpoint
from train.config import Config, from_dict
from train.trainer import Outcome, train

KEYS: dict[str, Any] = {
    "model_name": str(Path(__file__).parents[1] / "model" / "parity" / "checkpoint"),
    "lora_rank": 16,
    "lora_dropout": 0.05,
    "batch_size": 32,
    "sub_batch_size": 8,
    "chunk_size": 16,
    "learning_rate": 6e-3,
    "min_pixels": 3136,
    "max_pixels": 3136,
    "max_frames": 4,
    "gradient_checkpointing": False,
    "workers": 0,
    "max_steps": 80,
    "warmup_steps": 8,
    "save_steps": 20,
    "eval_steps": 80,
    "eval_rows": 40,
}
KILLED_AFTER = 50
COMPARED = 12
"""Steps that one and two processes are compared over: sums in another order drift apart with time."""


@dataclass(frozen=True)
class Trial:
    config: Config
    folder: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    place = tmp_path_factory.mktemp("trial")
    config = from_dict(KEYS | {"datasets": datasets(write_pairs(real_media(), place / "pairs"))})
    return Trial(config, place / "run", train(config, place / "run"))


def datasets(pairs: list[Path]) -> list[dict[str, Any]]:
    return [{"type": "pairs", "path": str(path)} for path in pairs]


def halved(curve: list[float], batch: int) -> bool:
    """Against the start or against guessing, whichever is less."""
    return bool(np.mean(curve[-8:]) < 0.5 * min(np.mean(curve[:8]), np.log(batch)))


@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_tiny_qwen_learns_real_media_that_it_was_not_shown(trial: Trial) -> None:
    assert halved(losses(trial.folder), 32)
    found = trial.outcome.evaluation
    assert found is not None and found["hit@1"] >= 5 * found["chance"]
    assert found["chance"] == pytest.approx(1 / 40) and {"photos", "pages"} <= set(found["by_source"])
    mixed = [set(line["source_loss"]) for line in log_of(trial.folder) if "source_loss" in line]
    assert np.mean([len(sources) for sources in mixed]) > 1.5, "batches of blocks of several sources"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_trial_killed_and_started_again_ends_with_the_same_weights(trial: Trial, tmp_path: Path) -> None:
    same = kill_after(trial.config, tmp_path / "killed", KILLED_AFTER)
    assert checkpoint.checkpoints(tmp_path / "killed")[-1].name == "checkpoint-40"
    resumed = train(same, tmp_path / "killed")
    assert trial.outcome.checkpoint is not None and resumed.checkpoint is not None
    assert_same(trial.outcome.checkpoint, resumed.checkpoint)
    assert losses(tmp_path / "killed") == losses(trial.folder)
    assert resumed.evaluation == trial.outcome.evaluation


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_trial_on_two_processes_has_the_losses_of_one(trial: Trial, tmp_path: Path) -> None:
    changes = KEYS | {"lora_dropout": 0.0, "max_steps": COMPARED, "eval_steps": 0}
    config = from_dict(changes | {"datasets": list(trial.config.datasets)})
    with started(config, tmp_path / "two", *TWO_PROCESSES) as pair:
        train(config, tmp_path / "one")
        _, said = pair.communicate(timeout=600)
    assert pair.returncode == 0, said
    one, two = (np.array(losses(tmp_path / name)) for name in ("one", "two"))
    assert len(one) == COMPARED and one[-1] < 0.8 * one[0]
    assert np.abs(one - two).max() < 1e-3


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_long_trial_learns_each_source(tmp_path: Path) -> None:
    """Three times the steps and rows: photographs, pages and clips each to 5 × chance."""
    pairs = write_pairs(real_media(), tmp_path / "pairs", rows=600)
    changes = {"max_steps": 240, "warmup_steps": 20, "batch_size": 48, "sub_batch_size": 12, "eval_steps": 240}
    run = from_dict(KEYS | changes | {"datasets": datasets(pairs)})
    outcome = train(run, tmp_path / "run")
    assert halved(losses(tmp_path / "run"), 48)
    assert outcome.evaluation is not None
    chance = outcome.evaluation["chance"]
    assert {name: hit for name, hit in outcome.evaluation["by_source"].items() if hit < 5 * chance} == {}
