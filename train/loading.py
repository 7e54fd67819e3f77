"""From rows of the mixing table to collated pieces, decoded and tokenised in loader processes.

Built around `PairBatch`: a few pairs of one step, collated as the model wants them, with what the step needs
to know of them (target keys, sources, row numbers). A row whose media are missing is replaced by another row
of its source, chosen by its number alone, so that the run stays the same whatever the number of ranks and
workers; `Missing` counts and names them and stops the run when they are too many.
It knows nothing of losses, gradients or devices.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

from data.sources.pair import LoadedSide, MissingMedia, Pair, SourceError, load
from data.sources.source import Source
from model.embedder import ModelError

Collate = Callable[[Sequence[LoadedSide]], Any]
Address = tuple[int, int]
"""(number of the source, row)."""

TRIES = 20
"""Rows tried in place of an unreadable one before its source is given up."""


class DataError(Exception):
    """The data stop the run. One sentence for a person, naming the files."""


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pairs of one step. `negatives`: batches of at most as many as there are pairs; none where no pair has
    any."""

    queries: Any
    positives: Any
    negatives: tuple[Any, ...]
    target_keys: np.ndarray
    """int64 [n]: content of each positive."""
    negative_keys: np.ndarray
    sources: np.ndarray
    """int64 [n]"""
    names: tuple[str, ...]
    """`source row n` of each pair, for whoever must name it."""
    missing: tuple[tuple[int, int, str], ...] = ()
    """(source, row, file and reason) of rows that were replaced."""
    items: Any = None
    """The loaded sides (queries, positives), where a teacher wants them."""

    def __len__(self) -> int:
        return len(self.target_keys)


@dataclass
class Loader:
    """What a loader process holds: sources and how to collate. `piece` does the work of one piece."""

    sources: Sequence[Source]
    collate: Collate
    max_frames: int
    hard_negatives: int = 0
    held_out: Sequence[np.ndarray] = ()
    keep_items: bool = False

    def piece(self, addresses: Sequence[Address]) -> PairBatch | Exception:
        """A collated piece, or what stopped it: exceptions lose their class between processes."""
        try:
            return self._piece(addresses)
        except (SourceError, DataError) as error:
            return error

    def _piece(self, addresses: Sequence[Address]) -> PairBatch:
        missing: list[tuple[int, int, str]] = []
        pairs: list[Pair] = []
        loaded: list[tuple[LoadedSide, LoadedSide, list[LoadedSide]]] = []
        for source, row in addresses:
            pair, sides = self._load(source, row, missing)
            pairs.append(pair)
            loaded.append(sides)
        together = list(zip(pairs, loaded, strict=True))
        negatives = [(pair, side) for pair, (_, _, sides) in together for side in sides]
        return PairBatch(
            queries=self._collated([(pair, query) for pair, (query, _, _) in together]),
            positives=self._collated([(pair, positive) for pair, (_, positive, _) in together]),
            negatives=tuple(
                self._collated(negatives[at : at + len(pairs)]) for at in range(0, len(negatives), len(pairs))
            ),
            target_keys=np.array([positive.key for _, positive, _ in loaded], np.int64),
            negative_keys=np.array([side.key for _, side in negatives], np.int64),
            sources=np.array([source for source, _ in addresses], np.int64),
            names=tuple(f"{pair.source} row {pair.row}" for pair in pairs),
            missing=tuple(missing),
            items=[(query, positive) for query, positive, _ in loaded] if self.keep_items else None,
        )

    def _collated(self, sides: Sequence[tuple[Pair, LoadedSide]]) -> Any:
        """A batch of one side. What the model will not have is named by its row."""
        try:
            return self.collate([side for _, side in sides])
        except ModelError as error:
            for pair, side in sides:
                try:
                    self.collate([side])
                except ModelError as own:
                    raise DataError(f"{pair.source} row {pair.row}: {own}") from error
            raise DataError(str(error)) from error

    def _load(
        self, source: int, row: int, missing: list[tuple[int, int, str]]
    ) -> tuple[Pair, tuple[LoadedSide, LoadedSide, list[LoadedSide]]]:
        reason = ""
        for candidate in self._candidates(source, row):
            try:
                pair = self.sources[source][candidate]
                wanted = pair.negatives[: self.hard_negatives]
                query, positive, *rest = (
                    load(side, max_frames=self.max_frames) for side in (pair.query, pair.positive, *wanted)
                )
                return pair, (query, positive, rest)
            except MissingMedia as error:
                reason = str(error)
                missing.append((source, candidate, reason))
        name = self.sources[source].name
        raise DataError(f"{name}: {TRIES} rows in a row have no readable media, the last is {reason}")

    def _candidates(self, source: int, row: int) -> Iterator[int]:
        """The row itself, then rows that depend on nothing but it and its source's name."""
        yield row
        one = self.sources[source]
        held = set(self.held_out[source].tolist()) if self.held_out else set()
        seed = hashlib.blake2b(f"{one.name} {row}".encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(seed, "little"))
        tried = 1
        while tried < TRIES:
            candidate = int(generator.integers(len(one)))
            if candidate in held and len(held) < len(one):
                continue
            tried += 1
            yield candidate


@dataclass
class Missing:
    """Rows whose media were missing, by source; stops the run when a source has lost too many."""

    names: Sequence[str]
    rows: Sequence[int]
    limit: float = 0.01
    lost: dict[int, dict[int, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.lost.values())

    def add(self, found: Sequence[tuple[int, int, str]]) -> list[str]:
        """Count what was found; the reasons not told before. Raises `DataError` above the limit."""
        new = []
        for source, row, reason in found:
            rows = self.lost.setdefault(source, {})
            if row not in rows:
                rows[row] = reason
                new.append(f"{self.names[source]} row {row}: {reason}")
        for source, rows in self.lost.items():
            if len(rows) > self.limit * self.rows[source]:
                examples = "; ".join(list(rows.values())[:3])
                raise DataError(
                    f"{self.names[source]}: {len(rows)} of {self.rows[source]} rows have no readable media, "
                    f"more than max_missing {self.limit:g} allows ({examples}); "
                    "fetch them, or raise max_missing"
                )
        return new


def pieces(loader: Loader, shares: Iterator[list[Address]], size: int, workers: int) -> Iterator[list[PairBatch]]:
    """The pieces of each step's share, in order, prepared ahead by `workers` processes (0: here and now)."""
    if workers == 0:
        for share in shares:
            yield [_good(loader.piece(part)) for part in cut(share, size)]
        return
    import torch.utils.data

    # A new process must not start tokenizer threads of its own, nor take all cores for one picture.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    plan = _Plan(shares, size)
    ready = iter(
        torch.utils.data.DataLoader(
            _Pieces(loader),  # type: ignore[arg-type]
            sampler=plan,
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            prefetch_factor=max(2, 4 // workers),
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )
    )
    done = 0
    collected: list[PairBatch] = []
    for piece in ready:
        collected.append(_owned(_good(piece)))
        if len(collected) == plan.counts[done]:
            yield collected
            collected, done = [], done + 1


def cut(share: Sequence[Address], size: int) -> list[list[Address]]:
    """Parts of `size`; one part for size 0."""
    size = size or len(share)
    return [list(share[at : at + size]) for at in range(0, len(share), size)]


class _Plan:
    """The sampler: parts of every share in order. `counts`: how many parts each share has."""

    def __init__(self, shares: Iterator[list[Address]], size: int) -> None:
        self.shares, self.size = shares, size
        self.counts: list[int] = []

    def __iter__(self) -> Iterator[list[Address]]:
        for share in self.shares:
            parts = cut(share, self.size)
            self.counts.append(len(parts))
            yield from parts

    def __len__(self) -> int:
        return 2**31


class _Pieces:
    """The dataset: indexed by a part, not by a number."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getitem__(self, part: list[Address]) -> PairBatch | Exception:
        return self.loader.piece(part)

    def __len__(self) -> int:
        return 2**31


def _as_it_is(piece: Any) -> Any:
    return piece


def _owned(piece: PairBatch) -> PairBatch:
    """The piece in this process's own memory.

    What a loader process sends stays tied to an open file for each tensor, and a step of 1024 pairs in
    chunks of 4 has thousands: more than a process may have open.
    """
    import torch

    def own(batch: Any) -> Any:
        if isinstance(batch, torch.Tensor):
            return batch.clone()
        if is_dataclass(batch) and not isinstance(batch, type):
            return replace(batch, **{f.name: own(getattr(batch, f.name)) for f in fields(batch)})
        return batch

    negatives = tuple(own(batch) for batch in piece.negatives)
    return replace(piece, queries=own(piece.queries), positives=own(piece.positives), negatives=negatives)


def _good(piece: PairBatch | Exception) -> PairBatch:
    if isinstance(piece, Exception):
        raise DataError(str(piece)) from piece
    return piece
