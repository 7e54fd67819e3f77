"""The library: the one facade that `app` uses to open, index, watch, search and close.

Built around the catalogue (the truth) and the rooms that work on it: `files`, `pipeline`, `search`, `care` and
`features`. Pipeline, model, vector index and sandbox are made at their first use, so that `status` loads no
model. One program indexes a library at a time (a file lock); any number read and search. It knows nothing of
the web or the command line.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.active_models import ActiveModels, Loader, is_built_in, load_built_in, load_checked
from indexer.care import backup
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.migrate import Progress, migrate, refuse_unfinished
from indexer.catalogue.schema import Where
from indexer.catalogue.settings import COPIES, MODERATION
from indexer.errors import LibraryError, VectorServerError
from indexer.features.click_log import Clicks
from indexer.files.private import make_private
from indexer.files.roots import Folders, absolute
from indexer.pipeline.options import IndexingOptions
from indexer.priority import QueryPriority
from indexer.search.open import Engines
from indexer.thumbnails import Thumbnails
from indexer.types import (
    Album,
    Answer,
    ChunkDetails,
    ChunkInfo,
    DuplicateGroup,
    Failure,
    FileInfo,
    Filters,
    FolderRules,
    IndexReport,
    Kind,
    LibraryOptions,
    MigrationReport,
    ModelComparison,
    Moment,
    Month,
    Part,
    Places,
    Query,
    RulesChange,
    SavedSearch,
    Status,
    VerifyReport,
    Why,
)
from indexer.vectors.address import address_of
from model import self_check
from model.embedder import ModelError
from model.heap import few_heaps

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox
    from indexer.catalogue.rows import Counts, ModelRow
    from indexer.features.duplicates import Duplicates
    from indexer.features.judge import Metrics
    from indexer.features.moments import Moments
    from indexer.features.own_words import OwnWords, Source
    from indexer.features.tune import TuningReport
    from indexer.files.ignore import Intake
    from indexer.pipeline.heartbeat import Heartbeat
    from indexer.pipeline.run import Indexer
    from indexer.search.searcher import Searcher
    from indexer.status import StatusReporter
    from indexer.vectors.index import VectorIndex
    from model.inputs import Cue

CHOSEN_MODEL = "chosen_model"
"""The setting with the model chosen on the page: the name and options of `model.load`."""
ADAPTER = "query-adapter.npz"
"""What `tune` learnt, in the library's folder."""

MOST_OF_A_READER = 300_000
"""Chunks of a library that a second process searches."""

CHOSEN_INDEXING = "chosen_indexing"
"""The setting with what was chosen on the page for OCR and speech, as JSON."""

SEARCHES = "saved_searches"
"""The setting with the saved searches, as JSON."""
MOST_SEARCHES = 100


class Library:
    """Made by `Library.open`. Safe to use from many threads; also a context manager."""

    @classmethod
    def open(cls, data_dir: Path, model: str = "lite", *, read_only: bool = False, **options: Any) -> Library:
        """Open the library in `data_dir`; create it if there is none and `read_only` is False. `options` are
        those of `LibraryOptions`. Raises `LibraryError`."""
        return cls(data_dir, LibraryOptions(model, **options), read_only=read_only)

    @classmethod
    def salvage(cls, data_dir: Path, catalogue: str | None = None) -> VerifyReport:
        """Repair the file of the library's catalogue, which cannot be open for that: what can be read of a damaged one
        goes into a new one, and the old one is kept. `catalogue`: as in `LibraryOptions`; a server looks after its own
        files. Raises `LibraryError`."""
        from indexer.care.salvage import salvage

        where = place(catalogue or absolute(data_dir) / "catalogue.sqlite")
        return salvage(where) if isinstance(where, Path) else VerifyReport()

    def __init__(self, data_dir: Path, options: LibraryOptions, *, read_only: bool) -> None:
        check_addresses(options)
        few_heaps()
        data_dir = absolute(data_dir)
        if not read_only:
            try:
                data_dir.mkdir(0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise LibraryError(
                    f"{data_dir} cannot hold a library ({error.strerror}): choose another --data-dir."
                ) from error
            make_private(data_dir)
        self.data_dir, self.read_only = data_dir, read_only
        where = place(options.catalogue or data_dir / "catalogue.sqlite")
        self.catalogue = Catalogue(where, read_only=read_only)
        refuse_unfinished(self.catalogue)
        self.clicks = Clicks(data_dir, self.catalogue)
        if not read_only:
            self.clicks.restore()
        if options.vectors and not read_only:
            self.catalogue.settings.name_library()
        self.boot = uuid.uuid4().hex[:12]
        self.thumbnails = Thumbnails(data_dir / "thumbnails", self.catalogue.database.is_here)
        self._priority = QueryPriority()
        source = {name: getattr(options, name) for name in ("device", "dtype", "base", "dim", "detail")}
        source = {"name": options.model} | {k: v for k, v in source.items() if v not in (None, "auto")}
        if not options.explicit_model and (source_json := self.catalogue.settings.get(CHOSEN_MODEL)):
            source = json.loads(source_json)
        self._detail = options.detail
        loader: Loader = partial(load_checked, token=options.model_token) if options.model_token else load_checked
        self._is_embedded = not options.catalogue and not options.vectors
        if options.built_in_alone:
            loader = load_built_in
        elif read_only:  # most searches are of words: the network for pictures is checked, and loaded, at its first one
            loader = partial(loader, words_only=True)
        self.models = ActiveModels(
            self.catalogue.models, self.catalogue.settings, source, self._priority, loader, read_only=read_only,
            before_pictures=self_check.check if read_only else None,
        )  # fmt: skip
        self._indexing_options = self._chosen(options)
        self._workers, self._nice = options.threads or 2, options.nice
        self._guard = threading.Lock()
        self._made_sandbox: Sandbox | None = None
        self._made_moments: Moments | None = None
        self._options, self._source = options, source
        self._folders = Folders(self.catalogue, self.thumbnails, data_dir)
        self._engines = Engines(
            self.catalogue,
            self.models,
            _vectors_folder(data_dir, where),
            adapter=data_dir / ADAPTER,
            vectors=options.vectors or None,
            owned=lambda: not read_only and self._indexing.lock.is_held,
            sandbox=lambda: self.sandbox,
        )
        if not read_only:
            _ = self._indexing  # now, before several threads want it

    @cached_property
    def _indexing(self) -> Indexer:
        """Loaded when it is first needed: a search in a library that was opened for reading needs none of it."""
        from indexer.pipeline.context import CatalogueParts
        from indexer.pipeline.pipeline import Pipeline
        from indexer.pipeline.run import Indexer

        return Indexer(
            self.catalogue,
            self.models,
            self.thumbnails,
            self.data_dir,
            poll=self._options.poll,
            intake=self._intake(self._options.copies),
            make_pipeline=lambda: Pipeline(
                CatalogueParts.of(self.catalogue.database),
                self.catalogue.files,
                self.models,
                self.sandbox,
                self.thumbnails,
                self._priority,
                workers=self._workers,
                nice=self._options.nice,
                options=self._indexing_options,
                on_change=self._on_write,
                heartbeat=self._heartbeat(),
            ),
            on_change=self._on_write,
            fill_picture_hashes=self._duplicates.fill,
        )

    @cached_property
    def _status(self) -> StatusReporter:
        from indexer.status import StatusReporter

        return StatusReporter(
            self.catalogue, self.models, self._indexing, self._engines, self.data_dir, self._source, self.boot
        )

    @cached_property
    def _duplicates(self) -> Duplicates:
        from indexer.features.duplicates import Duplicates

        return Duplicates(self.catalogue, self.thumbnails)

    def _chosen(self, options: LibraryOptions) -> IndexingOptions:
        """The options of indexing: what was given at the start, else what was chosen on the page, else the default."""
        stored = json.loads(self.catalogue.settings.get(CHOSEN_INDEXING) or "{}")
        given = {name: getattr(options, name) for name in ("ocr", "speech")}
        chosen = {name: stored.get(name, value) if value == "auto" else value for name, value in given.items()}
        return IndexingOptions(options.window_s, options.overlap_s, **chosen)

    def _intake(self, copies: bool | None = None) -> Intake:
        """What is taken in beside images, videos and PDFs. `copies`: other programs' copies, as chosen now; None: as
        last."""
        from indexer.files.folder_rules import stored_rules
        from indexer.files.ignore import Intake

        if copies is not None and not self.read_only:
            self.catalogue.settings.set(COPIES, str(int(copies)))
        settings = self.catalogue.settings
        return Intake(_listens(self._indexing_options.speech), settings.get(COPIES) == "1", stored_rules(settings))

    # -- folders ---------------------------------------------------------------------------

    def add_root(self, folder: Path) -> None:
        """Make a folder part of the library. `index` indexes it; after `start` it is indexed at once.

        Raises `LibraryError` if the folder does not exist, is a file, or cannot be read.
        """
        self._may_write()
        self._folders.add(folder)
        self._indexing.follower.look()

    def folder_for_added(self, to: Path | None = None) -> tuple[Path, Path]:
        """The folder for a file that is fetched by address, and its root: `to`, or the library's own folder `Added`,
        which may not exist yet. Raises `LibraryError` if `to` is not in the library."""
        return self._folders.for_added(to)

    def forget(self, folder: Path) -> int:
        """Take a folder out of the library; its files are not touched. Returns the number of files.

        A folder below a root is ignored from now on. Raises `LibraryError` if the library does not hold it.
        """
        from indexer.files.folder_rules import keep_rules

        self._may_write()
        forgotten = self._folders.forget(folder)
        self.clicks.retain(self.catalogue.contents.hashes())
        roots, rules = {str(root.path) for root in self._folders.roots()}, self._intake().rules
        if gone := {path for path, _ in rules} - roots:
            keep_rules(self.catalogue.settings, tuple(one for one in rules if one[0] not in gone))
            self._indexing.restart(self._intake())
        self._indexing.on_files_changed()
        self._indexing.follower.look()
        return forgotten

    # -- indexing --------------------------------------------------------------------------

    def index(self, folders: Sequence[Path] = (), progress: Callable[[Status], None] | None = None) -> IndexReport:
        """Add folders, scan them (without any: all roots), and work until nothing is pending.

        Raises `LibraryError` if another program indexes this library (that program then indexes the added
        folders), if the disk is full, or if the model cannot be used. Finished contents stay.
        """
        self._may_write()
        start = time.monotonic()
        for folder in folders:
            self.add_root(folder)
        roots = self._folders.roots(folders)
        on_progress = None if progress is None else lambda: progress(self.status())
        in_foreground = not self._indexing.in_background
        if in_foreground and not self._indexing.lock.acquire():
            hint = " It indexes the folders you named, too." if folders else ""
            raise LibraryError(f"Another Sightline ({self.indexer()}) is indexing this library already.{hint}")
        try:
            scan, tally = self._indexing.run(roots, on_progress)
            self._status.changed()
            if on_progress is not None:
                on_progress()
            if in_foreground:
                self._indexing.sweep()
                with suppress(VectorServerError):  # `status` reports it; the index catches up later
                    self.catch_up_vectors()
        finally:
            if in_foreground:
                self._indexing.stop_pipeline()
                self._indexing.lock.release()
        counts = self.catalogue.files.counts([r.id for r in roots])
        return IndexReport(
            files=counts.files,
            images=counts.images,
            videos=counts.videos,
            pdfs=counts.pdfs,
            chunks=tally.chunks,
            reused=tally.reused,
            failed=counts.failed,
            ignored=scan.left_out.total,
            left_out=scan.left_out.sorts(),
            seconds=time.monotonic() - start,
        )

    def start(self, watch: bool = True) -> None:
        """Index and watch in the background until `close`. While another program indexes this library, `status`
        has a notice; this program takes over when the other one ends. A library that was opened for reading only stays
        as it is, and `status` has a notice."""
        if self.read_only:
            self._indexing.notices = [
                f"{self.data_dir} is open for reading only: the library is searched and shown as it is; nothing is"
                " indexed, changed or recorded."
            ]
            return
        self._indexing.start(watch)

    def _heartbeat(self) -> Heartbeat | None:
        """The lease of this program, as of each worker. None if only one program can index this library."""
        from indexer.pipeline.heartbeat import WATCHER, Heartbeat

        if not self.catalogue.database.dialect.shared:
            return None

        def model() -> str:
            row = self.catalogue.models.answering()
            return row.name if row is not None else ""

        def status_text() -> str:
            pipeline = self._indexing.pipeline
            return pipeline.status_text() if pipeline is not None else ""

        parts = self.catalogue.leases, self.catalogue.contents, self.catalogue.transcripts
        return Heartbeat(*parts, WATCHER, model, status_text=status_text)

    def _on_write(self) -> None:
        """Contents were written: status and vector index are out of date."""
        self._status.changed()
        self._engines.follow()

    # -- searching -------------------------------------------------------------------------

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        """The hits of a query, best first. Indexing waits meanwhile."""
        with self._priority.query():
            return self.searcher().search(query, k, offset)

    def before_indexing(self) -> AbstractContextManager[None]:
        """A context in which indexing pauses, as while a search waits for a free thread."""
        return self._priority.query()

    def give_way(self, longest_s: float) -> None:
        """Wait, at most `longest_s` seconds, while searches are in flight."""
        self._priority.give_way(longest_s)

    def options_of_a_reader(self) -> LibraryOptions | None:
        """The options with which a second process opens this library to search it. None if that is not worth its
        memory or its connections: on servers, with another model than the built-in one, and with more than
        MOST_OF_A_READER chunks, of which an eighth may be vectors in memory (indexer/vectors/faiss)."""
        row = self.catalogue.models.answering()
        if not self._is_embedded or row is None or not is_built_in(row.name):
            return None
        if len(self.vector_index()) > MOST_OF_A_READER:
            return None
        return LibraryOptions(built_in_alone=True)

    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer:
        """Chunks that resemble a chunk of the library. Raises `LibraryError` if there is no such chunk."""
        if self.chunk(chunk_id) is None:
            raise LibraryError(f"There is no chunk {chunk_id} in the library any more.")
        return self.search(Query(parts=(Part(chunk_id=chunk_id),)), k, offset)

    def moments(self, query: Query, k: int = 5) -> list[Moment]:
        """Where in videos the query happens, to the second; a filter by `file_id` limits the search to one
        video. Raises `LibraryError`."""
        with self._priority.query():
            return self._moments().find(query, k)

    def moment(self, query: Query, chunk_id: int) -> list[Moment]:
        """Where in the window of a hit the query happens; empty if the chunk does not exist or is no hit."""
        chunk = self.chunk(chunk_id)
        if chunk is None:
            return []
        filters = replace(query.filters, file_id=chunk.file.file_id)
        with self._priority.query():
            return self._moments().within(replace(query, filters=filters), chunk_id)

    def timeline(self, query: Query) -> list[Month]:
        """How many contents pass the filters of a query, by month, newest first."""
        return self.searcher().timeline(query)

    def places(self, query: Query) -> Places:
        """Where the contents of an answer were taken. Raises `LibraryError`."""
        with self._priority.query():
            return self.searcher().places(query)

    def vocabulary(self) -> dict[str, list[tuple[str, int]]]:
        """For each filter the values that the library has, with their numbers of files."""
        return self.vocabulary_within(())

    def vocabulary_within(self, folders: Sequence[Path]) -> dict[str, list[tuple[str, int]]]:
        """The vocabulary of the files in some folders."""
        return self.searcher().vocabulary(Filters(within=tuple(folders)))

    def saved_searches(self) -> list[SavedSearch]:
        """The searches that were saved on the page, in the order of their names."""
        return [SavedSearch(**one) for one in json.loads(self.catalogue.settings.get(SEARCHES) or "[]")]

    def save_search(self, name: str, query: str) -> None:
        """Save a search under a name, in place of the one that has it."""
        others = [one for one in self.saved_searches() if one.name != name]
        if len(others) >= MOST_SEARCHES:
            raise LibraryError(f"A library keeps at most {MOST_SEARCHES} searches: delete one first.")
        self._keep_searches([*others, SavedSearch(name, query)])

    def forget_search(self, name: str) -> bool:
        """Delete a saved search. Returns whether there was one."""
        before = self.saved_searches()
        self._keep_searches([one for one in before if one.name != name])
        return any(one.name == name for one in before)

    def _keep_searches(self, searches: Sequence[SavedSearch]) -> None:
        self._may_write()
        records = [asdict(one) for one in sorted(searches, key=lambda one: one.name.casefold())]
        self.catalogue.settings.set(SEARCHES, json.dumps(records))

    def _moments(self) -> Moments:
        """The `Moments` of the current searcher, made once for each searcher."""
        from indexer.features.moments import Moments

        searcher = self.searcher()
        with self._guard:
            if self._made_moments is None or self._made_moments.searcher is not searcher:
                self._made_moments = Moments(searcher)
            return self._made_moments

    def searcher(self) -> Searcher:
        """The searcher behind `search`, for the features that build on it."""
        return self._engines.searcher()

    def vector_index(self) -> VectorIndex:
        """The vector index of the model that answers now."""
        return self._engines.index()

    def export_pairs(self, path: Path, kinds: Sequence[str] = ("text",)) -> int:
        """Write training pairs as JSON lines. Returns their number. Raises `LibraryError`."""
        from indexer.features.pairs import export_pairs

        return export_pairs(self.catalogue, self.clicks, path, kinds)

    def own_words(self, sources: Sequence[Source]) -> list[OwnWords]:
        """The person's own words for what the library holds, with the places that they mean. Raises `LibraryError`."""
        from data import reader
        from indexer.features.own_words import own_words

        def caption_of(path: Path, kind: Kind) -> str:
            caption: str = self.sandbox.submit(reader.outline, path, kind).result().caption
            return caption

        return own_words(self.catalogue, self.clicks, caption_of, sources)

    def tune(self, metrics: Metrics) -> TuningReport:
        """Learn the person's own words, and search with what was learnt from now on if held-out words gain by it. The
        vectors stay as they are. Raises `LibraryError` if there are too few words."""
        from indexer.features.own_words import SOURCES
        from indexer.features.tune import tune

        self._may_write()
        try:
            untuned = self._engines.searcher_with(self.models.answering()[1])
        except ModelError as error:
            raise LibraryError(str(error)) from error
        try:
            return tune(untuned, self.own_words(SOURCES), self.data_dir / ADAPTER, metrics, self._engines.searcher_with)
        finally:
            untuned.close()

    @property
    def is_tuned(self) -> bool:
        """Whether `tune` kept what it learnt."""
        return (self.data_dir / ADAPTER).exists()

    def untune(self) -> bool:
        """Search as before `tune`. Returns whether there was anything to undo."""
        self._may_write()
        is_tuned = self.is_tuned
        (self.data_dir / ADAPTER).unlink(missing_ok=True)
        return is_tuned

    def catch_up_vectors(self) -> None:
        """Bring the vector index up to date with the catalogue. Raises `VectorServerError`."""
        if self.catalogue.models.answering() is not None:
            self.vector_index().catch_up()

    @property
    def sandbox(self) -> Sandbox:
        """The child processes that decode files; started at the first use."""
        from data.media.sandbox import Sandbox

        with self._guard:
            if self._made_sandbox is None:
                self._made_sandbox = Sandbox(workers=self._workers, nice=self._nice)
            return self._made_sandbox

    # -- reading ---------------------------------------------------------------------------

    def status(self) -> Status:
        """Counts and notices. Loads no model."""
        return replace(self._status.status(), clicks=len(self.clicks), keeps_clicks=self.clicks.enabled)

    def choices(self) -> dict[str, str]:
        """What can be chosen while the library is open, and the number of kept clicks."""
        return {
            "ocr": self._indexing_options.ocr,
            "speech": self._indexing_options.speech,
            "copies": self.catalogue.settings.get(COPIES) or "0",
            "moderation": self.catalogue.settings.get(MODERATION) or "",
            "clicks": str(int(self.clicks.enabled)),
            "kept_clicks": str(len(self.clicks)),
        }

    def choose(self, name: str, value: str) -> None:
        """Choose one of `choices`, now and at each start that gives no other. Indexing goes on with it. Raises
        `LibraryError` for a value that cannot be, and then changes nothing."""
        from indexer.features.labels import moderate, parsed_rules

        self._may_write()
        if name == "moderation":
            moderate(self.searcher(), parsed_rules(value, "the rules"))
        elif name == "clicks":
            self.clicks.enable(value == "1")
            if value == "delete":
                self.clicks.delete()
        elif name == "copies":
            self._indexing.restart(self._intake(value == "1"))
        elif name in ("ocr", "speech"):
            previous = self._indexing_options
            self._indexing_options = replace(previous, ocr=value) if name == "ocr" else replace(previous, speech=value)
            chosen = {"ocr": self._indexing_options.ocr, "speech": self._indexing_options.speech}
            self.catalogue.settings.set(CHOSEN_INDEXING, json.dumps(chosen))
            if name == "ocr" and value != "off" and previous.ocr != value:
                self.catalogue.queue.read_pictures(every=value == "all")
            self._indexing.restart(self._intake())
        else:
            raise LibraryError(f"There is no setting called {name}.")

    def folder_rules(self) -> list[FolderRules]:
        """What else is left out of each root."""
        from indexer.files.folder_rules import all_rules

        return all_rules(self.catalogue.settings, self._folders)

    def change_rules(self, folder: Path, rules: str, *, check: bool = False) -> RulesChange:
        """Give a root other rules, in the syntax of a .gitignore; with `check` only count the files that this concerns.
        Indexing goes on with them. Raises `LibraryError` for what is no rule, and then changes nothing."""
        from indexer.files.folder_rules import changed_rules, concerned, keep_rules

        self._may_write()
        before, path = self._intake(), absolute(folder)
        after = replace(before, rules=changed_rules(self.catalogue.settings, self._folders, path, rules))
        others = {str(root.path) for root in self.catalogue.files.roots() if root.path != path}
        change = concerned(path, before, after, {*others, str(self.data_dir)})
        if not check and after != before:
            keep_rules(self.catalogue.settings, after.rules)
            self._indexing.restart(after)
        return change

    def vectors_trouble(self) -> str | None:
        """Why the vector index is not up to date, in one sentence; None if it is."""
        return self._engines.trouble

    def failures(self) -> list[Failure]:
        """Every file that could not be indexed, with its reason."""
        return self.catalogue.files.failures()

    def use_model(self, name: str) -> str:
        """Change to another model, now and at each start that names none. Returns its id.

        The old model answers until every chunk has a vector of the new one. Raises `ModelError` if it cannot be loaded,
        and then changes nothing.
        """
        self._may_write()
        source = {"name": name}
        if name == "embeddinggemma-2" and self._detail:
            source["detail"] = self._detail
        return self._change_model(source).name

    def _change_model(self, source: dict[str, Any]) -> ModelRow:
        self.models.check(source)
        self.catalogue.settings.set(CHOSEN_MODEL, json.dumps(source))  # from here on a killed program goes on with it
        row = self.models.request(source)
        self._status.request(source)
        self._indexing.look_again()
        return row

    def roll_back_model(self) -> str:
        """Give up the switch in progress, or else return to the model before the last switch. Returns its id.

        Its vectors are still here, so only what was indexed since is embedded before it answers; without any, and in a
        program that does not index, it answers at once. The model that it replaces can be returned to in the same way.
        Raises `LibraryError` if there is no such model, `ModelError` if it cannot be loaded; then nothing changes.
        """
        self._may_write()
        if not self.may_index():
            raise LibraryError(f"Another Sightline ({self.indexer()}) is indexing this library: roll back in that one.")
        try:
            answering, other = self.models.other()
            target = answering if other.state == "building" else other
            row = self._change_model(self.models.of(target)[0])
            models = self.catalogue.models
            if row.state == "building" and self._indexing.pipeline is None and not models.lacking(row.id):
                models.promote(row.id)
            return row.name
        finally:
            self.done_indexing()

    def accept_model(self) -> bool:
        """Delete the vectors of the model before the last switch. Returns whether there were any."""
        self._may_write()
        return self.catalogue.models.drop_previous()

    def compare_models(self, queries: Sequence[str] = ()) -> ModelComparison:
        """The first hits of queries (none: the last ones of the click log, then saved searches) under the model that
        answers and under the one before the last switch, or the one being built. Raises `ModelError`, `LibraryError`.
        """
        from indexer.features.compare_models import compare_models, last_queries

        rows = self.models.other()
        queries = queries or last_queries(self.clicks, self.saved_searches())
        with ExitStack() as stack:
            answering, other = (
                stack.enter_context(self._engines.searcher_of(row, self.models.of(row)[1])) for row in rows
            )
            return compare_models(queries, answering, other, self.clicks)

    def retry(self) -> int:
        """Make all failed files pending again. Returns their number."""
        self._may_write()
        n = self.catalogue.queue.retry()
        self._indexing.on_files_changed()
        return n

    def file(self, file_id: int) -> FileInfo | None:
        return self.catalogue.files.get(file_id)

    def file_at(self, path: Path) -> FileInfo | None:
        return self.catalogue.files.at(str(path))

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        return self.catalogue.contents.chunk(chunk_id)

    def details(self, chunk_id: int) -> ChunkDetails | None:
        """All that is known of a chunk and of the first of its files."""
        info = self.chunk(chunk_id)
        return None if info is None else self.details_of(info)

    def details_of(self, info: ChunkInfo) -> ChunkDetails:
        """All that is known of a chunk and of the file in `info`."""
        return self.catalogue.contents.details(info)

    def why(self, query: Query, chunk_id: int) -> Why | None:
        """Why a chunk is a hit of a query; None if there is no such chunk. Raises `LibraryError`, `QueryError`."""
        details = self.details(chunk_id)
        return None if details is None else self.why_of(query, details)

    def why_of(self, query: Query, details: ChunkDetails) -> Why:
        """Why the chunk of `details` is a hit of a query."""
        with self._priority.query():
            return self.searcher().why(query, details)

    def copies(self, chunk_id: int) -> list[FileInfo]:
        """All files that hold a chunk, in the order in which they were indexed."""
        where = self.catalogue.contents.of_chunk(chunk_id)
        return self.catalogue.files.of_content(where[0]) if where else []

    def counts(self, roots: Sequence[Path]) -> Counts:
        """Counts of what lies below these roots; `left_out` is the whole library's."""
        return self.catalogue.files.counts([r.id for r in self.catalogue.files.roots() if r.path in roots])

    def chunks(self, file_id: int) -> list[ChunkInfo]:
        """The chunks of a file in order; empty while the file is pending and if it failed."""
        return self.catalogue.contents.chunks(file_id)

    def transcript(self, file_id: int) -> list[Cue]:
        """The cues of a video (speech or subtitles) in order; empty until the video is transcribed."""
        digest = self.catalogue.files.content_of(file_id)
        return self.catalogue.transcripts.cues(digest) if digest is not None else []

    def speech_state(self, file_id: int) -> str:
        """Where the cues of a video come from (`Transcripts.state`): "pending" while some are still to come."""
        digest = self.catalogue.files.content_of(file_id)
        if digest is not None:
            return self.catalogue.transcripts.state(digest)
        file = self.catalogue.files.get(file_id)
        return "unreadable" if file is not None and file.failed else "unread"

    def untranscribed_count(self) -> int:
        """The number of videos that wait to be transcribed."""
        return self.catalogue.queue.count("speech")

    def thumbnail(self, chunk_id: int) -> bytes | None:
        """WebP from the cache, or made again. None if there is no such chunk or no readable file of it."""
        where = self.catalogue.contents.of_chunk(chunk_id)
        if where is None:
            return None
        return self.thumbnails.get(*where) or backup.make_thumbnail(
            self.catalogue, self.thumbnails, self.sandbox, chunk_id, keep=not self.read_only
        )

    # -- albums ----------------------------------------------------------------------------

    def albums(self) -> list[Album]:
        """The albums by name, the favourites first."""
        return self.catalogue.albums.all()

    def albums_within(self, folders: Sequence[Path]) -> list[Album]:
        """The albums with a file in one of the folders, with the counts of these files."""
        return self.catalogue.albums.all(folders)

    def add_to_album(self, name: str, file_ids: Sequence[int]) -> int:
        """Put files into an album, which is made if there is none of this name. Returns how many were not in it."""
        self._may_write()
        return self.catalogue.albums.add(name, file_ids)

    def remove_from_album(self, name: str, file_ids: Sequence[int]) -> int:
        """Take files out of an album. Returns how many were in it."""
        self._may_write()
        return self.catalogue.albums.remove(name, file_ids)

    def rename_album(self, name: str, to: str) -> None:
        self._may_write()
        self.catalogue.albums.rename(name, to)

    def delete_album(self, name: str) -> int:
        """Delete an album; its files stay. Returns how many it had."""
        self._may_write()
        return self.catalogue.albums.delete(name)

    def album_items(self, name: str) -> list[tuple[str, bool]]:
        """(path, whether it is in the library) of what is in an album."""
        return self.catalogue.albums.items(name)

    # -- care ------------------------------------------------------------------------------

    def verify(self, repair: bool = False) -> VerifyReport:
        """Check files, catalogue, text, vectors, index and thumbnails against each other, and a sample of
        embeddings against the model. `repair` mends what it can; the next run indexes what is then pending."""
        from indexer.care.verify import verify

        if repair and not self.may_index():
            raise LibraryError(f"Another Sightline ({self.indexer()}) is indexing this library: stop it, then repair.")
        try:
            report = verify(
                self.catalogue, self.models, self.thumbnails, self.vector_index, lambda: self.sandbox, repair=repair
            )
        finally:
            if repair:
                self.done_indexing()
        if repair:
            self._indexing.look_again()
        return report

    def duplicates(
        self, k: int = 1_000_000, offset: int = 0, *, exact: bool = False
    ) -> tuple[list[DuplicateGroup], int]:
        """Groups `offset` to `offset + k` of files with the same bytes and of near-equal images, and the number of all;
        those with the most bytes to gain first. `exact`: only the same bytes."""
        return self.duplicates_within((), k, offset, exact=exact)

    def duplicates_within(
        self, folders: Sequence[Path], k: int, offset: int = 0, *, exact: bool = False
    ) -> tuple[list[DuplicateGroup], int]:
        """The duplicates among the files in some folders."""
        return self._duplicates.page(k, offset, exact=exact, within=folders)

    def give_label(self, name: str, chunk_ids: Sequence[int]) -> int:
        """Give chunks a label. Returns how many did not have it. Raises `LibraryError` without a name."""
        from indexer.features.labels import give

        self._may_write()
        return give(self.catalogue, name, chunk_ids)

    def take_label(self, name: str, chunk_ids: Sequence[int]) -> int:
        """Take a label from chunks, unless moderation hides them by it. Returns how many had it."""
        from indexer.features.labels import take

        self._may_write()
        return take(self.catalogue, name, chunk_ids)

    def may_index(self) -> bool:
        """Become the one indexer of the library. False if another program is."""
        self._may_write()
        return self._indexing.lock.acquire()

    def indexer(self) -> str:
        """The program that indexes the library now, for a message."""
        return self._indexing.lock.holder()

    def done_indexing(self) -> None:
        """Let other programs index, unless this one does so in the background."""
        if not self._indexing.in_background:
            self._indexing.lock.release()

    def backup(self, to: Path) -> Path:
        """Copy the catalogue into one file, also while indexing. Returns its path. To restore, put the file in
        place of `catalogue.sqlite` (from a server: `pg_restore`); vector index and thumbnails are made again.

        Raises `LibraryError` if the file exists already or cannot be written.
        """
        return backup.backup(self.catalogue, self.clicks.as_settings(), to)

    def restore_hint(self, copy: Path) -> str:
        """How to restore a backup, as a sentence for a person."""
        return self.catalogue.database.dialect.restore_hint(copy)

    def migrate(self, to: str | Path, progress: Progress) -> MigrationReport:
        """Copy the catalogue to another engine: a PostgreSQL address, or the folder of a new library. Raises
        `LibraryError` if the target holds another library, or if the copy differs when it is read back."""
        report = migrate(self.catalogue, to, progress)
        if isinstance(where := place(to), Path):
            self.clicks.copy_to(where)
        return report

    def close(self) -> None:
        """Stop all work and release everything; contents in flight stay pending."""
        indexing: Indexer | None = vars(self).get("_indexing")
        if indexing is not None:
            indexing.close()
        if self._made_sandbox is not None:
            self._made_sandbox.close()
        self._engines.close()
        self.catalogue.close()
        if indexing is not None:
            indexing.lock.release()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _may_write(self) -> None:
        if self.read_only:
            raise LibraryError("This library was opened for reading only.")


def check_addresses(options: LibraryOptions) -> None:
    """Raise `LibraryError` if the address of the catalogue or of the vector server is not valid."""
    if options.catalogue:
        place(options.catalogue)
    if options.vectors:
        address_of(options.vectors)


def _listens(listener: str) -> bool:
    from model import speech

    return listener != "off" and (listener != "auto" or speech.is_installed())


def _vectors_folder(data_dir: Path, where: Where) -> Path:
    """The folder of the local vector index, one for each catalogue."""
    if isinstance(where, Path):
        return data_dir / "vectors"
    address = where.render_as_string().encode()  # without the password
    return data_dir / f"vectors-{hashlib.blake2b(address, digest_size=6).hexdigest()}"
