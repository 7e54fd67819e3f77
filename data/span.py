"""The position of a chunk in its file: seconds of a video or a page of a PDF, perhaps of one inside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


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


class PdfPart(NamedTuple):
    """A PDF inside a PDF: its name, below those of the PDFs around it, and the page at which it begins."""

    name: str
    page: int


def part_at(parts: Sequence[PdfPart], page: int | None) -> tuple[str, int] | None:
    """Returns the name of the PDF inside a PDF that `page` is of, and the page's number there; None for a page of the
    PDF itself."""
    inside = [part for part in parts if page is not None and part.page <= page]
    return (inside[-1].name, (page or 0) - inside[-1].page + 1) if inside else None


def packed_parts(parts: Sequence[PdfPart]) -> str | None:
    """Returns parts as the catalogue stores them; None without any."""
    return json.dumps(parts) if parts else None


def unpacked_parts(text: str | None) -> tuple[PdfPart, ...]:
    return tuple(PdfPart(*part) for part in json.loads(text)) if text else ()


def flat(record: Any) -> dict[str, Any]:
    """Returns a dataclass as a flat dictionary: the fields of its `span` become keys of their own."""
    row = dict(vars(record))
    if "span" in row:
        span = row.pop("span")
        row |= {"start_s": span.start_s, "end_s": span.end_s, "page": span.page}
    return row
