"""Rows of a dataset repository that is on disk in the layout of the hub.

Built around `read_rows`: it finds the files of a config and split (by the README header, else by the usual names)
and reads Parquet, JSON Lines, JSON or CSV into dictionaries. It knows nothing of tasks.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data.mmeb.task import MediaFolder
from data.mmeb.task_data import DataBroken, DataMissing

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")


def repository(root: Path, repo: str) -> Path:
    """Returns the folder of a repository. Raises `DataMissing`."""
    folder = root / repo
    if not folder.is_dir():
        raise DataMissing(f"{folder} is not there", (repo,))
    return folder


def media_folder(root: Path, media: MediaFolder) -> Path:
    """Returns the declared folder of images or saved frames, or the one of that name near it. Raises `DataMissing`."""
    base = repository(root, media.repo)
    folder = base / media.folder
    if folder.is_dir():
        return folder
    top = base / Path(media.folder).parts[0]
    # Some archives lack the upper folders. The frames lie deeper than four levels.
    patterns = [f"{'*/' * depth}{folder.name}" for depth in range(4)]
    folders = {p for pattern in patterns for p in top.glob(pattern) if p.is_dir()}
    if len(folders) != 1:
        raise DataMissing(f"{folder} is not there", (media.repo,))
    return folders.pop()


def table_files(root: Path, repo: str, config: str | None, split: str) -> list[Path]:
    """Returns the files of one config and split, in order. Raises `DataMissing`, `DataBroken`."""
    folder = repository(root, repo)
    for patterns in [_header_patterns(folder, config, split), *([p] for p in _usual_patterns(config, split))]:
        matches = {p for pattern in patterns for p in folder.glob(pattern)}
        files = sorted(p for p in matches if p.suffix in SUFFIXES and p.is_file())
        if files:
            # A dump may hold the same rows twice, as Parquet and as JSON Lines.
            return [p for p in files if p.suffix == files[0].suffix]
    part = f"split {split!r}" if config is None else f"config {config!r}, split {split!r}"
    raise DataMissing(f"{folder} holds no table for {part}", (repo,))


def _header_patterns(folder: Path, config: str | None, split: str) -> list[str]:
    """Returns the `data_files` of the README header, by the hub's rules."""
    readme = folder / "README.md"
    if not readme.is_file():
        return []
    import yaml

    parts = readme.read_text("utf-8", errors="replace").split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return []
    try:
        header = yaml.safe_load(parts[1]) or {}
    except yaml.YAMLError as error:
        raise DataBroken(f"{readme}: the header is not YAML ({str(error).splitlines()[0]})") from None
    for entry in header.get("configs") or []:
        if entry.get("config_name") != (config or "default"):
            continue
        files = entry.get("data_files") or []
        if isinstance(files, str):
            return [files]
        out: list[str] = []
        for item in files:
            if isinstance(item, str):
                out.append(item)
            elif item.get("split") == split:
                path = item.get("path", [])
                out += [path] if isinstance(path, str) else list(path)
        return out
    return []


def _usual_patterns(config: str | None, split: str) -> list[str]:
    if config is None:
        return [f"data/{split}-*", f"data/{split}.*", f"{split}-*", f"{split}.*", f"default/{split}*", f"*{split}*"]
    return [
        f"{config}/{split}-*",
        f"{config}/{split}.*",
        f"{config}/{split}/*",
        f"data/{config}/{split}*",
        f"data/{config}-{split}*",
        f"*/{config}.json*",
        f"{config}.json*",
        f"{config}/*",
    ]


def read_rows(
    root: Path, repo: str, config: str | None, split: str, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yields one dictionary per row. `columns` limits the columns that are read (Parquet)."""
    for path in table_files(root, repo, config, split):
        yield from rows_of(path, columns)


def rows_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yields the rows of one table. Raises `DataBroken` with the file's name."""
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path, columns)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.strip())
        elif path.suffix == ".json":
            text = path.read_text("utf-8")
            try:
                rows = json.loads(text)
            except json.JSONDecodeError:
                rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            yield from rows if isinstance(rows, list) else [rows]
        else:
            with path.open(encoding="utf-8", newline="") as lines:
                yield from csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors and OSErrors too
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataBroken(f"{path} cannot be read ({reason}); fetch it again") from None


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = None if columns is None else [c for c in columns if c in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=1024, columns=names):
            yield from batch.to_pylist()


def need(row: dict[str, Any], column: str, path: object) -> Any:
    """Returns a cell. Raises `DataBroken` if the row has no such column."""
    try:
        return row[column]
    except KeyError:
        raise DataBroken(f"{path} has no column {column!r}; it has {', '.join(map(str, row))}") from None
