"""Pairs, for runs that stand still at a place known beforehand: one that is killed or stopped there needs no luck.

Built around a folder of files named after places. While `step` is there and says 20, the process that begins its 21st
chunk renames it to `step.held` and waits for `go`. Places: `loading` (a row, in a loader process), `reading` (a row, in
the training process: evaluation, and everything without loader processes), `step` (a chunk, before it is embedded),
`saving` (a checkpoint, written and not yet renamed). Without such files the source is `pairs` and nothing more, so the
same config goes on afterwards.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.sources.pair import Pair
from data.sources.pairs import Pairs
from data.sources.source import register
from train import checkpoint
from train.trainer import _Run

passes: Counter[str] = Counter()


def hold(folder: Path, place: str) -> None:
    passes[place] += 1
    asked = folder / place
    try:
        if passes[place] <= int(asked.read_text()):
            return
        asked.rename(folder / f"{place}.held")
    except FileNotFoundError:
        return
    while not (folder / "go").exists():
        time.sleep(0.02)


def _held(function: Callable[..., Any], folder: Path, place: str) -> Callable[..., Any]:
    def held(*arguments: Any) -> Any:
        hold(folder, place)
        return function(*arguments)

    return held


@register("held")
class Held(Pairs):
    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._folder = Path(folder)
        if (self._folder / "step").exists():
            _Run._encode = _held(_Run._encode, self._folder, "step")  # type: ignore[method-assign]
        if (self._folder / "saving").exists():
            checkpoint._flush = _held(checkpoint._flush, self._folder, "saving")

    def __getitem__(self, row: int) -> Pair:
        hold(self._folder, "reading" if multiprocessing.parent_process() is None else "loading")
        return super().__getitem__(row)
