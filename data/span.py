"""The position of a chunk in its file: seconds of a video or a page of a PDF."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """`start_s` and `end_s` bound a range of a video; `page` counts from 1. All are None for an image."""

    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None

    @property
    def seconds(self) -> tuple[float, float]:
        """The bounds in seconds; 0.0 for a missing bound."""
        return self.start_s or 0.0, self.end_s or 0.0


def flat(record: Any) -> dict[str, Any]:
    """Returns a dataclass as a flat dictionary: the fields of its `span` become keys of their own."""
    row: dict[str, Any] = {}
    for name, value in asdict(record).items():
        row |= value if name == "span" else {name: value}
    return row
