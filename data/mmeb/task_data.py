"""What a reader hands over: the queries of a task, its candidates, and what is relevant to what.

Built around `TaskItem`, one thing to embed, and `TaskData`. Pictures stay where they are on disk
until `Picture.read`. It knows nothing of models: a `TaskItem` holds the exact prompt of the
protocol and, for models with a wording of their own, its parts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np


class DataMissing(Exception):
    """The data of a task are not there: what is missing, and the `repositories` that it comes from."""

    def __init__(self, what: str, repositories: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.repositories = repositories


class DataBroken(Exception):
    """The data of a task are there and cannot be read. `str(error)` names the file."""


class PictureError(Exception):
    """One picture or video cannot be read. `str(error)` is the reason, `source` the file."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(reason)
        self.source = source


class Picture(Protocol):
    """An encoded image somewhere on disk."""

    @property
    def source(self) -> str:
        """Its path, for people."""
        ...

    def stamp(self) -> str:
        """Changes when the bytes may have changed; costs no reading of them. Raises `PictureError`."""
        ...

    def data(self) -> bytes:
        """The encoded bytes. Raises `PictureError`."""
        ...


@dataclass(frozen=True)
class FilePicture:
    """An image file."""

    path: Path

    @property
    def source(self) -> str:
        return str(self.path)

    def stamp(self) -> str:
        try:
            found = self.path.stat()
        except OSError as error:
            raise PictureError(self.source, f"cannot be opened ({error.strerror})") from None
        return f"{self.path}|{found.st_size}|{found.st_mtime_ns}"

    def data(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise PictureError(self.source, f"cannot be opened ({error.strerror})") from None


@dataclass(frozen=True)
class TablePicture:
    """An image inside a Parquet file: row `row` of `column`, a struct with `bytes`."""

    path: Path
    column: str
    row: int

    @property
    def source(self) -> str:
        return f"{self.path} (row {self.row})"

    def stamp(self) -> str:
        return f"{FilePicture(self.path).stamp()}|{self.column}|{self.row}"

    def data(self) -> bytes:
        value = _cell(self.path, self.column, self.row)
        if isinstance(value, dict):
            value = value.get("bytes")
        if not isinstance(value, bytes) or not value:
            raise PictureError(self.source, "holds no image bytes")
        return value


@functools.lru_cache(maxsize=4)
def _row_group(path: Path, column: str, group: int) -> list[object]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(0).to_pylist()


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
        raise PictureError(str(path), f"cannot be read as Parquet ({error})") from None


@dataclass(frozen=True)
class TaskVisual:
    """What a pad token stands for: one image, or the frames of a clip in order."""

    kind: Literal["image", "video"]
    pictures: tuple[Picture, ...]
    video: Path | None = None  # a video file, where no frames were saved; then `pictures` is empty
    frames: int | None = None  # how many to take of it

    def read(self) -> list[np.ndarray]:
        """uint8 RGB [H, W, 3] each. Frames of a clip may differ in size. Raises `PictureError`."""
        if self.video is not None:
            return _video_frames(self.video, self.frames or 8)
        return [_decoded(picture) for picture in self.pictures]


def _decoded(picture: Picture) -> np.ndarray:
    import io

    from PIL import Image, UnidentifiedImageError

    data = picture.data()
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(picture.source, f"is not a readable image ({error})") from None


def _video_frames(path: Path, count: int) -> list[np.ndarray]:
    """`count` frames over the whole file (for data of one's own, without saved frames)."""
    from data.media.kinds import MediaError
    from data.media.video import probe, sample_frames

    try:
        frames, _times = sample_frames(path, 0.0, probe(path).duration_s, count)
    except (MediaError, OSError) as error:
        raise PictureError(str(path), str(error)) from None
    if not len(frames):
        raise PictureError(str(path), "holds no picture that can be decoded")
    return list(frames)


@dataclass(frozen=True)
class TaskItem:
    """One thing to embed.

    `prompt`       exact, with `<|image_pad|>` or `<|video_pad|>` where the visual goes.
    `text`         the words alone, without instruction and tokens.
    `instruction`  the instruction alone; None where the protocol has none.
    """

    prompt: str
    text: str = ""
    instruction: str | None = None
    visual: TaskVisual | None = None
    role: Literal["query", "document"] = "document"
    kind: Literal["text", "image", "video", "pdf"] = "text"


@dataclass
class TaskData:
    """A task as it is embedded and ranked.

    `keys` names each candidate; a key occurs once, the first item that had it wins.
    `relevant[i]` maps columns of `candidates` to grades. `offered[i]` lists the columns that
    query `i` ranks, in stored order, repeats kept; None: every query ranks all.
    `unfound[i]` counts relevant items that are no candidate at all.
    """

    queries: list[TaskItem] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    candidates: list[TaskItem] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    relevant: list[Mapping[int, float]] = field(default_factory=list)
    offered: list[list[int]] | None = None
    unfound: list[int] = field(default_factory=list)
    raw_keys: list[object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    _column: dict[object, int] = field(default_factory=dict)

    def candidate(self, key: object, item: TaskItem) -> int:
        """The column of `key`, added if it is new."""
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
        self, id: str, item: TaskItem, relevant: Mapping[int, float], offered: list[int] | None = None, unfound: int = 0
    ) -> None:
        self.ids.append(id)
        self.queries.append(item)
        self.relevant.append(relevant)
        self.unfound.append(unfound)
        if offered is not None:
            if self.offered is None:
                self.offered = []
            self.offered.append(offered)
