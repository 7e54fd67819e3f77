"""The torch-free models that are fetched: which files of which repository, and where they lie on this machine.

Built around `HUB_MODELS`, and a record, `hashes.json`, in each model's folder: the SHA-256 of every
file. A file must match the hash that is declared here, else the one that was recorded at its first download.
Graphs that the hub does not have are built on this machine from a `HubCheckpoint`. It knows nothing of networks
(`data/download/model_files.py` downloads), of building (`app/cli/model_install.py`) or of the content of the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.embedder import ModelError

PRECISIONS = {"float32": "", "int8": "_int8", "q4": "_q4", "q8": "_quantized"}
"""Number formats of weights, best first, and the suffix of a graph's file name. int8 is of `model.gemma.build`, with a
scale for each token; q8, as transformers.js calls it, is eight bits as the hub publishes them, with one scale."""
RECORD = "hashes.json"
HUB_ADDRESS = "https://huggingface.co"


@dataclass(frozen=True)
class HubCheckpoint:
    """Its authors' own weights of a model, of which the graphs in `precision` are built on this machine.

    `graph_bytes`: about the size of these graphs.
    """

    repo: str
    revision: str
    files: tuple[str, ...]
    precision: str
    graph_bytes: int


@dataclass(frozen=True)
class HubModel:
    """`graphs` exist in each of `precisions`; if `has_data`, each has a file of weights beside it.

    `revision` None: the newest at the first download, which is recorded for later ones.
    `precision`: the default. `checkpoint`: of the precision that is not published.
    `notes`: precision -> what is known of its cost and of what it loses, a sentence or two for a person.
    `checksums`: path -> (bytes, SHA-256), of some of the files.
    `offers`: what the page offers: precision -> size and speed, a few words.
    """

    name: str
    repo: str
    revision: str | None
    licence: str
    graphs: tuple[str, ...]
    others: tuple[str, ...]
    precision: str
    precisions: tuple[str, ...]
    has_data: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    offers: Mapping[str, str] = field(default_factory=dict)
    checkpoint: HubCheckpoint | None = None

    def files(self, precision: str | None = None) -> tuple[str, ...]:
        """Returns the paths of the files in the local folder."""
        return (*self.others, *self.graph_files(precision or self.precision))

    def graph_files(self, precision: str) -> tuple[str, ...]:
        """Returns the paths of the graphs and of their weights."""
        graphs = [f"{graph}{PRECISIONS[precision]}.onnx" for graph in self.graphs]
        return tuple(path + end for path in graphs for end in (("", "_data") if self.has_data else ("",)))

    def source(self, precision: str) -> HubCheckpoint | None:
        """Returns the checkpoint of which a precision is built; None if the hub has its graphs."""
        return self.checkpoint if self.checkpoint is not None and precision == self.checkpoint.precision else None

    def folder(self) -> Path:
        """Returns the local folder of the model's files."""
        return models_folder() / self.name

    def checkpoint_folder(self) -> Path:
        """Returns the local folder of the checkpoint, which is removed when the graphs are built."""
        return models_folder() / f"{self.name}-checkpoint"


HUB_MODELS = {
    model.name: model
    for model in (
        HubModel(
            name="embeddinggemma-2",
            repo="onnx-community/embeddinggemma-2-ONNX",
            revision="daa72c51243991dfcaf9f9137d2c573d8f7790c0",
            licence="Apache-2.0; its authors also point to the Gemma Prohibited Use Policy",
            graphs=("onnx/model", "onnx/vision_encoder"),
            others=("config.json", "tokenizer.json"),
            precision="int8",
            precisions=("float32", "int8", "q4", "q8"),
            has_data=True,
            checkpoint=HubCheckpoint(
                repo="google/embeddinggemma-2",
                revision="914f7f89142e33e77833254d9c9b90c3cef7303b",
                files=("config.json", "model.safetensors"),
                precision="int8",
                graph_bytes=494_340_244,
            ),
            offers={"int8": "1.5 GB, fast", "q4": "0.3 GB, slower"},
            notes={
                "float32": "the authors' numbers unrounded; the largest.",
                "int8": "eight bits, with a scale for each token, built on this machine from its authors' weights; the"
                " fastest. What it loses on the published weights was not measured.",
                "q4": "four bits for weights, exact activations; the smallest download. What it loses on the published"
                " weights was not measured. int8 is faster.",
                "q8": "the hub's eight bits, with one scale for all of a value. One user measured that it loses a lot:"
                " recall@1 of a collection of code .45 instead of .725, cosines of .964 to the exact vectors, .907 at"
                " worst. int8 has a scale for each token instead.",
            },
            checksums={
                "tokenizer.json": (32_170_510, "4d777ef5bdc1aa36227abdfb77c3e49e7b9c892d16e1b6bda41c393504828be4"),
                "onnx/model_quantized.onnx": (
                    495_165,
                    "d06edd601f851c633a2519304cbeb8dc6170d7ceb61b436625c17fb9b6e74953",
                ),
                "onnx/model_quantized.onnx_data": (
                    313_724_928,
                    "278a7ff1248c3618e4bd11a607fc54f7bdc7778854230f3956d3f86bd9db4f3b",
                ),
                "onnx/vision_encoder_quantized.onnx": (
                    162_495,
                    "bb0de2df53a2448a32dc7908a187c168c8afd514d4d6f674f7f46024875fa4e3",
                ),
                "onnx/vision_encoder_quantized.onnx_data": (
                    195_228_672,
                    "3dabd69c0a36e9a8771ad82030dde74daa5a0e02b7047a5d3f3382b1137bab89",
                ),
            },
        ),
        HubModel(
            name="siglip2",
            repo="onnx-community/siglip2-base-patch16-224-ONNX",
            revision=None,
            licence="Apache-2.0",
            graphs=("onnx/text_model", "onnx/vision_model"),
            others=("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
            precision="float32",
            precisions=("float32", "q4", "q8"),
            offers={"float32": "1.5 GB"},
        ),
    )
}


def models_folder() -> Path:
    """Returns the folder of downloaded models: `SIGHTLINE_MODELS`, else "models" in the user's data folder."""
    if folder := os.environ.get("SIGHTLINE_MODELS"):
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_data_path("sightline", appauthor=False) / "models"


def pick_precision(folder: Path, graphs: Sequence[str], dtype: str, name: str) -> str:
    """Returns the precision of a `dtype`; auto: the best one in the folder. Raises `ModelError`."""
    precision = {"fp32": "float32", "auto": None}.get(dtype, dtype)
    if precision in ("float16", "fp16", "bfloat16", "bf16"):
        raise ModelError(f"{name} is not run in {dtype} on onnxruntime, but in {_any_of(tuple(PRECISIONS))}.")
    if precision is not None and precision not in PRECISIONS:
        raise ModelError(f"{name} has no dtype {dtype}; choose {_any_of(('auto', *PRECISIONS))}.")
    on_disk = [p for p, end in PRECISIONS.items() if all((folder / f"{graph}{end}.onnx").is_file() for graph in graphs)]
    if precision is not None and precision not in on_disk:
        command = f"sightline models get {name} --precision {precision}"
        raise ModelError(f"{folder} holds no {precision} graphs of {name}: {command}")
    if not on_disk:
        raise ModelError(f"{folder} holds no graphs of {name}: sightline models get {name}")
    return precision or on_disk[0]


def _any_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the record of a folder: `revision`, and `files`, path -> {bytes, mtime_ns, sha256, from}. Without a valid
    record `files` is empty."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        return record if isinstance(record.get("files"), dict) else {"files": {}}
    except (OSError, ValueError, AttributeError):
        return {"files": {}}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace the record atomically."""
    partial = folder / (RECORD + ".part")
    partial.write_text(json.dumps(record, indent=1, sort_keys=True), "utf-8")
    partial.replace(folder / RECORD)


def record_files(folder: Path, revision: str, files: Sequence[tuple[str, str, str]]) -> None:
    """Add files to the record: (path, SHA-256, source of the hash)."""
    record = read_record(folder)
    for path, digest, source in files:
        stat = (folder / path).stat()
        record["files"][path] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest, "from": source}
    write_record(folder, record | {"revision": revision})


def verify(folder: Path, paths: Sequence[str], checksums: Mapping[str, tuple[int, str]] | None = None) -> list[str]:
    """Returns the SHA-256 of each file. Raises `ModelError` if one is missing or differs from its checksum or record.

    A file whose size and time equal its record is not read again; a file without a record is read and recorded.
    """
    record, checksums = read_record(folder), checksums or {}
    entries, is_changed, hashes = record["files"], False, []
    for path in paths:
        file = folder / path
        try:
            stat = file.stat()
        except OSError:
            raise ModelError(f"{file} is missing.") from None
        entry = entries.get(path) or {}
        if (entry.get("bytes"), entry.get("mtime_ns")) != (stat.st_size, stat.st_mtime_ns) or "sha256" not in entry:
            digest = sha256(file)
            expected = checksums[path][1] if path in checksums else entry.get("sha256", digest)
            if digest != expected:
                raise ModelError(
                    f"{file} is not the file that belongs there (SHA-256 {digest[:12]}…, expected {expected[:12]}…):"
                    f" it is cut short, damaged or another version; remove it and fetch it again."
                )
            source = "declared" if path in checksums else entry.get("from", "first use")
            entries[path] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest, "from": source}
            is_changed = True
        hashes.append(entries[path]["sha256"])
    if is_changed:
        with contextlib.suppress(OSError):  # a read-only folder: the files are read again at the next start
            write_record(folder, record)
    return hashes


def best_precision(name: str) -> str | None:
    """Returns the first of `PRECISIONS` in which a model is on this machine; None if in none, or by another name."""
    if name not in HUB_MODELS:
        return None
    model = HUB_MODELS[name]
    return next((p for p in PRECISIONS if p in model.precisions and not missing(model, model.folder(), p)), None)


def missing(model: HubModel, folder: Path, precision: str | None = None) -> list[str]:
    """Returns the files of a model that are not in `folder`."""
    return missing_in(folder, model.files(precision))


def missing_in(folder: Path, paths: Sequence[str]) -> list[str]:
    """Returns the paths without a file in `folder`."""
    return [path for path in paths if not (folder / path).is_file()]


def manual_download(model: HubModel, precision: str | None = None, endpoint: str = HUB_ADDRESS) -> str:
    """Returns the URL and the local path of each file, for a download with a browser."""
    source = model.source(precision or model.precision)
    places = [
        (model.repo, model.revision or "main", path, model.folder())
        for path in (model.files(precision) if source is None else model.others)
    ]
    if source is not None:
        places += [(source.repo, source.revision, path, model.checkpoint_folder()) for path in source.files]
    return "\n".join(
        f"  {endpoint}/{repo}/resolve/{revision}/{path}\n    -> {folder / path}"
        for repo, revision, path, folder in places
    )
