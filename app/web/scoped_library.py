"""A library as the visitor of a request may see it, and a line for each file that was opened.

Built around the same methods as `indexer.Library`: routes and agents' tools are handed a `Shown` in its
place, so that no route can forget to ask. A visitor without roots sees everything. What a request may do at
all (read or change) is `app.web.guard`'s; it knows nothing of HTTP.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.web.tokens import OWNER, Tokens, Visitor, visitor
from indexer.errors import LibraryError
from indexer.types import Answer, ChunkInfo, Failure, FileInfo, Hit, Part, Query, Status
from model.inputs import Cue

AUDIT = "audit.jsonl"
AUDIT_BYTES = 5 << 20
SAME_VISIT_S = 600.0
"""A file that the same visitor opens again within so long (a film asks for its bytes a hundred times) is one
line."""


class Shown:
    """Everything that is not here is the library's own, and for the owner alone."""

    def __init__(self, library: Any, tokens: Tokens) -> None:
        self._library, self._tokens = library, tokens
        self._audit = _audit_log(library.data_dir)
        self._opened: dict[tuple[str, int], float] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and self._whose().roots:
            raise LibraryError("This token sees some folders only; that is for who sees all of them.")
        return getattr(self._library, name)

    def _whose(self) -> Visitor:
        """Of the request at hand. Nobody is nobody: what runs outside a request sees nothing once tokens
        were given out."""
        asks = visitor.get()
        if asks is None and self._tokens:
            raise LibraryError("Who asks is not known here; nothing is shown.")
        return asks or OWNER

    # -- answers ---------------------------------------------------------------------------

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        asks = self._whose()
        if not asks.roots:
            return self._library.search(query, k=k, offset=offset)
        return self._narrowed(asks, self._library.search(self._within(asks, query), k=k, offset=offset))

    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer:
        if not self._whose().roots:
            return self._library.similar(chunk_id, k=k, offset=offset)
        return self.search(Query((Part(chunk_id=chunk_id),)), k, offset)

    def moments(self, query: Query, k: int = 5) -> Any:
        asks = self._whose()
        return self._library.moments(self._within(asks, query) if asks.roots else query, k=k)

    def _within(self, asks: Visitor, query: Query) -> Query:
        for part in query.parts:
            if part.chunk_id is not None and self.chunk(part.chunk_id) is None:
                raise LibraryError(f"There is no chunk {part.chunk_id} in the library any more.")
        return replace(query, filters=replace(query.filters, within=tuple(map(Path, asks.roots))))

    def _narrowed(self, asks: Visitor, answer: Answer) -> Answer:
        """Copies elsewhere, and folders that hold them, are not told of."""

        def own(hit: Hit) -> Hit:
            return replace(hit, also_at=tuple(path for path in hit.also_at if asks.sees(path)))

        facets = dict(answer.facets)
        facets["folder"] = {f: n for f, n in facets.get("folder", {}).items() if asks.sees(f)}
        return replace(answer, hits=tuple(map(own, answer.hits)), facets=facets)

    # -- what ids stand for ----------------------------------------------------------------

    def file(self, file_id: int) -> FileInfo | None:
        found: FileInfo | None = self._library.file(file_id)
        return found if found is not None and self._whose().sees(found.path) else None

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        """Held by a file that the visitor sees, whichever of its copies that is."""
        asks = self._whose()
        found: ChunkInfo | None = self._library.chunk(chunk_id)
        if found is None or asks.sees(found.file.path):
            return found
        copies: Iterable[FileInfo] = self._library.copies(chunk_id)
        own = next((file for file in copies if asks.sees(file.path)), None)
        return replace(found, file=own) if own else None

    def transcript(self, file_id: int) -> list[Cue]:
        return [] if self.file(file_id) is None else self._library.transcript(file_id)

    def thumbnail(self, chunk_id: int) -> bytes | None:
        if self._whose().roots and self.chunk(chunk_id) is None:
            return None
        return self._library.thumbnail(chunk_id)

    def opened(self, file: FileInfo) -> None:
        """A visitor opens this file: one line, when tokens were given out."""
        if not self._tokens:
            return
        who, now = self._whose().name, time.time()
        if now - self._opened.get((who, file.file_id), 0.0) < SAME_VISIT_S:
            return
        self._opened = {key: at for key, at in self._opened.items() if now - at < SAME_VISIT_S}
        self._opened[who, file.file_id] = now
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "who": who, "opened": os.fspath(file.path)}
        self._audit.info(json.dumps(line))

    # -- the library itself ----------------------------------------------------------------

    def status(self) -> Status:
        asks = self._whose()
        whole: Status = self._library.status()
        if not asks.roots:
            return whole
        counts = self._library.counts([Path(root) for root in asks.roots])
        return replace(
            whole,
            files=counts.files,
            images=counts.images,
            videos=counts.videos,
            pdfs=counts.pdfs,
            failed=counts.failed,
            pending=counts.pending,
            roots=asks.roots,
            reading=tuple(path for path in whole.reading if asks.sees(path)),
            notices=(),
            workers=(),
        )

    def failures(self) -> list[Failure]:
        asks = self._whose()
        return [failure for failure in self._library.failures() if asks.sees(failure.path)]

    def add_root(self, folder: Path) -> None:
        self._own_folder(folder)
        self._library.add_root(folder)

    def forget(self, folder: Path) -> int:
        self._own_folder(folder)
        return self._library.forget(folder)

    def completed(self, found: dict[str, Any]) -> dict[str, Any]:
        """Folders of the disk (`app.web.api.complete`), as far as the visitor sees them."""
        asks = self._whose()
        own = [folder for folder in found["folders"] if asks.sees(folder)]
        return {**found, "exists": found["exists"] and asks.sees(found["path"]), "folders": own}

    def _own_folder(self, folder: Path) -> None:
        if not self._whose().sees(Path(folder).expanduser().absolute()):
            raise LibraryError(f"{folder} is not one of the folders that this token is for.")


def _audit_log(data_dir: Path) -> logging.Logger:
    """A logger of its own for one file; the file is there from the first line on."""
    log = logging.getLogger(f"{__name__}.{data_dir}")
    if not log.handlers:
        log.addHandler(
            logging.handlers.RotatingFileHandler(
                data_dir / AUDIT, maxBytes=AUDIT_BYTES, backupCount=3, delay=True
            )
        )
        log.setLevel(logging.INFO)
        log.propagate = False
    return log
