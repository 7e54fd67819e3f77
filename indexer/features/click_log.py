"""The click log: searches in words and the chunks opened from them, stored only with the person's agreement.

Built around one file in the library's folder, `clicks.jsonl`: a line a click, with the words and the content
hash of the chunk, so that it outlives a rename, another window length and a new catalogue. A file `keep-clicks`
is the agreement. No click leaves the folder; `pairs.py` makes training pairs of them. It knows nothing of
pages or models.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from indexer import private
from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError, QueryError
from indexer.search.query_syntax import parse

CLICKS = "clicks.jsonl"
AGREEMENT = "keep-clicks"


class Clicks:
    """The clicks of one library. Safe to use from many threads."""

    def __init__(self, data_dir: Path, catalogue: Catalogue) -> None:
        self._path, self._agreement = data_dir / CLICKS, data_dir / AGREEMENT
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._cached_count: tuple[tuple[int, int], int] | None = None

    @property
    def enabled(self) -> bool:
        """Whether new clicks are stored. False until the person agrees."""
        return self._agreement.exists()

    def enable(self, agreed: bool) -> None:
        """Store new clicks, or stop; stored ones stay until `delete`. Raises `LibraryError`."""
        self._catalogue.database.identity()
        try:
            if agreed:
                self._agreement.touch(0o600)
            else:
                self._agreement.unlink(missing_ok=True)
        except OSError as error:
            raise LibraryError(
                f"{self._agreement} cannot be written ({error.strerror}): check the folder's permissions."
            ) from error

    def add(self, text: str, chunk_id: int) -> bool:
        """Store that the query `text` led to a chunk: its words, without filters. Returns whether it is stored.

        Raises `LibraryError` if the file cannot be written.
        """
        if not self.enabled:
            return False
        try:
            words = parse(text).meaning
        except QueryError:
            return False
        chunk, where = self._catalogue.contents.chunk(chunk_id), self._catalogue.contents.of_chunk(chunk_id)
        if not words or chunk is None or where is None:
            return False
        span = chunk.span
        row: dict[str, Any] = {"query": words, "content": where[0].hex(), "page": span.page}
        row |= {"start_s": span.start_s, "end_s": span.end_s}
        try:
            with self._lock, open(self._path, "ab", opener=private.opener) as file:
                file.write(json.dumps(row).encode() + b"\n")
        except OSError as error:
            raise LibraryError(f"{self._path} cannot be written ({error.strerror}).") from error
        return True

    def __len__(self) -> int:
        """The number of stored clicks; counted again after the file has changed."""
        try:
            stat = self._path.stat()
        except OSError:
            return 0
        stamp = (stat.st_size, stat.st_mtime_ns)
        if self._cached_count is None or self._cached_count[0] != stamp:
            with self._path.open("rb") as file:
                self._cached_count = stamp, sum(1 for _ in file)
        return self._cached_count[1]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each pair of a search and a chunk once. Raises `LibraryError` without a file, or at a damaged line."""
        if not self._path.is_file():
            raise LibraryError(
                f"{self._path} does not exist: no clicks are kept of this library; `sightline clicks --keep` begins."
            )
        keys = set()
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    click = json.loads(line)
                    bytes.fromhex(click["content"])
                    key = tuple(click[name] for name in ("query", "content", "page", "start_s"))
                except (ValueError, KeyError, TypeError) as error:
                    raise LibraryError(f"{self._path}, row {number}: no click ({error}); remove the line.") from error
                if key not in keys:
                    keys.add(key)
                    yield click

    def delete(self) -> int:
        """Delete all stored clicks and return their number. `enabled` stays as it is. Raises `LibraryError`."""
        try:
            with self._lock:
                count = len(self)
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise LibraryError(f"{self._path} cannot be deleted ({error.strerror}).") from error
        return count

    def as_settings(self) -> dict[str, str]:
        """The clicks and the agreement for a backup, which is one file; `restore` takes them out again."""
        rows = self._path.read_text("utf-8") if self._path.exists() else ""
        return {CLICKS: json.dumps({"rows": rows, "agreed": self.enabled})} if rows or self.enabled else {}

    def restore(self) -> None:
        """Take the clicks out of a backup that has become the catalogue; clicks that are here stay as they are."""
        if (packed := self._catalogue.settings.get(CLICKS)) is None:
            return
        stored = json.loads(packed)
        if stored["agreed"]:
            self.enable(True)
        if stored["rows"] and not len(self):
            self._write(stored["rows"].encode())
        self._catalogue.settings.remove(CLICKS)

    def copy_to(self, folder: Path) -> None:
        """Copy the clicks and the agreement into the folder of another library, where there are none."""
        for path in (self._path, self._agreement):
            if path.exists() and not (folder / path.name).exists():
                shutil.copy2(path, folder / path.name)

    def retain(self, contents: Container[bytes]) -> None:
        """Delete the clicks on all contents but these (hashes), as after `forget`."""
        with self._lock:
            if not self._path.exists():
                return
            lines = self._path.read_bytes().splitlines(keepends=True)
            retained = [line for line in lines if _content(line) in contents]
            if len(retained) < len(lines):
                self._write(b"".join(retained))

    def _write(self, data: bytes) -> None:
        temporary = self._path.with_suffix(".new")
        private.make(temporary)
        temporary.write_bytes(data)
        temporary.replace(self._path)


def _content(line: bytes) -> bytes:
    """The content hash in a line; empty if a power cut left the line half-written."""
    try:
        return bytes.fromhex(json.loads(line)["content"])
    except (ValueError, KeyError, TypeError):
        return b""
