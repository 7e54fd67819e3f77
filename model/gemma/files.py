"""The files of EmbeddingGemma 2 as ONNX, in one precision.

Built around the layout of the published repository: tokenizer.json, and in onnx/ the graphs `model` and
`vision_encoder`, each with its weights in a `_data` file. It knows nothing of the content of the graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.embedder import ModelError
from model.hub_files import read_json
from model.hub_models import HUB_MODELS, PRECISIONS, missing, pick_precision, verify

GEMMA = "embeddinggemma-2"
MODEL_TYPE = "embedding_gemma2"
GRAPHS = ("onnx/model", "onnx/vision_encoder")


@dataclass(frozen=True)
class GemmaFiles:
    """`hashes`: the SHA-256 of tokenizer, graphs and weights."""

    tokenizer: Path
    text: Path
    vision: Path
    precision: str
    hashes: tuple[str, ...]


def is_gemma(folder: Path) -> bool:
    """Returns whether a folder has the layout of EmbeddingGemma 2's graphs, in any precision."""
    return any(all((folder / f"{graph}{end}.onnx").is_file() for graph in GRAPHS) for end in PRECISIONS.values())


def find_files(folder: Path | None = None, dtype: str = "auto") -> GemmaFiles:
    """Returns the files in `folder` (None: the folder of `sightline models get`). Raises `ModelError`."""
    model = HUB_MODELS[GEMMA]
    checksums = model.checksums if folder is None else {}
    root = folder or model.folder()
    if folder is None and not is_gemma(root) and dtype == "auto":
        paths = missing(model, root)
        raise ModelError(
            f"{GEMMA} is not on this machine: {root / paths[0]} and {len(paths) - 1} more files are missing;"
            f" sightline models get {GEMMA}"
        )
    precision = pick_precision(root, GRAPHS, dtype, GEMMA)
    config = root / "config.json"
    if config.is_file():
        kind = read_json(config).get("model_type")
        if kind != MODEL_TYPE:
            raise ModelError(f"{root} holds a model of kind {kind}, not EmbeddingGemma 2.")
    graphs = [f"{graph}{PRECISIONS[precision]}.onnx" for graph in GRAPHS]
    data = [f"{path}_data" for path in graphs if (root / f"{path}_data").is_file() or folder is None]
    hashes = verify(root, ["tokenizer.json", *graphs, *data], checksums)
    return GemmaFiles(root / "tokenizer.json", root / graphs[0], root / graphs[1], precision, tuple(hashes))
