"""A library as the visitor of the current request may see it.

Built around `SearchLibrary`: routes and agents' tools get a `ScopedLibrary` instead of the library, so that no
route can forget to check. A visitor without roots sees everything. Whether a request may change anything is
checked in `app.web.guard`. It knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.web.tokens import Tokens, Visitor
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import (
    Album,
    Answer,
    ChunkDetails,
    ChunkInfo,
    ClickLog,
    DuplicateGroup,
    Failure,
    FileInfo,
    FolderRules,
    Hit,
    ModelComparison,
    Moment,
    Month,
    Part,
    Places,
    Query,
    RulesChange,
    SavedSearch,
    Status,
    Why,
    WorkLeft,
)
from model.inputs import Cue


class ScopedLibrary:
    """A `SearchLibrary` that shows each visitor only the folders of its token."""

    def __init__(self, library: Library, tokens: Tokens) -> None:
        self._library, self._tokens = library, tokens

    @property
    def data_dir(self) -> Path:
        return self._library.data_dir

    def _visitor(self) -> Visitor:
        return self._tokens.current_visitor()

    def _whole(self) -> Library:
        """The library itself. Raises LibraryError if the visitor does not see all of it."""
        if self._visitor().roots:
            raise LibraryError("This token sees some folders only; this needs a token that sees all of them.")
        return self._library

    # -- answers ---------------------------------------------------------------------------

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        visitor = self._visitor()
        if not visitor.roots:
            return self._library.search(query, k=k, offset=offset)
        return self._narrowed(visitor, self._library.search(self._within(query), k=k, offset=offset))

    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer:
        if not self._visitor().roots:
            return self._library.similar(chunk_id, k=k, offset=offset)
        return self.search(Query((Part(chunk_id=chunk_id),)), k, offset)

    def moments(self, query: Query, k: int = 5) -> list[Moment]:
        visitor = self._visitor()
        return [one for one in self._library.moments(self._within(query), k=k) if visitor.reaches(Path(one.hit.path))]

    def moment(self, query: Query, chunk_id: int) -> list[Moment]:
        visitor = self._visitor()
        if not visitor.roots:
            return self._library.moment(query, chunk_id)
        if self.chunk(chunk_id) is None:
            raise LibraryError(f"The library has no chunk {chunk_id} any more.")
        return self._library.moment(self._within(query), chunk_id)

    def _within(self, query: Query) -> Query:
        """The query in the visitor's folders; as it is for who sees the whole library."""
        roots = self._visitor().roots
        if not roots:
            return query
        for part in query.parts:
            if part.chunk_id is not None and self.chunk(part.chunk_id) is None:
                raise LibraryError(f"The library has no chunk {part.chunk_id} any more.")
        return replace(query, filters=replace(query.filters, within=tuple(map(Path, roots))))

    def _narrowed(self, visitor: Visitor, answer: Answer) -> Answer:
        """The answer without copies in other folders, and without these folders."""

        def narrow(hit: Hit) -> Hit:
            return replace(hit, also_at=tuple(path for path in hit.also_at if visitor.sees(path)))

        facets = dict(answer.facets)
        facets["folder"] = {f: n for f, n in facets.get("folder", {}).items() if visitor.sees(f)}
        hits = tuple(narrow(hit) for hit in answer.hits if visitor.reaches(Path(hit.path)))
        return replace(answer, hits=hits, facets=facets)

    def timeline(self, query: Query) -> list[Month]:
        return self._library.timeline(self._within(query))

    def places(self, query: Query) -> Places:
        return self._library.places(self._within(query))

    def vocabulary(self) -> dict[str, list[tuple[str, int]]]:
        return self._library.vocabulary_within(list(map(Path, self._visitor().roots)))

    def duplicates(self, k: int, offset: int = 0, *, exact: bool = False) -> tuple[list[DuplicateGroup], int]:
        return self._library.duplicates_within(list(map(Path, self._visitor().roots)), k, offset, exact=exact)

    def choices(self) -> dict[str, str]:
        return self._whole().choices()

    def choose(self, name: str, value: str) -> None:
        self._whole().choose(name, value)

    def folder_rules(self) -> list[FolderRules]:
        return self._whole().folder_rules()

    def change_rules(self, folder: Path, rules: str, *, check: bool = False) -> RulesChange:
        return self._whole().change_rules(folder, rules, check=check)

    def give_label(self, name: str, chunk_ids: Sequence[int]) -> int:
        return self._library.give_label(name, [n for n in chunk_ids if self.chunk(n) is not None])

    def take_label(self, name: str, chunk_ids: Sequence[int]) -> int:
        return self._library.take_label(name, [n for n in chunk_ids if self.chunk(n) is not None])

    def saved_searches(self) -> list[SavedSearch]:
        return [] if self._visitor().roots else self._library.saved_searches()

    def save_search(self, name: str, query: str) -> None:
        self._whole().save_search(name, query)

    def forget_search(self, name: str) -> bool:
        return self._whole().forget_search(name)

    # -- albums ------------------------------------------------------------------------------

    def albums(self) -> list[Album]:
        return self._library.albums_within(list(map(Path, self._visitor().roots)))

    def add_to_album(self, name: str, file_ids: Sequence[int]) -> int:
        return self._library.add_to_album(name, self._visible(file_ids))

    def remove_from_album(self, name: str, file_ids: Sequence[int]) -> int:
        return self._library.remove_from_album(name, self._visible(file_ids))

    def rename_album(self, name: str, to: str) -> None:
        self._whole().rename_album(name, to)

    def delete_album(self, name: str) -> int:
        return self._whole().delete_album(name)

    def _visible(self, file_ids: Sequence[int]) -> Sequence[int]:
        return [n for n in file_ids if self.file(n) is not None] if self._visitor().roots else file_ids

    # -- files and chunks by id ------------------------------------------------------------

    def file(self, file_id: int) -> FileInfo | None:
        info, visitor = self._library.file(file_id), self._visitor()
        return info if info is not None and visitor.sees(info.path) and visitor.reaches(info.path) else None

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        """The chunk, in a copy of its file that the visitor may see; None if there is none."""
        visitor = self._visitor()
        info = self._library.chunk(chunk_id)
        if info is None or not visitor.roots:
            return info
        files = (info.file, *self._library.copies(chunk_id))
        copy = next((file for file in files if visitor.sees(file.path) and visitor.reaches(file.path)), None)
        return replace(info, file=copy) if copy else None

    def details(self, chunk_id: int) -> ChunkDetails | None:
        info, visitor = self.chunk(chunk_id), self._visitor()
        if info is None:
            return None
        details = self._library.details_of(info)
        return replace(details, also_at=tuple(path for path in details.also_at if visitor.sees(path)))

    def why(self, query: Query, chunk_id: int) -> Why | None:
        details, visitor = self.details(chunk_id), self._visitor()
        if details is None:
            return None
        why = self._library.why_of(self._within(query), details)
        if visitor.roots and why.looks is not None:  # how many others there are is not told
            return replace(why, looks=replace(why.looks, rank=None, of=None))
        return why

    def chunks(self, file_id: int) -> list[ChunkInfo]:
        return [] if self.file(file_id) is None else self._library.chunks(file_id)

    def transcript(self, file_id: int) -> list[Cue]:
        return [] if self.file(file_id) is None else self._library.transcript(file_id)

    def speech_state(self, file_id: int) -> str:
        return "unread" if self.file(file_id) is None else self._library.speech_state(file_id)

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
            chunks=counts.chunks,
            reused=counts.reused,
            ignored=0,
            bytes=0,
            clicks=0,
            keeps_clicks=False,
            chunks_per_s=0.0,
            seconds_left=None,
            all_seconds_left=None,
            failed=counts.failed,
            pending=counts.pending,
            roots=visitor.roots,
            reading=tuple(path for path in whole.reading if visitor.sees(path)),
            notices=(),
            work=tuple(WorkLeft("read", kind, files, None) for kind, (files, _) in counts.unread.items()),
            workers=(),
            left_out=(),
            other_model=None,
        )

    def failures(self) -> list[Failure]:
        visitor = self._visitor()
        return [failure for failure in self._library.failures() if visitor.sees(failure.path)]

    def retry(self) -> int:
        return self._whole().retry()

    def use_model(self, name: str) -> str:
        return self._whole().use_model(name)

    def compare_models(self, queries: Sequence[str] = ()) -> ModelComparison:
        return self._whole().compare_models(queries)

    def roll_back_model(self) -> str:
        return self._whole().roll_back_model()

    def accept_model(self) -> bool:
        return self._whole().accept_model()

    @property
    def clicks(self) -> ClickLog:
        return self._whole().clicks

    def add_root(self, folder: Path) -> None:
        self._check_folder(folder)
        self._library.add_root(folder)

    def forget(self, folder: Path) -> int:
        self._check_folder(folder)
        return self._library.forget(folder)

    def _check_folder(self, folder: Path) -> None:
        if not self._visitor().sees(Path(folder).expanduser().absolute()):
            raise LibraryError(f"{folder} is not one of the folders that this token is for.")
