"""The files of EmbeddingGemma 2 as ONNX: found, of one precision, whole.

Built around the layout of the published repository: tokenizer.json, and in onnx/ the graphs `model` and
`vision_encoder`, each with its weights in a `_data` file. It knows nothing of what the graphs do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.embedder import ModelError
from model.hub_files import read_json
from model.hub_models import HUB_MODELS, PRECISIONS, missing, pick_precision, verified

NAME = "embeddinggemma-2"
GRAPHS = ("onnx/model", "onnx/vision_encoder")


@dataclass(frozen=True)
class Files:
    """`hashes`: the SHA-256 of tokenizer, graphs and weights."""

    tokenizer: Path
    text: Path
    vision: Path
    precision: str
    hashes: tuple[str, ...]


def is_gemma(folder: Path) -> bool:
    """Whether a folder is laid out as EmbeddingGemma 2's graphs are, in any precision."""
    return any(all((folder / f"{graph}{end}.onnx").is_file() for graph in GRAPHS) for end in PRECISIONS.values())


def find_files(folder: Path | None = None, dtype: str = "auto") -> Files:
    """The files in `folder` (None: where `sightline models get` puts them). Raises `ModelError`."""
    model = HUB_MODELS[NAME]
    known = model.known if folder is None else {}
    place = folder or model.folder()
    if folder is None and not is_gemma(place) and dtype == "auto":
        lacking = missing(model, place)
        raise ModelError(
            f"{NAME} is not on this machine: {place / lacking[0]} and {len(lacking) - 1} more files are missing;"
            f" sightline models get {NAME}"
        )
    precision = pick_precision(place, GRAPHS, dtype, NAME)
    config = place / "config.json"
    if config.is_file():
        kind = read_json(config).get("model_type")
        if kind != "embedding_gemma2":
            raise ModelError(f"{place} holds a model of kind {kind}, not EmbeddingGemma 2.")
    graphs = [f"{graph}{PRECISIONS[precision]}.onnx" for graph in GRAPHS]
    data = [f"{path}_data" for path in graphs if (place / f"{path}_data").is_file() or folder is None]
    hashes = verified(place, ["tokenizer.json", *graphs, *data], known)
    return Files(place / "tokenizer.json", place / graphs[0], place / graphs[1], precision, tuple(hashes))
