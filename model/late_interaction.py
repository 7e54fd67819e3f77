"""Late interaction: a vector for each token of a query and each patch of a page, compared by MaxSim.

Built around transformers' own ColPali and ColQwen2 classes and their processors; `max_sim` is

    score(query, page) = sum over the query's tokens of the largest inner product with a vector of the page.

A page is 1,030 vectors of 128 numbers under ColPali (264 kB in float16), so such a model re-ranks pages or scores a
benchmark; it has no index. It knows nothing of libraries and tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.devices import dtype_label, pick_device, pick_dtype
from model.embedder import ModelError, first_line
from model.hub_files import fingerprint, in_cache, quiet, read_json, weight_files
from model.qwen.vision import as_rgb

HUB = {"colpali": "vidore/colpali-v1.3-hf", "colqwen2": "vidore/colqwen2-v1.0-hf"}
"""Names of published checkpoints in the format of transformers."""
CLASSES = {
    "colpali": ("ColPaliForRetrieval", "ColPaliProcessor"),
    "colqwen2": ("ColQwen2ForRetrieval", "ColQwen2Processor"),
}
"""The model type of config.json -> transformers' classes."""
QUERY_PREFIX, PAGE_PREFIX = "Query: ", "<bos>Describe the image."
"""What ColPali's authors and the benchmark put before queries and pages. transformers' class says "Question: " and has
one begin token before a page, where theirs has two."""
RECIPE = "li2"
PAGES_PER_CALL, QUERIES_PER_CALL = 4, 32


class LateInteractionModel:
    """`id` as of an `Embedder`; `dim`: the length of each vector."""

    def __init__(self, model: Any, processor: Any, *, id: str, dim: int) -> None:
        self.model, self.processor, self.id, self.dim = model, processor, id, dim

    def embed_queries(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns a float16 [tokens, dim] of unit rows for each text."""
        batches = [texts[at : at + QUERIES_PER_CALL] for at in range(0, len(texts), QUERIES_PER_CALL)]
        return [rows for batch in batches for rows in self._run(self.processor.process_queries(text=list(batch)))]

    def embed_pages(self, images: Sequence[Any]) -> list[np.ndarray]:
        """Returns a float16 [patches, dim] of unit rows for each image, uint8 RGB [H, W, 3]."""
        from PIL import Image

        pictures = [Image.fromarray(as_rgb(image)) for image in images]
        batches = [pictures[at : at + PAGES_PER_CALL] for at in range(0, len(pictures), PAGES_PER_CALL)]
        return [rows for batch in batches for rows in self._run(self.processor.process_images(images=batch))]

    def _run(self, inputs: Any) -> list[np.ndarray]:
        import torch

        inputs = {name: value.to(self.model.device) for name, value in inputs.items() if name != "labels"}
        with torch.inference_mode():
            rows = self.model(**inputs).embeddings.float()
        if not torch.isfinite(rows).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers; try dtype float32.")
        masks = inputs["attention_mask"].bool()
        return [each[mask].cpu().numpy().astype(np.float16) for each, mask in zip(rows, masks, strict=True)]


def max_sim(query: np.ndarray, pages: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the score of each page, float32 [len(pages)].

    `query` float [t, dim], each page float [p, dim], p may differ. The vectors that are there are compared and no
    others: `score_retrieval` of transformers pads the shorter pages of a batch with zeros, and a zero then wins over
    vectors that are all unlike a token.
    """
    if not len(pages):
        return np.zeros(0, np.float32)
    starts = np.cumsum([0, *(len(page) for page in pages[:-1])])
    products = np.concatenate(pages).astype(np.float32) @ query.astype(np.float32).T
    return np.asarray(np.maximum.reduceat(products, starts, axis=0).sum(axis=1), np.float32)


def is_late_interaction(folder: Path) -> bool:
    """Whether a folder holds a model of this file."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") in CLASSES


def load_late_interaction(name_or_path: str, device: str = "auto", dtype: str = "auto") -> LateInteractionModel:
    """Returns a model by name (`colpali`, `colqwen2`), hub id or folder. Raises `ModelError`: what is missing, and what
    to install or fetch."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ModelError(
            f"{name_or_path} needs torch and transformers ({error.name} is missing): pip install 'sightline[vlm]'."
        ) from error
    folder = _folder(name_or_path)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    kind = config.get("model_type")
    if kind not in CLASSES:
        raise ModelError(
            f"{folder} is a model of kind {kind}, which has no late interaction: give {' or '.join(HUB)}, or a folder "
            "of one of these in the format of transformers."
        )
    weight_files(folder)
    torch_device = pick_device(device)
    torch_dtype, quantise = pick_dtype(dtype, torch_device, config)
    if quantise:
        raise ModelError(f"{folder} has no int8 here; take float32 or bfloat16.")
    model_class, processor_class = (getattr(transformers, name) for name in CLASSES[kind])
    try:
        with quiet():
            processor = processor_class.from_pretrained(folder, local_files_only=True)
            if kind == "colpali":
                processor.query_prefix, processor.visual_prompt_prefix = QUERY_PREFIX, PAGE_PREFIX
            model, report = model_class.from_pretrained(
                folder, dtype=torch_dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # the library raises any exception
        raise ModelError(f"{folder} does not load ({first_line(error)}).") from error
    if report["missing_keys"]:
        raise ModelError(f"{folder} lacks weights, first {sorted(report['missing_keys'])[0]}.")
    for weight_name, weight in model.named_parameters():
        if not torch.isfinite(weight.sum(dtype=torch.float32)):
            raise ModelError(f"{folder} holds values that are not numbers, in {weight_name}; it is damaged.")
    label = dtype_label(dtype, torch_device, config)
    name = name_or_path if name_or_path in HUB else folder.resolve().name
    return LateInteractionModel(
        model.to(torch_device).eval(),
        processor,
        id=f"{name}@{fingerprint([folder], f'{RECIPE} {label}')}-{RECIPE}",
        dim=int(model.embedding_dim),
    )


def _folder(name_or_path: str) -> Path:
    """Returns the folder of a model on this machine. Nothing is downloaded: a visitor's search may name the model."""
    folder = Path(name_or_path).expanduser()
    hub_id = HUB.get(name_or_path, name_or_path)
    snapshot = folder if folder.is_dir() else in_cache(hub_id)
    if snapshot is None:
        what = (
            f"fetch it with `hf download {hub_id}`" if hub_id.count("/") == 1 else f"give {', '.join(HUB)} or a folder"
        )
        raise ModelError(f"{name_or_path} is not on this machine: {what}.")
    return snapshot
