"""A library as the visitor of a request may see it.

Built around `SearchLibrary`: routes and agents' tools are handed a `ScopedLibrary` in place of the library,
so that no route can forget to ask. A visitor without roots sees everything. What a request may do at all
(read or change) is `app.web.guard`'s; it knows nothing of HTTP.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.web.tokens import Tokens, Visitor
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Answer, ChunkInfo, ClickLog, Failure, FileInfo, Hit, Moment, Part, Query, Status
from model.inputs import Cue


class ScopedLibrary:
    """A `SearchLibrary` that shows each visitor what its token may see."""

    def __init__(self, library: Library, tokens: Tokens) -> None:
        self._library, self._tokens = library, tokens

    def _visitor(self) -> Visitor:
        return self._tokens.current_visitor()

    def _whole(self) -> Library:
        """The library itself, for a visitor who sees all of it. Raises LibraryError for any other."""
        if self._visitor().roots:
            raise LibraryError("This token sees some folders only; that is for who sees all of them.")
        return self._library

    # -- answers ---------------------------------------------------------------------------

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        visitor = self._visitor()
        if not visitor.roots:
            return self._library.search(query, k=k, offset=offset)
        return self._narrowed(visitor, self._library.search(self._within(visitor, query), k=k, offset=offset))

    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer:
        if not self._visitor().roots:
            return self._library.similar(chunk_id, k=k, offset=offset)
        return self.search(Query((Part(chunk_id=chunk_id),)), k, offset)

    def moments(self, query: Query, k: int = 5) -> list[Moment]:
        visitor = self._visitor()
        return self._library.moments(self._within(visitor, query) if visitor.roots else query, k=k)

    def moment(self, query: Query, chunk_id: int) -> list[Moment]:
        return self._whole().moment(query, chunk_id)

    def _within(self, visitor: Visitor, query: Query) -> Query:
        for part in query.parts:
            if part.chunk_id is not None and self.chunk(part.chunk_id) is None:
                raise LibraryError(f"There is no chunk {part.chunk_id} in the library any more.")
        return replace(query, filters=replace(query.filters, within=tuple(map(Path, visitor.roots))))

    def _narrowed(self, visitor: Visitor, answer: Answer) -> Answer:
        """Copies elsewhere, and folders that hold them, are not told of."""

        def own(hit: Hit) -> Hit:
            return replace(hit, also_at=tuple(path for path in hit.also_at if visitor.sees(path)))

        facets = dict(answer.facets)
        facets["folder"] = {f: n for f, n in facets.get("folder", {}).items() if visitor.sees(f)}
        return replace(answer, hits=tuple(map(own, answer.hits)), facets=facets)

    # -- what ids stand for ----------------------------------------------------------------

    def file(self, file_id: int) -> FileInfo | None:
        found = self._library.file(file_id)
        return found if found is not None and self._visitor().sees(found.path) else None

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        """Held by a file that the visitor sees, whichever of its copies that is."""
        visitor = self._visitor()
        found = self._library.chunk(chunk_id)
        if found is None or visitor.sees(found.file.path):
            return found
        own = next((file for file in self._library.copies(chunk_id) if visitor.sees(file.path)), None)
        return replace(found, file=own) if own else None

    def transcript(self, file_id: int) -> list[Cue]:
        return [] if self.file(file_id) is None else self._library.transcript(file_id)

    def thumbnail(self, chunk_id: int) -> bytes | None:
        if self._visitor().roots and self.chunk(chunk_id) is None:
            return None
        return self._library.thumbnail(chunk_id)

    # -- the library itself ----------------------------------------------------------------

    def status(self) -> Status:
        visitor = self._visitor()
        whole = self._library.status()
        if not visitor.roots:
            return whole
        counts = self._library.counts([Path(root) for root in visitor.roots])
        return replace(
            whole,
            files=counts.files,
            images=counts.images,
            videos=counts.videos,
            pdfs=counts.pdfs,
            failed=counts.failed,
            pending=counts.pending,
            roots=visitor.roots,
            reading=tuple(path for path in whole.reading if visitor.sees(path)),
            notices=(),
            workers=(),
        )

    def failures(self) -> list[Failure]:
        visitor = self._visitor()
        return [failure for failure in self._library.failures() if visitor.sees(failure.path)]

    def retry(self) -> int:
        return self._whole().retry()

    def use_model(self, name: str) -> str:
        return self._whole().use_model(name)

    @property
    def clicks(self) -> ClickLog:
        return self._whole().clicks

    def add_root(self, folder: Path) -> None:
        self._own_folder(folder)
        self._library.add_root(folder)

    def forget(self, folder: Path) -> int:
        self._own_folder(folder)
        return self._library.forget(folder)

    def _own_folder(self, folder: Path) -> None:
        if not self._visitor().sees(Path(folder).expanduser().absolute()):
            raise LibraryError(f"{folder} is not one of the folders that this token is for.")
