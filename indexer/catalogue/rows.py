"""The catalogue's rows as dataclasses: roots, files, work, chunks, models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from data.span import Span
from indexer.catalogue.left_out import LeftOut
from indexer.types import Kind, LeftOutSort

Stamp = tuple[int, int, int]
"""(size, mtime_ns, ctime_ns): as long as these are equal, a file counts as unchanged."""

Stage = Literal["decode", "embed", "ocr", "reread", "speech"]
"""What a content waits for: decoding and embedding; vectors of another model; OCR; decoding again, as an older
version read less of it or otherwise; transcription."""


@dataclass(frozen=True)
class Root:
    id: int
    path: Path
    state: Literal["here", "away", "left_out"]
    mount: str | None
    left_out: LeftOut
    scanned_at: float | None = None
    """Start of the last complete scan, in UNIX seconds."""


@dataclass(frozen=True)
class FoundFile:
    """A file that a scan or the watcher has seen."""

    path: str
    kind: Kind
    stamp: Stamp


@dataclass(frozen=True)
class Unhashed:
    file_id: int
    path: str
    kind: Kind
    stamp: Stamp


@dataclass(frozen=True)
class Work:
    """A content to work on. `files`: the paths of its files, with their stamps. `size`: in bytes."""

    hash: bytes
    kind: Kind
    files: tuple[tuple[str, Stamp], ...]
    size: int


@dataclass(frozen=True, eq=False)
class NewChunk:
    """A chunk to store. `same_as`: the ordinal of the chunk whose vector it shares."""

    ordinal: int
    vector: np.ndarray
    span: Span = Span()
    text: str = ""
    same_as: int | None = None


@dataclass(frozen=True)
class StoredChunk:
    """A chunk of a content as the catalogue has it."""

    chunk_id: int
    ordinal: int
    span: Span
    same_as: int | None
    text: str


@dataclass(frozen=True)
class ModelRow:
    id: int
    name: str
    dim: int
    state: Literal["answering", "building", "old"]
    source: str


class Pictures(NamedTuple):
    """In which OCR is to look for text: images and pages."""

    contents: int = 0
    number: float = 0
    most: int = 0
    """In one content."""


@dataclass(frozen=True)
class Counts:
    """`reused`: chunks without an embedding of their own (copies, still video windows)."""

    files: int = 0
    images: int = 0
    videos: int = 0
    pdfs: int = 0
    chunks: int = 0
    reused: int = 0
    failed: int = 0
    pending: int = 0
    left_out: tuple[LeftOutSort, ...] = ()
    unread: Mapping[Kind, tuple[int, int]] = field(default_factory=dict)
    """kind -> (number, bytes) of the `pending` files."""

    @property
    def ignored(self) -> int:
        return sum(sort.count for sort in self.left_out)
