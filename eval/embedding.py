"""From task items to vectors: the prompts of a model, the cache, and the items that are still to embed.

Built around `Prompter`, which turns a `TaskItem` into the input of a model by its protocol (eval/protocols.py: the
exact prompts of the benchmark, or an `Input`), and `embed_missing`, which embeds this process's share of the items
that the cache lacks. Threads decode images ahead. It knows nothing of scores.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data.mmeb.task import Task
from data.mmeb.task_data import ImageError, TaskData, TaskItem
from data.sources.pair import stack_frames
from eval.cache import EmbeddingCache
from eval.protocols import ScoringProtocol
from model.embedder import Embedder, InputRejected, ModelAway, ModelError
from model.inputs import Input

# The items of one call of the model. The backbones sort a call by length and split it into batches by a token
# budget: a call is large enough for that, and small enough to repeat after a power cut. 128 frames of 1280 x 720 are
# 350 MB decoded, and three calls are in memory.
TEXTS_PER_CALL = 2048
IMAGES_PER_CALL = 64
FRAMES_PER_CALL = 128
CALLS_AHEAD = 2
"""Calls whose images are decoded while the model works."""


@dataclass(frozen=True)
class Rank:
    """This process among those of torchrun; without torchrun there is one."""

    number: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> Rank:
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def wait_for_all(self) -> None:
        """Wait until every process calls this. The processes share vectors only through the cache."""
        if self.count == 1:
            return
        from datetime import timedelta

        from torch import distributed

        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=timedelta(days=2))
        distributed.barrier()


class AnyPrompter(Protocol):
    """What embedding needs of a prompter."""

    def parts(self, item: TaskItem) -> tuple[str, ...]: ...

    def embed(self, items: Sequence[TaskItem], images: Sequence[list[np.ndarray]]) -> Any:
        """Returns what the cache takes for these items."""


class Prompter:
    """The input of `embedder` for an item that `items_of` gave, by a protocol."""

    def __init__(self, embedder: Embedder, protocol: ScoringProtocol) -> None:
        self.embedder, self.protocol = embedder, protocol

    def parts(self, item: TaskItem) -> tuple[str, ...]:
        """Returns all texts of the input; they are part of the cache's key."""
        if self.protocol.exact:
            return ("prompt", item.prompt)
        instruction = "" if item.instruction is None else f"={item.instruction}"
        return ("input", self.protocol.name, item.role, item.kind, instruction, item.text)

    def embed(self, items: Sequence[TaskItem], images: Sequence[list[np.ndarray]]) -> np.ndarray:
        """Returns float32 [n, dim]. `images`: uint8 [H, W, 3] per image or frame; an empty list for text."""
        if self.protocol.middle_frame:
            images = [frames[len(frames) // 2 :][:1] for frames in images]
        if self.protocol.exact:
            embedder: Any = self.embedder
            vectors: np.ndarray = embedder.embed_prompts(
                [i.prompt for i in items], [frames or None for frames in images]
            )
            return vectors
        prepare = self.protocol.prepare
        return self.embedder.embed([prepare(_input(i, frames)) for i, frames in zip(items, images, strict=True)])


def items_of(task: Task, data: TaskData, protocol: ScoringProtocol) -> list[TaskItem]:
    """Returns the queries of a task, then its candidates, as the protocol words and shows them."""
    return [protocol.item(task, item) for item in (*data.queries, *data.candidates)]


def vectors_id(embedder: Any) -> str:
    """Returns the model's id, followed by its dtype unless that is float32.

    A model id does not depend on the dtype, so that a library can move to another machine. Scores do: vectors in
    bfloat16 differ from those in float32 in the third digit.
    """
    parameters = getattr(getattr(embedder, "model", None), "parameters", None)
    first = next(iter(parameters()), None) if parameters is not None else None
    dtype = str(getattr(first, "dtype", "torch.float32")).removeprefix("torch.")
    return embedder.id if dtype == "float32" else f"{embedder.id} {dtype}"


def _input(item: TaskItem, images: list[np.ndarray]) -> Input:
    is_clip = item.visual is not None and item.visual.kind == "video"
    return Input(
        text=item.text or None,
        images=() if is_clip else tuple(images),
        video=stack_frames(images) if is_clip and images else None,
        instruction=item.instruction,
        role=item.role,
        kind=item.kind,
    )


@dataclass(frozen=True, eq=False)
class Embedded:
    """`vectors` float32 [n, dim]; `failed` maps the positions without a vector (rows of zeros) to the errors."""

    vectors: np.ndarray
    failed: dict[int, ImageError]


def keys_of(items: Sequence[TaskItem], prompter: AnyPrompter, cache: EmbeddingCache) -> list[bytes | ImageError]:
    """Returns the cache key of each item, or the error of its image."""
    out: list[bytes | ImageError] = []
    for item in items:
        try:
            out.append(cache.key(item, prompter.parts(item)))
        except ImageError as error:
            out.append(error)
    return out


def embed_missing(
    items: Sequence[TaskItem],
    keys: Sequence[bytes | ImageError],
    prompter: AnyPrompter,
    cache: EmbeddingCache,
    rank: Rank | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> int:
    """Embed this rank's share of the items that the cache lacks. Returns their number."""
    rank = rank or Rank()
    item_of: dict[bytes, TaskItem] = {}
    for item, key in zip(items, keys, strict=True):
        if isinstance(key, bytes):
            item_of.setdefault(key, item)
    # Each rank takes every n-th item by length, for an even share of the long ones. The share does not depend on
    # the cache, which changes while the other ranks work.
    by_length = sorted(item_of, key=lambda k: _cost(item_of[k]), reverse=True)
    missing = cache.missing(by_length[rank.number :: rank.count])
    own_keys = [k for k in by_length if k in missing]
    done = 0
    with ThreadPoolExecutor(threads or min(8, (os.cpu_count() or 2) + 2)) as pool:
        for call, futures in _decode_ahead(_calls([(k, item_of[k]) for k in own_keys]), pool):
            inputs: list[tuple[bytes, TaskItem, list[np.ndarray]]] = []
            for (key, item), future in zip(call, futures, strict=True):
                try:
                    inputs.append((key, item, future.result()))
                except ImageError as error:
                    cache.put_failure(key, error)
            if inputs:
                _embed_call(inputs, prompter, cache)
            done += len(call)
            if progress is not None:
                progress(done, len(own_keys))
    return len(own_keys)


def _embed_call(
    call: list[tuple[bytes, TaskItem, list[np.ndarray]]], prompter: AnyPrompter, cache: EmbeddingCache
) -> None:
    """Call the model once. If it rejects the call, embed each item alone, so that a bad item costs only itself.

    `ModelAway` (a model on another machine does not answer) is no rejection and ends the run.
    """
    keys, items, images = zip(*call, strict=True)
    rejection: Exception
    try:
        cache.put(keys, prompter.embed(items, images))
        return
    except ModelAway:
        raise
    except (ModelError, InputRejected) as error:
        if len(call) == 1 and isinstance(error, ModelError):
            raise
        rejection = error
    n_rejected = 0
    for key, item, frames in call:
        try:
            cache.put([key], prompter.embed([item], [frames]))
        except ModelAway:
            raise
        except (ModelError, InputRejected) as error:
            n_rejected += 1
            if n_rejected == len(call) and isinstance(rejection, ModelError):
                raise rejection from None  # the model fails, not one input
            source = item.visual.images[0].source if item.visual and item.visual.images else item.prompt[:60]
            cache.put_failure(key, ImageError(source, str(error)))


def collect(keys: Sequence[bytes | ImageError], cache: EmbeddingCache) -> Embedded:
    """Returns the vectors of all items, whichever process embedded them."""
    vectors, _ = cache.get([k if isinstance(k, bytes) else b"" for k in keys])
    return Embedded(vectors, failed_of(keys, cache))


def failed_of(keys: Sequence[bytes | ImageError], cache: EmbeddingCache) -> dict[int, ImageError]:
    """Returns the errors of the items without vectors, by position."""
    failures = cache.failures()
    missing = cache.missing([key for key in keys if isinstance(key, bytes)])
    failed = {}
    for i, key in enumerate(keys):
        if isinstance(key, ImageError):
            failed[i] = key
        elif key in missing:
            failed[i] = failures.get(key, ImageError("?", "was not embedded"))
    return failed


def _cost(item: TaskItem) -> tuple[int, int]:
    frames = 0 if item.visual is None else len(item.visual.images) or item.visual.frames or 1
    return frames, len(item.prompt)


def _calls(pairs: list[tuple[bytes, TaskItem]]) -> Iterator[list[tuple[bytes, TaskItem]]]:
    """Yields slices of consecutive items of one kind: clips, images or texts. The longest clips come first."""
    for kind, group in itertools.groupby(pairs, key=lambda pair: getattr(pair[1].visual, "kind", "text")):
        members = list(group)
        clips = max(1, FRAMES_PER_CALL // max(1, _cost(members[0][1])[0]))
        size = {"text": TEXTS_PER_CALL, "video": clips, "image": IMAGES_PER_CALL}[kind]
        yield from (members[at : at + size] for at in range(0, len(members), size))


def _decode_ahead(
    calls: Iterator[list[tuple[bytes, TaskItem]]], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[tuple[bytes, TaskItem]], list[Future[list[np.ndarray]]]]]:
    """Yields each call with its images; the pool decodes the next `CALLS_AHEAD` calls."""
    queue: deque[tuple[list[tuple[bytes, TaskItem]], list[Future[list[np.ndarray]]]]] = deque()
    for call in calls:
        queue.append((call, [pool.submit(_read_images, item) for _, item in call]))
        if len(queue) > CALLS_AHEAD:
            yield queue.popleft()
    yield from queue


def _read_images(item: TaskItem) -> list[np.ndarray]:
    return [] if item.visual is None else item.visual.read()
