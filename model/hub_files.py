"""Weights on disk: their folder, their integrity, their fingerprint.

Built around folders in the layout of the hub (config.json, *.safetensors, tokenizer.json). It opens only
safetensors; pickled weights are an error. It knows nothing of architectures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.embedder import ModelError

# Bytes of each tensor in a fingerprint. Training changes every weight of a tensor, so the first bytes of two versions
# differ; a hash of a 4 GB file would take seconds at each start.
HEAD = 4096

# The files that are downloaded from a hub repository: no code, no pickles.
DOWNLOAD_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


def find(name: str, option: str = "--model") -> Path:
    """Returns the folder of a local path, or of a hub id in the hub cache, after a download if necessary.

    `option` is the command-line option in the error message. Raises `ModelError`: what is missing, where it should
    be and how to get it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    is_path = folder.is_absolute() or name.startswith((".", "~")) or folder.exists()
    if is_path or name.count("/") != 1 or folder.parent.is_dir():  # "runs/v3" beside "runs/v2" is no hub id
        raise ModelError(
            f"{name} is not a folder with a model in it: a folder needs config.json and *.safetensors; "
            f"`sightline models` lists the names that are known."
        )
    return in_cache(name) or _download(name, option)


def in_cache(hub_id: str) -> Path | None:
    """Returns the snapshot of a hub repository in the hub cache; None if it has no config or weights."""
    cache = cache_folder() / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (cache / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        return None
    snapshot = cache / "snapshots" / revision
    configs = ("config.json", "adapter_config.json", "modules.json")
    if any((snapshot / c).is_file() for c in configs) and any(snapshot.glob("*.safetensors")):
        return snapshot
    return None


def cache_folder() -> Path:
    """Returns the folder of the hub client's downloads (HF_HUB_CACHE, HF_HOME)."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def weight_files(folder: Path) -> list[Path]:
    """Returns the safetensors files of a checkpoint. Raises `ModelError` if one is missing or truncated."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted({folder / str(name) for name in read_json(index).get("weight_map", {}).values()})
        if missing := [path.name for path in files if not path.is_file()]:
            raise ModelError(f"{folder} lacks {len(missing)} of its {len(files)} weight files, first {missing[0]}.")
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]):
            raise ModelError(
                f"{folder} has its weights only as {pickles[0].name}, a pickle, which can run code when "
                f"it is opened; convert it to safetensors."
            )
        raise ModelError(f"{folder} holds no *.safetensors weights.")
    for path in files:
        header(path)
    return files


def header(path: Path) -> dict[str, Any]:
    """Returns tensor name -> {dtype, shape, data_offsets}. Raises `ModelError`: truncated, or no safetensors."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError
            specs = json.loads(file.read(length))
            tensors = {name: spec for name, spec in specs.items() if name != "__metadata__"}
            end = max((spec["data_offsets"][1] for spec in tensors.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise ModelError(f"{path} is not a readable safetensors file; fetch it again.") from None
    if 8 + length + end != size:
        raise ModelError(
            f"{path} is {size:,} bytes long where {8 + length + end:,} were announced: it was cut short; "
            f"fetch it again."
        )
    return tensors


def fingerprint(folders: list[Path], recipe: str) -> str:
    """Returns twelve hex digits: a hash of weights (each tensor's name, shape, first bytes), settings and `recipe`."""
    digest = hashlib.blake2b(recipe.encode(), digest_size=6)
    for folder in folders:
        for name in ("config.json", "adapter_config.json", "preprocessor_config.json", "tokenizer.json"):
            path = folder / name
            digest.update(path.read_bytes() if path.is_file() else b"\0")
        for path in weight_files(folder):
            tensors = header(path)
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                for name, spec in sorted(tensors.items()):
                    begin, end = spec["data_offsets"]
                    file.seek(8 + length + begin)
                    digest.update(f"{name}{spec['dtype']}{spec['shape']}".encode())
                    digest.update(file.read(min(HEAD, end - begin)))
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object of a file. Raises `ModelError` with the file's name."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}).") from None
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} does not hold a JSON object.")
    return content


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch off the loading report and the progress bar of transformers."""
    from transformers.utils import logging as library

    log = logging.getLogger("transformers")
    level, has_bar = log.level, library.is_progress_bar_enabled()
    log.setLevel(logging.ERROR)
    library.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        yield
    finally:
        log.setLevel(level)
        if has_bar:
            library.enable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]


def _download(hub_id: str, option: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(DOWNLOAD_PATTERNS), cache_dir=cache_folder()))
    except Exception as error:
        raise ModelError(
            f"{hub_id} is not on this machine: config.json (or adapter_config.json), *.safetensors and "
            f"tokenizer.json were looked for in {cache_folder()}, and not to be fetched ({_reason(error)}); "
            f"get them with `huggingface-cli download {hub_id}` (`hf download` in newer versions), or point "
            f"{option} at a folder that holds them."
        ) from error


def _reason(error: Exception) -> str:
    name = type(error).__name__
    if "RepositoryNotFound" in name:
        return "the hub knows no such model, or it is private"
    if "Gated" in name:
        return "its licence must be accepted on the hub first"
    if "Offline" in name or os.environ.get("HF_HUB_OFFLINE"):
        return "HF_HUB_OFFLINE is set"
    return "no network"
