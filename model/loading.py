"""`load`, the one way to open a model.

Built around three cases, each imported only on use: the built-in model, a checkpoint, a server.
It knows nothing of how they work.
"""

from __future__ import annotations

from model.embedder import Embedder
from model.lite.weights import EARLIER


def load(
    name_or_path: str = "lite",
    device: str = "auto",
    dtype: str = "auto",
    *,
    base: str | None = None,
    dim: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_frames: int | None = None,
    detail: str | None = None,
    compile: bool = False,
    token: str | None = None,
) -> Embedder:
    """Load a model by name (`lite`, or the id of an earlier one; `embeddinggemma-2`, `vlm2vec-v2` …), hub id, local
    folder, or address of a model server (`https://gpu-box:8000`), which may require a `token`.

    `base` overrides the base model of an adapter folder; `dim` truncates the vectors of Matryoshka models;
    `min_pixels`, `max_pixels` bound each image (None: the checkpoint's limits), `max_frames` the frames of a clip;
    `dtype` is auto, float32, bfloat16, float16, int8 or q4; `detail` sets the tokens per image and the frames per clip
    of EmbeddingGemma 2 (`image=280,page=560,frame=140,frames=16`); `compile` compiles a Qwen backbone at its first
    use. Raises `ModelError` if files are missing or do not fit, `ModelAway` if a server does not answer.
    """
    if name_or_path.startswith(("http://", "https://")):
        from model.remote.client import connect

        return connect(name_or_path, token=token, dim=dim, max_frames=max_frames)
    if name_or_path == "lite":
        from model.lite.embedder import LiteEmbedder

        return LiteEmbedder.load()
    if name_or_path in EARLIER:
        from model.lite.embedder import LiteEmbedder

        return LiteEmbedder.load(model_id=name_or_path)
    from model.registry import open_checkpoint

    return open_checkpoint(
        name_or_path,
        device=device,
        dtype=dtype,
        base=base,
        dim=dim,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        max_frames=max_frames,
        detail=detail,
        compile=compile,
    )
