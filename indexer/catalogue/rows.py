"""The catalogue's rows as its readers and writers hand them about: roots, files, work, chunks, models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.span import Span
from indexer.catalogue.left_out import LeftOut
from indexer.types import Kind, LeftOutSort

Stamp = tuple[int, int, int]
"""(size, mtime_ns, ctime_ns): what tells without reading that a file is the one that was read."""

Stage = Literal["decode", "embed", "ocr", "reread", "speech"]
"""What a content waits for: to be decoded and embedded; for vectors of a model that its chunks lack; for the
text in its images to be read; to be decoded again, as it was by an older program that read less or otherwise; for
its speech to be transcribed."""


@dataclass(frozen=True)
class Root:
    id: int
    path: Path
    state: Literal["here", "away", "left_out"]
    mount: str | None
    left_out: LeftOut
    scanned_at: float | None = None
    """UNIX seconds: when the last whole scan of it began."""


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
    """A content to be worked on; `files` are the paths that hold it, with their stamps."""

    hash: bytes
    kind: Kind
    files: tuple[tuple[str, Stamp], ...]
    size: int


@dataclass(frozen=True, eq=False)
class NewChunk:
    """A chunk ready to be written. `same_as` is the ordinal of the chunk whose vector it shares."""

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


@dataclass(frozen=True)
class Counts:
    """`reused`: chunks found without an embedding of their own (copies, still video windows)."""

    files: int = 0
    images: int = 0
    videos: int = 0
    pdfs: int = 0
    chunks: int = 0
    reused: int = 0
    failed: int = 0
    pending: int = 0
    left_out: tuple[LeftOutSort, ...] = ()

    @property
    def ignored(self) -> int:
        return sum(sort.count for sort in self.left_out)
