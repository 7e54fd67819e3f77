"""Two-tower models on onnxruntime: a graph for texts and a graph for images, whose vectors share a space.

Built around a folder with `text_model.onnx`, `vision_model.onnx` (also in onnx/, in any precision), tokenizer.json
and a recipe (`recipes.py`). A clip is the mean of its frames, a composed query the sum of its parts. Graphs that do
not fit the recipe raise `ModelError`. It knows nothing of model families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from model.batching import plan_batches
from model.embedder import ModelError, first_line, unit_rows
from model.hub_models import HUB_MODELS, PRECISIONS, missing, pick_precision, verify
from model.inputs import Input
from model.onnx_graphs import feed_type, open_graph, run, width
from model.qwen.vision import as_rgb, sample_frames
from model.two_tower.recipes import Recipe, as_json, prepare, recipe_of

if TYPE_CHECKING:
    import onnxruntime

RECIPE = "t1"
FRAMES = 8
BATCH_IMAGES = 8
BATCH_TOKENS = 1024
TEXT, VISION = "text_model", "vision_model"
MAX_TOKEN_CHARACTERS = 64


def is_two_tower(folder: Path) -> bool:
    """Returns whether a folder holds a text and a vision graph, in any precision."""
    return _graphs_prefix(folder) is not None


def load_two_tower(
    folder: Path | None = None, *, name: str = "siglip2", dtype: str = "auto", dim: int | None = None
) -> TwoTowerEmbedder:
    """Returns the embedder of a folder (None: the folder of `sightline models get NAME`). Raises `ModelError`."""
    model = HUB_MODELS[name] if folder is None else None
    root = folder or HUB_MODELS[name].folder()
    prefix = _graphs_prefix(root)
    if prefix is None:
        paths = missing(model, root) if model else [f"onnx/{TEXT}.onnx"]
        raise ModelError(
            f"{name} is not on this machine: {root / paths[0]} and {len(paths) - 1} more files are missing;"
            f" sightline models get {name}"
        )
    label = name if folder is None else folder.resolve().name
    if dim is not None:
        raise ModelError(f"{label} was not trained to be cut short; --dim is for Matryoshka models.")
    precision = pick_precision(root, [f"{prefix}{TEXT}", f"{prefix}{VISION}"], dtype, label)
    graphs = [f"{prefix}{part}{PRECISIONS[precision]}.onnx" for part in (TEXT, VISION)]
    data = [path + "_data" for path in graphs if (root / (path + "_data")).is_file()]
    hashes = verify(root, ["tokenizer.json", *graphs, *data], model.checksums if model else None)
    recipe = recipe_of(root)
    fingerprint = hashlib.blake2b(f"{RECIPE} {as_json(recipe)} {hashes}".encode(), digest_size=6).hexdigest()
    text, vision = (root / path for path in graphs)
    model_id = f"{label}:{precision}@{fingerprint}-{RECIPE}"
    return TwoTowerEmbedder(text, vision, root / "tokenizer.json", recipe, id=model_id)


class TwoTowerEmbedder:
    """`Embedder` over the two graphs; safe to call from several threads."""

    max_frames = FRAMES
    is_thread_safe = True

    def __init__(self, text: Path, vision: Path, tokenizer: Path, recipe: Recipe, *, id: str) -> None:
        """Raises `ModelError` if a file does not fit the recipe or the other file."""
        self.id, self._recipe = id, recipe
        self.max_side = 4 * recipe.size
        self._text, self._vision = open_graph(text), open_graph(vision)
        self._text_type = _input_type(self._text, text, "input_ids", {"attention_mask", "position_ids"})
        _input_type(self._vision, vision, "pixel_values", set())
        self._text_out = _output(self._text, text, recipe.text_outputs)
        self._image_out = _output(self._vision, vision, recipe.image_outputs)
        self._text_inputs = {put.name for put in self._text.get_inputs()}
        shape = next(put.shape for put in self._vision.get_inputs())
        if len(shape) != 4 or any(isinstance(n, int) and n != recipe.size for n in shape[2:]):
            raise ModelError(f"{vision} takes images of shape {shape}; its recipe makes {recipe.size} pixels.")
        length = next(put.shape[-1] for put in self._text.get_inputs() if put.name == "input_ids")
        if isinstance(length, int) and (length != recipe.context or not recipe.fixed):
            raise ModelError(f"{text} takes {length} tokens; its recipe makes {recipe.context}.")
        self._tokenizer, self._pad = _tokenizer(tokenizer, recipe)
        text_rows, image_rows = self._run_text(["a"]), self._run_images([np.zeros((8, 8, 3), np.uint8)])
        if text_rows.ndim != 2 or text_rows.shape[1:] != image_rows.shape[1:]:
            raise ModelError(
                f"{text} gives vectors {list(text_rows.shape[1:])} and {vision} {list(image_rows.shape[1:])}:"
                " they are no pair."
            )
        self.dim = int(text_rows.shape[1])

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in order. Raises `ModelError`."""
        texts: list[tuple[int, str]] = []
        images: list[tuple[int, np.ndarray]] = []
        for index, item in enumerate(inputs):
            parts = [as_rgb(image) for image in item.images]
            if item.video is not None:
                if not len(item.video):
                    raise ModelError("A video without frames cannot be embedded.")
                parts += [as_rgb(frame) for frame in sample_frames(item.video, self.max_frames)]
            images += [(index, part) for part in parts]
            # The text of an image or a page is left to text search.
            if not parts or (item.role == "query" and (item.text or "").strip()):
                texts.append((index, item.text or ""))
        out = np.zeros((len(inputs), self.dim), np.float32)
        image_rows = self._run_images([image for _, image in images])
        for (index, _), row in zip(images, unit_rows(image_rows), strict=True):
            out[index] += row
        out = unit_rows(out)
        text_rows = self._run_text([text for _, text in texts])
        for (index, _), row in zip(texts, unit_rows(text_rows), strict=True):
            out[index] += row
        if not np.isfinite(out).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers: its files are damaged.")
        return unit_rows(out)

    def _run_text(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 [texts, dim]."""
        rows = [self._ids(text) for text in texts]
        out: np.ndarray | None = None
        for batch in plan_batches([len(ids) for ids in rows], BATCH_TOKENS):
            ids = np.full((len(batch), len(rows[batch[0]])), self._pad, np.int64)
            mask = np.zeros_like(ids)
            for line, i in enumerate(batch):
                ids[line, : len(rows[i])] = rows[i]
                mask[line, : len(rows[i])] = 1
            feeds: dict[str, np.ndarray] = {"input_ids": ids, "attention_mask": mask}
            feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
            feeds = {k: v.astype(self._text_type) for k, v in feeds.items() if k in self._text_inputs}
            vectors = run(self._text, self._text_out, feeds)
            if out is None:
                out = np.empty((len(rows), *vectors.shape[1:]), np.float32)
            out[batch] = vectors
        return np.zeros((0, self.dim), np.float32) if out is None else out

    def _ids(self, text: str) -> list[int]:
        # Composed: SentencePiece composes letters and their marks, its table in a tokenizer.json does not always.
        text = normalize("NFC", text[: MAX_TOKEN_CHARACTERS * self._recipe.context])
        ids: list[int] = self._tokenizer.encode(text.lower() if self._recipe.lower else text).ids
        return ids + [self._pad] * (self._recipe.context - len(ids)) if self._recipe.fixed else ids

    def _run_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [images, dim]."""
        parts = [
            run(self._vision, self._image_out, {"pixel_values": np.stack([prepare(p, self._recipe) for p in batch])})
            for batch in (images[i : i + BATCH_IMAGES] for i in range(0, len(images), BATCH_IMAGES))
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)


def _graphs_prefix(folder: Path) -> str | None:
    """Returns "onnx/" or "", the subfolder of the graphs; None without both graphs."""
    for prefix in ("onnx/", ""):
        for end in PRECISIONS.values():
            if all((folder / f"{prefix}{part}{end}.onnx").is_file() for part in (TEXT, VISION)):
                return prefix
    return None


def _input_type(session: onnxruntime.InferenceSession, path: Path, name: str, optional: set[str]) -> Any:
    """Returns the NumPy type of input `name`. Raises `ModelError` without it, or with inputs beside it that are not
    `optional`."""
    inputs = {put.name for put in session.get_inputs()}
    if name not in inputs or inputs - optional - {name}:
        raise ModelError(f"{path} is another kind of graph: it takes {', '.join(sorted(inputs))}, not {name}.")
    return feed_type(session, name)


def _output(session: onnxruntime.InferenceSession, path: Path, names: Sequence[str]) -> str:
    """Returns the first of `names` that is an output. Raises `ModelError`."""
    outputs = [put.name for put in session.get_outputs()]
    output = next((name for name in names if name in outputs), None)
    if output is None:
        raise ModelError(f"{path} gives {', '.join(outputs)}, and none of {', '.join(names)}.")
    if width(session, output) == 0:
        raise ModelError(f"{path} gives empty vectors.")
    return output


def _tokenizer(path: Path, recipe: Recipe) -> tuple[Any, int]:
    """Returns the tokenizer, which truncates to the context, and the id of the padding token. Raises `ModelError`."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise ModelError(f"{path} is no tokenizer ({first_line(error)}).") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(recipe.context)
    tokenizer.encode_special_tokens = True
    pad = tokenizer.token_to_id(recipe.pad) if isinstance(recipe.pad, str) else recipe.pad
    if pad is None:
        raise ModelError(f"{path} is another model's tokenizer: it has no {recipe.pad}.")
    return tokenizer, int(pad)
