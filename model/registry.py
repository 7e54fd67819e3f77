"""From names to models, for `model.load`; and the catalogue of `sightline models`.

Built around `open_checkpoint`: Sightline's own loader opens adapters and plain Qwen2-VL folders, sentence-transformers
opens the folders that it saved, anything else is an error. The catalogue lists a few models; other hub ids and
folders load too.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.cards import CARDS, HUB, RECOMMENDABLE, VLM2VEC_BASE, ModelCard
from model.embedder import Embedder, ModelError
from model.gemma.files import GEMMA, is_gemma
from model.gemma.torch_towers import is_checkpoint
from model.hub_files import find, in_cache, read_json
from model.hub_models import HUB_MODELS, best_precision
from model.lite.projection import StudentEmbedder, is_student
from model.lite.weights import EARLIER
from model.machine import Machine, chunks_per_hour, this_machine
from model.qwen.vision import PROTOCOL_MAX_PIXELS, PROTOCOL_MIN_PIXELS
from model.two_tower.embedder import is_two_tower


def open_checkpoint(
    name_or_path: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    base: str | None = None,
    dim: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_frames: int | None = None,
    detail: str | None = None,
    compile: bool = False,
) -> Embedder:
    """Returns the embedder of a catalogue name, hub id or local folder. Raises `ModelError`."""
    folder = _graphs_folder(name_or_path)
    if name_or_path in HUB_MODELS or folder is not None:
        _reject_options(name_or_path, base, min_pixels, max_pixels)
        if device not in ("auto", "cpu"):
            raise ModelError(f"{name_or_path} is run by onnxruntime on the CPU, not on {device}.")
        return _open_graphs(name_or_path, folder, dtype=dtype, dim=dim, detail=_with_frames(detail, max_frames))
    short = name_or_path if name_or_path in HUB else None
    if short == "vlm2vec-v2":
        # The limits of the published scores, which differ from the checkpoint's.
        min_pixels, max_pixels = min_pixels or PROTOCOL_MIN_PIXELS, max_pixels or PROTOCOL_MAX_PIXELS
    folder = _find(name_or_path, base)
    name = short or (name_or_path if folder != Path(name_or_path).expanduser() else None)
    if is_student(folder):
        return StudentEmbedder(folder)
    if is_checkpoint(folder):
        _reject_options(name_or_path, base, min_pixels, max_pixels)
        from model.gemma.embedder import load_gemma_torch

        detail = _with_frames(detail, max_frames)
        return load_gemma_torch(folder, name=name, device=device, dtype=dtype, dim=dim, detail=detail)
    if detail is not None:
        raise ModelError(f"{name_or_path} takes no --detail; it is for EmbeddingGemma 2.")
    kind = _kind(folder, base)
    sizes: dict[str, Any] = {"min_pixels": min_pixels, "max_pixels": max_pixels, "max_frames": max_frames}
    if kind == "sentence-transformers":
        if base is not None and not (folder / "adapter_config.json").is_file():
            raise ModelError(f"{name_or_path} is a whole model and takes no base.")
        from model.sentence_transformers import load_sentence_transformer

        return load_sentence_transformer(folder, name=name, device=device, dtype=dtype, dim=dim, base=base, **sizes)
    try:
        from model.qwen.checkpoint import load_qwen
    except ImportError as error:
        raise ModelError(
            f"{name_or_path} needs torch and transformers ({error.name} is missing): pip install 'sightline[vlm]'."
        ) from error
    if dim is not None:
        raise ModelError(f"{name_or_path} was not trained to be cut short; --dim is for Matryoshka models.")
    return load_qwen(
        folder,
        name=name,
        device=device,
        dtype=dtype,
        base=base,
        compile=compile,
        as_gme=short == "gme-2b" or _is_gme(folder),
        **sizes,
    )


def _reject_options(name: str, base: str | None, min_pixels: int | None, max_pixels: int | None) -> None:
    for option, value in (("--base", base), ("min_pixels", min_pixels), ("max_pixels", max_pixels)):
        if value is not None:
            hint = "; set the tokens per image with --detail" if "pixels" in option and is_embeddinggemma(name) else ""
            raise ModelError(f"{name} takes no {option}{hint}.")


def _with_frames(detail: str | None, max_frames: int | None) -> str | None:
    """Returns `detail` with `max_frames` appended, which overrides an earlier number of frames."""
    return detail if max_frames is None else ",".join(filter(None, (detail, f"frames={max_frames}")))


def _graphs_folder(name_or_path: str) -> Path | None:
    """Returns the folder of a path that holds the ONNX graphs of EmbeddingGemma 2 or of two towers; else None."""
    folder = Path(name_or_path).expanduser()
    if name_or_path in HUB_MODELS or not folder.is_dir():
        return None
    return folder if is_gemma(folder) or is_two_tower(folder) else None


def is_embeddinggemma(name_or_path: str) -> bool:
    """Returns whether a name, hub id or folder on this machine is EmbeddingGemma 2, as graphs or as a checkpoint."""
    if name_or_path == GEMMA:
        return True
    local = Path(name_or_path).expanduser()
    folder = local if local.is_dir() else in_cache(name_or_path)
    return folder is not None and (is_gemma(folder) or is_checkpoint(folder))


def has_pixel_limits(name_or_path: str) -> bool:
    """Returns whether a model takes `min_pixels` and `max_pixels`: lite and its students, ONNX graphs, EmbeddingGemma 2
    and a model on a server do not."""
    if name_or_path in ("lite", *EARLIER, *HUB_MODELS) or name_or_path.startswith(("http://", "https://")):
        return False
    is_fixed = is_student(Path(name_or_path).expanduser()) or _graphs_folder(name_or_path) is not None
    return not is_fixed and not is_embeddinggemma(name_or_path)


def _open_graphs(name: str, folder: Path | None, *, dtype: str, dim: int | None, detail: str | None) -> Embedder:
    """Returns the embedder of the ONNX graphs in `folder` (None: the folder of `sightline models get`)."""
    from model.gemma.embedder import load_gemma
    from model.two_tower.embedder import load_two_tower

    if name != GEMMA and (folder is None or not is_gemma(folder)):
        if detail is not None:
            raise ModelError(f"{name} takes no --detail; it is for {GEMMA}.")
        return load_two_tower(folder, name=name, dtype=dtype, dim=dim)
    return load_gemma(folder, dtype=dtype, dim=dim, detail=detail)


def catalogue(machine: Machine | None = None) -> list[ModelCard]:
    """Returns the cards of the catalogue with this machine's values: on disk, speed, recommendation."""
    machine = machine or this_machine()
    best = _recommend(machine)
    return [
        replace(
            card,
            on_disk=_on_disk(card),
            chunks_per_hour=chunks_per_hour(card.gflop_a_window, machine),
            recommended=card.name == best,
        )
        for card in CARDS
    ]


def _find(name: str, base: str | None) -> Path:
    hub_id = HUB.get(name, name)
    try:
        return find(hub_id)
    except ModelError as error:
        if name != "vlm2vec-v2" or base is not None or in_cache(VLM2VEC_BASE):
            raise
        raise ModelError(f"{error} Its base {VLM2VEC_BASE} is missing as well.") from error


def _kind(folder: Path, base: str | None = None) -> str:
    """Returns "qwen" or "sentence-transformers", the loader of a folder. Raises `ModelError` if neither fits."""
    if (folder / "adapter_config.json").is_file():
        return _kind_of_base(folder, base)
    has_modules = (folder / "modules.json").is_file()
    kind = None
    if (folder / "config.json").is_file():
        kind = read_json(folder / "config.json").get("model_type")
    elif not has_modules:
        raise ModelError(f"{folder} holds no model: it has no config.json, adapter_config.json or modules.json.")
    if kind in ("qwen2_vl", "qwen2_5_vl") and (not has_modules or _is_gme(folder) or "vlm2vec" in own_name(folder)):
        return "qwen"
    if has_modules:
        return "sentence-transformers"
    raise ModelError(
        f"{folder} is a model of kind {kind}, which Sightline cannot use: it takes Qwen2-VL and Qwen2.5-VL "
        f"folders, LoRA adapters on them, and models saved by sentence-transformers (with a modules.json)."
    )


def _kind_of_base(adapter: Path, base: str | None) -> str:
    """Returns the loader of an adapter: that of its base. "qwen" says what is wrong with a base that is missing."""
    try:
        from model.qwen.adapters import base_of
        from model.qwen.checkpoint import BACKBONES
    except ImportError:
        return "qwen"
    config = base_of(adapter, base) / "config.json"
    if not config.is_file() or read_json(config).get("model_type") in (*BACKBONES, None):
        return "qwen"
    return "sentence-transformers"


def _is_gme(folder: Path) -> bool:
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    names = [config.get(key) for key in ("auto_map", "architectures", "_name_or_path")]
    return re.search(r"(^|[^a-z])gme", f"{names} {own_name(folder)}".lower()) is not None


def own_name(folder: Path) -> str:
    """Returns a folder's name (of `.` that of the working directory), in the hub cache its repository's name, in lower
    case."""
    is_snapshot = folder.parent.name == "snapshots"
    return (folder.parent.parent if is_snapshot else folder.resolve()).name.lower()


def _on_disk(card: ModelCard) -> bool:
    if card.name == "lite":
        from model.lite import weights

        try:
            return weights.find().is_dir()
        except ModelError:
            return False
    if card.name in HUB_MODELS:
        return best_precision(card.name) is not None
    hub_ids = [HUB.get(card.name, card.name)] + ([VLM2VEC_BASE] if card.name == "vlm2vec-v2" else [])
    return all(in_cache(hub_id) is not None for hub_id in hub_ids)


MIN_CHUNKS_PER_HOUR = 240
"""Twice the speed of the videos: a day of video is indexed in half a day. Slower models are not recommended."""


def _recommend(machine: Machine) -> str:
    """Returns the best model on MMEB-V2 that fits the machine's memory and is fast enough."""
    candidates = [
        card
        for card in CARDS
        if card.name in RECOMMENDABLE
        and card.memory_gb <= 0.8 * machine.memory_gb
        and chunks_per_hour(card.gflop_a_window, machine) >= MIN_CHUNKS_PER_HOUR
    ]
    return max(candidates, key=lambda card: card.scores.get("overall", 0.0)).name if candidates else "lite"
