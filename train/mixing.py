"""The mixing table: the rows of each batch, in interleaved sub-batches.

Built around one stream that every process computes alike and none stores. The stream is a sequence of blocks of
`sub_batch` rows; each block has one source, drawn by weight, and takes that source's next rows in its own shuffled
order. A global batch is `batch / sub_batch` consecutive blocks, and rank r of w takes every w-th row of the batch:
every rank has a share of every block, and the 16 blocks of a batch of 1024 are the same on 1 process and on 64.
A source without rows left is shuffled again.

Source: VLM2Vec-V2 (arXiv 2507.04590), section 3.3. The code released with the paper mixes per shard instead and
yields four whole batches in a row from one source, unshuffled.

It knows only sizes and weights: no files, no media, no tensors. Its state is one number, the step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class MixingError(Exception):
    """The sources cannot fill a batch. The message is for the user."""


@dataclass(frozen=True)
class Ingredient:
    """A source of the table. `groups`, `open_groups` as in `data.sources.source.Source`.

    `held_out`: the number of rows that are never drawn; the seed selects them.
    """

    name: str
    rows: int
    weight: float = 1.0
    groups: np.ndarray | None = None
    open_groups: int = 1
    held_out: int = 0

    @property
    def training_rows(self) -> int:
        return self.rows - self.held_out


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of a source's rows, int64, and how many may be open: what its order depends on besides the seed."""

    groups: np.ndarray
    open_groups: int

    def to_json(self) -> dict[str, Any]:
        """Returns runs of equal sizes: `{"runs": [[size, times], …], "open": n}`."""
        starts = np.flatnonzero(np.diff(self.groups, prepend=-1))
        times = np.diff(np.append(starts, len(self.groups)))
        runs = [[int(self.groups[start]), int(n)] for start, n in zip(starts, times, strict=True)]
        return {"runs": runs, "open": int(self.open_groups)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Grouping:
        sizes, times = np.asarray(stored["runs"], np.int64).reshape(-1, 2).T
        return cls(np.repeat(sizes, times), int(stored["open"]))


@dataclass(frozen=True)
class Block:
    """`rows` int64 [sub_batch] of one source, in order."""

    source: int
    rows: np.ndarray


class MixingTable:
    """The blocks of a training run, by number. `sub_batch` 1 mixes uniformly: every row draws its source."""

    def __init__(self, ingredients: Sequence[Ingredient], batch: int, sub_batch: int, seed: int = 42) -> None:
        self.ingredients = list(ingredients)
        self.batch, self.sub_batch, self.seed = batch, sub_batch, seed
        if not self.ingredients:
            raise MixingError("there is nothing to mix: `datasets` is empty")
        if batch % sub_batch:
            raise MixingError(f"batch_size {batch} is no multiple of sub_batch_size {sub_batch}")
        for source in self.ingredients:
            if source.weight <= 0:
                raise MixingError(f"{source.name}: weight {source.weight} is not above 0")
            if source.training_rows < sub_batch:
                raise MixingError(
                    f"{source.name} has {source.training_rows} rows to train on, fewer than one sub-batch of "
                    f"{sub_batch}: set sub_batch_size to {max(1, source.training_rows)} or less, or leave "
                    f"{source.name} out"
                )
        total = sum(source.training_rows for source in self.ingredients)
        if total < batch:
            raise MixingError(
                f"all sources together have {total} rows to train on, fewer than one batch of {batch}: "
                f"set batch_size to {total - total % sub_batch} or less"
            )
        weights = np.array([source.weight for source in self.ingredients], np.float64)
        self.probabilities = weights / weights.sum()
        self._edges = np.cumsum(self.probabilities)
        self._orders: dict[int, tuple[int, np.ndarray]] = {}
        self._held_out = [_held_out_rows(source, seed) for source in self.ingredients]
        self._block_sources = np.zeros(0, np.int32)  # the source of each block
        self._block_ordinals = np.zeros(0, np.int64)  # the number of earlier blocks of the same source
        self._counts = np.zeros(len(self.ingredients), np.int64)

    def blocks(self, step: int) -> list[Block]:
        """Returns the blocks of global batch `step` (from 0), the same in every process and in any order of calls."""
        count = self.batch // self.sub_batch
        first = step * count
        self._draw(first + count)
        return [self._block(number) for number in range(first, first + count)]

    def share(self, step: int, rank: int = 0, world: int = 1) -> list[tuple[int, int]]:
        """Returns (source, row) of every `world`-th row of batch `step`, starting at `rank`, in order of blocks."""
        rows = [(block.source, int(row)) for block in self.blocks(step) for row in block.rows]
        return rows[rank::world]

    def shares(self, first_step: int, last_step: int, rank: int = 0, world: int = 1) -> Iterator[list[tuple[int, int]]]:
        for step in range(first_step, last_step):
            yield self.share(step, rank, world)

    def held_out(self, source: int) -> np.ndarray:
        """Returns the rows of a source that training never draws, int64, sorted."""
        return self._held_out[source]

    def _draw(self, count: int) -> None:
        """Draw the sources of the first `count` blocks. The n-th draw depends only on the seed and n."""
        start = len(self._block_sources)
        if start >= count:
            return
        count = max(count, start + 4096)
        generator = np.random.Generator(np.random.PCG64([self.seed, 0]))
        generator.bit_generator.advance(start)  # type: ignore[attr-defined]
        points = generator.random(count - start)
        sources = np.minimum(np.searchsorted(self._edges, points, side="right"), len(self._edges) - 1)
        ordinals = np.empty(len(sources), np.int64)
        for source in range(len(self.ingredients)):
            positions = np.flatnonzero(sources == source)
            ordinals[positions] = self._counts[source] + np.arange(len(positions))
            self._counts[source] += len(positions)
        self._block_sources = np.concatenate([self._block_sources, sources.astype(np.int32)])
        self._block_ordinals = np.concatenate([self._block_ordinals, ordinals])

    def _block(self, number: int) -> Block:
        source = int(self._block_sources[number])
        epoch_rows = self.ingredients[source].training_rows
        position = int(self._block_ordinals[number]) * self.sub_batch
        end = position + self.sub_batch
        parts = []
        while position < end:
            epoch, start = divmod(position, epoch_rows)
            parts.append(self._order(source, epoch)[start : start + end - position])
            position += len(parts[-1])
        return Block(source, np.concatenate(parts).astype(np.int64))

    def _order(self, source: int, epoch: int) -> np.ndarray:
        cached_epoch, order = self._orders.get(source, (None, np.zeros(0, np.int64)))
        if cached_epoch != epoch:
            ingredient = self.ingredients[source]
            order = shuffle(ingredient, _generator(self.seed, ingredient.name, epoch))
            order = order[~np.isin(order, self._held_out[source])] if ingredient.held_out else order
            self._orders[source] = (epoch, order)
        return order


def shuffle(source: Ingredient, generator: np.random.Generator) -> np.ndarray:
    """Returns a permutation of a source's rows that opens each group once, at most `open_groups` at a time.

    Groups are shuffled; the rows of `open_groups` consecutive groups are shuffled together. A source without
    groups, or with few enough of them, gets a plain permutation.
    """
    groups = source.groups
    if groups is None or len(groups) <= source.open_groups:
        return generator.permutation(source.rows)
    starts = np.cumsum(groups) - groups
    order = generator.permutation(len(groups))
    parts = []
    for begin in range(0, len(order), source.open_groups):
        members = order[begin : begin + source.open_groups]
        rows = np.concatenate([np.arange(starts[g], starts[g] + groups[g]) for g in members])
        parts.append(generator.permutation(rows))
    return np.concatenate(parts)


def _held_out_rows(source: Ingredient, seed: int) -> np.ndarray:
    rows = _generator(seed, source.name, -1).permutation(source.rows)[: source.held_out]
    return np.sort(rows).astype(np.int64)


def _generator(seed: int, name: str, epoch: int) -> np.random.Generator:
    """Depends only on its arguments: not on the other sources, not on the order of the config."""
    name_number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.PCG64([seed, name_number, epoch + 1]))
