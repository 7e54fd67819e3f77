"""Items to vectors: what a model is told, what is embedded already, and what is left to do.

Built around `Prompter`, which turns a `TaskItem` into what one model takes (the exact prompts of
the protocol for the Qwen backbones that were trained on them, an `Input` for every other
model), and `embed_items`, which looks everything up in the cache and embeds the rest: this
process' share, sorted by length, pictures decoded ahead by threads. It knows nothing of scores.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from data.mmeb.task_data import PictureError, TaskItem
from data.sources.pair import stacked
from eval.cache import EmbeddingCache
from model.embedder import Embedder, InputRejected, ModelAway, ModelError
from model.inputs import Input

# What one call of the model gets. The backbones sort a call by length and cut it into batches by a token
# budget; a call is large enough for that to pay and small enough to be lost to a power cut. Clips: 16 of
# 8 frames of 1280 x 720 are 350 MB decoded, and two calls are in memory.
TEXTS_AT_ONCE = 2048
IMAGES_AT_ONCE = 64
CLIPS_AT_ONCE = 16
# Calls whose pictures are being decoded while the model works.
AHEAD = 2


@dataclass(frozen=True)
class Rank:
    """This process among those that torchrun started; alone without it."""

    number: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Rank:
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def wait_for_all(self) -> None:
        """Until every process came here. Vectors travel through the cache, so this is all they say."""
        if self.count == 1:
            return
        from datetime import timedelta

        from torch import distributed

        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=timedelta(days=2))
        distributed.barrier()


class Prompter:
    """What `embedder` is given for an item.

    The prompt layer is used where the model has one and its own wording is the protocol's
    (VLM2Vec-V2 and what is trained like it); `prompts=False` switches it off.
    """

    def __init__(self, embedder: Embedder, prompts: bool | None = None) -> None:
        self.embedder = embedder
        self.prompts = speaks_protocol(embedder) if prompts is None else prompts

    def parts(self, item: TaskItem) -> tuple[str, ...]:
        """Everything the model is told besides pictures; part of the cache's key."""
        if self.prompts:
            return ("prompt", item.prompt)
        said = item.instruction.strip() if item.instruction else ""
        return ("input", item.role, item.kind, said, item.text)

    def embed(self, items: Sequence[TaskItem], pictures: Sequence[list[np.ndarray]]) -> np.ndarray:
        """float32 [n, dim]. `pictures`: uint8 [H, W, 3] an image or frame; empty for text."""
        if self.prompts:
            shown = [p or None for p in pictures]
            return self.embedder.embed_prompts([i.prompt for i in items], shown)  # type: ignore[attr-defined]
        return self.embedder.embed([_input(i, p) for i, p in zip(items, pictures, strict=True)])


def vectors_id(embedder: Embedder) -> str:
    """The model's id, and the numbers that it computes in where those are not float32.

    An id is one for all of them, so that a library can go from one machine to another; scores are not: the
    vectors of bfloat16 differ from those of float32 in the third digit.
    """
    parameters = getattr(getattr(embedder, "model", None), "parameters", None)
    first = next(iter(parameters()), None) if parameters is not None else None
    numbers = str(getattr(first, "dtype", "torch.float32")).removeprefix("torch.")
    return embedder.id if numbers == "float32" else f"{embedder.id} {numbers}"


def speaks_protocol(embedder: Embedder) -> bool:
    """Whether the model was trained on the benchmark's own prompts."""
    if not hasattr(embedder, "embed_prompts"):
        return False
    from model.prompts import vlm2vec

    return getattr(embedder, "family", None) is vlm2vec


def _input(item: TaskItem, pictures: list[np.ndarray]) -> Input:
    said = item.instruction.strip() if item.instruction else None
    clip = item.visual is not None and item.visual.kind == "video"
    return Input(
        text=item.text or None,
        images=() if clip else tuple(pictures),
        video=stacked(pictures) if clip and pictures else None,
        instruction=said,
        role=item.role,
        kind=item.kind,
    )


@dataclass(frozen=True, eq=False)
class Embedded:
    """`vectors` float32 [n, dim]; `failed` position -> why, where there is none (a row of zeros)."""

    vectors: np.ndarray
    failed: dict[int, PictureError]


def keys_of(items: Sequence[TaskItem], prompter: Prompter, cache: EmbeddingCache) -> list[bytes | PictureError]:
    """The cache's name of each item, or why it has none."""
    out: list[bytes | PictureError] = []
    for item in items:
        try:
            out.append(cache.key(item, prompter.parts(item)))
        except PictureError as error:
            out.append(error)
    return out


def embed_missing(
    items: Sequence[TaskItem],
    keys: Sequence[bytes | PictureError],
    prompter: Prompter,
    cache: EmbeddingCache,
    rank: Rank | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> int:
    """Embed what the cache lacks (this rank's share of it) and return how many that were."""
    rank = rank or Rank()
    first: dict[bytes, TaskItem] = {}
    for item, key in zip(items, keys, strict=True):
        if isinstance(key, bytes):
            first.setdefault(key, item)
    # Sorted by length, then dealt out, so that every process gets its part of the long ones; dealt before the
    # cache is asked: what it lacks changes while the others work.
    ordered = sorted(first, key=lambda k: _cost(first[k]), reverse=True)
    missing = cache.missing(ordered[rank.number :: rank.count])
    mine = [k for k in ordered if k in missing]
    done = 0
    with ThreadPoolExecutor(threads or min(8, (os.cpu_count() or 2) + 2)) as pool:
        for some, pictures in _decoded_ahead(_calls([(k, first[k]) for k in mine]), pool):
            good: list[tuple[bytes, TaskItem, list[np.ndarray]]] = []
            for (key, item), shown in zip(some, pictures, strict=True):
                try:
                    good.append((key, item, shown.result()))
                except PictureError as error:
                    cache.put_failure(key, error)
            if good:
                _embed_call(good, prompter, cache)
            done += len(some)
            if progress is not None:
                progress(done, len(mine))
    return len(mine)


def _embed_call(
    call: list[tuple[bytes, TaskItem, list[np.ndarray]]], prompter: Prompter, cache: EmbeddingCache
) -> None:
    """One call of the model. If it refuses the call, its items are tried alone, so that one costs one.

    A model on another machine that is away refuses nothing: `ModelAway` ends the run, which goes on later.
    """
    keys, items, pictures = zip(*call, strict=True)
    refusal: Exception
    try:
        cache.put(keys, prompter.embed(items, pictures))
        return
    except ModelAway:
        raise
    except (ModelError, InputRejected) as error:
        if len(call) == 1 and isinstance(error, ModelError):
            raise
        refusal = error
    refused = 0
    for key, item, shown in call:
        try:
            cache.put([key], prompter.embed([item], [shown]))
        except ModelAway:
            raise
        except (ModelError, InputRejected) as error:
            refused += 1
            if refused == len(call) and isinstance(refusal, ModelError):
                raise refusal from None  # not one input's fault
            source = item.visual.pictures[0].source if item.visual and item.visual.pictures else item.prompt[:60]
            cache.put_failure(key, PictureError(source, str(error)))


def collect(keys: Sequence[bytes | PictureError], cache: EmbeddingCache) -> Embedded:
    """The vectors of items that were embedded, by this process or another."""
    failures = cache.failures()
    vectors, there = cache.get([k if isinstance(k, bytes) else b"" for k in keys])
    failed = {}
    for i, key in enumerate(keys):
        if isinstance(key, PictureError):
            failed[i] = key
        elif not there[i]:
            failed[i] = failures.get(key, PictureError("?", "was not embedded"))
    return Embedded(vectors, failed)


def _cost(item: TaskItem) -> tuple[int, int]:
    frames = 0 if item.visual is None else len(item.visual.pictures) or item.visual.frames or 1
    return frames, len(item.prompt)


def _calls(pairs: list[tuple[bytes, TaskItem]]) -> Iterator[list[tuple[bytes, TaskItem]]]:
    """Slices of one kind each: clips, images, texts."""
    at = 0
    while at < len(pairs):
        visual = pairs[at][1].visual
        size = TEXTS_AT_ONCE if visual is None else CLIPS_AT_ONCE if visual.kind == "video" else IMAGES_AT_ONCE
        some = [pairs[at]]
        while at + len(some) < len(pairs) and len(some) < size:
            other = pairs[at + len(some)][1].visual
            if (other and other.kind) != (visual and visual.kind):
                break
            some.append(pairs[at + len(some)])
        yield some
        at += len(some)


def _decoded_ahead(
    calls: Iterator[list[tuple[bytes, TaskItem]]], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[tuple[bytes, TaskItem]], list[Future[list[np.ndarray]]]]]:
    """Each call with its pictures, `AHEAD` calls being decoded while one is used."""
    waiting: deque[tuple[list[tuple[bytes, TaskItem]], list[Future[list[np.ndarray]]]]] = deque()
    for some in calls:
        waiting.append((some, [pool.submit(_pictures, item) for _, item in some]))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _pictures(item: TaskItem) -> list[np.ndarray]:
    return [] if item.visual is None else item.visual.read()
