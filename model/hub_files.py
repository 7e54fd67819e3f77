"""Weights on disk: where they are, whether they are whole, what names them.

Built around folders in the layout of the model hub (config.json, *.safetensors,
tokenizer.json). It knows nothing of architectures. Only safetensors are ever opened;
pickled weights are refused by name.
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

# Bytes of each tensor that go into a fingerprint. Training moves every weight of a tensor, so
# its head tells two versions apart; all of a 4 GB file would cost seconds at each start.
HEAD = 4096

# What is fetched of a hub repository: never code, never pickles.
WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


def find(name: str, what: str = "--model") -> Path:
    """The folder of a local path or hub id: itself, the hub cache, or fetched into that cache.

    `what` names the option that could point elsewhere. Raises `ModelError`, one line
    that says what is missing, where it was looked for and how to get it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    path_like = folder.is_absolute() or name.startswith((".", "~")) or folder.exists()
    if path_like or name.count("/") != 1 or folder.parent.is_dir():  # "runs/v3" beside "runs/v2" is no hub id
        raise ModelError(
            f"{name} is not a folder with a model in it: a folder needs config.json and *.safetensors; "
            f"`sightline models` lists the names that are known."
        )
    if cached := in_cache(name):
        return cached
    return _fetch(name, what)


def in_cache(hub_id: str) -> Path | None:
    """The newest complete-looking snapshot of a hub repository on this disk, without the network."""
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
    """Where the model hub's client keeps its downloads (HF_HUB_CACHE, HF_HOME)."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, each checked to be whole, and every shard there."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = sorted({folder / str(name) for name in read_json(index).get("weight_map", {}).values()})
        if missing := [path.name for path in named if not path.is_file()]:
            raise ModelError(f"{folder} lacks {len(missing)} of its {len(named)} weight files, first {missing[0]}.")
        files = named
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
        if pickled:
            raise ModelError(
                f"{folder} has its weights only as {pickled[0].name}, a pickle, which can run code when "
                f"it is opened; convert it to safetensors."
            )
        raise ModelError(f"{folder} holds no *.safetensors weights.")
    for path in files:
        header(path)
    return files


def header(path: Path) -> dict[str, Any]:
    """Tensor names to {dtype, shape, data_offsets}; `ModelError` when cut short or of another kind."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError
            found = json.loads(file.read(length))
            tensors = {name: spec for name, spec in found.items() if name != "__metadata__"}
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
    """Twelve hex digits of weights (each tensor's name, shape, first bytes), settings and `recipe`."""
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
    """A JSON object from a file; `ModelError` names the file."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}).") from None
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} does not hold a JSON object.")
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The library's loading report is replaced by errors of ours; its progress bar has no one to read it."""
    from transformers.utils import logging as library

    log = logging.getLogger("transformers")
    level, bar = log.level, library.is_progress_bar_enabled()
    log.setLevel(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        log.setLevel(level)
        if bar:
            library.enable_progress_bar()


def _fetch(hub_id: str, what: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(WANTED), cache_dir=cache_folder()))
    except Exception as error:
        raise ModelError(
            f"{hub_id} is not on this machine: config.json (or adapter_config.json), *.safetensors and "
            f"tokenizer.json were looked for in {cache_folder()}, and not to be fetched ({_reason(error)}); "
            f"get them with `huggingface-cli download {hub_id}` (`hf download` in newer versions), or point "
            f"{what} at a folder that holds them."
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
