"""Two-tower models on onnxruntime: one graph for words, one for pictures, one space.

Built around a folder with `text_model.onnx`, `vision_model.onnx` (there or in onnx/, in any precision), tokenizer.json
and a recipe (`recipes.py`). A clip is the mean of its frames, a composed query the sum of its parts. A folder whose
graphs do not fit is refused by name. It knows nothing of families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.batching import plan_batches
from model.embedder import ModelError
from model.hub_models import HUB_MODELS, PRECISIONS, missing, pick_precision, verified
from model.inputs import Input
from model.onnx_graphs import feed_type, first_line, open_graph, run, width
from model.qwen.vision import as_rgb, sample_frames
from model.two_tower.recipes import Recipe, as_json, prepare, recipe_of

if TYPE_CHECKING:
    import onnxruntime

RECIPE = "t1"
FRAMES = 8
BATCH_PICTURES = 8
BATCH_TOKENS = 1024
TEXT, VISION = "text_model", "vision_model"
_LETTERS_A_TOKEN = 64  # no token is longer


def is_two_tower(folder: Path) -> bool:
    """Whether a folder holds a text and a vision graph, in any precision."""
    return _graphs(folder) is not None


def load_two_tower(
    folder: Path | None = None, *, name: str = "siglip2", dtype: str = "auto", dim: int | None = None
) -> TwoTowerEmbedder:
    """The embedder of a folder; None: the one that `sightline models get NAME` fills. Raises `ModelError`."""
    model = HUB_MODELS[name] if folder is None else None
    place = folder or HUB_MODELS[name].folder()
    inside = _graphs(place)
    if inside is None:
        lacking = missing(model, place) if model else [f"onnx/{TEXT}.onnx"]
        raise ModelError(
            f"{name} is not on this machine: {place / lacking[0]} and {len(lacking) - 1} more files are missing;"
            f" sightline models get {name}"
        )
    label = name if folder is None else folder.resolve().name
    if dim is not None:
        raise ModelError(f"{label} was not trained to be cut short; --dim is for Matryoshka models.")
    precision = pick_precision(place, [f"{inside}{TEXT}", f"{inside}{VISION}"], dtype, label)
    graphs = [f"{inside}{part}{PRECISIONS[precision]}.onnx" for part in (TEXT, VISION)]
    data = [path + "_data" for path in graphs if (place / (path + "_data")).is_file()]
    hashes = verified(place, ["tokenizer.json", *graphs, *data], model.known if model else None)
    recipe = recipe_of(place)
    mark = hashlib.blake2b(f"{RECIPE} {as_json(recipe)} {hashes}".encode(), digest_size=6).hexdigest()
    text, vision = (place / path for path in graphs)
    return TwoTowerEmbedder(text, vision, place / "tokenizer.json", recipe, id=f"{label}:{precision}@{mark}-{RECIPE}")


class TwoTowerEmbedder:
    """`Embedder` over the two graphs; safe to call from several threads."""

    max_frames = FRAMES

    def __init__(
        self, text: Path, vision: Path, tokenizer: Path, recipe: Recipe, *, id: str, threads: int | None = None
    ) -> None:
        """Raises `ModelError` that names the file that does not fit."""
        self.id, self._recipe = id, recipe
        self.max_side = 4 * recipe.size
        self._text, self._vision = open_graph(text, threads), open_graph(vision, threads)
        self._text_type = _check(self._text, text, "input_ids", {"attention_mask", "position_ids"})
        _check(self._vision, vision, "pixel_values", set())
        self._text_out = _output(self._text, text, recipe.text_outputs)
        self._image_out = _output(self._vision, vision, recipe.image_outputs)
        self._text_inputs = {put.name for put in self._text.get_inputs()}
        shape = next(put.shape for put in self._vision.get_inputs())
        if len(shape) != 4 or any(isinstance(n, int) and n != recipe.size for n in shape[2:]):
            raise ModelError(f"{vision} takes pictures of shape {shape}, where its recipe makes {recipe.size} pixels.")
        length = next(put.shape[-1] for put in self._text.get_inputs() if put.name == "input_ids")
        if isinstance(length, int) and (length != recipe.context or not recipe.fixed):
            raise ModelError(f"{text} takes {length} tokens, where its recipe makes {recipe.context}.")
        self._tokenizer, self._pad = _tokenizer(tokenizer, recipe)
        words, looks = self._run_text(["a"]), self._run_pictures([np.zeros((8, 8, 3), np.uint8)])
        if words.ndim != 2 or words.shape[1:] != looks.shape[1:]:
            raise ModelError(
                f"{text} gives vectors {list(words.shape[1:])} and {vision} {list(looks.shape[1:])}: they are no pair."
            )
        self.dim = int(words.shape[1])

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given."""
        texts: list[tuple[int, str]] = []
        pictures: list[tuple[int, np.ndarray]] = []
        for place, item in enumerate(inputs):
            frames = [as_rgb(picture) for picture in item.images]
            if item.video is not None:
                if not len(item.video):
                    raise ModelError("A video without frames cannot be embedded.")
                frames += [as_rgb(frame) for frame in sample_frames(item.video, self.max_frames)]
            pictures += [(place, frame) for frame in frames]
            # Of what is shown, the words that come with it are searched as words.
            if not frames or (item.role == "query" and (item.text or "").strip()):
                texts.append((place, item.text or ""))
        out = np.zeros((len(inputs), self.dim), np.float32)
        looks = self._run_pictures([picture for _, picture in pictures])
        for (place, _), row in zip(pictures, _unit(looks), strict=True):
            out[place] += row
        out = _unit(out)
        words = self._run_text([text for _, text in texts])
        for (place, _), row in zip(texts, _unit(words), strict=True):
            out[place] += row
        if not np.isfinite(out).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers: its files are damaged.")
        return _unit(out)

    def _run_text(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dim]"""
        rows = [self._ids(text) for text in texts]
        out: np.ndarray | None = None
        for batch in plan_batches([len(ids) for ids in rows], BATCH_TOKENS):
            ids = np.full((len(batch), len(rows[batch[0]])), self._pad, np.int64)
            mask = np.zeros_like(ids)
            for at, i in enumerate(batch):
                ids[at, : len(rows[i])] = rows[i]
                mask[at, : len(rows[i])] = 1
            feeds: dict[str, np.ndarray] = {"input_ids": ids, "attention_mask": mask}
            feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
            given = {k: v.astype(self._text_type) for k, v in feeds.items() if k in self._text_inputs}
            made = run(self._text, self._text_out, given)
            if out is None:
                out = np.empty((len(rows), *made.shape[1:]), np.float32)
            out[batch] = made
        return np.zeros((0, getattr(self, "dim", 0)), np.float32) if out is None else out

    def _ids(self, text: str) -> list[int]:
        text = text[: _LETTERS_A_TOKEN * self._recipe.context]
        ids = self._tokenizer.encode(text.lower() if self._recipe.lower else text).ids
        return ids + [self._pad] * (self._recipe.context - len(ids)) if self._recipe.fixed else ids

    def _run_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [pictures, dim]"""
        made = [
            run(self._vision, self._image_out, {"pixel_values": np.stack([prepare(p, self._recipe) for p in batch])})
            for batch in (pictures[at : at + BATCH_PICTURES] for at in range(0, len(pictures), BATCH_PICTURES))
        ]
        return np.concatenate(made) if made else np.zeros((0, getattr(self, "dim", 0)), np.float32)


def _graphs(folder: Path) -> str | None:
    """What stands before the graphs' names: "" or "onnx/"."""
    for inside in ("onnx/", ""):
        for end in PRECISIONS.values():
            if all((folder / f"{inside}{part}{end}.onnx").is_file() for part in (TEXT, VISION)):
                return inside
    return None


def _check(session: onnxruntime.InferenceSession, path: Path, needs: str, may: set[str]) -> Any:
    """The NumPy type of input `needs`; `ModelError` where the graph takes anything but it and what it `may`."""
    has = {put.name for put in session.get_inputs()}
    if needs not in has or has - may - {needs}:
        raise ModelError(f"{path} is another kind of graph: it takes {', '.join(sorted(has))}, not {needs}.")
    return feed_type(session, needs)


def _output(session: onnxruntime.InferenceSession, path: Path, names: Sequence[str]) -> str:
    has = [put.name for put in session.get_outputs()]
    found = next((name for name in names if name in has), None)
    if found is None:
        raise ModelError(f"{path} gives {', '.join(has)}, and none of {', '.join(names)}.")
    if width(session, found) == 0:
        raise ModelError(f"{path} gives empty vectors.")
    return found


def _tokenizer(path: Path, recipe: Recipe) -> tuple[Any, int]:
    """The tokenizer, cutting to the context, and the id of the padding."""
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise ModelError(f"{path} is no tokenizer ({first_line(error)}).") from error
    made.no_padding()
    made.enable_truncation(recipe.context)
    made.encode_special_tokens = True
    pad = made.token_to_id(recipe.pad) if isinstance(recipe.pad, str) else recipe.pad
    if pad is None:
        raise ModelError(f"{path} is another model's tokenizer: it has no {recipe.pad}.")
    return made, int(pad)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
