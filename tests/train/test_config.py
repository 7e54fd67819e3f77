"""A config that cannot be trained is refused by name, before anything is loaded."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data.sources.recipe import subsets
from train.config import ConfigError, from_dict, read, to_dict

CONFIGS = sorted((Path(__file__).parents[2] / "train" / "configs").glob("*.yaml"))
GOOD: dict[str, Any] = {"model_name": "m", "datasets": [{"name": "ImageNet_1K"}]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_is_accepted(path: Path) -> None:
    config = read(path)
    for entry in config.datasets:
        assert entry.get("type") or entry["name"] in subsets()


def test_the_recipe_is_the_published_one() -> None:
    config = read(CONFIGS[0].with_name("vlm2vec_v2_qwen2vl_2b.yaml"))
    assert (config.batch_size, config.sub_batch_size, config.max_steps) == (1024, 64, 5000)
    assert (config.lora_rank, config.lora_dropout, config.use_dora) == (16, 0.1, True)
    assert (config.temperature, config.learning_rate, config.warmup_steps) == (0.02, 5e-5, 100)
    assert {d["name"]: d["weight"] for d in config.datasets} == {s.name: s.weight for s in subsets().values()}


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"lora_rnak": 8}, "unknown key lora_rnak; did you mean lora_rank"),
        ({"batch_size": 100, "sub_batch_size": 64}, "batch_size 100 is no multiple of sub_batch_size 64"),
        ({"batch_size": "many"}, "batch_size is a whole number, not 'many'"),
        ({"use_dora": 1}, "use_dora is true or false"),
        ({"dtype": "float8"}, "dtype is one of auto, float32, bfloat16"),
        ({"datasets": []}, "datasets is empty"),
        ({"datasets": [{"weight": 2}]}, "a name or a type"),
        ({"datasets": [{"name": "ImageNet_1K", "weight": 0}]}, "weight of ImageNet_1K must be above 0"),
        ({"warmup_steps": 500, "max_steps": 500}, "warmup_steps 500 leaves nothing of max_steps 500"),
        ({"train_vision": True}, "train_vision needs lora_rank 0"),
        ({"lora_target_modules": []}, "lora_target_modules is empty"),
        ({"objective": "distill"}, "objective distill needs a teacher"),
        ({"objective": "distill", "teacher": "t", "hard_negatives": 1}, "distillation uses no hard_negatives"),
        ({"model_name": "lite"}, "model_name lite takes no adapters"),
        ({"model_name": "lite", "lora_rank": 0}, "model_name lite can only be distilled"),
        ({"min_pixels": 9, "max_pixels": 4}, "min_pixels 9 is above max_pixels 4"),
        ({"batch_size": 1, "sub_batch_size": 1}, "batch_size 1 has no negatives"),
        ({"model_name": ""}, "model_name is missing"),
        ({"adam_beta1": 1.0}, r"adam_beta1 must be in 0 … 1, not 1\.0"),
        ({"weight_decay": -0.1}, "weight_decay cannot be negative"),
        ({"distill_weight": -1}, "distill_weight cannot be negative"),
        ({"lora_alpha": 0}, "lora_alpha must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is a number, not nan"),
        ({"temperature": "inf"}, "temperature is a number, not 'inf'"),
        ({"datasets": [{"name": "WebQA", "weight": float("nan")}]}, "weight of WebQA must be above 0"),
    ],
)
def test_wrong_keys_and_impossible_combinations_are_refused_by_name(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict({**GOOD, **keys})


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size 1024 cannot be shared evenly by 3 processes"):
        from_dict(GOOD).check_world(3)


def test_yaml_without_a_decimal_point_is_still_a_number(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model_name: m\nlearning_rate: 5e-5\ndatasets:\n- name: WebQA\n")
    assert read(path).learning_rate == 5e-5


def test_a_config_survives_being_written_down() -> None:
    config = from_dict({**GOOD, "lora_target_modules": ["q_proj"], "datasets": [{"name": "a", "weight": 2}]})
    assert from_dict(to_dict(config)) == config
    other = dataclasses.replace(config, temperature=0.05, max_steps=9000)
    assert config.same_run(to_dict(other)) == ["temperature"]


def test_refusal_comes_before_torch() -> None:
    code = (
        "import sys\nfrom train.config import from_dict, ConfigError\n"
        "try: from_dict({'model_name': 'm'})\nexcept ConfigError: pass\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
