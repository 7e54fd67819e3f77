"""What a training run is told: the YAML file's keys, their defaults, and what cannot be asked together.

Built around one frozen dataclass whose field names are the YAML keys. `read` refuses unknown keys, wrong
types and impossible combinations by name before torch is imported or a file is opened. Everything that
steers the run's arithmetic is here; where it is written (`--output_dir`) is not, so two runs of one config
can be compared. It knows nothing of devices or processes except how many share a batch (`check_world`).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


class ConfigError(Exception):
    """The configuration cannot be trained. One sentence for a person, naming the key."""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What the original's ten target names reach in a Qwen2-VL: every projection of the language model."""


@dataclass(frozen=True)
class Config:
    """The keys of a training config. Defaults are the recipe of VLM2Vec-V2 where it has one."""

    # -- model
    model_name: str
    """Hub id or folder of a Qwen2-VL or Qwen2.5-VL checkpoint; `lite` for a distilled student."""
    lora_rank: int = 16
    """0 trains every weight. The paper's ablation: 8/16/32 give image 62.7/63.2/60.0."""
    lora_alpha: float = 64
    """64 is what the original's code uses when its script says nothing, as it does; its paper says 32.
    The scale of an update is alpha / rank: 4 against 2. The published checkpoint's own value is not known."""
    lora_dropout: float = 0.1
    """Dropout before the adapter, in training."""
    lora_target_modules: tuple[str, ...] = LORA_TARGETS
    """In the language model only: the vision encoder stays frozen. [q_proj, v_proj] is the light choice."""
    use_dora: bool = True
    """DoRA: the adapter also learns the length of every output row."""
    train_vision: bool = False
    """With lora_rank 0 only: train the vision encoder too."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on an accelerator, float32 on a CPU. Adapters and the loss are float32 always."""
    device: str = "auto"
    """`auto`: the first accelerator, else the CPU."""
    gradient_checkpointing: bool = True
    """Keep no activations within a layer: a third more time, a fraction of the memory."""
    min_pixels: int = 3136
    """Smaller pictures are enlarged to this many pixels."""
    max_pixels: int = 1003520
    """Larger pictures are shrunk to this many pixels."""
    max_frames: int = 8
    """Frames taken of a clip."""

    # -- batches
    datasets: tuple[Mapping[str, Any], ...] = ()
    """`{name: ImageNet_1K, weight: 1}` for the recipe's subsets, `{type: pairs, path: …}` for one's own."""
    data_root: str = "data/vlm2vec"
    """Where `python -m data.download --root` put the recipe's subsets."""
    imports: tuple[str, ...] = ()
    """Modules to import before `datasets` is read: they register source classes of one's own."""
    batch_size: int = 1024
    """Pairs in a step, over all processes."""
    sub_batch_size: int = 64
    """Consecutive rows of one source; 1 mixes uniformly. The paper's ablation, image tasks:
    0/32/64/128/1024 give 61.2/62.3/63.2/62.0/60.7."""
    chunk_size: int = 8
    """Inputs that one process embeds at once (gradient cache); 0: the whole share in one go."""
    hard_negatives: int = 0
    """How many of a pair's own negatives join the targets. The original ignores them."""
    mask_same_targets: bool = True
    """Leave a target equal to the query's own out of its negatives."""
    workers: int = 4
    """Loader processes on each rank; 0 loads in the training process."""
    max_missing: float = 0.01
    """Share of a source's rows whose media may be missing before the run stops."""

    # -- optimisation
    objective: Literal["contrastive", "distill"] = "contrastive"
    """`distill` learns from a `teacher` (docs/training.md)."""
    teacher: str | None = None
    """With objective distill: any name that `model.load` knows."""
    distill_weight: float = 1.0
    """Weight of matching the teacher's similarities, beside matching its vectors."""
    temperature: float = 0.02
    """Divides the cosines in the loss."""
    learning_rate: float = 5e-5
    """Peak, after the warm-up; then linear to zero at `max_steps`."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    max_steps: int = 5000
    """Optimiser steps of the run."""
    weight_decay: float = 0.0
    """AdamW's."""
    adam_beta1: float = 0.9
    """AdamW's."""
    adam_beta2: float = 0.999
    """AdamW's."""
    max_grad_norm: float = 1.0
    """The gradient is clipped to this length."""
    seed: int = 42
    """Of weights, dropout, shuffling and mixing."""

    # -- keeping and telling
    save_steps: int = 500
    """Steps between checkpoints; the last step always writes one."""
    keep_last: int = 3
    """How many checkpoints stay."""
    log_steps: int = 1
    """Steps between lines of the log."""
    eval_steps: int = 0
    """0: no evaluation on held-out rows during training."""
    eval_rows: int = 64
    """Rows of each source that are held out of training and evaluated."""

    def check(self) -> None:
        """Raise `ConfigError` for what cannot work together."""
        positive = ("batch_size", "sub_batch_size", "max_steps", "learning_rate", "temperature", "max_frames")
        for name in (
            *positive,
            "min_pixels",
            "max_pixels",
            "save_steps",
            "keep_last",
            "log_steps",
            "max_grad_norm",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in (
            "lora_rank",
            "chunk_size",
            "hard_negatives",
            "workers",
            "warmup_steps",
            "eval_steps",
            "eval_rows",
            "weight_decay",
            "distill_weight",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} cannot be negative")
        if not self.datasets:
            raise ConfigError("datasets is empty: name at least one source")
        for entry in self.datasets:
            if not isinstance(entry, Mapping) or not (entry.get("name") or entry.get("type")):
                raise ConfigError(f"datasets: every entry is a mapping with a name or a type, not {entry!r}")
            weight = entry.get("weight", 1)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise ConfigError(
                    f"datasets: weight of {entry.get('name') or entry.get('type')} must be above 0"
                )
        if self.batch_size % self.sub_batch_size:
            raise ConfigError(
                f"batch_size {self.batch_size} is no multiple of sub_batch_size {self.sub_batch_size}"
            )
        if self.batch_size < 2:
            raise ConfigError("batch_size 1 has no negatives: nothing would be learnt")
        if self.warmup_steps >= self.max_steps:
            raise ConfigError(
                f"warmup_steps {self.warmup_steps} leaves nothing of max_steps {self.max_steps}"
            )
        if self.min_pixels > self.max_pixels:
            raise ConfigError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        if self.train_vision and self.lora_rank:
            raise ConfigError("train_vision needs lora_rank 0: adapters are put into the language model only")
        if self.lora_rank and not self.lora_target_modules:
            raise ConfigError("lora_target_modules is empty: with lora_rank above 0 nothing would be trained")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout must be in 0 … 1, not {self.lora_dropout}")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in 0 … 1, not {getattr(self, name)}")
        if self.lora_rank and self.lora_alpha <= 0:
            raise ConfigError(f"lora_alpha must be above 0, not {self.lora_alpha}: adapters would do nothing")
        if not 0 <= self.max_missing < 1:
            raise ConfigError(f"max_missing is a share in 0 … 1, not {self.max_missing}")
        if self.eval_steps and not self.eval_rows:
            raise ConfigError("eval_steps needs eval_rows above 0")
        if self.objective == "distill" and not self.teacher:
            raise ConfigError("objective distill needs a teacher")
        if self.objective == "contrastive" and self.teacher:
            raise ConfigError("teacher is only for objective distill")
        if self.objective == "distill" and self.hard_negatives:
            raise ConfigError("hard_negatives have no part in distillation; set them to 0")
        if self.model_name == "lite" and self.lora_rank:
            raise ConfigError("model_name lite takes no adapters: set lora_rank 0")
        if self.objective == "contrastive" and self.model_name == "lite":
            raise ConfigError("model_name lite can only be distilled: set objective distill and a teacher")

    def check_world(self, world: int) -> None:
        if self.batch_size % world:
            raise ConfigError(f"batch_size {self.batch_size} cannot be shared evenly by {world} processes")

    def same_run(self, other: Mapping[str, Any]) -> list[str]:
        """Keys in which `other` (a saved config) differs in a way that a resumed run would notice."""
        free = {
            "max_steps",
            "save_steps",
            "keep_last",
            "log_steps",
            "workers",
            "device",
            "data_root",
            "eval_steps",
        }
        mine = to_dict(self)
        changed = [k for k in mine if k not in free and k in other and other[k] != mine[k]]
        if bool(other.get("eval_steps", self.eval_steps)) != bool(self.eval_steps):
            changed.append("eval_steps")  # how often does not matter; whether rows are held out does
        return changed


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """A config from a YAML file; `overrides` (from the command line) win. Raises `ConfigError`."""
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} holds no keys")
    return from_dict({**loaded, **(overrides or {})}, str(path))


def from_dict(keys: Mapping[str, Any], where: str = "config") -> Config:
    """A checked `Config`. Unknown keys, wrong types and impossible combinations raise `ConfigError`."""
    fields = {f.name: f for f in dataclasses.fields(Config)}
    hints = typing.get_type_hints(Config)
    for key in keys:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            raise ConfigError(f"{where}: unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
    if not keys.get("model_name"):
        raise ConfigError(f"{where}: model_name is missing")
    config = Config(**{key: _fitted(key, value, hints[key], where) for key, value in keys.items()})
    try:
        config.check()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values, as YAML and JSON know them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple | list) else value

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _fitted(key: str, value: Any, hint: Any, where: str) -> Any:
    """`value` as the field's type; YAML's `5e-5` (a text to YAML 1.1) counts as a number."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in options:
            return value
        raise ConfigError(f"{where}: {key} is one of {', '.join(map(str, options))}, not {value!r}")
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(value)
        raise ConfigError(f"{where}: {key} is a list, not {value!r}")
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _fitted(key, value, options[0], where)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            if math.isfinite(number := float(value)):
                return number
        except ValueError:
            pass
    if hint is str and isinstance(value, str | Path):
        return os.path.expandvars(str(value))
    raise ConfigError(f"{where}: {key} is {_NAMES.get(hint, hint)}, not {value!r}")


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
