"""EmbeddingGemma 2: text, images, pages and clips in one space, on onnxruntime or, for a GPU, torch.

Built around two towers. The vision tower turns an image's patches into one row per token; the text tower reads

    <bos> prompt and text, <|image> one token per row <image|> ... <eos>

with those rows in place of their tokens, and gives the mean over all tokens, which is truncated (Matryoshka) and
normalised. A batch of the vision tower has images of one grid, so that nothing is padded. Prompts are in `prompts.py`,
patches in `images.py`, files in `files.py`, the towers in `graphs.py` and `torch_towers.py`.

float16 is refused: its range is too small for this model; vectors get worse or are not numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.batching import plan_batches
from model.embedder import InputRejected, ModelError, first_line, unit_rows
from model.gemma import prompts
from model.gemma.files import GEMMA, find_files
from model.gemma.graphs import GraphTowers
from model.gemma.images import BUDGETS, NEAR, PATCH, TOKEN_SIDE, distinct, n_tokens, patches, positions, size_within
from model.hub_files import fingerprint
from model.inputs import Input
from model.qwen.vision import as_rgb, sample_frames

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RECIPE = "g1"
"""The version of the embedding; part of the model's id."""
DIMS = (768, 512, 256, 128)
TEXT_ONLY_DIM = 128
"""MMEB-V2 falls from 59.0 to 45.7 with this dimension; the authors recommend it for text alone."""
CONTEXT = 8192
MAX_TEXT_TOKENS = 4096
"""Of one input; text search finds the rest of a longer text."""
MAX_FRAMES = 56
"""Of 140 tokens, with a prompt in `CONTEXT`, as in the authors' wrapper for mteb; the model card takes at most 32."""
BATCH_PADDING = 512

BOI, IMAGE, EOI, VIDEO = "<|image>", "<|image|>", "<image|>", "<|video|>"


@dataclass(frozen=True)
class Budget:
    """Tokens per image, per page and per frame of a clip, each one of `BUDGETS`; and the frames of a clip."""

    image: int = 280
    page: int = 560
    frame: int = 140
    frames: int = 16

    def __str__(self) -> str:
        """What differs from the defaults, as `read` takes it."""
        given, default = asdict(self), asdict(Budget())
        return ",".join(f"{name}={value}" for name, value in given.items() if value != default[name])

    def __post_init__(self) -> None:
        for name in ("image", "page", "frame"):
            value = getattr(self, name)
            if value not in BUDGETS:
                raise ModelError(
                    f"EmbeddingGemma 2 has {', '.join(map(str, BUDGETS))} tokens per image;"
                    f" {value} for {name} is none of them."
                )
        if not 1 <= self.frames <= MAX_FRAMES:
            raise ModelError(f"EmbeddingGemma 2 takes 1 to {MAX_FRAMES} frames of a clip, not {self.frames}.")

    @classmethod
    def read(cls, detail: str) -> Budget:
        """Parses `image=280,page=560,frame=140,frames=16`, or a part of it. Raises `ModelError`."""
        values: dict[str, int] = {}
        for part in detail.replace(" ", "").split(","):
            name, _, value = part.partition("=")
            if name not in cls.__dataclass_fields__ or not value.isdecimal():
                raise ModelError(f"--detail {detail}: write image=280,page=560,frame=140,frames=16, or a part of it.")
            values[name] = int(value)
        return cls(**values)


@dataclass(frozen=True, eq=False)
class _Row:
    """An input as token ids, and the (image, budget) behind the image tokens and the video tokens."""

    ids: list[int]
    images: list[tuple[np.ndarray, int]]
    frames: list[tuple[np.ndarray, int]]


class Towers(Protocol):
    """The network: `graphs.GraphTowers` on onnxruntime, `torch_towers.TorchTowers` on a GPU.

    `batch_tokens`, `batch_patches`: the maximum of one run of the text and of the vision tower. `is_thread_safe`: if
    several runs may be in memory at a time, as on a CPU, a query does not wait for an image.
    """

    is_thread_safe: bool
    hidden: int
    batch_tokens: int
    batch_patches: int

    def embed_tokens(self, ids: np.ndarray, mask: np.ndarray, images: np.ndarray, frames: np.ndarray) -> np.ndarray: ...

    def embed_patches(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray: ...


class GemmaEmbedder:
    """`Embedder` over the two towers; safe to call from several threads."""

    def __init__(
        self,
        towers: Towers,
        tokenizer: Path,
        hashes: Sequence[str],
        *,
        name: str = GEMMA,
        precision: str = "float32",
        dim: int | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`dim`: 768, 512, 256 or, for text alone, 128. `hashes`: of the files, for the id. Raises `ModelError`."""
        if dim is not None and dim not in DIMS:
            raise ModelError(f"{name} was trained for vectors of 768, 512, 256 values (128 for text), not {dim}.")
        self.dim, self.budget = dim or DIMS[0], budget or Budget()
        self.max_frames = self.budget.frames
        # Exact up to an aspect ratio of 2.5, of pages and frames of 2; what is longer loses some detail.
        self.max_side = _side(self.budget.image, 2.5)
        self.page_side, self.frame_side = _side(self.budget.page, 2), _side(self.budget.frame, 2)
        self._towers, self.is_thread_safe = towers, towers.is_thread_safe
        self._tokenizer = _tokenizer(tokenizer)
        self._media_ids = {token: _id(self._tokenizer, token, tokenizer) for token in (BOI, IMAGE, EOI, VIDEO)}
        self._bos, self._eos = (_id(self._tokenizer, token, tokenizer) for token in ("<bos>", "<eos>"))
        settings = (RECIPE, precision, self.dim, *astuple(self.budget), *hashes)
        texts = (prompts.QUERY, prompts.DOCUMENT, prompts.TASK, prompts.NO_TITLE, NEAR)
        digest = hashlib.blake2b(repr((settings, texts)).encode(), digest_size=6).hexdigest()
        parts = (name, precision, str(dim or ""), str(self.budget))
        self.id = f"{':'.join(filter(None, parts))}@{digest}-{RECIPE}"

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in order.

        Raises `InputRejected` for an input that is longer than the model's context, else `ModelError`.
        """
        rows = [self._row(item) for item in inputs]
        out = np.empty((len(rows), self.dim), np.float32)
        for batch in plan_batches([len(row.ids) for row in rows], self._towers.batch_tokens, BATCH_PADDING):
            out[batch] = self._embed_rows([rows[i] for i in batch])[:, : self.dim]
        if not np.isfinite(out).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers: its files are damaged.")
        return unit_rows(out)

    def _row(self, item: Input) -> _Row:
        images = [as_rgb(image) for image in item.images]
        frames: list[np.ndarray] = []
        if item.video is not None:
            if not len(item.video):
                raise ModelError("A video without frames cannot be embedded.")
            frames = distinct([as_rgb(frame) for frame in sample_frames(item.video, self.max_frames)])
        if (images or frames) and self.dim == TEXT_ONLY_DIM:
            raise ModelError("EmbeddingGemma 2 gives 128 values for text alone; take --dim 256 for images.")
        budget = self.budget.page if item.kind == "pdf" else self.budget.image
        image_budgets = [(image, budget) for image in images]
        frame_budgets = [(frame, self.budget.frame) for frame in frames]
        ids = self._encode("".join(prompts.prompt_and_text(item)))
        ids = [self._bos, *ids, *self._tokens(image_budgets, IMAGE), *self._tokens(frame_budgets, VIDEO), self._eos]
        if len(ids) > CONTEXT:
            raise InputRejected(f"it takes {len(ids):,} tokens, and the model reads {CONTEXT:,}")
        return _Row(ids, image_budgets, frame_budgets)

    def _encode(self, text: str) -> list[int]:
        """Returns the token ids of a text; a control token in the text is encoded as text."""
        # A token has at most 64 characters, so the first cut loses nothing.
        return self._tokenizer.encode(text[: 64 * MAX_TEXT_TOKENS], add_special_tokens=False).ids[:MAX_TEXT_TOKENS]

    def _tokens(self, media: list[tuple[np.ndarray, int]], token: str) -> list[int]:
        """Returns the token ids of images, which `token` stands for."""
        ids: list[int] = []
        for image, budget in media:
            count = n_tokens(image.shape, budget)
            ids += [self._media_ids[BOI], *[self._media_ids[token]] * count, self._media_ids[EOI]]
        return ids

    def _embed_rows(self, rows: list[_Row]) -> np.ndarray:
        """Returns float32 [rows, 768], not of unit length."""
        max_length = max(len(row.ids) for row in rows)
        ids = np.zeros((len(rows), max_length), np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = row.ids
            mask[i, : len(row.ids)] = 1
        images = self._embed_images([media for row in rows for media in row.images])
        frames = self._embed_images([media for row in rows for media in row.frames])
        return self._towers.embed_tokens(ids, mask, images, frames)

    def _embed_images(self, media: list[tuple[np.ndarray, int]]) -> np.ndarray:
        """Returns float32 [tokens of all images in order, hidden]."""
        grids: dict[tuple[int, int, int], list[int]] = {}
        for i, (image, budget) in enumerate(media):
            grids.setdefault((*size_within(image.shape, budget), budget), []).append(i)
        rows: list[np.ndarray] = [np.zeros((0, self._towers.hidden), np.float32)] * len(media)
        for (height, width, _), members in grids.items():
            step = max(1, self._towers.batch_patches // (height * width // PATCH**2))
            for start in range(0, len(members), step):
                batch = members[start : start + step]
                values = np.stack([patches(*media[i]) for i in batch])
                xy = np.repeat(positions((height // PATCH, width // PATCH))[None], len(batch), 0)
                parts = self._towers.embed_patches(values, xy).reshape(len(batch), -1, self._towers.hidden)
                for i, part in zip(batch, parts, strict=True):
                    rows[i] = part
        return np.concatenate([np.zeros((0, self._towers.hidden), np.float32), *rows])


def load_gemma(
    folder: Path | None = None, *, dtype: str = "auto", dim: int | None = None, detail: str | None = None
) -> GemmaEmbedder:
    """Returns the embedder of a folder (None: the folder of `sightline models get`). Raises `ModelError`."""
    budget = Budget.read(detail) if detail else None
    files = find_files(folder, dtype)
    name = GEMMA if folder is None else folder.resolve().name
    towers = GraphTowers(files)
    return GemmaEmbedder(
        towers, files.tokenizer, files.hashes, name=name, precision=files.precision, dim=dim, budget=budget
    )


def load_gemma_torch(
    folder: Path,
    *,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    dim: int | None = None,
    detail: str | None = None,
) -> GemmaEmbedder:
    """Returns the embedder of Google's own checkpoint, in torch. Raises `ModelError`."""
    from model.gemma.torch_towers import TorchTowers

    budget = Budget.read(detail) if detail else None
    towers = TorchTowers(folder, device, dtype)
    return GemmaEmbedder(
        towers,
        folder / "tokenizer.json",
        [fingerprint([folder], RECIPE)],
        name=name or folder.resolve().name,
        precision=towers.precision,
        dim=dim,
        budget=budget,
    )


def _side(budget: int, aspect: float) -> int:
    """Returns the longer side in pixels of an image of `budget` tokens."""
    return round(math.sqrt(aspect * TOKEN_SIDE**2 * budget))


def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise ModelError(f"{path} is no tokenizer ({first_line(error)}).") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _id(tokenizer: Tokenizer, token: str, path: Path) -> int:
    """Returns the id of a token. Raises `ModelError`."""
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise ModelError(f"{path} is another model's tokenizer: it has no {token}.")
    return int(token_id)
