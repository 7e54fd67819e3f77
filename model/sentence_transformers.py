"""The door to every other multimodal embedding model: sentence-transformers.

Built around that library's `encode_query` and `encode_document` over dicts of text, image
and video; it works for whatever model the library can load (Qwen3-VL-Embedding, WeMM-Embedding,
Ovis-VL-Embedding …) and knows none of them by name. Prompts are the model's own.

Three things are made sure of. Text goes in marked as text: left bare, the library takes what looks
like a web address for a picture and fetches it. Weights are safetensors, and no code of the
checkpoint is run. A clip goes in as the frames that were sampled, with their times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.batching import plan_batches
from model.devices import pick_device, pick_dtype
from model.embedder import ModelError
from model.hub_files import fingerprint, quiet, read_json, weight_files
from model.inputs import Input
from model.prompts import plain
from model.qwen.vision import as_rgb, resize, sample_frames

RECIPE = "st2"
# Beside weights and tokenizer, what changes a vector: budgets of pictures, the template, the prompts.
SETTINGS = (
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "modules.json",
)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""What checkpoints call the prompt of a document. The library always has an empty "document", and takes that."""
# Sampled frames of a window, whose length the model is told: a 30-second window is the rule.
FRAMES = 16
WINDOW_S = 30.0
# Tokens of text that one input may have; pictures are bounded by the checkpoint's own limits.
MAX_TEXT_TOKENS = 4096
# Roughly, tokens of one forward pass, and pixels behind one token of a picture.
BATCH_TOKENS = {"cpu": 4096, "accelerator": 32768}
PIXELS_A_TOKEN = 32 * 32


class SentenceTransformersEmbedder:
    """An `Embedder` over a multimodal `SentenceTransformer`."""

    id: str
    dim: int
    max_frames: int

    def __init__(self, model: Any, *, id: str, dim: int | None = None, max_frames: int = FRAMES) -> None:
        """`dim`: keep only so many leading values of each vector (Matryoshka models)."""
        whole = int(model.get_embedding_dimension())
        if dim is not None and not 1 <= dim <= whole:
            raise ModelError(f"{id} gives vectors of {whole} values; --dim {dim} is not within 1 to {whole}.")
        self.id, self.dim, self.max_frames = id, dim or whole, max_frames
        self.model = model
        self.batch_tokens = BATCH_TOKENS["cpu" if model.device.type == "cpu" else "accelerator"]

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given."""
        out = np.empty((len(inputs), self.dim), dtype=np.float32)
        groups: dict[tuple[str, str | None, bool], list[int]] = {}
        for place, item in enumerate(inputs):
            groups.setdefault((item.role, item.instruction, item.video is not None), []).append(place)
        for (role, instruction, clips), members in groups.items():
            encode = self.model.encode_query if role == "query" else self.model.encode_document
            parts = [_as_dict(inputs[i], self._text(inputs[i].text or ""), self.max_frames) for i in members]
            sizes = [_size(part) for part in parts]
            for batch in plan_batches(sizes, self.batch_tokens):
                vectors = encode(
                    [parts[i] for i in batch],
                    prompt=self._prompt(role, instruction),
                    batch_size=len(batch),
                    truncate_dim=self.dim,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    **({"processing_kwargs": {"video": {"do_sample_frames": False}}} if clips else {}),
                )
                out[[members[i] for i in batch]] = np.asarray(vectors, dtype=np.float32)
        if not np.isfinite(out).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers; try dtype float32.")
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)

    def _prompt(self, role: str, instruction: str | None) -> str | None:
        """What stands before an input; None: what the library takes by itself."""
        if instruction is not None or role == "query":
            return instruction
        prompts = getattr(self.model, "prompts", None) or {}
        return next((prompts[name] for name in DOCUMENT_PROMPTS if prompts.get(name)), None)

    def _text(self, text: str) -> str:
        """A text without the model's control tokens, and no longer than `MAX_TEXT_TOKENS`.

        The library would take a written-out token for the real one, and would cut pictures with the text.
        """
        tokenizer = getattr(self.model.tokenizer, "tokenizer", self.model.tokenizer)
        text = plain(text)
        for token in getattr(tokenizer, "all_special_tokens", []):
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        if len(text) <= MAX_TEXT_TOKENS:  # no token is shorter than a character
            return text
        places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(places) <= MAX_TEXT_TOKENS else text[: places[MAX_TEXT_TOKENS - 1][1]]


def load_sentence_transformer(
    folder: Path,
    *,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    dim: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_frames: int | None = None,
) -> SentenceTransformersEmbedder:
    """The embedder of a folder that sentence-transformers can load, and that can see pictures."""
    for inner in _weight_folders(folder):
        weight_files(inner)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelError(
            f"{folder} needs sentence-transformers and torch ({error.name} is missing): pip install 'sightline[vlm]'."
        ) from error
    place = pick_device(device)
    number, quantise = pick_dtype(dtype, place, config)
    if quantise:
        raise ModelError(f"{folder} goes through sentence-transformers, which has no int8 here; take bfloat16.")
    sizes = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    try:
        with quiet():
            model = SentenceTransformer(
                str(folder),
                device=str(place),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": number, "use_safetensors": True},
                processor_kwargs={key: value for key, value in sizes.items() if value is not None},
            )
    except Exception as error:  # the library and the model's own classes raise whatever they like
        raise ModelError(_why(folder, error)) from error
    if "image" not in {part for kind in model.modalities for part in (kind if isinstance(kind, tuple) else (kind,))}:
        raise ModelError(f"{folder} is a model for text alone; Sightline needs one that sees pictures.")
    for weight_name, weight in model.named_parameters():
        if not torch.isfinite(weight.sum(dtype=torch.float32)):
            raise ModelError(f"{folder} holds values that are not numbers, in {weight_name}; it is damaged.")
    cut = f":{dim}" if dim else ""
    frames = max_frames or FRAMES
    settings = [(folder / name).read_bytes() for name in SETTINGS if (folder / name).is_file()]
    said = hashlib.sha256(b"\0".join(settings)).hexdigest()
    mark = fingerprint(_weight_folders(folder), f"{RECIPE} {dim} {min_pixels} {max_pixels} {frames} {said}")
    identity = f"{name or folder.resolve().name}{cut}@{mark}-{RECIPE}"
    return SentenceTransformersEmbedder(model.eval(), id=identity, dim=dim, max_frames=frames)


def _as_dict(item: Input, text: str, max_frames: int) -> dict[str, Any]:
    """The library's form of an input: pictures, clip, text, the order that a model server is sent too.

    A page that is shown as a picture leaves its words to word search.
    """
    from PIL import Image

    parts: dict[str, Any] = {}
    shown_page = item.kind == "pdf" and item.images and item.role == "document"
    if item.images:
        pictures = [Image.fromarray(_at_least(as_rgb(picture))) for picture in item.images]
        parts["image"] = pictures[0] if len(pictures) == 1 else pictures
    if item.video is not None:
        if not len(item.video):
            raise ModelError("A video without frames cannot be embedded.")
        frames = np.stack([_at_least(as_rgb(frame)) for frame in sample_frames(item.video, max_frames)])
        if len(frames) == 1:
            frames = np.repeat(frames, 2, axis=0)  # frames are looked at in pairs
        count = len(frames)
        parts["video"] = {
            "array": frames,
            "video_metadata": {
                "total_num_frames": count,
                "fps": max(count - 1, 1) / WINDOW_S,
                "duration": WINDOW_S,
                "frames_indices": list(range(count)),
                "height": frames.shape[1],
                "width": frames.shape[2],
            },
        }
    if text and not shown_page:
        parts["text"] = text
    return parts or {"text": "\n"}  # an empty text has no token to pool


def _size(parts: dict[str, Any]) -> int:
    """About how many tokens an input will be."""
    pictures = parts.get("image", [])
    area = sum(p.width * p.height for p in (pictures if isinstance(pictures, list) else [pictures]))
    if "video" in parts:
        frames = parts["video"]["array"]
        area += frames.shape[0] * frames.shape[1] * frames.shape[2] // 2
    return len(parts.get("text", "")) // 3 + area // PIXELS_A_TOKEN + 32


def _at_least(picture: np.ndarray, side: int = 56, aspect: int = 150) -> np.ndarray:
    """Pictures that processors refuse (too small, or over 200 times as long as wide), made acceptable."""
    height, width = picture.shape[:2]
    if min(height, width) >= side and max(height, width) <= aspect * min(height, width):
        return picture
    longest = max(height, width)
    shortest = max(side, min(height, width), -(-longest // aspect))
    return resize(picture, max(height, shortest), max(width, shortest))


def _weight_folders(folder: Path) -> list[Path]:
    """The folders of a model's modules that hold weights: its own, and those that modules.json names."""
    folders = [folder]
    if (folder / "modules.json").is_file():
        import json

        try:
            modules = json.loads((folder / "modules.json").read_text("utf-8"))
            folders += [folder / module["path"] for module in modules if module.get("path")]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{folder / 'modules.json'} is not a list of modules ({error}).") from None
    holding = [f for f in folders if any(f.glob("*.safetensors")) or any(f.glob("*.bin"))]
    return holding or [folder]


def _why(folder: Path, error: Exception) -> str:
    said = str(error)
    if "torchvision" in said.lower():
        return (
            f"{folder} prepares its pictures with torchvision, which is missing or does not fit torch here: "
            f"install the torchvision of the same version and index as torch."
        )
    if "trust_remote_code" in said or "custom code" in said:
        return f"{folder} brings its own code, and Sightline runs none; it needs a newer sentence-transformers."
    return f"{folder} cannot be loaded through sentence-transformers: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
