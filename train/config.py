"""The configuration of a training run: the YAML keys, their defaults, and the combinations that are refused.

Built around one frozen dataclass, checked by pydantic, whose field names are the YAML keys. `read` refuses
unknown keys, wrong types and impossible combinations by name before torch is imported or a file is opened.
Every key that changes the run's arithmetic is here; the output folder is not, so two runs of one config can be
compared. It knows nothing of devices or processes except how many share a batch (`check_world`).
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
    """The configuration is refused. The message is for the user and names the key."""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The modules that the original's ten target names match in a Qwen2-VL: every projection of the language model."""


def _number(value: Any) -> Any:
    """Parse texts as numbers: YAML 1.1 reads `5e-5` as a text."""
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
    """Hub id or folder of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL checkpoint, or of a model of sentence-transformers that
    sees; `lite` for a distilled student."""
    lora_rank: Count = 16
    """0 trains every weight. The paper's ablation: 8/16/32 give image 62.7/63.2/60.0."""
    lora_alpha: Number = 64
    """64 is the default of the original's code, which its script does not change; its paper says 32.
    The scale of an update is alpha / rank: 4 against 2. The published checkpoint does not state its value."""
    lora_dropout: Share = 0.1
    """Dropout before the adapter, in training."""
    lora_target_modules: Texts = LORA_TARGETS
    """In the language model only: the vision encoder stays frozen. [q_proj, v_proj] trains fewer weights."""
    use_dora: bool = True
    """DoRA: the adapter also learns the norm of every output row."""
    train_vision: bool = False
    """With lora_rank 0 only: train the vision encoder too."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on an accelerator, float32 on a CPU. Adapters and the loss are always float32."""
    device: Text = "auto"
    """`auto`: the first accelerator, else the CPU."""
    gradient_checkpointing: bool = True
    """Recompute the activations within a layer: a third more time, a fraction of the memory."""
    min_pixels: Positive = 3136
    """Smaller images are enlarged to this many pixels."""
    max_pixels: Positive = 1003520
    """Larger images are shrunk to this many pixels."""
    max_frames: Positive = 8
    """Frames sampled from a clip."""

    # -- batches
    datasets: Annotated[tuple[Entry, ...], Field(strict=False)] = ()
    """`{name: ImageNet_1K, weight: 1}` for the recipe's subsets, `{type: pairs, path: …}` for your own pairs."""
    data_root: Text = "data/vlm2vec"
    """The `--root` of `python -m data.download`, which holds the recipe's subsets."""
    imports: Texts = ()
    """Modules to import before `datasets` is read, to register your own source classes."""
    batch_size: Positive = 1024
    """Pairs in a step, over all processes."""
    sub_batch_size: Positive = 64
    """Consecutive rows of one source; 1 mixes uniformly. The paper's ablation, image tasks:
    0/32/64/128/1024 give 61.2/62.3/63.2/62.0/60.7."""
    chunk_size: Count = 8
    """Inputs that one process embeds at once (gradient cache); 0: its whole share of the batch."""
    length_buckets: Positive = 4
    """Chunks that a loader process fills together, rows of similar length in one: less padding. 1: in drawn order."""
    hard_negatives: Count = 0
    """The number of a pair's hard negatives that join the targets. The original ignores them."""
    mask_same_targets: bool = True
    """Exclude targets that equal the query's own target from its negatives."""
    mined: Text | None = None
    """Folder that `python -m train --mine TEACHER` wrote: hard negatives, and the order in which neighbours meet."""
    workers: Count = 4
    """Loader processes on each rank; 0 loads in the training process."""
    max_missing: Share = 0.01
    """Share of a source's rows whose media may be missing before the run stops."""

    # -- optimisation
    objective: Literal["contrastive", "distill"] = "contrastive"
    """`distill` learns from a `teacher` (docs/training.md)."""
    teacher: Text | None = None
    """With objective distill: any name that `model.load` accepts."""
    distill_weight: NotNegative = 1.0
    """Weight of the loss over the teacher's similarities; the loss over its vectors has weight 1."""
    temperature: PositiveNumber = 0.02
    """Divides the cosines in the loss."""
    matryoshka: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    """Leading values of a vector whose loss counts too, [768, 512, 256]: vectors can be cut to these."""
    symmetric: bool = False
    """Take the mean with the loss from target to query."""
    multi_positive: bool = False
    """Targets that equal the query's own are right answers too, not only no negatives."""
    rerank_weight: NotNegative = 0.0
    """Weight of the loss over the order of a pair's positive and hard negatives: by a reranker's `scores`, stored with
    the pairs, or by the teacher that mined them."""
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
    """Seeds the initial weights, dropout, shuffling and mixing."""

    # -- checkpoints and logs
    save_steps: Positive = 500
    """Steps between checkpoints; the last step always writes one."""
    keep_last: Positive = 3
    """The number of newest checkpoints that are kept."""
    log_steps: Positive = 1
    """Steps between lines of the log."""
    eval_steps: Count = 0
    """0: no evaluation on held-out rows during training."""
    eval_rows: Count = 64
    """Rows of each source that evaluation uses and training never draws."""

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
            "distillation uses no hard_negatives; set them to 0": distill and self.hard_negatives,
            "matryoshka, symmetric, multi_positive and rerank_weight are for objective contrastive": distill
            and (self.matryoshka or self.symmetric or self.multi_positive or self.rerank_weight),
            "multi_positive needs mask_same_targets": self.multi_positive and not self.mask_same_targets,
            "rerank_weight needs hard_negatives above 0": self.rerank_weight and not self.hard_negatives,
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
        """Returns the keys whose value in `other` (a saved config) would change the result of a resumed run."""
        free = {"max_steps", "save_steps", "keep_last", "log_steps", "workers", "device", "data_root", "eval_steps"}
        own = to_dict(self)
        conflicts = [k for k in own if k not in free and k in other and other[k] != own[k]]
        if bool(other.get("eval_steps", self.eval_steps)) != bool(self.eval_steps):
            conflicts.append("eval_steps")  # the interval is free; whether rows are held out is not
        return conflicts


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Returns the config of a YAML file; `overrides` (from the command line) win. Raises `ConfigError`."""
    import yaml

    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(keys, dict):
        raise ConfigError(f"{path} holds no keys")
    return from_dict({**keys, **(overrides or {})}, str(path))


def from_dict(keys: Mapping[str, Any], where: str = "config") -> Config:
    """Returns a validated `Config`. Raises `ConfigError`: unknown key, wrong type, impossible combination."""
    try:
        return Config(**{str(key): value for key, value in keys.items()})
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error.errors(), keys)}") from None


def to_dict(config: Config) -> dict[str, Any]:
    """Returns the keys with JSON values."""
    return dict(TypeAdapter(Config).dump_python(config, mode="json"))


def _sentence(errors: Sequence[Mapping[str, Any]], keys: Mapping[str, Any]) -> str:
    """Describes the first of pydantic's errors, unknown keys first."""
    error = min(errors, key=lambda e: e["type"] != "unexpected_keyword_argument")
    kind, key, context = error["type"], str(error["loc"][0]) if error["loc"] else "", error.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        near = difflib.get_close_matches(key, Config.__dataclass_fields__, 1)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    if kind in ("missing", "too_short"):
        return f"{key} is missing"
    if kind == "greater_than_equal":
        return f"{key} cannot be negative"
    choices = context.get("expected", "").replace(" or ", ", ").replace("'", "")
    constraint = f"is one of {choices}" if choices else _CONSTRAINTS.get(kind, error["msg"])
    return f"{key} {constraint}, not {keys[key]!r}"


_CONSTRAINTS = {
    "bool_type": "is true or false",
    "int_type": "is a whole number",
    "float_type": "is a number",
    "finite_number": "is a number",
    "string_type": "is a text",
    "tuple_type": "is a list",
    "greater_than": "must be above 0",
    "less_than": "must be in 0 … 1",
}
"""Pydantic's error types in plain English."""
