"""VLM2Vec-V2 and its kin: Qwen2-VL and Qwen2.5-VL as embedding models.

Built around three steps, each usable alone:

    prepare   prompt with pad tokens + its images -> token ids and image sizes (no pixels yet)
    collate   prepared rows -> `Batch` of tensors, left-padded
    encode    `Batch` -> unit vectors [n, dim], a tensor with gradients where they are wanted

`embed` and `embed_prompts` run the three over token-budget batches; training runs the
same `collate` and `encode` (or `encoder`, the module behind it, when it must be wrapped
for several devices) and benchmarks the same `embed_prompts`. `model` is the torch module:
adapters may be put into it, its parameters trained, its `state_dict` saved.

Two quirks that the published weights were trained with, against what the library does
by itself: every token, visual ones too, has its plain one-dimensional position; and the
vector is the last token's hidden state after the final norm. No language-model head is
ever built. This file knows nothing of names, downloads or adapters.
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
# The longest single input: four times a published 8-frame clip at the protocol's limits (5,120), so
# that no published protocol meets it. Longer text is cut, larger images are shrunk: memory is bounded.
MAX_TOKENS = 16384
# Text that an image-laden input may always keep.
TEXT_RESERVE = 256
FRAMES = 8
# (padded tokens of a batch, tokens of padding after which another batch is cheaper), by kind of device. On a
# CPU a batch costs the reading of the weights, as much as 30 tokens of work (float32, 2B, make bench-model).
BATCH_TOKENS = {"cpu": (4096, 64), "accelerator": (32768, 4096)}


@dataclass(frozen=True, eq=False)
class Prepared:
    """One input as tokens: `ids` int64 [n] with each pad token expanded, `visual` bool [n] marking those."""

    ids: np.ndarray
    visual: np.ndarray
    visuals: tuple[Visual, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Batch:
    """What `encode` takes. `attention_mask` is None where no row is padded.

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
        named: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, tensor in named.items():
            named[name] = None if tensor is None else tensor.to(device, non_blocking=True)
        return Batch(**named)


class Encoder(nn.Module):
    """A `Batch` to unit vectors, float32 [n, dim]. Holds the backbone as `model`; knows no tokenizer."""

    model: Any

    def __init__(self, model: nn.Module, patches_at_once: int) -> None:
        super().__init__()
        self.model = model
        self.patches_at_once = patches_at_once

    def forward(self, batch: Batch) -> torch.Tensor:
        hidden = self.model.get_input_embeddings()(batch.input_ids)
        if batch.pixel_values is not None and batch.visual_mask is not None:
            seen = self.see(batch).to(hidden.dtype)
            hidden = hidden.masked_scatter(batch.visual_mask.unsqueeze(-1), seen)
        hidden = self.model.language_model(
            inputs_embeds=hidden, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False
        ).last_hidden_state
        return nn.functional.normalize(hidden[:, -1].float(), dim=-1)

    def see(self, batch: Batch) -> torch.Tensor:
        """Merged patch features [tokens, width] of all images of the batch.

        One pass of the vision tower, or as few as `patches_at_once` allows: frames (pairs of
        frames in a clip) do not attend to each other, so cutting between them changes nothing.
        """
        assert batch.pixel_values is not None and batch.grid_thw is not None
        sizes = batch.grid_thw.prod(-1).tolist()
        pixels = batch.pixel_values.to(next(self.model.visual.parameters()).dtype)
        features, row, patch = [], 0, 0
        while row < len(sizes):
            end, count = row + 1, sizes[row]
            while end < len(sizes) and count + sizes[end] <= self.patches_at_once:
                count += sizes[end]
                end += 1
            out = self.model.visual(pixels[patch : patch + count], grid_thw=batch.grid_thw[row:end])
            features.append(out.pooler_output)
            row, patch = end, patch + count
        return torch.cat(features)


class QwenVLEmbedder:
    """An `Embedder` over a Qwen2-VL or Qwen2.5-VL backbone. Made by `model.load` (model/registry.py)."""

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
        """`tokenizer`: a `tokenizers.Tokenizer`. `batch_tokens`: padded tokens that one batch may hold.

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
        self.ahead = self.device.type != "cpu"
        self.encoder = Encoder(model, patches_at_once=max(16384, 4 * self.batch_tokens))
        self._first_size = first_size
        self.image_id, self.video_id = config.image_token_id, config.video_token_id
        self._pad_id = text.pad_token_id if text.pad_token_id is not None else 0

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given."""
        return self.embed_prepared(self.prepare_inputs(inputs))

    def embed_prompts(self, prompts: Sequence[str], visuals: Sequence[Sequence[Any] | None]) -> np.ndarray:
        """float32 [len(prompts), dim] of prompts that already hold their pad tokens.

        `visuals[i]`: for `"<|image_pad|> …"` the images (uint8 [H, W, 3] or PIL), one a pad token; for
        `"<|video_pad|> …"` the frames of the clip in order. Where a prompt has both, each image pad takes
        one entry and the video pad the rest. None or empty: a pad token stays an ordinary token.
        """
        return self.embed_prepared(self.prepare(prompts, visuals))

    def prepare_inputs(self, inputs: Sequence[Input]) -> list[Prepared]:
        """Token ids and image sizes of inputs, in the family's own wording."""
        return [self._prepare_prompt(self.family(self._sampled(item))) for item in inputs]

    def prepare(self, prompts: Sequence[str], visuals: Sequence[Sequence[Any] | None]) -> list[Prepared]:
        """Token ids and image sizes of prompts that hold their pad tokens; see `embed_prompts`."""
        if len(prompts) != len(visuals):
            raise ModelError(f"{len(prompts)} prompts came with {len(visuals)} lists of images; one each is needed.")
        encoded = self.tokenizer.encode_batch(list(prompts))
        return [self._expand(row.ids, shown, 0) for row, shown in zip(encoded, visuals, strict=True)]

    def collate(self, prompts: Sequence[str], visuals: Sequence[Sequence[Any] | None]) -> Batch:
        """One batch, in the order given, on the CPU (`.to(device)` moves it)."""
        return self.collate_prepared(self.prepare(prompts, visuals))

    def encode(self, batch: Batch) -> torch.Tensor:
        """Unit vectors, float32 [n, dim], on the model's device; gradients flow where they are on."""
        return self.encoder(batch.to(self.device))

    def embed_prepared(self, rows: Sequence[Prepared]) -> np.ndarray:
        """float32 [len(rows), dim]: batches of like length, each at most `batch_tokens` padded tokens."""
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        plan = plan_batches([len(row) for row in rows], self.batch_tokens, self.padding)
        for places, batch in zip(plan, self._collated(rows, plan), strict=True):
            with torch.inference_mode():
                out[places] = self.encode(batch).cpu().numpy()
        if not np.isfinite(out).all():
            raise ModelError(
                f"{self.id} gave vectors that are not numbers; half precision may be too narrow "
                f"for it: try dtype float32."
            )
        return out

    def collate_prepared(self, rows: Sequence[Prepared]) -> Batch:
        """Left-padded tensors of prepared rows; the pixels are made here."""
        length = max(len(row) for row in rows)
        ids = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=bool)
        visual = np.zeros((len(rows), length), dtype=bool)
        for i, row in enumerate(rows):
            ids[i, length - len(row) :] = row.ids
            mask[i, length - len(row) :] = True
            visual[i, length - len(row) :] = row.visual
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        shown = [v for row in rows for v in row.visuals]
        grid = [[1, v.grid[1], v.grid[2]] for v in shown for _ in range(v.grid[0])]
        return Batch(
            input_ids=torch.from_numpy(ids),
            position_ids=torch.from_numpy(positions),
            attention_mask=None if mask.all() else torch.from_numpy(mask.astype(np.int64)),
            visual_mask=torch.from_numpy(visual) if shown else None,
            pixel_values=torch.from_numpy(np.concatenate([v.patches(self.pixels) for v in shown])) if shown else None,
            grid_thw=torch.tensor(grid) if shown else None,
        )

    def _collated(self, rows: Sequence[Prepared], plan: list[list[int]]) -> Iterator[Batch]:
        """The batches of a plan; beside an accelerator the next one is made while it works on this one."""

        def make(places: list[int]) -> Batch:
            return self.collate_prepared([rows[i] for i in places])

        if not self.ahead or len(plan) < 2:
            yield from map(make, plan)
            return
        with ThreadPoolExecutor(1, "collate") as pool:
            coming = [pool.submit(make, places) for places in plan[:1]]
            for following in [*plan[1:], None]:
                batch = coming.pop().result()
                if following is not None:
                    coming.append(pool.submit(make, following))
                yield batch

    def _sampled(self, item: Input) -> Input:
        if item.video is None or self.family is gme:  # GME takes the middle one of all
            return item
        return replace(item, video=sample_frames(item.video, self.max_frames))

    def _prepare_prompt(self, prompt: Prompt) -> Prepared:
        whole, tail = self.tokenizer.encode_batch([prompt.head + prompt.text + prompt.tail, prompt.tail])
        return self._expand(whole.ids, prompt.visuals, len(tail.ids))

    def _expand(self, ids: list[int], shown: Sequence[Any] | None, keep_tail: int) -> Prepared:
        """Give each pad token its images and as many places as they have tokens; cut over-long text."""
        pads = [i for i in ids if i in (self.image_id, self.video_id)] if shown is not None and len(shown) else []
        if shown is not None and len(shown) and not pads:
            raise ModelError(f"{len(shown)} images came with a prompt that holds no pad token for them.")
        visuals = self._visuals(pads, list(shown) if shown is not None else [])
        counts = iter([visual.tokens(self.pixels) for visual in visuals])
        if not ids:
            ids = self.tokenizer.encode("\n").ids  # an empty text has no last token
        expanded: list[int] = []
        visual: list[bool] = []
        for token in ids:
            times = next(counts) if pads and token in (self.image_id, self.video_id) else None
            expanded += [token] * (1 if times is None else times)
            visual += [False] if times is None else [True] * times
        out_ids, out_visual = np.asarray(expanded, dtype=np.int64), np.asarray(visual, dtype=bool)
        if (excess := len(out_ids) - self.max_tokens) > 0:
            text = np.flatnonzero(~out_visual)
            text = text[: len(text) - keep_tail] if keep_tail else text
            cut = text[max(0, len(text) - excess) :]
            out_ids, out_visual = np.delete(out_ids, cut), np.delete(out_visual, cut)
        return Prepared(out_ids, out_visual, visuals)

    def _visuals(self, pads: list[int], shown: list[Any]) -> tuple[Visual, ...]:
        visuals = self._sized(pads, shown, self.pixels)
        room = self.max_tokens - min(TEXT_RESERVE, self.max_tokens // 4)
        if sum(v.tokens(self.pixels) for v in visuals) > room:
            # Too much to look at: every frame gets the same share of what there is room for.
            share = max(1, room // sum(v.grid[0] for v in visuals)) * self.pixels.factor**2
            smaller = replace(self.pixels, min_pixels=min(self.pixels.min_pixels, share), max_pixels=share)
            visuals = self._sized(pads, shown, smaller)
        return visuals

    def _sized(self, pads: list[int], shown: list[Any], pixels: Pixels) -> tuple[Visual, ...]:
        images = pads.count(self.image_id)
        videos = len(pads) - images
        wrong = images > len(shown) or (not videos and images < len(shown)) or (videos and images == len(shown))
        if pads and wrong:
            raise ModelError(
                f"A prompt with {images} image and {videos} video pad tokens came with {len(shown)} images."
            )
        clips = [s for s in shown if isinstance(s, np.ndarray) and s.ndim == 4]
        if videos > 1 and len(clips) != videos:
            raise ModelError("Several clips in one prompt must be given as arrays [T, H, W, 3], one a pad token.")
        left, visuals = list(shown), []
        for place, pad in enumerate(pads):
            if pad == self.image_id:
                visuals.append(image_visual(left.pop(0), pixels, self._first_size))
            elif isinstance(left[0], np.ndarray) and left[0].ndim == 4:
                visuals.append(video_visual(left.pop(0), pixels))
            else:
                take = len(left) - (len(pads) - place - 1)
                visuals.append(video_visual([left.pop(0) for _ in range(take)], pixels))
        return tuple(visuals)


def read_tokenizer(folder: Path) -> Any:
    """The checkpoint's own `tokenizers.Tokenizer`, with no padding or cutting of its own."""
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
