"""What a training step needs, counted and not run: peak memory and flops of a model too large for here.

Built around fake tensors (torch's own: a shape, a type, no numbers) that go through the trainer's real step,
and `Ledger`, which notes every tensor's storage from its making to its end. Integers stay real, so that
picture sizes and masks are what they would be. `tests/bench/train.py` holds the count against what torch's
allocator gives out in the same step of a small model, run for real.
It counts what tensors need. An accelerator's own needs (its context, workspaces of its kernels, gaps
between blocks) come on top.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from data.sources.pair import LoadedSide
from model.qwen.embedder import Batch, QwenVLEmbedder, read_tokenizer
from model.qwen.vision import Pixels
from train.config import Config
from train.grad_cache import cached_backward
from train.loss import info_nce
from train.towers.qwen import QwenTower
from train.trainer import optimizer_of

TOKENIZER = Path(__file__).resolve().parents[1] / "model" / "parity" / "checkpoint"
BLOCK = 512
"""Bytes that an accelerator's allocator rounds up to."""

MEDIUM: dict[str, Any] = {
    "text_config": {
        "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 8,
        "num_key_value_heads": 2, "vocab_size": 512, "bos_token_id": None, "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
    },
    "vision_config": {"depth": 6, "embed_dim": 192, "hidden_size": 256, "num_heads": 3},
}  # fmt: skip
"""Large enough to time, small enough to run here."""

QWEN2_VL_2B: dict[str, Any] = {
    "text_config": {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16},
}  # fmt: skip
"""The published Qwen2-VL-2B-Instruct's config.json; token ids are the parity tokenizer's."""


class Ledger(TorchDispatchMode):
    """Bytes of all storages made while it is on and alive now (`live`), and the most at once (`peak`)."""

    def __init__(self, block: int = BLOCK) -> None:
        super().__init__()
        self.block, self.live, self.peak = block, 0, 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.note(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def note(self, tensors: Iterable[Tensor]) -> int:
        """Count those that are not yet counted, until they end; their bytes."""
        before = self.live
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if id(storage) not in self._known:
                size = self.size(tensor)
                self._known[id(storage)] = weakref.ref(storage, self._ended(id(storage), size))
                self.live += size
        self.peak = max(self.peak, self.live)
        return self.live - before

    def size(self, tensor: Tensor) -> int:
        return -(-tensor.untyped_storage().nbytes() // self.block) * self.block

    def _ended(self, key: int, size: int) -> Callable[[Any], None]:
        def ended(_: Any) -> None:
            del self._known[key]
            self.live -= size

        return ended


@dataclass(frozen=True)
class Counted:
    """Bytes at the peak of a step, by what they are."""

    peak: int
    weights: int
    gradients: int
    moments: int

    @property
    def activations(self) -> int:
        """All else: activations, what kernels hand to each other, a chunk's pixels."""
        return self.peak - self.weights - self.gradients - self.moments


Sides = Sequence[LoadedSide]


def count_memory(
    config: Config, shape: Mapping[str, Any], queries: Sides, targets: Sides, fake: bool = True
) -> Counted:
    """One optimiser step of a model of this shape over as many queries as targets, each side one chunk.

    More chunks need no more: each is gone before the next comes, but for its embeddings.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None
    tower, chunks = prepared(config, shape, queries, targets, mode)
    parameters = list(tower.trainable().values())
    optimizer = optimizer_of(config, parameters)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # moments are there from the second step on
    optimizer.zero_grad(set_to_none=True)
    with Ledger() as ledger:
        weights = ledger.note([*tower.module.parameters(), *tower.module.buffers()])
        moments = ledger.note(t for state in optimizer.state.values() for t in state.values())
        step(tower, optimizer, parameters, chunks)
        peak = ledger.peak
        gradients = sum(ledger.size(p.grad) for p in parameters if p.grad is not None)
    return Counted(peak, weights, gradients, moments)


def count_flops(config: Config, shape: Mapping[str, Any], queries: Sides, targets: Sides) -> int:
    """Flops of one forward and backward of these sides, without what chunking and checkpointing do again."""
    once = replace(config, chunk_size=0, gradient_checkpointing=False)
    tower, chunks = prepared(once, shape, queries, targets, FakeTensorMode(allow_non_fake_inputs=True))
    with FlopCounterMode(display=False) as counter:
        backward(tower, chunks)
    return int(counter.get_total_flops())


def count_tokens(config: Config, shape: Mapping[str, Any], queries: Sides, targets: Sides) -> int:
    """Tokens of these sides, without padding."""
    tower = build(config, shape, FakeTensorMode(allow_non_fake_inputs=True))
    chunks = [tower.collator()(side) for side in (queries, targets)]
    return sum(c.input_ids.numel() if c.attention_mask is None else int(c.attention_mask.sum()) for c in chunks)


def allocated(config: Config, shape: Mapping[str, Any], queries: Sides, targets: Sides) -> int:
    """The step of `count_memory`, run: bytes at the peak by what torch's allocator itself reports."""
    from torch.profiler import ProfilerActivity, profile

    tower, chunks = prepared(config, shape, queries, targets, None)
    parameters = list(tower.trainable().values())
    optimizer = optimizer_of(config, parameters)
    step(tower, optimizer, parameters, chunks)
    optimizer.zero_grad(set_to_none=True)
    there = [*tower.module.parameters(), *tower.module.buffers()]
    there += [t for state in optimizer.state.values() for t in state.values()]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(tower, optimizer, parameters, chunks)
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore
    live = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return sum(t.untyped_storage().nbytes() for t in there) + int(live.max())


def prepared(
    config: Config, shape: Mapping[str, Any], queries: Sides, targets: Sides, mode: FakeTensorMode | None
) -> tuple[QwenTower, list[Batch]]:
    tower = build(config, shape, mode)
    tower.module.train()
    chunks = [tower.collator()(side) for side in (queries, targets)]
    return tower, [faked(chunk, mode) if mode else chunk for chunk in chunks]


def step(tower: QwenTower, optimizer: Any, parameters: Sequence[Tensor], chunks: Sequence[Batch]) -> None:
    """The trainer's, without what reads numbers."""
    backward(tower, chunks)
    torch.nn.utils.clip_grad_norm_(parameters, tower.config.max_grad_norm)
    optimizer.step()


def backward(tower: QwenTower, chunks: Sequence[Batch]) -> None:
    def encode(batch: Batch) -> Tensor:
        return tower.encode(copied(batch))  # a chunk's way from the machine's memory to the card's

    def loss_of(embeddings: Tensor) -> Tensor:
        queries, targets = embeddings.chunk(2)
        return info_nce(queries, targets, tower.config.temperature)

    cached_backward(encode, chunks, loss_of, cache=tower.config.chunk_size > 0)


def build(config: Config, shape: Mapping[str, Any], mode: FakeTensorMode | None) -> QwenTower:
    """A tower of this shape as `train.towers.qwen` makes it of a checkpoint; random, or fake by `mode`."""
    from transformers import AutoModel

    from model.qwen.checkpoint import patches_as_products

    number = torch.bfloat16 if config.dtype == "bfloat16" and config.lora_rank else torch.float32
    pixels = Pixels(min_pixels=config.min_pixels, max_pixels=config.max_pixels)
    with torch.device("meta" if mode else "cpu"):
        model = AutoModel.from_config(qwen_config(shape), dtype=number, attn_implementation="sdpa")
        patches_as_products(model.requires_grad_(False))
        embedder = QwenVLEmbedder(model, read_tokenizer(TOKENIZER), pixels, id="counted", batch_tokens=32768)
        tower = QwenTower(config, TOKENIZER, embedder)
    if mode:
        put_fakes(tower.module, mode)
        tower.device = embedder.device
    return tower


def qwen_config(shape: Mapping[str, Any]) -> Any:
    from transformers import Qwen2VLConfig

    return Qwen2VLConfig(**shape, image_token_id=391, video_token_id=392)


def put_fakes(module: torch.nn.Module, mode: FakeTensorMode) -> None:
    """In place of what is only shape (`meta`), tensors that say they are on the CPU."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                with mode:
                    fake: Tensor = torch.empty_like(tensor, device="cpu")
                if isinstance(tensor, torch.nn.Parameter):
                    fake = torch.nn.Parameter(fake, requires_grad=tensor.requires_grad)
                held[name] = fake


def questions(count: int, words: int = 30) -> list[LoadedSide]:
    """Texts of unequal length, so that a chunk is padded as real ones are."""
    return [LoadedSide("word " * (words - n), (), "text", False, None, "query", n) for n in range(count)]


def pictures(count: int, pixels: int) -> list[LoadedSide]:
    """Square ones of as many pixels, as targets."""
    return [LoadedSide("", (_square(pixels),), "image", False, None, "document", n) for n in range(count)]


def clips(count: int, pixels: int, frames: int = 8) -> list[LoadedSide]:
    shown = (_square(pixels),) * frames
    return [LoadedSide("", shown, "video", False, None, "document", n) for n in range(count)]


def _square(pixels: int) -> np.ndarray:
    side = int(pixels**0.5) // 28 * 28
    return np.zeros((side, side, 3), np.uint8)


def copied(batch: Batch) -> Batch:
    parts = {n: None if t is None else t.clone() for n, t in vars(batch).items()}
    return Batch(**parts)


def faked(batch: Batch, mode: FakeTensorMode) -> Batch:
    """Its pixels without their numbers."""
    if batch.pixel_values is None:
        return batch
    return replace(batch, pixel_values=mode.from_tensor(batch.pixel_values))
