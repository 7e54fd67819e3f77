"""Rows of JSONL and Parquet files by number, read from disk one group at a time.

Built around `RowTable`: a length, a row by number, and `groups`, the sizes of the groups of rows that are cheap to
read together (a Parquet row group; a single row of a JSONL file). The shuffle in `train.mixing` follows groups, so
that a source with images in its rows is read nearly in order. It knows nothing of the meaning of a row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from cachetools import LRUCache

from data.sources.pair import SourceError

OPEN_BYTES = 256 * 2**20
"""Memory for a source's row groups in each loader process: about 5 groups of 100 page images."""

Row = dict[str, Any]


class RowTable(Protocol):
    groups: np.ndarray
    """int64: sizes of the groups, in order; their sum is the length."""
    open_groups: int
    """The number of groups that can be read alternately without a second read of any."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...


class JsonlRows:
    """Rows of JSON-lines files: one scan for the line starts (8 bytes per row), then one seek per row."""

    def __init__(self, paths: Sequence[Path], limit: int | None = None) -> None:
        self._paths = list(paths)
        self._starts = [line_starts(path) for path in self._paths]
        self._firsts = np.cumsum([0] + [len(s) for s in self._starts])
        self._length = int(self._firsts[-1]) if limit is None else min(limit, int(self._firsts[-1]))
        self.groups = np.ones(self._length, np.int64)
        self.open_groups = max(1, self._length)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        number = int(np.searchsorted(self._firsts, index, side="right")) - 1
        local = index - int(self._firsts[number])
        path = self._paths[number]
        with path.open("rb") as file:
            file.seek(int(self._starts[number][local]))
            line = file.readline()
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SourceError(f"{path}, row {local + 1}: not a line of JSON ({error}); mend or remove it") from error
        if not isinstance(row, dict):
            raise SourceError(f"{path}, row {local + 1}: a row is a JSON object, this is {type(row).__name__}")
        return row


def line_starts(path: Path) -> np.ndarray:
    """Returns the byte offsets of the non-empty lines of a file, int64."""
    starts: list[np.ndarray] = [np.zeros(1, np.int64)]
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while block := file.read(2**24):
            starts.append(np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + offset + 1)
            offset += len(block)
    bounds = np.append(np.concatenate(starts), size + 1)
    lengths = np.diff(np.minimum(bounds, size + 1))
    return np.asarray(bounds[:-1][(lengths > 1) & (bounds[:-1] < size)])


class ParquetRows:
    """Rows of Parquet files. A least-recently-used cache holds at most twice `OPEN_BYTES` of row groups."""

    def __init__(self, paths: Sequence[Path], columns: Sequence[str] | None = None, limit: int | None = None) -> None:
        self._paths = list(paths)
        self._columns = list(columns) if columns is not None else None
        self._group_of: list[tuple[int, int]] = []
        sizes: list[int] = []
        max_bytes = 1
        for number, path in enumerate(self._paths):
            metadata = _open_parquet(path).metadata
            names = set(metadata.schema.to_arrow_schema().names)
            if missing := [c for c in self._columns or () if c not in names]:
                raise SourceError(f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(names))}")
            for group in range(metadata.num_row_groups):
                if rows := metadata.row_group(group).num_rows:
                    self._group_of.append((number, group))
                    sizes.append(rows)
                    max_bytes = max(max_bytes, metadata.row_group(group).total_byte_size)
        total = sum(sizes)
        self._length = total if limit is None else min(limit, total)
        self._firsts = np.cumsum([0, *sizes])
        group_sizes = np.diff(np.minimum(self._firsts, self._length))
        self.groups = group_sizes[group_sizes > 0].astype(np.int64)
        self.open_groups = max(1, OPEN_BYTES // max_bytes)
        self._cache: LRUCache[int, Any] = LRUCache(2 * OPEN_BYTES, _cache_bytes)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        group = int(np.searchsorted(self._firsts, index, side="right")) - 1
        rows: list[Row] = self._group(group).slice(index - int(self._firsts[group]), 1).to_pylist()
        return rows[0]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": LRUCache(2 * OPEN_BYTES, _cache_bytes)}

    def _group(self, group: int) -> Any:
        if group in self._cache:
            return self._cache[group]
        file_number, local = self._group_of[group]
        path = self._paths[file_number]
        try:
            table = _open_parquet(path).read_row_group(local, columns=self._columns)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: row group {local} cannot be read ({error}); fetch the file again") from error
        self._cache[group] = table
        return table


def _cache_bytes(table: Any) -> int:
    """Returns the size of a group, at most the size of the cache: a larger group fills it."""
    return min(int(table.nbytes), 2 * OPEN_BYTES)


def _open_parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not a readable Parquet file ({error}); fetch it again") from error


def open_rows(paths: Sequence[Path], columns: Sequence[str] | None = None, limit: int | None = None) -> RowTable:
    """Returns the rows of JSONL or Parquet files, by suffix. Raises `SourceError`: absent, broken, another kind."""
    if not paths:
        raise SourceError("no files to read rows from")
    for path in paths:
        if not path.is_file():
            raise SourceError(f"{path} does not exist")
    if all(path.suffix in (".jsonl", ".json") for path in paths):
        return JsonlRows(paths, limit)
    if all(path.suffix == ".parquet" for path in paths):
        return ParquetRows(paths, columns, limit)
    raise SourceError(f"{paths[0]}: rows are read from .jsonl or .parquet files")
