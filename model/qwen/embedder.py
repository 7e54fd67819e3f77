"""Qwen2-VL and Qwen2.5-VL as embedding models, VLM2Vec-V2 among them.

Built around three steps, each usable alone:

    prepare   prompt with pad tokens + its images -> token ids and image sizes (no pixels yet)
    collate   prepared rows -> `Batch` of tensors, left-padded
    encode    `Batch` -> unit vectors [n, dim], a tensor with gradients if they are enabled

`embed` and `embed_prompts` run the three over token-budget batches; training runs the same `collate` and `encode`,
benchmarks the same `embed_prompts`. `model` is the torch module, for adapters, training and `state_dict`.

The published weights differ from the library's defaults in two points: every token, visual ones too, has its plain
one-dimensional position, and the vector is the last token's hidden state after the final norm. There is no
language-model head. It knows nothing of names, downloads or adapters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from model.batching import plan_batches
from model.embedder import ModelError
from model.inputs import Input
from model.prompts import Family, Prompt, gme, vlm2vec
from model.qwen.vision import Pixels, Visual, image_visual, sample_frames, video_visual

RECIPE = "r1"
# The longest input: three times a published 8-frame clip at the protocol's limits (5,120 tokens). Longer text is
# truncated, larger images are shrunk, so that memory is bounded.
MAX_TOKENS = 16384
# Text tokens that remain beside large images.
TEXT_RESERVE = 256
FRAMES = 8
# (padded tokens of a batch, its maximum of padding tokens), by kind of device. A CPU reads all weights for each
# batch, which takes as long as 30 tokens (float32, 2B, make bench-model).
BATCH_TOKENS = {"cpu": (4096, 64), "accelerator": (32768, 4096)}


@dataclass(frozen=True, eq=False)
class Prepared:
    """One input as tokens: `ids` int64 [n] with expanded pad tokens, `visual` bool [n]: true for these."""

    ids: np.ndarray
    visual: np.ndarray
    visuals: tuple[Visual, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of `encode`. `attention_mask` is None if no row is padded.

    `input_ids`, `position_ids` int64 [n, length]; `visual_mask` bool [n, length] or None;
    `pixel_values` float32 [patches, 3 * 2 * 14²]; `grid_thw` int64 [frame pairs, 3], t = 1 each.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    visual_mask: torch.Tensor | None
    pixel_values: torch.Tensor | None
    grid_thw: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device | str) -> Batch:
        tensors: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: None if t is None else t.to(device, non_blocking=True) for name, t in tensors.items()
        }
        return Batch(**moved)


class Encoder(nn.Module):
    """Turns a `Batch` into unit vectors, float32 [n, dim], by the backbone `model`."""

    model: Any

    def __init__(self, model: nn.Module, patches_per_pass: int) -> None:
        super().__init__()
        self.model = model
        self.patches_per_pass = patches_per_pass

    def forward(self, batch: Batch) -> torch.Tensor:
        hidden = self.model.get_input_embeddings()(batch.input_ids)
        if batch.pixel_values is not None and batch.visual_mask is not None:
            features = self.visual_features(batch).to(hidden.dtype)
            hidden = hidden.masked_scatter(batch.visual_mask.unsqueeze(-1), features)
        hidden = self.model.language_model(
            inputs_embeds=hidden, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False
        ).last_hidden_state
        return nn.functional.normalize(hidden[:, -1].float(), dim=-1)

    def visual_features(self, batch: Batch) -> torch.Tensor:
        """Returns the merged patch features [tokens, width] of all images of the batch.

        Each pass of the vision tower has at most `patches_per_pass` patches, but at least one frame: frames (pairs
        of frames in a clip) do not attend to each other, so the passes do not change the result.
        """
        assert batch.pixel_values is not None and batch.grid_thw is not None
        sizes = batch.grid_thw.prod(-1).tolist()
        pixels = batch.pixel_values.to(next(self.model.visual.parameters()).dtype)
        features, row, patch = [], 0, 0
        while row < len(sizes):
            end, count = row + 1, sizes[row]
            while end < len(sizes) and count + sizes[end] <= self.patches_per_pass:
                count += sizes[end]
                end += 1
            out = self.model.visual(pixels[patch : patch + count], grid_thw=batch.grid_thw[row:end])
            features.append(out.pooler_output)
            row, patch = end, patch + count
        return torch.cat(features)


class QwenVLEmbedder:
    """An `Embedder` over a Qwen2-VL or Qwen2.5-VL backbone; see `model.load`."""

    id: str
    dim: int
    max_frames: int

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        pixels: Pixels,
        *,
        id: str,
        family: Family = vlm2vec,
        max_frames: int = FRAMES,
        max_tokens: int = MAX_TOKENS,
        batch_tokens: int | None = None,
        first_size: tuple[int, int] | None = None,
    ) -> None:
        """`tokenizer`: a `tokenizers.Tokenizer`. `batch_tokens`: the maximum of padded tokens in a batch.

        `first_size`: (min, max) pixels of a first resize of images (GME).
        """
        config = model.config
        text = config.get_text_config()
        self.id, self.dim, self.max_frames = id, text.hidden_size, max_frames
        self.model = model
        self.tokenizer = tokenizer
        self.pixels = pixels
        self.family = family
        self.max_tokens = min(max_tokens, text.max_position_embeddings)
        budget, self.padding = BATCH_TOKENS["cpu" if self.device.type == "cpu" else "accelerator"]
        self.batch_tokens = batch_tokens or budget
        self.collate_ahead = self.device.type != "cpu"
        self.encoder = Encoder(model, patches_per_pass=max(16384, 4 * self.batch_tokens))
        self._first_size = first_size
        self.image_id, self.video_id = config.image_token_id, config.video_token_id
        # GME has no clips: in its prompts a video pad is an ordinary token.
        self._visual_ids = (self.image_id,) if family is gme else (self.image_id, self.video_id)
        self._pad_id = text.pad_token_id if text.pad_token_id is not None else 0

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in the order of `inputs`."""
        return self.embed_prepared(self.prepare_inputs(inputs))

    def embed_prompts(self, prompts: Sequence[str], visuals: Sequence[Sequence[Any] | None]) -> np.ndarray:
        """Returns float32 [len(prompts), dim] of prompts with pad tokens.

        `visuals[i]`: for `"<|image_pad|> …"` the images (uint8 [H, W, 3] or PIL), one per pad token; for
        `"<|video_pad|> …"` the frames of the clip in order. In a prompt with both, each image pad takes one entry and
        the video pad the rest. None or empty: a pad token stays an ordinary token.
        """
        return self.embed_prepared(self.prepare(prompts, visuals))

    def prepare_inputs(self, inputs: Sequence[Input]) -> list[Prepared]:
        """Returns token ids and image sizes of inputs, with the prompts of the model's family."""
        return [self._prepare_prompt(self.family(self._sample_frames(item))) for item in inputs]

    def prepare(self, prompts: Sequence[str], visuals: Sequence[Sequence[Any] | None]) -> list[Prepared]:
        """Returns token ids and image sizes of prompts with pad tokens; see `embed_prompts`."""
        if len(prompts) != len(visuals):
            raise ModelError(f"{len(prompts)} prompts came with {len(visuals)} lists of images; one each is needed.")
        encodings = self.tokenizer.encode_batch(list(prompts))
        return [self._expand(row.ids, images, 0) for row, images in zip(encodings, visuals, strict=True)]

    def collate(self, prompts: Sequence[str], visuals: Sequence[Sequence[Any] | None]) -> Batch:
        """Returns one batch on the CPU, in order (`.to(device)` moves it)."""
        return self.collate_prepared(self.prepare(prompts, visuals))

    def encode(self, batch: Batch) -> torch.Tensor:
        """Returns unit vectors, float32 [n, dim], on the model's device, with gradients if they are enabled."""
        vectors: torch.Tensor = self.encoder(batch.to(self.device))
        return vectors

    def embed_prepared(self, rows: Sequence[Prepared]) -> np.ndarray:
        """Returns float32 [len(rows), dim]; batches of similar lengths have at most `batch_tokens` padded tokens."""
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        plan = plan_batches([len(row) for row in rows], self.batch_tokens, self.padding)
        for positions, batch in zip(plan, self._batches(rows, plan), strict=True):
            with torch.inference_mode():
                out[positions] = self.encode(batch).cpu().numpy()
        if not np.isfinite(out).all():
            raise ModelError(
                f"{self.id} gave vectors that are not numbers; half precision may be too narrow "
                f"for it: try dtype float32."
            )
        return out

    def collate_prepared(self, rows: Sequence[Prepared]) -> Batch:
        """Returns left-padded tensors of prepared rows, with their pixels."""
        length = max(len(row) for row in rows)
        ids = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=bool)
        visual = np.zeros((len(rows), length), dtype=bool)
        for i, row in enumerate(rows):
            ids[i, length - len(row) :] = row.ids
            mask[i, length - len(row) :] = True
            visual[i, length - len(row) :] = row.visual
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        visuals = [v for row in rows for v in row.visuals]
        grid = [[1, v.grid[1], v.grid[2]] for v in visuals for _ in range(v.grid[0])]
        return Batch(
            input_ids=torch.from_numpy(ids),
            position_ids=torch.from_numpy(positions),
            attention_mask=None if mask.all() else torch.from_numpy(mask.astype(np.int64)),
            visual_mask=torch.from_numpy(visual) if visuals else None,
            pixel_values=(
                torch.from_numpy(np.concatenate([v.patches(self.pixels) for v in visuals])) if visuals else None
            ),
            grid_thw=torch.tensor(grid) if visuals else None,
        )

    def _batches(self, rows: Sequence[Prepared], plan: list[list[int]]) -> Iterator[Batch]:
        """Yields the batches of a plan; a thread collates the next batch while an accelerator encodes this one."""

        def collate(positions: list[int]) -> Batch:
            return self.collate_prepared([rows[i] for i in positions])

        if not self.collate_ahead or len(plan) < 2:
            yield from map(collate, plan)
            return
        with ThreadPoolExecutor(1, "collate") as pool:
            future = pool.submit(collate, plan[0])
            for positions in plan[1:]:
                batch, future = future.result(), pool.submit(collate, positions)
                yield batch
            yield future.result()

    def _sample_frames(self, item: Input) -> Input:
        if item.video is None or self.family is gme:  # GME uses the middle of all frames
            return item
        return replace(item, video=sample_frames(item.video, self.max_frames))

    def _prepare_prompt(self, prompt: Prompt) -> Prepared:
        whole, tail = self.tokenizer.encode_batch([prompt.head + prompt.text + prompt.tail, prompt.tail])
        return self._expand(whole.ids, prompt.visuals, len(tail.ids))

    def _expand(self, ids: list[int], media: Sequence[Any] | None, tail_tokens: int) -> Prepared:
        """Repeat each pad token once per token of its visual, and truncate long text before its tail."""
        images = [] if media is None else list(media)
        pads = [i for i in ids if i in self._visual_ids] if images else []
        if images and not pads:
            raise ModelError(f"{len(images)} images came with a prompt that holds no pad token for them.")
        visuals = self._visuals(pads, images)
        counts = iter([visual.tokens(self.pixels) for visual in visuals])
        if not ids:
            ids = self.tokenizer.encode("\n").ids  # an empty text has no last token
        all_ids: list[int] = []
        mask: list[bool] = []
        for token in ids:
            is_pad = bool(pads) and token in self._visual_ids
            count = next(counts) if is_pad else 1
            all_ids += [token] * count
            mask += [is_pad] * count
        out_ids, out_mask = np.asarray(all_ids, dtype=np.int64), np.asarray(mask, dtype=bool)
        if (excess := len(out_ids) - self.max_tokens) > 0:
            text = np.flatnonzero(~out_mask)
            text = text[: len(text) - tail_tokens] if tail_tokens else text
            cut = text[max(0, len(text) - excess) :]
            out_ids, out_mask = np.delete(out_ids, cut), np.delete(out_mask, cut)
        return Prepared(out_ids, out_mask, visuals)

    def _visuals(self, pads: list[int], media: list[Any]) -> tuple[Visual, ...]:
        """Returns the visuals of pad tokens, small enough for `max_tokens`: every frame has the same share."""
        visuals = self._resize(pads, media, self.pixels)
        room = self.max_tokens - min(TEXT_RESERVE, self.max_tokens // 4)
        if sum(v.tokens(self.pixels) for v in visuals) > room:
            share = max(1, room // sum(v.grid[0] for v in visuals)) * self.pixels.factor**2
            smaller = replace(self.pixels, min_pixels=min(self.pixels.min_pixels, share), max_pixels=share)
            visuals = self._resize(pads, media, smaller)
        return visuals

    def _resize(self, pads: list[int], media: list[Any], pixels: Pixels) -> tuple[Visual, ...]:
        images = pads.count(self.image_id)
        videos = len(pads) - images
        if pads and (len(media) <= images if videos else len(media) != images):
            raise ModelError(
                f"A prompt with {images} image and {videos} video pad tokens came with {len(media)} images."
            )
        clips = [m for m in media if isinstance(m, np.ndarray) and m.ndim == 4]
        if videos > 1 and len(clips) != videos:
            raise ModelError("Several clips in one prompt must be given as arrays [T, H, W, 3], one per pad token.")
        remaining, visuals = list(media), []
        for number, pad in enumerate(pads):
            if pad == self.image_id:
                visuals.append(image_visual(remaining.pop(0), pixels, self._first_size))
            elif isinstance(remaining[0], np.ndarray) and remaining[0].ndim == 4:
                visuals.append(video_visual(remaining.pop(0), pixels))
            else:
                count = len(remaining) - (len(pads) - number - 1)
                visuals.append(video_visual([remaining.pop(0) for _ in range(count)], pixels))
        return tuple(visuals)


def read_tokenizer(folder: Path) -> Any:
    """Returns the checkpoint's `tokenizers.Tokenizer` without padding and truncation. Raises `ModelError`."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{folder} has no tokenizer.json; copy the tokenizer files of its base model beside it.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 -- the library raises plain Exception on a bad file
        raise ModelError(f"{path} cannot be read as a tokenizer ({error}).") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
