"""Every other multimodal embedding model, through sentence-transformers.

Built around that library's `encode_query` and `encode_document` over dicts of text, image and video, for any model
that the library can load (Qwen3-VL-Embedding, WeMM-Embedding, Ovis-VL-Embedding …), with the model's own prompts.
It knows no model by name.

Text is passed in a dict: for a bare text that looks like a web address the library downloads an image. Weights are
safetensors, and no code of the checkpoint runs. A clip is passed as sampled frames with their times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.batching import plan_batches
from model.devices import dtype_label, pick_device, pick_dtype
from model.embedder import ModelError, unit_rows
from model.hub_files import fingerprint, quiet, read_json, weight_files
from model.inputs import Input
from model.prompts import plain
from model.qwen import adapters
from model.qwen.vision import Pixels, as_rgb, resize, sample_frames

RECIPE = "st2"
# The files that change a vector besides weights and tokenizer: image limits, chat template, prompts.
SETTINGS_FILES = (
    "config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "modules.json",
)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names of the document prompt in checkpoints. The library itself uses only "document", which it sets to empty."""
# Frames of a window, and its duration in the model's input: video windows have 30 seconds.
FRAMES = 16
WINDOW_S = 30.0
# Text tokens of one input; the checkpoint's own limits bound images.
MAX_TEXT_TOKENS = 4096
# Estimates: tokens of one forward pass, and pixels per token of an image.
BATCH_TOKENS = {"cpu": 4096, "accelerator": 32768}
PIXELS_PER_TOKEN = 32 * 32


class SentenceTransformersEmbedder:
    """An `Embedder` over a multimodal `SentenceTransformer`."""

    id: str
    dim: int
    max_frames: int
    clip_rate: float | None = None
    """Frames per second that a clip is said to have; None: its frames span `WINDOW_S`. With a rate, images and frames
    must have the sizes that the model is to see: nothing resizes them, and the answer's turn is opened, as in the code
    of Qwen3-VL-Embedding's authors."""

    def __init__(self, model: Any, *, id: str, dim: int | None = None, max_frames: int = FRAMES) -> None:
        """`dim`: truncate vectors to so many leading values (Matryoshka models)."""
        full_dim = int(model.get_embedding_dimension())
        if dim is not None and not 1 <= dim <= full_dim:
            raise ModelError(f"{id} gives vectors of {full_dim} values; --dim {dim} is not within 1 to {full_dim}.")
        self.id, self.dim, self.max_frames = id, dim or full_dim, max_frames
        self.model = model
        self.batch_tokens = BATCH_TOKENS["cpu" if model.device.type == "cpu" else "accelerator"]

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in the order of `inputs`."""
        out = np.empty((len(inputs), self.dim), dtype=np.float32)
        for (role, instruction, is_clip), members in _groups(inputs).items():
            encode = self.model.encode_query if role == "query" else self.model.encode_document
            parts = [
                _as_dict(inputs[i], self._text(inputs[i].text or ""), self.max_frames, self.clip_rate) for i in members
            ]
            sizes = [_size(part) for part in parts]
            for batch in plan_batches(sizes, self.batch_tokens):
                vectors = encode(
                    [parts[i] for i in batch],
                    prompt=self._prompt(role, instruction),
                    batch_size=len(batch),
                    truncate_dim=self.dim,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    **self._processing(is_clip),
                )
                out[[members[i] for i in batch]] = np.asarray(vectors, dtype=np.float32)
        if not np.isfinite(out).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers; try dtype float32.")
        return unit_rows(out)

    def features(self, inputs: Sequence[Input]) -> list[tuple[list[int], dict[str, Any]]]:
        """Returns the model's inputs for training, [(positions in `inputs`, features), …]: `embed` without the model.

        Inputs of one group share role, instruction and whether they are clips."""
        out = []
        for (role, instruction, is_clip), members in _groups(inputs).items():
            prompt = self._prompt(role, instruction)
            if prompt is None and role == "query":
                prompt = self.model.prompts.get("query")
            parts = [
                _as_dict(inputs[i], self._text(inputs[i].text or ""), self.max_frames, self.clip_rate) for i in members
            ]
            processing = self._processing(is_clip)
            out.append((members, dict(self.model.preprocess(parts, prompt=prompt, task=role, **processing))))
        return out

    def _processing(self, is_clip: bool) -> dict[str, Any]:
        if self.clip_rate is None:
            return {"processing_kwargs": {"video": {"do_sample_frames": False}}} if is_clip else {}
        options: dict[str, Any] = {"image": {"do_resize": False}, "chat_template": {"add_generation_prompt": True}}
        if is_clip:
            options["video"] = {"do_sample_frames": False, "do_resize": False}
        return {"processing_kwargs": options}

    def _prompt(self, role: str, instruction: str | None) -> str | None:
        """Returns the prompt in front of an input; None: the default of sentence-transformers."""
        if instruction is not None or role == "query":
            return instruction
        prompts = getattr(self.model, "prompts", None) or {}
        return next((prompts[name] for name in DOCUMENT_PROMPTS if prompts.get(name)), None)

    def _text(self, text: str) -> str:
        """Returns a text without the model's control tokens, at most `MAX_TEXT_TOKENS` long.

        The library parses control tokens in texts, and its own truncation removes image tokens too.
        """
        tokenizer = getattr(self.model.tokenizer, "tokenizer", self.model.tokenizer)
        text = plain(text)
        for token in getattr(tokenizer, "all_special_tokens", []):
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        if len(text) <= MAX_TEXT_TOKENS:  # no token is shorter than a character
            return text
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(offsets) <= MAX_TEXT_TOKENS else text[: offsets[MAX_TEXT_TOKENS - 1][1]]


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
    base: str | None = None,
) -> SentenceTransformersEmbedder:
    """Returns the embedder of a folder in sentence-transformers' format, of a plain Qwen3-VL, whose last token is the
    vector, or of a LoRA adapter on one of these (`base` in place of the one that it names). Raises `ModelError`."""
    adapter = folder if adapters.is_adapter(folder) else None
    given = folder
    folder = adapters.base_of(folder, base) if adapter else folder
    if adapter and (adapter / "preprocessor_config.json").is_file():
        pixels = Pixels.read(adapter, min_pixels, max_pixels)  # the limits of its training
        min_pixels, max_pixels = pixels.min_pixels, pixels.max_pixels
    for module_folder in _weight_folders(folder):
        weight_files(module_folder)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelError(
            f"{folder} needs sentence-transformers and torch ({error.name} is missing): pip install 'sightline[vlm]'."
        ) from error
    torch_device = pick_device(device)
    torch_dtype, quantise = pick_dtype(dtype, torch_device, config)
    if quantise:
        raise ModelError(f"{folder} goes through sentence-transformers, which has no int8 here; take bfloat16.")
    sizes = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    try:
        with quiet():
            options: dict[str, Any] = {
                "model_kwargs": {"dtype": torch_dtype, "use_safetensors": True},
                "processor_kwargs": {key: value for key, value in sizes.items() if value is not None},
            }
            if (folder / "modules.json").is_file():
                options |= {"local_files_only": True, "trust_remote_code": False}
                model = SentenceTransformer(str(folder), device=str(torch_device), **options)
            else:
                model = SentenceTransformer(modules=_last_token(folder, **options), device=str(torch_device))
    except Exception as error:  # the library and the model's own classes raise any exception
        raise ModelError(_load_message(folder, error)) from error
    if "image" not in {part for kind in model.modalities for part in (kind if isinstance(kind, tuple) else (kind,))}:
        raise ModelError(f"{folder} is a model for text alone; Sightline needs one that sees images.")
    _reject_sizes(folder, model, sizes)
    for weight_name, weight in model.named_parameters():
        if not torch.isfinite(weight.sum(dtype=torch.float32)):
            raise ModelError(f"{folder} holds values that are not numbers, in {weight_name}; it is damaged.")
    suffix = f":{dim}" if dim else ""
    frames = max_frames or FRAMES
    paths = [part / file for part in _module_folders(folder) for file in SETTINGS_FILES if (part / file).is_file()]
    settings = [path.read_bytes() for path in paths]
    settings_hash = hashlib.sha256(b"\0".join(settings)).hexdigest()
    label = dtype_label(dtype, torch_device, config)
    sources = [*_weight_folders(folder), *([adapter] if adapter else [])]
    recipe = f"{RECIPE} {dim} {min_pixels} {max_pixels} {frames} {label} {settings_hash}"
    model_id = f"{name or given.resolve().name}{suffix}@{fingerprint(sources, recipe)}-{RECIPE}"
    embedder = SentenceTransformersEmbedder(model.eval(), id=model_id, dim=dim, max_frames=frames)
    if adapter:
        probe = Input("a red bicycle in the snow", role="query")
        tower: Any = model[0].model
        adapters.merge(tower, adapter, lambda: torch.from_numpy(embedder.embed([probe])))
    return embedder


def _reject_sizes(folder: Path, model: Any, sizes: dict[str, int | None]) -> None:
    """Raises `ModelError` for a limit of pixels that the model's images do not have: transformers passes over an option
    that a processor does not know, so the vectors would stay and the model's id would not."""
    processor = getattr(model[0], "processor", None)
    known = getattr(getattr(processor, "image_processor", processor), "valid_kwargs", None)
    unknown = [name for name, value in sizes.items() if value and name not in getattr(known, "__annotations__", ())]
    if unknown:
        raise ModelError(f"{folder} takes no {unknown[0]}: its own settings say how large its images are.")


def _last_token(folder: Path, model_kwargs: dict[str, Any], processor_kwargs: dict[str, Any]) -> list[Any]:
    """Returns the modules of a backbone that sentence-transformers did not save: the last token, at unit length."""
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    offline = {"local_files_only": True}
    transformer = Transformer(
        str(folder),
        model_kwargs=model_kwargs | offline,
        processor_kwargs=processor_kwargs | offline,
        config_kwargs=offline,
    )
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken"), Normalize()]


def _groups(inputs: Sequence[Input]) -> dict[tuple[str, str | None, bool], list[int]]:
    """Returns the positions of the inputs by role, instruction and whether they are clips."""
    groups: dict[tuple[str, str | None, bool], list[int]] = {}
    for i, item in enumerate(inputs):
        groups.setdefault((item.role, item.instruction, item.video is not None), []).append(i)
    return groups


def _as_dict(item: Input, text: str, max_frames: int, clip_rate: float | None = None) -> dict[str, Any]:
    """Returns an input in the library's format: images, clip, text, the order of `model/remote/chat_server.py`.

    A page with an image has no text: text search finds its words.
    """
    from PIL import Image

    def sized(image: np.ndarray) -> np.ndarray:
        return as_rgb(image) if clip_rate else _enlarge(as_rgb(image))

    parts: dict[str, Any] = {}
    is_page_image = item.kind == "pdf" and item.images and item.role == "document"
    if item.images:
        images = [Image.fromarray(sized(image)) for image in item.images]
        parts["image"] = images[0] if len(images) == 1 else images
    if item.video is not None:
        if not len(item.video):
            raise ModelError("A video without frames cannot be embedded.")
        frames = np.stack([sized(frame) for frame in sample_frames(item.video, max_frames)])
        if len(frames) == 1:
            frames = np.repeat(frames, 2, axis=0)  # models read frames in pairs
        count = len(frames)
        parts["video"] = {
            "array": frames,
            "video_metadata": {
                "total_num_frames": count,
                "fps": clip_rate or max(count - 1, 1) / WINDOW_S,
                "duration": count / clip_rate if clip_rate else WINDOW_S,
                "frames_indices": list(range(count)),
                "height": frames.shape[1],
                "width": frames.shape[2],
            },
        }
    if text and not is_page_image:
        parts["text"] = text
    return parts or {"text": "\n"}  # an empty text has no token to pool


def _size(parts: dict[str, Any]) -> int:
    """Returns the estimated number of tokens of an input."""
    images = parts.get("image", [])
    area = sum(int(p.width * p.height) for p in (images if isinstance(images, list) else [images]))
    if "video" in parts:
        area += int(np.prod(parts["video"]["array"].shape[:3])) // 2
    return len(parts.get("text", "")) // 3 + area // PIXELS_PER_TOKEN + 32


def _enlarge(image: np.ndarray, side: int = 56, aspect: int = 150) -> np.ndarray:
    """Enlarges an image that processors reject: too small, or an aspect ratio above 200."""
    height, width = image.shape[:2]
    if min(height, width) >= side and max(height, width) <= aspect * min(height, width):
        return image
    longest = max(height, width)
    shortest = max(side, min(height, width), -(-longest // aspect))
    return resize(image, max(height, shortest), max(width, shortest))


def _module_folders(folder: Path) -> list[Path]:
    """Returns the model's own folder, and those that modules.json names: pooling, a projection."""
    if not (folder / "modules.json").is_file():
        return [folder]
    try:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        return [folder, *(folder / module["path"] for module in modules if module.get("path"))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{folder / 'modules.json'} is not a list of modules ({error}).") from None


def _weight_folders(folder: Path) -> list[Path]:
    """Returns those of the module folders that hold weights."""
    folders = _module_folders(folder)
    return [f for f in folders if any(f.glob("*.safetensors")) or any(f.glob("*.bin"))] or [folder]


def _load_message(folder: Path, error: Exception) -> str:
    message = str(error).strip() or type(error).__name__
    if "torchvision" in message.lower():
        return (
            f"{folder} prepares its images with torchvision, which is missing or does not fit torch here: "
            f"install the torchvision of the same version and index as torch."
        )
    if "trust_remote_code" in message or "custom code" in message:
        return f"{folder} brings its own code, and Sightline runs none; it needs a newer sentence-transformers."
    return f"{folder} cannot be loaded through sentence-transformers: {message.splitlines()[0]}"
