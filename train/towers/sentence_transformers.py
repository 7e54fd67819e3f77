"""Qwen3-VL, and any other model of sentence-transformers that sees, in training: adapters in its language model, or
every weight of that.

Built around `SentenceTransformersTower`, which trains the model of a `model.sentence_transformers` embedder with
that embedder's chat template and prompts. The exact prompt of a recipe is passed without its pad tokens, and its image
separately. It knows nothing of pairs, losses or processes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.sources.pair import LoadedSide
from train.config import Config, ConfigError
from train.towers import adapters
from train.towers.qwen import dtype_of_weights, uses_bfloat16

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from model.sentence_transformers import SentenceTransformersEmbedder

LIMITS = "preprocessor_config.json"
"""Beside an adapter: the pixel limits of its training, which `model.load` takes."""
BACKBONE = "0.model."
"""In front of the names of the backbone's parameters in a `SentenceTransformer`."""


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Model inputs in groups that share a prompt. `places` int64 [n]: the row of each input in the groups."""

    groups: tuple[dict[str, Any], ...]
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)


class FeatureCollator:
    """The processor of an embedder, without its weights."""

    def __init__(self, embedder: SentenceTransformersEmbedder, pixel_dtype: torch.dtype) -> None:
        from torch import nn

        self._pixel_dtype = pixel_dtype
        first = copy.copy(embedder.model[0])
        shape = nn.Module()
        shape.config = first.model.config
        first._modules = {"model": shape}
        self._embedder = copy.copy(embedder)
        self._embedder.model = _Reader(first, dict(embedder.model.prompts))

    def __call__(self, sides: Sequence[LoadedSide]) -> FeatureBatch:
        import torch

        groups: list[dict[str, Any]] = []
        order: list[int] = []
        for members, features in self._embedder.features([side.to_input() for side in sides]):
            order += members
            groups.append({name: self._smaller(value) for name, value in features.items()})
        return FeatureBatch(tuple(groups), torch.argsort(torch.tensor(order)))

    def _smaller(self, value: Any) -> Any:
        import torch

        is_pixels = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(self._pixel_dtype) if is_pixels else value


class _Reader:
    """What `SentenceTransformersEmbedder.features` needs of a model."""

    def __init__(self, first: Any, prompts: dict[str, str]) -> None:
        self.first, self.prompts, self.tokenizer = first, prompts, first.tokenizer

    def preprocess(self, inputs: list[Any], **options: Any) -> dict[str, Any]:
        return dict(self.first.preprocess(inputs, **options))


class SentenceTransformersTower:
    """A model of sentence-transformers in training. It changes the model of its embedder in place."""

    def __init__(self, config: Config, base: Path, embedder: SentenceTransformersEmbedder) -> None:
        self.config, self.base, self.embedder = config, base, embedder
        self.module: nn.Module = embedder.model
        self._backbone: Any = embedder.model[0].model
        self.device: torch.device = next(self._backbone.parameters()).device
        self.dim = embedder.dim
        self._autocast = uses_bfloat16(config, self.device) and not config.lora_rank
        language_model = getattr(self._backbone, "language_model", None)
        if language_model is None or config.train_vision:
            part = "vision encoder that can be trained here" if language_model is not None else "language model"
            raise ConfigError(f"{config.model_name} has no {part}")
        adapters.make_trainable(self.module, self._backbone, language_model, config)

    @classmethod
    def load(cls, config: Config, base: Path, device: str | None = None) -> SentenceTransformersTower:
        """Raises `ConfigError`, `model.embedder.ModelError`."""
        from model.devices import pick_device
        from model.sentence_transformers import load_sentence_transformer

        target_device = pick_device(device or config.device)
        embedder = load_sentence_transformer(
            base,
            device=str(target_device),
            dtype=dtype_of_weights(config, target_device),
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            max_frames=config.max_frames,
        )
        return cls(config, base, embedder)

    def collator(self) -> FeatureCollator:
        visual = getattr(self._backbone, "visual", self._backbone)
        return FeatureCollator(self.embedder, next(visual.parameters()).dtype)

    def encode(self, batch: FeatureBatch) -> Tensor:
        import torch

        parts = []
        for group in batch.groups:
            features = {n: v.to(self.device) if isinstance(v, torch.Tensor) else v for n, v in group.items()}
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
                parts.append(self.module(features)["sentence_embedding"])
        rows = torch.cat(parts)[batch.places.to(self.device)]
        return torch.nn.functional.normalize(rows.float(), dim=-1)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {n.removeprefix(BACKBONE): p for n, p in self.module.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        if self.config.lora_rank:
            adapters.save(folder, self.trainable(), self.config)
            limits = {"min_pixels": self.config.min_pixels, "max_pixels": self.config.max_pixels}
            (folder / LIMITS).write_text(json.dumps(limits, indent=1) + "\n")
        else:
            self.embedder.model.save_pretrained(str(folder), create_model_card=False)

    def restore(self, folder: Path) -> None:
        parameters = self.trainable()
        if self.config.lora_rank:
            adapters.restore(folder, parameters)
            return
        from model.sentence_transformers import load_sentence_transformer
        from train.towers.tower import copy_tensors

        saved = load_sentence_transformer(folder, device="cpu", dtype="float32").model.named_parameters()
        named = {name.removeprefix(BACKBONE): p for name, p in saved}
        copy_tensors(parameters, {name: p for name, p in named.items() if name in parameters}, folder)
