"""Where in a file a chunk lies: seconds of a video or a page of a PDF."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """`start_s` and `end_s` bound a stretch of a video; `page` counts from 1. An image has none of them."""

    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None

    @property
    def seconds(self) -> tuple[float, float]:
        """The bounds; zeros for what has none."""
        return self.start_s or 0.0, self.end_s or 0.0


def flat(record: Any) -> dict[str, Any]:
    """A dataclass as one row: the fields of its `span` stand among its own."""
    row: dict[str, Any] = {}
    for name, value in asdict(record).items():
        row |= value if name == "span" else {name: value}
    return row
