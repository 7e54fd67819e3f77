"""Names to models: the one door behind `model.load`."""

from __future__ import annotations

from model.checkpoint import find
from model.embedder import Embedder

HUB = {
    "vlm2vec-v2": "VLM2Vec/VLM2Vec-V2.0",
    "gme-2b": "Alibaba-NLP/gme-Qwen2-VL-2B-Instruct",
}


def open_checkpoint(
    name_or_path: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    base: str | None = None,
    dim: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> Embedder:
    from model.qwen_checkpoint import load_qwen

    folder = find(HUB.get(name_or_path, name_or_path))
    return load_qwen(
        folder, device=device, dtype=dtype, base=base, min_pixels=min_pixels, max_pixels=max_pixels
    )
