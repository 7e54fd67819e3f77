"""The two towers of EmbeddingGemma 2 in torch, from Google's own checkpoint: for a GPU.

Built around transformers' `EmbeddingGemma2Model` without its audio tower. This package prepares images and prompts, so
that neither torchvision nor sentence-transformers is needed. It knows nothing of `Input`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.devices import NAMES, pick_device
from model.embedder import ModelError, first_line
from model.gemma.files import MODEL_TYPE
from model.hub_files import quiet, read_json, weight_files


def is_checkpoint(folder: Path) -> bool:
    """Returns whether a folder is a checkpoint of EmbeddingGemma 2 for transformers."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == MODEL_TYPE


class TorchTowers:
    """`precision`: float32 or bfloat16; auto is bfloat16 if the device supports it."""

    is_thread_safe = False
    """A second batch would take its own memory of the GPU."""

    def __init__(self, folder: Path, device: str = "auto", dtype: str = "auto") -> None:
        """Raises `ModelError`."""
        weight_files(folder)
        precision = NAMES.get(dtype, dtype)
        if precision not in ("auto", "float32", "bfloat16"):
            raise ModelError(f"EmbeddingGemma 2 is run in float32 or bfloat16, not in {dtype}: its vectors get worse.")
        try:
            import torch
            from transformers import EmbeddingGemma2Model
        except ImportError as error:
            raise ModelError(
                f"{folder} needs torch and transformers 5.19 or newer ({first_line(error)}):"
                " pip install 'sightline[vlm]'; without torch: --model embeddinggemma-2"
            ) from error
        self._torch, self._device = torch, pick_device(device)
        if precision == "auto":
            has_bf16 = self._device.type != "cpu" and (self._device.type != "cuda" or torch.cuda.is_bf16_supported())
            precision = "bfloat16" if has_bf16 else "float32"
        self.precision = precision
        try:
            with quiet():
                model: Any = EmbeddingGemma2Model.from_pretrained(
                    folder,
                    audio_config=None,
                    dtype=getattr(torch, precision),
                    local_files_only=True,
                    use_safetensors=True,
                    attn_implementation="sdpa",
                )
        except Exception as error:  # transformers' exceptions have no common class
            raise ModelError(f"{folder} cannot be loaded ({first_line(error)}).") from error
        self._model = model.eval().to(self._device)
        is_cpu = self._device.type == "cpu"
        self.batch_tokens, self.batch_patches = (4096, 2520) if is_cpu else (32_768, 40_320)
        self.hidden = int(model.config.text_config.hidden_size)
        self._image_token, self._video_token = model.config.image_token_id, model.config.video_token_id
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight.sum(dtype=torch.float32)):
                raise ModelError(f"{folder} holds values that are not numbers, in {name}; it is damaged.")

    def embed_tokens(self, ids: np.ndarray, mask: np.ndarray, images: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """As `GraphTowers.embed_tokens`."""
        torch, model = self._torch, self._model
        with torch.inference_mode():
            tokens, attention_mask = self._tensor(ids), self._tensor(mask)
            is_media = (tokens == self._image_token) | (tokens == self._video_token)
            embeddings = model.get_input_embeddings()(
                tokens.masked_fill(is_media, model.config.text_config.pad_token_id)
            )
            for token, rows in ((self._image_token, images), (self._video_token, frames)):
                if len(rows):
                    is_token = (tokens == token)[..., None].expand_as(embeddings)
                    embeddings = embeddings.masked_scatter(is_token, self._tensor(rows).to(embeddings.dtype))
            hidden = model.language_model(
                inputs_embeds=embeddings, attention_mask=attention_mask
            ).last_hidden_state.float()
            weights = attention_mask[..., None].float()
            return np.asarray(((hidden * weights).sum(1) / weights.sum(1)).cpu())

    def embed_patches(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """As `GraphTowers.embed_patches`."""
        model = self._model
        with self._torch.inference_mode():
            hidden = model.vision_tower(
                pixel_values=self._tensor(values), pixel_position_ids=self._tensor(positions)
            ).last_hidden_state
            return np.asarray(model.embed_vision(inputs_embeds=hidden).float().cpu())

    def _tensor(self, values: np.ndarray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
