"""The data of a task: its queries, its candidates and their relevance.

Built around `TaskItem`, one input to embed, and `TaskData`. Images stay on disk until `TaskVisual.read`. A
`TaskItem` holds the exact prompt of the protocol and its parts, for models with a wording of their own.
It knows nothing of models.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from data.media.kinds import MediaError
from data.mmeb.frame_indices import raw_indices
from data.mmeb.pixels import decode


class DataMissing(Exception):
    """The data of a task are not on the disk. `repositories` hold them; the message names what is missing."""

    def __init__(self, message: str, repositories: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.repositories = repositories


class DataBroken(Exception):
    """A file of a task's data cannot be read. The message names it."""


class ImageError(Exception):
    """One image or video cannot be read. The message is the reason, `source` the file."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(reason)
        self.source = source


class EncodedImage(Protocol):
    """An encoded image on disk."""

    @property
    def source(self) -> str:
        """The path, for messages."""
        ...

    def stamp(self) -> str:
        """Returns a text that changes when the bytes may have changed, without reading them. Raises `ImageError`."""
        ...

    def data(self) -> bytes:
        """Returns the encoded bytes. Raises `ImageError`."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """An image file."""

    path: Path

    @property
    def source(self) -> str:
        return str(self.path)

    def stamp(self) -> str:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise ImageError(self.source, f"cannot be opened ({error.strerror})") from None
        return f"{self.path}|{stat.st_size}|{stat.st_mtime_ns}"

    def data(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ImageError(self.source, f"cannot be opened ({error.strerror})") from None


@dataclass(frozen=True)
class TableImage:
    """An image inside a Parquet file: row `row` of `column`, a struct with `bytes`."""

    path: Path
    column: str
    row: int

    @property
    def source(self) -> str:
        return f"{self.path} (row {self.row})"

    def stamp(self) -> str:
        return f"{ImageFile(self.path).stamp()}|{self.column}|{self.row}"

    def data(self) -> bytes:
        value = _cell(self.path, self.column, self.row)
        if isinstance(value, dict):
            value = value.get("bytes")
        if not isinstance(value, bytes) or not value:
            raise ImageError(self.source, "holds no image bytes")
        return value


@functools.lru_cache(maxsize=4)
def _row_group(path: Path, column: str, group: int) -> list[object]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return list(file.read_row_group(group, columns=[column]).column(0).to_pylist())


@functools.lru_cache(maxsize=64)
def _group_ends(path: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        meta = file.metadata
        return np.cumsum([meta.row_group(i).num_rows for i in range(meta.num_row_groups)])


def _cell(path: Path, column: str, row: int) -> object:
    import pyarrow as pa

    try:
        ends = _group_ends(path)
        group = int(np.searchsorted(ends, row, side="right"))
        first = int(ends[group - 1]) if group else 0
        return _row_group(path, column, group)[row - first]
    except (OSError, pa.ArrowException) as error:
        raise ImageError(str(path), f"cannot be read as Parquet ({error})") from None


@dataclass(frozen=True)
class TaskVisual:
    """The visual of a pad token: one image, or the frames of a clip in order."""

    kind: Literal["image", "video"]
    images: tuple[EncodedImage, ...]
    video: Path | None = None  # a video file, if there are no saved frames; then `images` is empty
    frames: int | None = None  # the number of frames to sample from `video`
    on_white: bool = False  # put transparent images on white; the benchmark drops the transparency

    def read(self) -> list[np.ndarray]:
        """Returns uint8 RGB [H, W, 3] each. Frames of a clip may differ in size. Raises `ImageError`."""
        if self.video is not None:
            return _video_frames(self.video, self.frames or 8)
        return [_decode(image, self.on_white) for image in self.images]


def _decode(encoded: EncodedImage, on_white: bool) -> np.ndarray:
    data = encoded.data()
    try:
        return decode(data, on_white)
    except MediaError as error:
        raise ImageError(encoded.source, str(error)) from None


def _video_frames(path: Path, count: int) -> list[np.ndarray]:
    """Returns `count` frames of the whole file, those that the benchmark's code would save and show."""
    from data.media.video import frame_seconds, frames_at

    try:
        seconds = frame_seconds(path)
        if not seconds:
            raise ImageError(str(path), "holds no frame that can be decoded")
        return list(frames_at(path, [seconds[i] + 1e-5 for i in raw_indices(len(seconds), count)]))
    except (MediaError, OSError) as error:
        raise ImageError(str(path), str(error)) from None


@dataclass(frozen=True)
class TaskItem:
    """One input to embed.

    `prompt`       the exact prompt, with `<|image_pad|>` or `<|video_pad|>` in place of the visual.
    `text`         the words alone, without instruction and tokens.
    `instruction`  the instruction alone; None if the protocol has none.
    """

    prompt: str
    text: str = ""
    instruction: str | None = None
    visual: TaskVisual | None = None
    role: Literal["query", "document"] = "document"
    kind: Literal["text", "image", "video", "pdf"] = "text"


@dataclass
class TaskData:
    """The queries and candidates of a task. A column is a position in `candidates`.

    `keys`                 the name of each candidate; a key occurs once, with the first item of that key.
    `relevant[i]`          column -> grade of the relevant candidates of query `i`.
    `local_candidates[i]`  the columns that query `i` ranks, in stored order, with repeats; None: all columns.
    `missing[i]`           the number of relevant items that are not among the candidates.
    """

    queries: list[TaskItem] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    candidates: list[TaskItem] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    relevant: list[Mapping[int, float]] = field(default_factory=list)
    local_candidates: list[list[int]] | None = None
    missing: list[int] = field(default_factory=list)
    raw_keys: list[object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    _column: dict[object, int] = field(default_factory=dict)

    def candidate(self, key: object, item: TaskItem) -> int:
        """Add a candidate unless its key exists. Returns the column of the key."""
        column = self._column.get(key)
        if column is None:
            column = self._column[key] = len(self.keys)
            self.keys.append(str(key))
            self.raw_keys.append(key)
            self.candidates.append(item)
        return column

    def column(self, key: object) -> int | None:
        return self._column.get(key)

    def query(
        self, id: str, item: TaskItem, relevant: Mapping[int, float], columns: list[int] | None = None, missing: int = 0
    ) -> None:
        self.ids.append(id)
        self.queries.append(item)
        self.relevant.append(relevant)
        self.missing.append(missing)
        if columns is not None:
            if self.local_candidates is None:
                self.local_candidates = []
            self.local_candidates.append(columns)
