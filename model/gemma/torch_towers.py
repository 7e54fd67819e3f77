"""The two towers of EmbeddingGemma 2 in torch, from Google's own checkpoint: for a graphics card.

Built around transformers' `EmbeddingGemma2Model` without its audio tower; pictures and prompts are prepared by this
package, so that neither torchvision nor sentence-transformers is needed. It knows nothing of inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.devices import NAMES, pick_device
from model.embedder import ModelError
from model.hub_files import quiet, read_json, weight_files
from model.onnx_graphs import first_line

KIND = "embedding_gemma2"


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is EmbeddingGemma 2 as its authors publish it."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == KIND


class TorchTowers:
    """float32, or bfloat16 where the device has it. `precision`: which of the two."""

    def __init__(self, folder: Path, device: str = "auto", dtype: str = "auto") -> None:
        """Raises `ModelError`."""
        weight_files(folder)
        number = NAMES.get(dtype, dtype)
        if number not in ("auto", "float32", "bfloat16"):
            raise ModelError(f"EmbeddingGemma 2 is run in float32 or bfloat16, not in {dtype}: its vectors get worse.")
        try:
            import torch
            from transformers import EmbeddingGemma2Model
        except ImportError as error:
            raise ModelError(
                f"{folder} needs torch and transformers 5.19 or newer ({first_line(error)}):"
                " pip install 'sightline[vlm]'; without torch: --model embeddinggemma-2"
            ) from error
        self._torch, self._place = torch, pick_device(device)
        if number == "auto":
            able = self._place.type != "cpu" and (self._place.type != "cuda" or torch.cuda.is_bf16_supported())
            number = "bfloat16" if able else "float32"
        self.precision = number
        try:
            with quiet():
                model: Any = EmbeddingGemma2Model.from_pretrained(
                    folder,
                    audio_config=None,
                    dtype=getattr(torch, number),
                    local_files_only=True,
                    use_safetensors=True,
                    attn_implementation="sdpa",
                )
        except Exception as error:  # transformers raises whatever it likes
            raise ModelError(f"{folder} cannot be loaded ({first_line(error)}).") from error
        self._model = model.eval().to(self._place)
        alone = self._place.type == "cpu"
        self.batch_tokens, self.batch_patches = (4096, 2520) if alone else (32_768, 40_320)
        self.hidden = int(model.config.text_config.hidden_size)
        self._image, self._video = model.config.image_token_id, model.config.video_token_id
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight.sum(dtype=torch.float32)):
                raise ModelError(f"{folder} holds values that are not numbers, in {name}; it is damaged.")

    def read(self, ids: np.ndarray, mask: np.ndarray, images: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """As `GraphTowers.read`."""
        torch, model = self._torch, self._model
        with torch.inference_mode():
            tokens, seen = self._tensor(ids), self._tensor(mask)
            media = (tokens == self._image) | (tokens == self._video)
            embedded = model.get_input_embeddings()(tokens.masked_fill(media, model.config.text_config.pad_token_id))
            for token, rows in ((self._image, images), (self._video, frames)):
                if len(rows):
                    where = (tokens == token)[..., None].expand_as(embedded)
                    embedded = embedded.masked_scatter(where, self._tensor(rows).to(embedded.dtype))
            hidden = model.language_model(inputs_embeds=embedded, attention_mask=seen).last_hidden_state.float()
            weights = seen[..., None].float()
            return ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()

    def look(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """As `GraphTowers.look`."""
        model = self._model
        with self._torch.inference_mode():
            seen = model.vision_tower(
                pixel_values=self._tensor(values), pixel_position_ids=self._tensor(positions)
            ).last_hidden_state
            return model.embed_vision(inputs_embeds=seen).float().cpu().numpy()

    def _tensor(self, values: np.ndarray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(values)).to(self._place)
