"""What a chunk costs, learnt from those that were done: seconds of one core.

Built around two views of the same work: all that was done, and the latest of it. What is left is read in the order of
the folders; the more is left, the more it is like all, and the fewer, the more like the latest. The cost of an image
follows its bytes. It knows nothing of stages and steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SAMPLE_LEAST = 8
"""So many units make a sample."""
PRIOR, PRIOR_SHARE = 1.0, 0.5
"""Until images of several sizes were read, half of what an image costs is taken to follow its bytes, as if one image
had said so."""


@dataclass
class UnitCost:
    """Of a unit: a chunk, a picture, a second of sound."""

    latest_units: float
    """Units over which the latest cost is an average."""
    spent_s: float = 0.0
    units: float = 0.0
    latest_s: float = 0.0
    sample: list[float] = field(default_factory=list)
    """Costs of units that stand for all folders."""

    def add(self, spent_s: float, units: float, *, stands_for_all: bool = False) -> None:
        if units <= 0:
            return
        self.spent_s += spent_s
        self.units += units
        self.latest_s += (spent_s / units - self.latest_s) * units / min(self.latest_units + units, self.units)
        if stands_for_all:
            self.sample.append(spent_s / units)

    def of(self, left: float = 0.0) -> float:
        """Returns the seconds of a unit of those that are left."""
        enough = len(self.sample) >= SAMPLE_LEAST
        mean = sum(self.sample) / len(self.sample) if enough else self.spent_s / self.units
        share = left / (left + self.units)
        return share * mean + (1 - share) * self.latest_s


@dataclass
class ImageCost:
    """Of decoding images, by their bytes: a line through what was seen, by least squares."""

    count: float = 0.0
    bytes: float = 0.0
    spent_s: float = 0.0
    squares: float = 0.0  # of bytes, and bytes by seconds, about their means
    products: float = 0.0

    def add(self, spent_s: float, size: int) -> None:
        self.count += 1
        before = size - (self.bytes / (self.count - 1) if self.count > 1 else size)
        self.bytes += size
        self.spent_s += spent_s
        self.squares += before * (size - self.bytes / self.count)
        self.products += before * (spent_s - self.spent_s / self.count)

    def relative(self, files: float, size: float) -> float:
        """Returns what an image of `files` of `size` bytes together costs, relative to those that were read."""
        if not (self.count and self.bytes and self.spent_s and files):
            return 1.0
        mean_bytes, mean_s = self.bytes / self.count, self.spent_s / self.count
        weight = PRIOR * mean_bytes**2
        per_byte = mean_s / mean_bytes
        slope = (self.products + weight * PRIOR_SHARE * per_byte) / (self.squares + weight)
        slope = min(max(slope, 0.0), per_byte)  # a line above nothing
        return 1 + slope * (size / files - mean_bytes) / mean_s
