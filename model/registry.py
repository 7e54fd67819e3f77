"""Names to models: what `model.load` opens, and the catalogue that `sightline models` prints.

Built around one decision, `open_checkpoint`: adapters and bare Qwen2-VL folders go to the
hand-written loader, everything that sentence-transformers saved goes through its door, the rest
is refused by name. The catalogue knows a handful of models; any other hub id or folder loads too.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.cards import CARDS, HUB, RECOMMENDABLE, VLM2VEC_BASE, ModelCard
from model.embedder import Embedder, ModelError
from model.gemma.files import NAME, is_gemma
from model.gemma.torch_towers import is_checkpoint
from model.hub_files import find, in_cache, read_json
from model.hub_models import HUB_MODELS, PRECISIONS, missing
from model.lite.projection import StudentEmbedder, is_student
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
    """The embedder of a known name, hub id or local folder. `ModelError` says what is missing or wrong."""
    graphs = _graphs_folder(name_or_path)
    if name_or_path in HUB_MODELS or graphs is not None:
        for option, value in (("--base", base), ("min_pixels", min_pixels), ("max_pixels", max_pixels)):
            if value is not None:
                raise ModelError(f"{name_or_path} takes no {option}; how closely it looks is said with --detail.")
        if device not in ("auto", "cpu"):
            raise ModelError(f"{name_or_path} is run by onnxruntime on the CPU, not on {device}.")
        return _open_graphs(name_or_path, graphs, dtype=dtype, dim=dim, detail=_detail(detail, max_frames))
    short = name_or_path if name_or_path in HUB else None
    if short == "vlm2vec-v2":
        # The published numbers come from these limits, not from the checkpoint's own file.
        min_pixels, max_pixels = min_pixels or PROTOCOL_MIN_PIXELS, max_pixels or PROTOCOL_MAX_PIXELS
    folder = _find(name_or_path, base)
    name = short or (name_or_path if folder != Path(name_or_path).expanduser() else None)
    if is_student(folder):
        return StudentEmbedder(folder)
    if is_checkpoint(folder):
        for option, value in (("--base", base), ("min_pixels", min_pixels), ("max_pixels", max_pixels)):
            if value is not None:
                raise ModelError(f"{name_or_path} takes no {option}; how closely it looks is said with --detail.")
        from model.gemma.embedder import load_gemma_torch

        said = _detail(detail, max_frames)
        return load_gemma_torch(folder, name=name, device=device, dtype=dtype, dim=dim, detail=said)
    if detail is not None:
        raise ModelError(f"{name_or_path} takes no --detail; it is for EmbeddingGemma 2.")
    kind = _kind(folder)
    sizes: dict[str, Any] = {"min_pixels": min_pixels, "max_pixels": max_pixels, "max_frames": max_frames}
    if kind == "door":
        if base is not None:
            raise ModelError(f"{name_or_path} is a whole model and takes no base.")
        from model.sentence_transformers import load_sentence_transformer

        return load_sentence_transformer(folder, name=name, device=device, dtype=dtype, dim=dim, **sizes)
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


def _detail(detail: str | None, max_frames: int | None) -> str | None:
    """`detail` with the number of frames that was asked for on top."""
    return detail if max_frames is None else ",".join(filter(None, (detail, f"frames={max_frames}")))


def _graphs_folder(name_or_path: str) -> Path | None:
    """The folder of a path that holds ONNX graphs of a kind that is known; else None."""
    folder = Path(name_or_path).expanduser()
    if name_or_path in HUB_MODELS or not folder.is_dir():
        return None
    return folder if is_gemma(folder) or is_two_tower(folder) else None


def _open_graphs(name: str, folder: Path | None, *, dtype: str, dim: int | None, detail: str | None) -> Embedder:
    """The embedder of ONNX graphs: in `folder`, or where the files of the name belong."""
    from model.gemma.embedder import load_gemma
    from model.two_tower.embedder import load_two_tower

    if name != NAME and (folder is None or not is_gemma(folder)):
        if detail is not None:
            raise ModelError(f"{name} takes no --detail; it is for {NAME}.")
        return load_two_tower(folder, name=name, dtype=dtype, dim=dim)
    return load_gemma(folder, dtype=dtype, dim=dim, detail=detail)


def catalogue(machine: Machine | None = None) -> list[ModelCard]:
    """The models that Sightline knows by name, with what this machine has and would manage of each."""
    machine = machine or this_machine()
    best = _recommended(machine)
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


def _kind(folder: Path) -> str:
    """ "qwen" or "door"; `ModelError` for what is neither."""
    if (folder / "adapter_config.json").is_file():
        return "qwen"
    config = folder / "config.json"
    door = (folder / "modules.json").is_file()
    if not config.is_file():
        if door:
            return "door"
        raise ModelError(f"{folder} holds no model: it has no config.json, adapter_config.json or modules.json.")
    said = read_json(config)
    kind = said.get("model_type")
    if kind in ("qwen2_vl", "qwen2_5_vl") and (not door or _is_gme(folder) or "vlm2vec" in _own_name(folder)):
        return "qwen"
    if door:
        return "door"
    raise ModelError(
        f"{folder} is a model of kind {kind}, which Sightline cannot use: it takes Qwen2-VL and Qwen2.5-VL "
        f"folders, LoRA adapters on them, and models saved by sentence-transformers (with a modules.json)."
    )


def _is_gme(folder: Path) -> bool:
    said = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    marks = [said.get(key) for key in ("auto_map", "architectures", "_name_or_path")]
    return re.search(r"(^|[^a-z])gme", f"{marks} {_own_name(folder)}".lower()) is not None


def _own_name(folder: Path) -> str:
    """What a folder is called, in the hub's cache by its repository, in lower case."""
    cached = folder.parent.name == "snapshots"
    return (folder.parent.parent if cached else folder.resolve()).name.lower()


def _on_disk(card: ModelCard) -> bool:
    if card.name == "lite":
        from model.lite import weights

        try:
            return weights.find().is_dir()
        except ModelError:
            return False
    if card.name in HUB_MODELS:
        fetched = HUB_MODELS[card.name]
        return any(not missing(fetched, fetched.folder(), precision) for precision in PRECISIONS)
    present = in_cache(HUB.get(card.name, card.name)) is not None
    return present and (card.name != "vlm2vec-v2" or in_cache(VLM2VEC_BASE) is not None)


# An index of a day's footage in half a day: slower is no recommendation.
BEARABLE = 240


def _recommended(machine: Machine) -> str:
    """The strongest model that fits the machine's memory and indexes at twice the speed of the footage."""
    able = [
        card
        for card in CARDS
        if card.name in RECOMMENDABLE
        and card.memory_gb <= 0.8 * machine.memory_gb
        and chunks_per_hour(card.gflop_a_window, machine) >= BEARABLE
    ]
    return max(able, key=lambda card: card.scores.get("overall", 0.0)).name if able else "lite"
