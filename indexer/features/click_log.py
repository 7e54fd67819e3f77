"""What a person searched for and then opened, kept in the library's folder: only when they agreed to it.

Built around one file, `clicks.jsonl`, beside the catalogue: a line a click with the words and what was
opened, named by its content, so that it outlives a rename, another window and a library made anew. A file
`keep-clicks` is the agreement. Nothing is kept without it and nothing of it leaves the folder;
`pairs.py` makes training pairs of it. It knows nothing of pages or models.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

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
        self._counted: tuple[tuple[int, int], int] | None = None

    @property
    def kept(self) -> bool:
        """Whether clicks are kept from now on. False until the person agrees."""
        return self._agreement.exists()

    def keep(self, agreed: bool) -> None:
        """Begin or stop keeping; what is kept already stays until `delete`. Raises `LibraryError`."""
        try:
            if agreed:
                self._agreement.touch()
            else:
                self._agreement.unlink(missing_ok=True)
        except OSError as error:
            raise LibraryError(
                f"{self._agreement} cannot be written ({error.strerror}): check the folder's permissions."
            ) from error

    def add(self, text: str, chunk_id: int) -> bool:
        """Keep that `text` led to a chunk: its words alone, without filters. Whether it was kept.

        Raises `LibraryError` when the disk does not take it.
        """
        if not self.kept:
            return False
        try:
            words = parse(text).meaning
        except QueryError:
            return False
        opened, held = self._catalogue.contents.chunk(chunk_id), self._catalogue.contents.of_chunk(chunk_id)
        if not words or opened is None or held is None:
            return False
        row = {
            "query": words,
            "content": held[0].hex(),
            "page": opened.span.page,
            "start_s": opened.span.start_s,
            "end_s": opened.span.end_s,
        }
        line = json.dumps(row).encode() + b"\n"
        with self._lock:
            try:
                with self._path.open("ab") as file:
                    file.write(line)
            except OSError as error:
                raise LibraryError(f"{self._path} cannot be written ({error.strerror}).") from error
        return True

    def __len__(self) -> int:
        """How many are kept; counted anew when the file has changed."""
        try:
            stat = self._path.stat()
        except OSError:
            return 0
        stamp = (stat.st_size, stat.st_mtime_ns)
        if self._counted is None or self._counted[0] != stamp:
            with self._path.open("rb") as file:
                self._counted = stamp, sum(1 for _ in file)
        return self._counted[1]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each search and what it opened, once. Raises `LibraryError`: no file, or a damaged line."""
        if not self._path.is_file():
            raise LibraryError(
                f"{self._path} is not there: no clicks are kept of this library; `sightline clicks --keep` begins."
            )
        seen = set()
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    click = json.loads(line)
                    bytes.fromhex(click["content"])
                    key = tuple(click[name] for name in ("query", "content", "page", "start_s"))
                except (ValueError, KeyError, TypeError) as error:
                    raise LibraryError(f"{self._path}, row {number}: no click ({error}); remove the line.") from error
                if key not in seen:
                    seen.add(key)
                    yield click

    def delete(self) -> int:
        """Delete all that is kept; how many there were. Whether clicks are kept from now on is as before."""
        with self._lock:
            gone = len(self)
            self._path.unlink(missing_ok=True)
        return gone

    def only_of(self, contents: Container[bytes]) -> None:
        """Keep only clicks on these contents (their hashes): what is forgotten leaves no trace."""
        with self._lock:
            if not self._path.exists():
                return
            lines = self._path.read_bytes().splitlines(keepends=True)
            stay = [line for line in lines if _content(line) in contents]
            if len(stay) < len(lines):
                waiting = self._path.with_suffix(".new")
                waiting.write_bytes(b"".join(stay))
                os.replace(waiting, self._path)  # noqa: PTH105


def _content(line: bytes) -> bytes:
    """The hash in a line; none in one that a power cut left half-written."""
    try:
        return bytes.fromhex(json.loads(line)["content"])
    except (ValueError, KeyError, TypeError):
        return b""
