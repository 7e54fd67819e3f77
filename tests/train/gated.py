"""Pairs whose reading stops at a place known beforehand: a run that is killed there needs no luck.

Built around a file, the gate: while it exists, a process reads `reads` rows of all its gated sources and
then waits. Without it the source is `pairs` and nothing more, so the same config goes on afterwards.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from data.sources.pair import Pair
from data.sources.pairs import Pairs
from data.sources.source import register


@register("gated")
class Gated(Pairs):
    read = 0

    def __init__(self, gate: str, reads: int, **options: Any) -> None:
        super().__init__(**options)
        self._gate, self._reads = Path(gate), reads

    def __getitem__(self, row: int) -> Pair:
        while Gated.read >= self._reads and self._gate.exists():
            time.sleep(0.05)
        Gated.read += 1
        return super().__getitem__(row)
