"""Rows of Parquet files rewritten once, so that one row is read at the cost of one row.

Built around `pack` and `PackedRows`. A row group of page images is 50 MB; each loader process of each rank needs a few
rows of a group and would read it whole. Packed, a row is one read of its own bytes, and a process keeps no group in
memory. The originals stay. A folder of packed rows holds

    rows.bin     the rows, each an Arrow record batch
    index.npy    int64 [rows + 1]: where each begins, and the end
    schema.bin   their columns
    about.json   the files that they were made of, by name, size and time

It knows nothing of the meaning of a row.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.sources.pair import SourceError
from data.sources.rows import ParquetRows

FOLDER = "packed"
"""In a repository's folder; a subset's rows lie below it under the subset's name."""
_ROWS_PER_READ = 64


class PackedRows:
    """Rows of a folder that `pack` wrote, a `data.sources.rows.RowTable` that keeps no row in memory."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        """Raises `SourceError` if a file is missing or cut short."""
        import pyarrow as pa

        try:
            self._index = np.load(folder / "index.npy")
            self._schema = pa.ipc.read_schema(pa.py_buffer((folder / "schema.bin").read_bytes()))
            size = (folder / "rows.bin").stat().st_size
        except (OSError, ValueError) as error:
            raise SourceError(f"{folder} is damaged ({error}); delete it and pack again") from error
        if size != self._index[-1]:
            raise SourceError(f"{folder / 'rows.bin'} is cut short or damaged; delete {folder} and pack again")
        self._path = folder / "rows.bin"
        n_rows = len(self._index) - 1
        self._length = n_rows if limit is None else min(limit, n_rows)
        self.groups = np.ones(self._length, np.int64)
        self.open_groups = max(1, self._length)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        import pyarrow as pa

        start, end = (int(at) for at in self._index[index : index + 2])
        with self._path.open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(end - start)
        try:
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._path}, row {index}: cannot be read ({error}); pack again") from error
        return dict(batch.to_pylist()[0])


def pack(
    paths: Sequence[Path],
    folder: Path,
    columns: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the rows of Parquet files into `folder`, which appears when it is complete.

    Raises `SourceError`: a file is no Parquet or lacks a column, there are no rows, or the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        has_rows = bool(len(ParquetRows(paths, columns)))
    except SourceError as error:
        raise SourceError(f"{folder} cannot be packed: {error}") from error
    if not has_rows:
        raise SourceError(f"{folder} cannot be packed: its files have no rows")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        need, free = sum(path.stat().st_size for path in paths), shutil.disk_usage(part).free
        if free < need:
            raise SourceError(f"{folder}: {need / 2**30:.1f} GB are needed, {free / 2**30:.1f} GB are free")
        starts = [0]
        schema: Any = None
        with (part / "rows.bin").open("wb") as out:
            for number, path in enumerate(paths):
                with pq.ParquetFile(path) as file:
                    names = None if columns is None else list(columns)
                    for batch in file.iter_batches(_ROWS_PER_READ, columns=names):
                        if schema is None:
                            schema = batch.schema.remove_metadata()
                        batch = batch.cast(schema)  # files may differ in metadata, which is part of a message
                        for row in range(len(batch)):
                            starts.append(starts[-1] + out.write(batch.slice(row, 1).serialize()))
                if progress is not None:
                    progress(number + 1, len(paths))
        np.save(part / "index.npy", np.asarray(starts, np.int64))
        (part / "schema.bin").write_bytes(schema.serialize())
        (part / "about.json").write_text(json.dumps(_about(paths, columns), indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{folder} cannot be packed ({getattr(error, 'strerror', None) or error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_packed(folder: Path, paths: Sequence[Path], columns: Sequence[str] | None) -> bool:
    """Whether `folder` holds the rows of these files as they are now."""
    try:
        return bool(json.loads((folder / "about.json").read_text()) == _about(paths, columns))
    except (OSError, ValueError):
        return False


def _about(paths: Sequence[Path], columns: Sequence[str] | None) -> dict[str, Any]:
    stats = [(path.name, path.stat()) for path in paths]
    return {"files": [[name, s.st_size, s.st_mtime_ns] for name, s in stats], "columns": list(columns or [])}
