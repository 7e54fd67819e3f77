"""From rows of the mixing table to collated batches, decoded and tokenised in loader processes.

Built around `PairBatch`: a few pairs of one step, collated for the model, with their target keys, sources and row
names. A row whose media are missing is replaced by another row of its source, chosen by the row number alone, so
the run does not depend on the number of ranks and workers; `Missing` counts these rows and stops the run when a
source has too many. It knows nothing of losses, gradients or devices.
"""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing
import multiprocessing.process
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from data.sources.pair import LoadedSide, MissingMedia, Pair, SourceError, load
from data.sources.source import Source
from model.embedder import ModelError

Collate = Callable[[Sequence[LoadedSide]], Any]
Address = tuple[int, int]
"""(number of the source, row)."""

TRIES = 20
"""Rows tried, the first included, before `DataError`."""


class DataError(Exception):
    """The data stop the run. The message is for the user and names the files."""


@dataclass(frozen=True, eq=False)
class PairBatch:
    """n pairs of one step. `negatives`: batches of at most n hard negatives each; empty if no pair has any."""

    queries: Any
    positives: Any
    negatives: tuple[Any, ...]
    target_keys: np.ndarray
    """int64 [n]: the content key of each positive."""
    negative_keys: np.ndarray
    """int64: the content key of each hard negative."""
    negative_owners: np.ndarray
    """int64: the pair, within this batch, of each hard negative."""
    scores: np.ndarray
    """float32 [n]: a reranker's score of each positive; NaN if it has none."""
    negative_scores: np.ndarray
    """float32: the same of each hard negative."""
    sources: np.ndarray
    """int64 [n]: the number of each pair's source."""
    names: tuple[str, ...]
    """`<source> row <n>` of each pair, for messages."""
    missing: tuple[tuple[int, int, str], ...] = ()
    """(source, row, file and reason) of replaced rows."""
    items: Any = None
    """The loaded sides (query, positive) of each pair, for a teacher."""

    def __len__(self) -> int:
        return len(self.target_keys)


@dataclass
class Loader:
    """The work of a loader process: read rows of the sources, decode and collate them.

    `pixels`: the limits of a picture for the model, for estimates of length.
    """

    sources: Sequence[Source]
    collate: Collate
    max_frames: int
    hard_negatives: int = 0
    held_out: Sequence[np.ndarray] = ()
    keep_items: bool = False
    pixels: tuple[int, int] = (3136, 1003520)

    def batches(self, addresses: Sequence[Address], size: int) -> list[PairBatch] | Exception:
        """Returns collated batches of `size` rows (0: one batch), or the error: an exception that is raised loses its
        class between processes. Of several batches, rows of similar length are in one: a batch is padded to its
        longest row."""
        try:
            missing: list[tuple[int, int, str]] = []
            rows = [(source, *self._load(source, row, missing)) for source, row in addresses]
            size = size or len(rows)
            if len(rows) > size:
                rows.sort(key=lambda row: sum(self._tokens(side) for side in row[2][:2]), reverse=True)
            parts = [rows[at : at + size] for at in range(0, len(rows), size)]
            return [self._batch(part, missing if number == 0 else ()) for number, part in enumerate(parts)]
        except (SourceError, DataError) as error:
            return error

    def _tokens(self, side: LoadedSide) -> float:
        """Returns about how many tokens a side has: one for 4 letters, one for 28 x 28 pixels of an image or of two
        frames of a clip."""
        low, high = self.pixels
        visual: float = sum(min(max(frame.shape[0] * frame.shape[1], low), high) for frame in side.frames) / 784
        return len(side.text) / 4 + visual / (2 if side.kind == "video" else 1)

    def _batch(
        self,
        loaded: Sequence[tuple[int, Pair, tuple[LoadedSide, LoadedSide, list[LoadedSide]]]],
        missing: Sequence[tuple[int, int, str]],
    ) -> PairBatch:
        rows = [(pair, sides) for _, pair, sides in loaded]
        negatives = [(pair, side) for pair, (_, _, sides) in rows for side in sides]
        return PairBatch(
            queries=self._collate([(pair, query) for pair, (query, _, _) in rows]),
            positives=self._collate([(pair, positive) for pair, (_, positive, _) in rows]),
            negatives=tuple(
                self._collate(negatives[at : at + len(rows)]) for at in range(0, len(negatives), len(rows))
            ),
            target_keys=np.array([positive.key for _, (_, positive, _) in rows], np.int64),
            negative_keys=np.array([side.key for _, side in negatives], np.int64),
            negative_owners=np.array([n for n, (_, (_, _, sides)) in enumerate(rows) for _ in sides], np.int64),
            scores=np.array([_score(pair, 0) for pair, _ in rows], np.float32),
            negative_scores=np.array(
                [_score(pair, 1 + n) for pair, (_, _, sides) in rows for n in range(len(sides))], np.float32
            ),
            sources=np.array([source for source, _, _ in loaded], np.int64),
            names=tuple(f"{pair.source} row {pair.row}" for pair, _ in rows),
            missing=tuple(missing),
            items=[(query, positive) for _, (query, positive, _) in rows] if self.keep_items else None,
        )

    def _collate(self, sides: Sequence[tuple[Pair, LoadedSide]]) -> Any:
        """Returns a batch of sides. Raises `DataError` with the row that the model rejects."""
        try:
            return self.collate([side for _, side in sides])
        except ModelError as error:
            for pair, side in sides:
                try:
                    self.collate([side])
                except ModelError as rejection:
                    raise DataError(f"{pair.source} row {pair.row}: {rejection}") from error
            raise DataError(str(error)) from error

    def _load(
        self, source: int, row: int, missing: list[tuple[int, int, str]]
    ) -> tuple[Pair, tuple[LoadedSide, LoadedSide, list[LoadedSide]]]:
        reason = ""
        for candidate in self._candidates(source, row):
            try:
                pair = self.sources[source][candidate]
                sides = (pair.query, pair.positive, *pair.negatives[: self.hard_negatives])
                query, positive, *negatives = (load(side, max_frames=self.max_frames) for side in sides)
                return pair, (query, positive, negatives)
            except MissingMedia as error:
                reason = str(error)
                missing.append((source, candidate, reason))
        name = self.sources[source].name
        raise DataError(f"{name}: {TRIES} rows in a row have no readable media, the last is {reason}")

    def _candidates(self, source: int, row: int) -> Iterator[int]:
        """Yields the row, then random rows that depend only on the row and on the name of its source."""
        yield row
        name, n_rows = self.sources[source].name, len(self.sources[source])
        held_out = set(self.held_out[source].tolist()) if self.held_out else set()
        seed = hashlib.blake2b(f"{name} {row}".encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(seed, "little"))
        attempts = 1
        while attempts < TRIES:
            candidate = int(generator.integers(n_rows))
            if candidate in held_out and len(held_out) < n_rows:
                continue
            attempts += 1
            yield candidate


def _score(pair: Pair, number: int) -> float:
    """Returns a reranker's score of a pair's positive (0) or of a negative (from 1); NaN if it has none."""
    return pair.scores[number] if number < len(pair.scores) else float("nan")


@dataclass
class Missing:
    """Rows without readable media: source -> row -> reason. Stops the run when a source has too many."""

    names: Sequence[str]
    rows: Sequence[int]
    limit: float = 0.01
    reasons: dict[int, dict[int, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.reasons.values())

    def add(self, missing: Sequence[tuple[int, int, str]]) -> list[str]:
        """Count (source, row, reason). Returns a message for each new row. Raises `DataError` above the limit."""
        messages = []
        for source, row, reason in missing:
            rows = self.reasons.setdefault(source, {})
            if row not in rows:
                rows[row] = reason
                messages.append(f"{self.names[source]} row {row}: {reason}")
        for source, rows in self.reasons.items():
            if len(rows) > self.limit * self.rows[source]:
                examples = "; ".join(list(rows.values())[:3])
                raise DataError(
                    f"{self.names[source]}: {len(rows)} of {self.rows[source]} rows have no readable media, "
                    f"more than max_missing {self.limit:g} allows ({examples}); "
                    "fetch them, or raise max_missing"
                )
        return messages


def pair_batches(
    loader: Loader, shares: Iterator[list[Address]], size: int, workers: int, together: int = 1
) -> Iterator[list[PairBatch]]:
    """Yields the batches of each step's share. `workers` processes load ahead (0: this process loads).

    `together`: so many batches at a time are filled by the length of their rows (`Loader.batches`); 1: in order."""
    if workers == 0:
        for share in shares:
            yield [b for part in split(share, size * together) for b in _raise_error(loader.batches(part, size))]
        return
    import torch.utils.data

    # A loader process must not start tokenizer threads of its own, nor use all cores for one image.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sampler = _Sampler(shares, size * together)
    batches: Iterable[list[PairBatch] | Exception] = torch.utils.data.DataLoader(
        _Dataset(loader, size),  # type: ignore[arg-type]
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        collate_fn=_identity,
        prefetch_factor=max(1 if together > 1 else 2, 4 // workers),
        generator=torch.Generator(),  # the default is the generator that dropout uses
    )
    others = set(multiprocessing.active_children())
    with _signals_blocked():
        iterator = iter(batches)
    own = set(multiprocessing.active_children()) - others
    # An error can keep this generator open until the program ends, which then waits for processes that get no SIGTERM.
    kill = partial(_kill, own)
    atexit.register(kill)
    try:
        step, parts = 0, 0
        share_batches: list[PairBatch] = []
        for part in iterator:
            share_batches += [_copy_tensors(batch) for batch in _raise_error(part)]
            parts += 1
            if parts == sampler.counts[step]:
                yield share_batches
                share_batches, step, parts = [], step + 1, 0
    finally:
        del iterator  # asks the loader processes to end and waits for them
        kill()
        atexit.unregister(kill)


def _kill(processes: Iterable[multiprocessing.process.BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes that begin in this block never get SIGTERM and SIGINT. A scheduler sends these to every process of a
    run, and a run whose loader processes die cannot end its step. A signal for this process waits for the end of the
    block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows has no process groups to signal
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def split(share: Sequence[Address], size: int) -> list[list[Address]]:
    """Returns parts of `size` rows; one part for size 0."""
    size = size or len(share)
    return [list(share[at : at + size]) for at in range(0, len(share), size)]


class _Sampler:
    """Yields the parts of every share in order. `counts`: the number of parts of each share."""

    def __init__(self, shares: Iterator[list[Address]], size: int) -> None:
        self.shares, self.size = shares, size
        self.counts: list[int] = []

    def __iter__(self) -> Iterator[list[Address]]:
        for share in self.shares:
            parts = split(share, self.size)
            self.counts.append(len(parts))
            yield from parts

    def __len__(self) -> int:
        return 2**31


class _Dataset:
    """Indexed by a list of rows."""

    def __init__(self, loader: Loader, size: int) -> None:
        self.loader, self.size = loader, size

    def __getitem__(self, part: list[Address]) -> list[PairBatch] | Exception:
        return self.loader.batches(part, self.size)

    def __len__(self) -> int:
        return 2**31


def _identity(batches: Any) -> Any:
    return batches


def _copy_tensors(pairs: PairBatch) -> PairBatch:
    """Copy the tensors into this process's own memory.

    Each tensor of a loader process is an open file here, and a step of 1024 pairs in chunks of 4 has
    thousands: more than a process may have open.
    """
    import torch

    def copy(batch: Any) -> Any:
        if isinstance(batch, torch.Tensor):
            return batch.clone()
        if isinstance(batch, dict):
            return {name: copy(value) for name, value in batch.items()}
        if isinstance(batch, tuple):
            return tuple(copy(value) for value in batch)
        if is_dataclass(batch) and not isinstance(batch, type):
            return replace(batch, **{f.name: copy(getattr(batch, f.name)) for f in fields(batch)})
        return batch

    negatives = tuple(copy(batch) for batch in pairs.negatives)
    return replace(pairs, queries=copy(pairs.queries), positives=copy(pairs.positives), negatives=negatives)


def _raise_error(batches: list[PairBatch] | Exception) -> list[PairBatch]:
    if isinstance(batches, Exception):
        raise DataError(str(batches)) from batches
    return batches
