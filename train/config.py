"""What a training run is told: the YAML file's keys, their defaults, and what cannot be asked together.

Built around one frozen dataclass, checked by pydantic, whose field names are the YAML keys. `read` refuses
unknown keys, wrong types and impossible combinations by name before torch is imported or a file is opened.
Everything that steers the run's arithmetic is here; where it is written (`--output_dir`) is not, so two runs
of one config can be compared. It knows nothing of devices or processes except how many share a batch
(`check_world`).
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass


class ConfigError(Exception):
    """The configuration cannot be trained. One sentence for a person, naming the key."""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What the original's ten target names reach in a Qwen2-VL: every projection of the language model."""


def _number(value: Any) -> Any:
    """YAML's `5e-5` is a text to YAML 1.1: it counts as a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _text(value: Any) -> Any:
    return os.path.expandvars(str(value)) if isinstance(value, str | Path) else value


def _entry(entry: Any) -> Any:
    if not isinstance(entry, Mapping) or not (name := entry.get("name") or entry.get("type")):
        raise ValueError(f"every entry is a mapping with a name or a type, not {entry!r}")
    weight = entry.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise ValueError(f"weight of {name} must be above 0")
    return entry


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[str, ...], Field(strict=False)]
Entry = Annotated[Mapping[str, Any], BeforeValidator(_entry)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """The keys of a training config. Defaults are the recipe of VLM2Vec-V2 where it has one."""

    # -- model
    model_name: Annotated[Text, Field(min_length=1)]
    """Hub id or folder of a Qwen2-VL or Qwen2.5-VL checkpoint; `lite` for a distilled student."""
    lora_rank: Count = 16
    """0 trains every weight. The paper's ablation: 8/16/32 give image 62.7/63.2/60.0."""
    lora_alpha: Number = 64
    """64 is what the original's code uses when its script says nothing, as it does; its paper says 32.
    The scale of an update is alpha / rank: 4 against 2. The published checkpoint's own value is not known."""
    lora_dropout: Share = 0.1
    """Dropout before the adapter, in training."""
    lora_target_modules: Texts = LORA_TARGETS
    """In the language model only: the vision encoder stays frozen. [q_proj, v_proj] is the light choice."""
    use_dora: bool = True
    """DoRA: the adapter also learns the length of every output row."""
    train_vision: bool = False
    """With lora_rank 0 only: train the vision encoder too."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on an accelerator, float32 on a CPU. Adapters and the loss are float32 always."""
    device: Text = "auto"
    """`auto`: the first accelerator, else the CPU."""
    gradient_checkpointing: bool = True
    """Keep no activations within a layer: a third more time, a fraction of the memory."""
    min_pixels: Positive = 3136
    """Smaller pictures are enlarged to this many pixels."""
    max_pixels: Positive = 1003520
    """Larger pictures are shrunk to this many pixels."""
    max_frames: Positive = 8
    """Frames taken of a clip."""

    # -- batches
    datasets: Annotated[tuple[Entry, ...], Field(strict=False)] = ()
    """`{name: ImageNet_1K, weight: 1}` for the recipe's subsets, `{type: pairs, path: …}` for one's own."""
    data_root: Text = "data/vlm2vec"
    """Where `python -m data.download --root` put the recipe's subsets."""
    imports: Texts = ()
    """Modules to import before `datasets` is read: they register source classes of one's own."""
    batch_size: Positive = 1024
    """Pairs in a step, over all processes."""
    sub_batch_size: Positive = 64
    """Consecutive rows of one source; 1 mixes uniformly. The paper's ablation, image tasks:
    0/32/64/128/1024 give 61.2/62.3/63.2/62.0/60.7."""
    chunk_size: Count = 8
    """Inputs that one process embeds at once (gradient cache); 0: the whole share in one go."""
    hard_negatives: Count = 0
    """How many of a pair's own negatives join the targets. The original ignores them."""
    mask_same_targets: bool = True
    """Leave a target equal to the query's own out of its negatives."""
    workers: Count = 4
    """Loader processes on each rank; 0 loads in the training process."""
    max_missing: Share = 0.01
    """Share of a source's rows whose media may be missing before the run stops."""

    # -- optimisation
    objective: Literal["contrastive", "distill"] = "contrastive"
    """`distill` learns from a `teacher` (docs/training.md)."""
    teacher: Text | None = None
    """With objective distill: any name that `model.load` knows."""
    distill_weight: NotNegative = 1.0
    """Weight of matching the teacher's similarities, beside matching its vectors."""
    temperature: PositiveNumber = 0.02
    """Divides the cosines in the loss."""
    learning_rate: PositiveNumber = 5e-5
    """Peak, after the warm-up; then linear to zero at `max_steps`."""
    warmup_steps: Count = 100
    """Steps of linear warm-up."""
    max_steps: Positive = 5000
    """Optimiser steps of the run."""
    weight_decay: NotNegative = 0.0
    """AdamW's."""
    adam_beta1: Share = 0.9
    """AdamW's."""
    adam_beta2: Share = 0.999
    """AdamW's."""
    max_grad_norm: PositiveNumber = 1.0
    """The gradient is clipped to this length."""
    seed: int = 42
    """Of weights, dropout, shuffling and mixing."""

    # -- keeping and telling
    save_steps: Positive = 500
    """Steps between checkpoints; the last step always writes one."""
    keep_last: Positive = 3
    """How many checkpoints stay."""
    log_steps: Positive = 1
    """Steps between lines of the log."""
    eval_steps: Count = 0
    """0: no evaluation on held-out rows during training."""
    eval_rows: Count = 64
    """Rows of each source that are held out of training and evaluated."""

    @model_validator(mode="after")
    def _fit_together(self) -> Config:
        lora, lite, distill = self.lora_rank, self.model_name == "lite", self.objective == "distill"
        batch, sub = self.batch_size, self.sub_batch_size
        for sentence, wrong in {
            "datasets is empty: name at least one source": not self.datasets,
            f"batch_size {batch} is no multiple of sub_batch_size {sub}": batch % sub,
            "batch_size 1 has no negatives: nothing would be learnt": batch < 2,
            f"warmup_steps {self.warmup_steps} leaves nothing of max_steps {self.max_steps}": (
                self.warmup_steps >= self.max_steps
            ),
            f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}": (self.min_pixels > self.max_pixels),
            "train_vision needs lora_rank 0: adapters are put into the language model only": (
                self.train_vision and lora
            ),
            "lora_target_modules is empty: with lora_rank above 0 nothing would be trained": (
                lora and not self.lora_target_modules
            ),
            f"lora_alpha must be above 0, not {self.lora_alpha}: adapters would do nothing": (
                lora and self.lora_alpha <= 0
            ),
            "eval_steps needs eval_rows above 0": self.eval_steps and not self.eval_rows,
            "objective distill needs a teacher": distill and not self.teacher,
            "teacher is only for objective distill": self.teacher and not distill,
            "hard_negatives have no part in distillation; set them to 0": distill and self.hard_negatives,
            "model_name lite takes no adapters: set lora_rank 0": lite and lora,
            "model_name lite can only be distilled: set objective distill and a teacher": lite and not distill,
        }.items():
            if wrong:
                raise ValueError(sentence)
        return self

    def check_world(self, world: int) -> None:
        if self.batch_size % world:
            raise ConfigError(f"batch_size {self.batch_size} cannot be shared evenly by {world} processes")

    def same_run(self, other: Mapping[str, Any]) -> list[str]:
        """Keys in which `other` (a saved config) differs in a way that a resumed run would notice."""
        free = {"max_steps", "save_steps", "keep_last", "log_steps", "workers", "device", "data_root", "eval_steps"}
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
    try:
        return Config(**{str(key): value for key, value in keys.items()})
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error.errors(), keys)}") from None


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values, as YAML and JSON know them."""
    return TypeAdapter(Config).dump_python(config, mode="json")


def _sentence(errors: Sequence[Mapping[str, Any]], keys: Mapping[str, Any]) -> str:
    """The first of pydantic's errors, an unknown key before all others, for a person."""
    error = min(errors, key=lambda e: e["type"] != "unexpected_keyword_argument")
    kind, key, more = error["type"], str(error["loc"][0]) if error["loc"] else "", error.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        near = difflib.get_close_matches(key, Config.__dataclass_fields__, 1)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "value_error":
        return f"{key}: {more['error']}" if key else str(more["error"])
    if kind in ("missing", "too_short"):
        return f"{key} is missing"
    if kind == "greater_than_equal":
        return f"{key} cannot be negative"
    choices = more.get("expected", "").replace(" or ", ", ").replace("'", "")
    said = f"is one of {choices}" if choices else _SAID.get(kind, error["msg"])
    return f"{key} {said}, not {keys[key]!r}"


_SAID = {
    "bool_type": "is true or false",
    "int_type": "is a whole number",
    "float_type": "is a number",
    "finite_number": "is a number",
    "string_type": "is a text",
    "tuple_type": "is a list",
    "greater_than": "must be above 0",
    "less_than": "must be in 0 … 1",
}
"""Pydantic's kinds of error as a person says them."""
