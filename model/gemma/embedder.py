"""EmbeddingGemma 2: text, pictures, pages and clips in one space, on onnxruntime or, for a graphics card, torch.

Built around two towers. The vision tower turns the patches of a picture into one row a token; the text tower reads

    <bos> prompt and text, <|image> a token a row <image|> ... <eos>

with those rows in the places of their tokens, and gives the mean over all tokens, which is cut (Matryoshka) and
brought to unit length. Pictures of one grid share a batch of the vision tower, so that nothing is padded. What is
said is `wording.py`'s, what is seen `pictures.py`'s, which files there are `files.py`'s, what is computed
`graphs.py`'s or `torch_towers.py`'s.

float16 is refused: its range is too small for this model, and vectors get worse or are no numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.batching import plan_batches
from model.embedder import InputRejected, ModelError
from model.gemma import pictures, wording
from model.gemma.files import NAME, find_files
from model.gemma.graphs import GraphTowers
from model.hub_files import fingerprint
from model.inputs import Input
from model.onnx_graphs import first_line
from model.qwen.vision import as_rgb, sample_frames

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RECIPE = "g1"
"""Goes up with every change of what a vector means; part of the model's id."""
DIMS = (768, 512, 256, 128)
TEXT_ONLY_DIM = 128
"""At this length MMEB-V2 falls from 59.0 to 45.7; its authors offer it for text alone."""
CONTEXT = 8192
MAX_TEXT_TOKENS = 4096
"""Of one input; the rest of a longer text is found by words."""
MOST_FRAMES = 32
"""The model's own rule is a frame a second, at most 32."""
BATCH_PADDING = 512

BOI, IMAGE, EOI, VIDEO = "<|image>", "<|image|>", "<image|>", "<|video|>"


@dataclass(frozen=True)
class Budget:
    """Tokens of one picture, one page, one frame of a clip, each of `pictures.BUDGETS`; and frames of a clip."""

    image: int = 280
    page: int = 560
    frame: int = 140
    frames: int = 16

    def __post_init__(self) -> None:
        for name in ("image", "page", "frame"):
            value = getattr(self, name)
            if value not in pictures.BUDGETS:
                raise ModelError(
                    f"EmbeddingGemma 2 sees with {', '.join(map(str, pictures.BUDGETS))} tokens a picture;"
                    f" {value} for {name} is none of them."
                )
        if not 1 <= self.frames <= MOST_FRAMES:
            raise ModelError(f"EmbeddingGemma 2 sees 1 to {MOST_FRAMES} frames of a clip, not {self.frames}.")

    @classmethod
    def read(cls, detail: str) -> Budget:
        """From `image=280,page=560,frame=140,frames=16`, any part of it. Raises `ModelError`."""
        given: dict[str, int] = {}
        for part in detail.replace(" ", "").split(","):
            name, _, value = part.partition("=")
            if name not in cls.__dataclass_fields__ or not value.isdecimal():
                raise ModelError(f"--detail {detail}: write image=280,page=560,frame=140,frames=16, or a part of it.")
            given[name] = int(value)
        return cls(**given)


@dataclass(frozen=True, eq=False)
class _Row:
    """One input, ready to be read: token ids, and what stands behind the picture and the frame tokens."""

    ids: list[int]
    images: list[tuple[np.ndarray, int]]
    frames: list[tuple[np.ndarray, int]]


class Towers(Protocol):
    """The network: `graphs.GraphTowers` on onnxruntime, `torch_towers.TorchTowers` on a graphics card.

    `batch_tokens`, `batch_patches`: what one run of the text and of the vision tower may hold.
    """

    hidden: int
    batch_tokens: int
    batch_patches: int

    def read(self, ids: np.ndarray, mask: np.ndarray, images: np.ndarray, frames: np.ndarray) -> np.ndarray: ...

    def look(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray: ...


class GemmaEmbedder:
    """`Embedder` over the two towers; safe to call from several threads."""

    def __init__(
        self,
        towers: Towers,
        tokenizer: Path,
        hashes: Sequence[str],
        *,
        name: str = NAME,
        precision: str = "float32",
        dim: int | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`dim`: 768, 512, 256 or, for text alone, 128. `hashes`: of the files, for the id. Raises `ModelError`."""
        if dim is not None and dim not in DIMS:
            raise ModelError(f"{name} was trained for vectors of 768, 512, 256 values (128 for text), not {dim}.")
        self.dim, self.budget = dim or DIMS[0], budget or Budget()
        self.max_frames = self.budget.frames
        self.max_side = round((4 * pictures.SIDE**2 * max(self.budget.image, self.budget.frame)) ** 0.5)
        """Of a picture four times as long as wide; a longer one is a little coarser than it could be."""
        self.page_side = round((2 * pictures.SIDE**2 * self.budget.page) ** 0.5)
        self._towers = towers
        self._tokenizer = _tokenizer(tokenizer)
        self._place = {token: _id(self._tokenizer, token, tokenizer) for token in (BOI, IMAGE, EOI, VIDEO)}
        self._bos, self._eos = (_id(self._tokenizer, token, tokenizer) for token in ("<bos>", "<eos>"))
        said = (RECIPE, precision, self.dim, *astuple(self.budget), *hashes)
        prompts = (wording.QUERY, wording.DOCUMENT, wording.TASK, wording.NO_TITLE, pictures.NEAR)
        mark = hashlib.blake2b(repr((said, prompts)).encode(), digest_size=6).hexdigest()
        self.id = f"{name}:{precision}{f':{dim}' if dim else ''}@{mark}-{RECIPE}"

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given.

        Raises `InputRejected` for an input that is longer than the model's context.
        """
        rows = [self._row(item) for item in inputs]
        out = np.empty((len(rows), self.dim), np.float32)
        for batch in plan_batches([len(row.ids) for row in rows], self._towers.batch_tokens, BATCH_PADDING):
            out[batch] = self._read([rows[i] for i in batch])[:, : self.dim]
        if not np.isfinite(out).all():
            raise ModelError(f"{self.id} gave vectors that are not numbers: its files are damaged.")
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)

    def _row(self, item: Input) -> _Row:
        images = [as_rgb(picture) for picture in item.images]
        frames: list[np.ndarray] = []
        if item.video is not None:
            if not len(item.video):
                raise ModelError("A video without frames cannot be embedded.")
            frames = pictures.distinct([as_rgb(frame) for frame in sample_frames(item.video, self.max_frames)])
        if (images or frames) and self.dim == TEXT_ONLY_DIM:
            raise ModelError("EmbeddingGemma 2 gives 128 values for text alone; take --dim 256 for pictures.")
        budget = self.budget.page if item.kind == "pdf" else self.budget.image
        seen = [(picture, budget) for picture in images]
        shown = [(frame, self.budget.frame) for frame in frames]
        text = self._encode("".join(wording.words(item)))
        ids = [self._bos, *text, *self._marks(seen, IMAGE), *self._marks(shown, VIDEO), self._eos]
        if len(ids) > CONTEXT:
            raise InputRejected(f"it takes {len(ids):,} tokens, and the model reads {CONTEXT:,}")
        return _Row(ids, seen, shown)

    def _encode(self, text: str) -> list[int]:
        """Token ids of a text; what looks like a control word stays text."""
        # No token is longer than 64 characters, so that this cut loses nothing that would be read.
        return self._tokenizer.encode(text[: 64 * MAX_TEXT_TOKENS], add_special_tokens=False).ids[:MAX_TEXT_TOKENS]

    def _marks(self, media: list[tuple[np.ndarray, int]], token: str) -> list[int]:
        ids: list[int] = []
        for picture, budget in media:
            count = pictures.tokens(*picture.shape[:2], budget)
            ids += [self._place[BOI], *[self._place[token]] * count, self._place[EOI]]
        return ids

    def _read(self, rows: list[_Row]) -> np.ndarray:
        """float32 [rows, 768], not of unit length."""
        longest = max(len(row.ids) for row in rows)
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = row.ids
            mask[place, : len(row.ids)] = 1
        images = self._look([media for row in rows for media in row.images])
        return self._towers.read(ids, mask, images, self._look([media for row in rows for media in row.frames]))

    def _look(self, media: list[tuple[np.ndarray, int]]) -> np.ndarray:
        """float32 [tokens of all pictures in order, hidden]"""
        grids: dict[tuple[int, int, int], list[int]] = {}
        for place, (picture, budget) in enumerate(media):
            grids.setdefault((*pictures.size_within(*picture.shape[:2], budget), budget), []).append(place)
        found: list[np.ndarray] = [np.zeros((0, self._towers.hidden), np.float32)] * len(media)
        for (high, wide, _), members in grids.items():
            count = high * wide // pictures.PATCH**2
            step = max(1, self._towers.batch_patches // count)
            for at in range(0, len(members), step):
                batch = members[at : at + step]
                cut = [pictures.patches(*media[i]) for i in batch]
                where = np.repeat(pictures.positions(cut[0][1])[None], len(batch), 0)
                made = self._towers.look(np.stack([values for values, _ in cut]), where)
                for i, part in zip(batch, made.reshape(len(batch), -1, self._towers.hidden), strict=True):
                    found[i] = part
        return np.concatenate([np.zeros((0, self._towers.hidden), np.float32), *found])


def load_gemma(
    folder: Path | None = None, *, dtype: str = "auto", dim: int | None = None, detail: str | None = None
) -> GemmaEmbedder:
    """The embedder of a folder; None: the one that `sightline models get` fills. Raises `ModelError`."""
    budget = Budget.read(detail) if detail else None
    files = find_files(folder, dtype)
    name = NAME if folder is None else folder.resolve().name
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
    """The embedder of Google's own checkpoint, in torch. Raises `ModelError`."""
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


def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise ModelError(f"{path} is no tokenizer ({first_line(error)}).") from error
    made.no_padding()
    made.no_truncation()
    made.encode_special_tokens = True
    return made


def _id(tokenizer: Tokenizer, token: str, path: Path) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ModelError(f"{path} is another model's tokenizer: it has no {token}.")
    return int(found)
