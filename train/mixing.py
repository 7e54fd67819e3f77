"""Which rows make which batch: the on-the-fly mixing table, in interleaved sub-batches.

Built around one stream that every process computes alike and none has to store. The stream is a sequence
of blocks of `sub_batch` rows; each block takes one source, drawn with its weight, and that source's next
rows in its own shuffled order. A global batch is `batch / sub_batch` blocks in a row, and rank r of w takes
every w-th row of it: so every rank gets a share of every block, and the 16 blocks of a batch of 1024 are
the same 16 on 1 process and on 64. A source that runs out is shuffled anew and starts again.

The paper (arXiv 2507.04590, section 3.3) says this; the code released with it mixes per shard and yields
four whole batches in a row from one source, unshuffled.

The table knows sizes and weights only: no files, no media, no tensors. Its state is one number, the step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


class MixingError(Exception):
    """The sources cannot fill the batches that were asked for. One sentence for a person."""


@dataclass(frozen=True)
class Ingredient:
    """A source as the table sees it. `groups`, `open_groups` as in `data.sources.source.Source`.

    `held_out`: so many rows, the same for the same seed, that are never drawn.
    """

    name: str
    rows: int
    weight: float = 1.0
    groups: np.ndarray | None = None
    open_groups: int = 1
    held_out: int = 0


@dataclass(frozen=True)
class Block:
    """`rows` int64 [sub_batch] of one source, in the order drawn."""

    source: int
    rows: np.ndarray


class MixingTable:
    """Blocks of a training run, by number. `sub_batch` 1 is uniform mixing: a source drawn for every row."""

    def __init__(self, ingredients: Sequence[Ingredient], batch: int, sub_batch: int, seed: int = 42) -> None:
        self.ingredients = list(ingredients)
        self.batch, self.sub_batch, self.seed = batch, sub_batch, seed
        if not self.ingredients:
            raise MixingError("there is nothing to mix: `datasets` is empty")
        if batch % sub_batch:
            raise MixingError(f"batch_size {batch} is no multiple of sub_batch_size {sub_batch}")
        for one in self.ingredients:
            if one.weight <= 0:
                raise MixingError(f"{one.name}: weight {one.weight} is not above 0")
            left = one.rows - one.held_out
            if left < sub_batch:
                raise MixingError(
                    f"{one.name} has {left} rows to train on, fewer than one sub-batch of {sub_batch}: "
                    f"set sub_batch_size to {max(1, left)} or less, or leave {one.name} out"
                )
        total = sum(one.rows - one.held_out for one in self.ingredients)
        if total < batch:
            raise MixingError(
                f"all sources together have {total} rows to train on, fewer than one batch of {batch}: "
                f"set batch_size to {total - total % sub_batch} or less"
            )
        weights = np.array([one.weight for one in self.ingredients], np.float64)
        self.probabilities = weights / weights.sum()
        self._edges = np.cumsum(self.probabilities)
        self._orders: dict[int, tuple[int, np.ndarray]] = {}
        self._held = [held_out_rows(one, seed) for one in self.ingredients]
        self._drawn = np.zeros(0, np.int32)  # source of each block so far
        self._before = np.zeros(0, np.int64)  # how many blocks of that source came before it
        self._counts = np.zeros(len(self.ingredients), np.int64)

    @property
    def blocks_per_batch(self) -> int:
        return self.batch // self.sub_batch

    def blocks(self, step: int) -> list[Block]:
        """The blocks of global batch `step` (from 0), the same in every process, whatever came before."""
        first = step * self.blocks_per_batch
        self._draw(first + self.blocks_per_batch)
        return [self._block(number) for number in range(first, first + self.blocks_per_batch)]

    def share(self, step: int, rank: int = 0, world: int = 1) -> list[tuple[int, int]]:
        """(source, row) of every `world`-th row of batch `step`, from `rank` on, in order of blocks."""
        rows = [(block.source, int(row)) for block in self.blocks(step) for row in block.rows]
        return rows[rank::world]

    def shares(self, first_step: int, last_step: int, rank: int = 0, world: int = 1) -> Iterator[list[tuple[int, int]]]:
        for step in range(first_step, last_step):
            yield self.share(step, rank, world)

    def held_out(self, source: int) -> np.ndarray:
        """Rows of a source that training never draws, int64, sorted."""
        return self._held[source]

    def _draw(self, count: int) -> None:
        """Draw sources for blocks up to `count`. The n-th draw depends on the seed and n alone."""
        have = len(self._drawn)
        if have >= count:
            return
        count = max(count, have + 4096)
        generator = np.random.Generator(np.random.PCG64([self.seed, 0]))
        generator.bit_generator.advance(have)  # type: ignore[attr-defined]
        points = generator.random(count - have)
        new = np.minimum(np.searchsorted(self._edges, points, side="right"), len(self._edges) - 1)
        before = np.empty(len(new), np.int64)
        for source in range(len(self.ingredients)):
            places = np.flatnonzero(new == source)
            before[places] = self._counts[source] + np.arange(len(places))
            self._counts[source] += len(places)
        self._drawn = np.concatenate([self._drawn, new.astype(np.int32)])
        self._before = np.concatenate([self._before, before])

    def _block(self, number: int) -> Block:
        source = int(self._drawn[number])
        one = self.ingredients[source]
        left = one.rows - one.held_out
        start = int(self._before[number]) * self.sub_batch
        rows = np.empty(self.sub_batch, np.int64)
        filled = 0
        while filled < self.sub_batch:
            epoch, at = divmod(start + filled, left)
            order = self._order(source, epoch)
            take = min(self.sub_batch - filled, left - at)
            rows[filled : filled + take] = order[at : at + take]
            filled += take
        return Block(source, rows)

    def _order(self, source: int, epoch: int) -> np.ndarray:
        known = self._orders.get(source)
        if known is None or known[0] != epoch:
            one = self.ingredients[source]
            order = shuffled(one, _generator(self.seed, one.name, epoch))
            if one.held_out:
                order = order[~np.isin(order, self._held[source])]
            self._orders[source] = known = (epoch, order)
        return known[1]


def shuffled(one: Ingredient, generator: np.random.Generator) -> np.ndarray:
    """A permutation of a source's rows that reads each group once while `open_groups` of them are open.

    Groups are shuffled; the rows of each run of `open_groups` of them are shuffled together. Where rows are
    cheap alone (or everything fits open), this is a plain permutation.
    """
    groups = one.groups
    if groups is None or len(groups) <= one.open_groups:
        return generator.permutation(one.rows)
    firsts = np.cumsum(groups) - groups
    order = generator.permutation(len(groups))
    parts = []
    for begin in range(0, len(order), one.open_groups):
        opened = order[begin : begin + one.open_groups]
        rows = np.concatenate([np.arange(firsts[g], firsts[g] + groups[g]) for g in opened])
        parts.append(generator.permutation(rows))
    return np.concatenate(parts)


def held_out_rows(one: Ingredient, seed: int) -> np.ndarray:
    """The rows that training never sees, by seed and source name."""
    picked = _generator(seed, one.name, -1).permutation(one.rows)[: one.held_out]
    return np.sort(picked).astype(np.int64)


def _generator(seed: int, name: str, epoch: int) -> np.random.Generator:
    """Depends on nothing but its arguments: not on the other sources, not on the order of the config."""
    named = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.PCG64([seed, named, epoch + 1]))
