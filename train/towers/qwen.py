"""Qwen2-VL and Qwen2.5-VL in training: LoRA or DoRA adapters in the language model, or every weight.

Built around `QwenTower`, which trains and saves the model of a `model.qwen.embedder`; `merge` writes an adapter and
its base as one checkpoint. It knows nothing of pairs, losses or processes.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.sources.pair import LoadedSide
from train.config import Config
from train.towers import adapters
from train.towers.tower import copy_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
)


class QwenCollator:
    """The tokenizer and the image processor of a `QwenVLEmbedder`, without its weights.

    Pixels have the dtype of the vision encoder: a step's images are all in memory at once (both passes of the
    gradient cache need them), 12 MB each at the recipe's limit in bfloat16.
    """

    def __init__(self, embedder: Any) -> None:
        self._pixel_dtype = next(embedder.model.visual.parameters()).dtype
        self._embedder = copy.copy(embedder)
        self._embedder.model = None
        self._embedder.encoder = None

    def __call__(self, sides: Sequence[LoadedSide]) -> Any:
        rows = []
        for side in sides:
            if side.exact:
                rows += self._embedder.prepare([side.text], [side.frames or None])
            else:
                rows += self._embedder.prepare_inputs([side.to_input()])
        batch = self._embedder.collate_prepared(rows)
        if batch.pixel_values is None:
            return batch
        return dataclasses.replace(batch, pixel_values=batch.pixel_values.to(self._pixel_dtype))


class QwenTower:
    """A Qwen2-VL or Qwen2.5-VL checkpoint in training. It changes the model of its embedder in place."""

    def __init__(self, config: Config, base: Path, embedder: Any) -> None:
        """`base`: the folder of the embedder's checkpoint, whose tokenizer is saved with the weights."""
        self.config, self.base, self.embedder = config, base, embedder
        self.device, self.dim = embedder.device, embedder.dim
        self.module: Any = embedder.model
        self._autocast = uses_bfloat16(config, self.device) and not config.lora_rank
        adapters.make_trainable(self.module, self.module, self.module.language_model, config)
        if config.train_vision and not config.lora_rank:
            self.module.visual.requires_grad_(True)

    @classmethod
    def load(cls, config: Config, base: Path, device: str | None = None) -> QwenTower:
        """Raises `ConfigError`, `model.embedder.ModelError`."""
        from model.devices import pick_device
        from model.qwen.checkpoint import load_qwen

        target_device = pick_device(device or config.device)
        embedder = load_qwen(
            base,
            device=str(target_device),
            dtype=dtype_of_weights(config, target_device),
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
        )
        return cls(config, base, embedder)

    def collator(self) -> QwenCollator:
        return QwenCollator(self.embedder)

    def encode(self, batch: Any) -> Tensor:
        import torch

        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            embeddings: Tensor = self.embedder.encode(batch)
            return embeddings

    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        if not self.config.lora_rank:
            _save_checkpoint(self.module, folder)
            for name in TOKENIZER_FILES:
                if (self.base / name).is_file():
                    shutil.copy(self.base / name, folder / name)
        else:
            adapters.save(folder, self.trainable(), self.config)
        self._save_pixel_limits(folder)

    def restore(self, folder: Path) -> None:
        import torch

        parameters = self.trainable()
        if self.config.lora_rank:
            adapters.restore(folder, parameters)
            return
        from model.qwen.checkpoint import load_backbone

        saved = load_backbone(folder, torch.device("cpu"), torch.float32, "eager")
        copy_tensors(parameters, {n: p for n, p in saved.named_parameters() if n in parameters}, folder)

    def _save_pixel_limits(self, folder: Path) -> None:
        """Write the pixel limits of the training, so that `model.load` uses the same image sizes."""
        path = self.base / "preprocessor_config.json"
        settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        low, high = self.config.min_pixels, self.config.max_pixels
        settings |= {"min_pixels": low, "max_pixels": high}
        settings["size"] = {"shortest_edge": low, "longest_edge": high}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def uses_bfloat16(config: Config, device: torch.device) -> bool:
    return config.dtype == "bfloat16" or (config.dtype == "auto" and device.type != "cpu")


def dtype_of_weights(config: Config, device: torch.device) -> str:
    """Frozen weights beside adapters may be bfloat16. Trained weights are float32 and only computed in bfloat16, or
    rounding would lose small updates."""
    return "bfloat16" if uses_bfloat16(config, device) and config.lora_rank else "float32"


def _save_checkpoint(module: Any, folder: Path) -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    module.save_pretrained(folder)


def merge(adapter: Path, folder: Path) -> None:
    """Write an adapter and its base as one checkpoint. Raises `model.embedder.ModelError`."""
    from model.embedder import ModelError
    from model.hub_files import read_json
    from model.qwen.adapters import base_of, is_adapter
    from model.registry import open_checkpoint

    if not is_adapter(adapter):
        raise ModelError(f"{adapter} is no adapter: there is nothing to merge.")
    base = base_of(adapter, None)
    stored = read_json(base / "config.json")
    dtype = str(stored.get("dtype") or stored.get("torch_dtype") or "float32")
    embedder: Any = open_checkpoint(str(adapter), device="cpu", dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    _save_checkpoint(embedder.model, folder)
    if (folder / "modules.json").is_file():  # sentence-transformers writes tokenizer and processor as well
        return
    for name in (*TOKENIZER_FILES, "preprocessor_config.json"):
        if path := next((place / name for place in (adapter, base) if (place / name).is_file()), None):
            shutil.copy(path, folder / name)
