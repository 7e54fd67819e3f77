"""When each of several steps ends whose contents share threads and cores: `ends(loads, threads, cores)`.

Built around the order of the work queue: a free thread takes a content of the first step of which one waits. So a step
begins while the last contents of the one before are in progress, and a long content keeps one thread busy to the end.
Where more threads work than there are cores, each gets its share of them. It knows nothing of what the steps do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Load:
    """What is left of a step: seconds of one core."""

    work_s: float
    contents: float = 1.0
    """In which the work is; more than its threads are in equal parts, but for the longest."""
    longest_s: float = 0.0
    """The work in the content that has most of it."""
    at_once: int = 1_000_000
    """Contents in progress at once, at most."""
    width: float = 1.0
    """Cores that a content keeps busy."""
    cores: float = math.inf
    """Cores that all its contents keep busy, at most: less than there are if it waits for a disk or a server."""


class _Rest:
    """Of a load: the work in its longest content, that in the others, and how many these are."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.longest = min(max(load.longest_s, load.work_s / max(load.contents, 1.0)), load.work_s)
        self.others = load.work_s - self.longest
        self.count = max(load.contents - 1, 1.0) if self.others > 0 else 0.0

    def threads(self, free: int) -> int:
        waiting = (self.longest > 0) + math.ceil(self.count - 1e-6)
        return min(free, self.load.at_once, waiting)

    def speed(self, threads: int) -> float:
        """Returns the seconds of one core in a second, were there cores enough."""
        return min(threads * self.load.width, self.load.cores)

    def until_change(self, threads: int, each: float) -> float:
        """Returns the seconds until a thread is free; `each`: the speed of a thread."""
        times = [self.longest / each] if self.longest > 0 else []
        if others := threads - (self.longest > 0):
            if self.count > others + 1e-6:  # until so many are left as have a thread
                times.append(self.others * (1 - others / self.count) / (each * others))
            else:
                times.append(self.others / (each * self.count))
        return min(times)

    def advance(self, threads: int, each: float, seconds: float) -> None:
        others = threads - (self.longest > 0)
        if self.longest > 0:
            self.longest = _less(self.longest, seconds * each)
        if others and self.count > others + 1e-6:
            before, self.others = self.others, _less(self.others, seconds * each * others)
            self.count = max(self.count * self.others / before, float(others))
        elif others:
            self.others = _less(self.others, seconds * each * self.count)
            self.count *= self.others > 0


def ends(loads: Sequence[Load], threads: int, cores: int) -> list[float]:
    """Returns the seconds until each load has ended. They begin in their order, as soon as a thread is free."""
    rests, ended, now = [_Rest(load) for load in loads], [0.0] * len(loads), 0.0
    while True:
        running, free = [], threads
        for n, rest in enumerate(rests):
            if mine := rest.threads(free):
                running.append((n, rest, mine))
                free -= mine
        if not running:
            return ended
        asked = sum(rest.speed(mine) for _, rest, mine in running)
        share = min(1.0, cores / asked)
        each = {n: share * rest.speed(mine) / mine for n, rest, mine in running}
        seconds = min(rest.until_change(mine, each[n]) for n, rest, mine in running)
        now += seconds
        for n, rest, mine in running:
            rest.advance(mine, each[n], seconds)
            ended[n] = now


def _less(work: float, done: float) -> float:
    """Returns what is left of work; exactly nothing where the two differ by a rounding."""
    return work - done if work - done > 1e-9 * (work + done) + 1e-12 else 0.0
