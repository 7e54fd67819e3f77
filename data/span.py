"""Where in a file a chunk lies: seconds of a video or a page of a PDF."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """`start_s` and `end_s` bound a stretch of a video; `page` counts from 1. An image has none of them."""

    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
