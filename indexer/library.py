"""The library: the one facade that `app` uses to open, index, watch, search and close.

Built around the catalogue (the truth), a pipeline that works its queue off, a keeper that
follows the folders, and a searcher over a vector index; each is made when it is first
needed, so that `status` loads no model. One program indexes a library at a time (a file
lock); any number read and search. It knows nothing of the web or the command line.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.catalogue import Catalogue, Root
from indexer.engine import check_engine
from indexer.keeper import Keeper
from indexer.lock import OwnerLock
from indexer.lookup import Counts
from indexer.models import Models, load_checked
from indexer.pipeline import Pipeline
from indexer.records import (
    Answer,
    ChunkInfo,
    Failure,
    FileInfo,
    IndexReport,
    LibraryError,
    Part,
    Query,
    Status,
    VerifyReport,
)
from indexer.scanner import Scan
from indexer.thumbnails import Thumbnails
from indexer.turns import Turns
from model.embedder import ModelError

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox
    from indexer.search import Searcher
    from indexer.vectors import FaissIndex

log = logging.getLogger(__name__)

PROGRESS_S = 0.25
SETTLE_S = 10.0
"""`index` waits so long for files that are still being written."""


class Library:
    """Made by `Library.open`. Safe to use from many threads; also a context manager."""

    @classmethod
    def open(
        cls,
        data_dir: Path,
        model: str = "lite",
        *,
        device: str = "auto",
        dtype: str = "auto",
        base: str | None = None,
        dim: int | None = None,
        threads: int | None = None,
        nice: bool = True,
        window_s: float = 30.0,
        overlap_s: float = 0.0,
        poll: bool = False,
        ocr: str = "auto",
        read_only: bool = False,
    ) -> Library:
        """Open the library in `data_dir`, made when it is not there (unless `read_only`).

        `threads`: files decoded at a time; None: two. `poll`: scan every few seconds in place of
        watching. `ocr`: read words in pictures: off, auto (photos and scanned pages), all.
        Raises `LibraryError` in one sentence.
        """
        if ocr not in ("off", "auto", "all"):
            raise LibraryError(f"ocr is off, auto or all, not {ocr!r}.")
        if not 0 <= overlap_s < window_s:
            raise LibraryError(
                f"The overlap ({overlap_s:g} s) must be shorter than the window ({window_s:g} s)."
            )
        source = {"name": model, "device": device, "dtype": dtype, "base": base, "dim": dim}
        return cls(
            Path(os.path.abspath(Path(data_dir).expanduser())),  # noqa: PTH100 – not through symlinks
            {k: v for k, v in source.items() if v not in (None, "auto")},
            threads or 2,
            nice,
            window_s,
            overlap_s,
            poll,
            ocr,
            read_only,
        )

    def __init__(
        self,
        data_dir: Path,
        source: dict[str, Any],
        workers: int,
        nice: bool,
        window_s: float,
        overlap_s: float,
        poll: bool,
        ocr: str,
        read_only: bool,
        loader: Callable[..., Any] = load_checked,
    ) -> None:
        if not read_only:
            try:
                data_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LibraryError(
                    f"{data_dir} cannot hold a library ({error.strerror}): choose another --data-dir."
                ) from error
        self.data_dir, self.read_only = data_dir, read_only
        self.catalogue = Catalogue(data_dir / "catalogue.sqlite", read_only=read_only)
        self.boot = uuid.uuid4().hex[:12]
        self._source, self._workers, self._nice = source, workers, nice
        self._turns = Turns()
        self.models = Models(self.catalogue, source, self._turns, loader, read_only=read_only)
        self.thumbnails = Thumbnails(data_dir / "thumbnails")
        self._lock = OwnerLock(data_dir / "indexer.lock")
        self._guard = threading.RLock()
        self._made_sandbox: Sandbox | None = None
        self._index_now: tuple[int, FaissIndex] | None = None
        self._searcher_now: tuple[FaissIndex, Searcher] | None = None
        self._started: threading.Thread | None = None
        self._closing = threading.Event()
        self._notices: list[str] = []
        self._counted: tuple[float, Counts] | None = None
        self._weighed: tuple[float, int] | None = None
        options = {"window_s": window_s, "overlap_s": overlap_s, "ocr": ocr}
        self._make_pipeline: Callable[[], Pipeline] = lambda: Pipeline(
            self.catalogue,
            self.models,
            self.sandbox,
            self.thumbnails,
            self._turns,
            workers=self._workers,
            nice=self._nice,
            written=self._written,
            **options,  # type: ignore[arg-type]
        )
        self._pipeline: Pipeline | None = None
        self._keeper = Keeper(
            self.catalogue, data_dir, poll=poll, noted=self._noted, returned=self._root_returned
        )

    # -- folders ---------------------------------------------------------------------------

    def add_root(self, folder: Path) -> None:
        """Make a folder part of the library. It is indexed by `index`, or now when started.

        Raises `LibraryError`: it does not exist, is a file, or may not be read.
        """
        self._may_write()
        path = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100
        shown = os.fsencode(path).decode("utf-8", "replace")
        try:
            if not path.exists():
                raise LibraryError(f"{shown} does not exist: check the name.")
            if not path.is_dir():
                raise LibraryError(f"{shown} is a file: give the folder that it is in.")
            with os.scandir(path):
                pass
        except PermissionError as error:
            raise LibraryError(
                f"{shown} may not be read: change its permissions or choose another folder."
            ) from error
        except OSError as error:
            raise LibraryError(f"{shown} cannot be read ({error.strerror}).") from error
        if path == self.data_dir or self.data_dir in path.parents:
            raise LibraryError(f"{shown} is the library's own folder: choose the folder of your files.")
        known = {r.path: r for r in self.catalogue.roots()}.get(path)
        if known is None or known.state == "left_out":
            self.catalogue.set_root(path, "here")
        self._keeper.look()

    def forget(self, folder: Path) -> int:
        """Take a folder out of the library; the files themselves are not touched. Returns how many files.

        A folder below one of the library's folders is left out from then on. Raises `LibraryError` when
        the library knows nothing of it.
        """
        self._may_write()
        path = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100
        roots = self.catalogue.roots()
        own = next((r for r in roots if r.path == path and r.state != "left_out"), None)
        above = [r for r in roots if r.path in path.parents and r.state != "left_out"]
        below = [r for r in roots if path in r.path.parents]
        if own is None and not above and not any(r.state != "left_out" for r in below):
            raise LibraryError(f"{path} is not in the library; `sightline status` lists its folders.")
        forgotten = sum(self.catalogue.remove_root(r.id) for r in below)
        if own is not None:
            forgotten += self.catalogue.remove_root(own.id)
        if above:
            forgotten += self.catalogue.remove_under(str(path))
            self.catalogue.set_root(path, "left_out")
        for digest in self.catalogue.sweep(kept_s=-1.0):  # asked to forget: nothing of it stays
            self.thumbnails.remove(digest)
        self._noted()
        self._keeper.look()
        return forgotten

    # -- indexing --------------------------------------------------------------------------

    def index(
        self, folders: Sequence[Path] = (), progress: Callable[[Status], None] | None = None
    ) -> IndexReport:
        """Add folders, scan them (without any: all of the library's), and work until nothing is pending.

        Raises `LibraryError` when another program is indexing this library (the folders are handed to
        it), when the disk is full, or when the model cannot be used; what is done is kept.
        """
        self._may_write()
        begun = time.monotonic()
        for folder in folders:
            self.add_root(folder)
        wanted = {Path(os.path.abspath(Path(f).expanduser())) for f in folders}  # noqa: PTH100
        roots = [
            r for r in self.catalogue.roots() if r.state != "left_out" and (not wanted or r.path in wanted)
        ]
        alone = self._started is None
        if alone and not self._lock.acquire():
            handed = " It takes in the folders you named." if folders else ""
            raise LibraryError(
                f"Another Sightline ({self._lock.holder()}) is indexing this library already.{handed}"
            )
        try:
            pipeline = self._working()
            before = vars(pipeline.tally).copy()
            seen = self._scan_and_work(roots, pipeline, progress)
            if alone:
                self._tidy()
            tally = {name: value - before[name] for name, value in vars(pipeline.tally).items()}
        finally:
            if alone:
                self._rest()
                self._lock.release()
        return self._report(roots, seen, tally, time.monotonic() - begun)

    def _scan_and_work(
        self, roots: list[Root], pipeline: Pipeline, progress: Callable[[Status], None] | None
    ) -> Scan:
        seen: list[Scan] = []
        stop = threading.Event()
        errors: list[BaseException] = []

        def walk() -> None:
            try:
                seen.append(self._keeper.scan_roots(roots, stop.is_set))
            except Exception as error:  # noqa: BLE001 – raised again below, in the caller's thread
                errors.append(error)

        scanning = threading.Thread(target=walk, name="indexer-scan", daemon=True)
        scanning.start()
        told = 0.0
        try:
            while True:
                scanning.join(0.05)
                if not scanning.is_alive():
                    time.sleep(0.02)
                if errors:
                    raise errors[0]
                if pipeline.trouble:
                    raise LibraryError(pipeline.trouble)
                if progress is not None and time.monotonic() - told >= PROGRESS_S:
                    told = time.monotonic()
                    progress(self.status())
                if not scanning.is_alive() and pipeline.idle():
                    break
        finally:
            stop.set()
            scanning.join()
        if errors:
            raise errors[0]
        if pipeline.trouble:
            raise LibraryError(pipeline.trouble)
        self._counted = None
        if progress is not None:
            progress(self.status())
        return seen[0]

    def _report(self, roots: list[Root], seen: Scan, tally: dict[str, int], seconds: float) -> IndexReport:
        counts = self.catalogue.counts([r.id for r in roots])
        return IndexReport(
            files=counts.files,
            images=counts.images,
            videos=counts.videos,
            pdfs=counts.pdfs,
            chunks=tally["chunks"],
            reused=tally["reused"],
            failed=counts.failed,
            ignored=seen.ignored,
            seconds=seconds,
        )

    def start(self, watch: bool = True) -> None:
        """Index and watch in the background until `close`. When another program is indexing this library,
        says so in `status`, and takes over when that one ends."""
        self._may_write()
        with self._guard:
            if self._started is None:
                self._started = threading.Thread(
                    target=self._start, args=(watch,), name="indexer-start", daemon=True
                )
                self._started.start()

    def _start(self, watch: bool) -> None:
        told = False
        while not self._lock.acquire():
            if not told:
                told = True
                self._notices = [
                    f"Another Sightline ({self._lock.holder()}) is indexing this library; "
                    "this one only searches it."
                ]
                log.info(self._notices[0])
            if self._closing.wait(2.0):
                return
        self._notices = []
        try:
            self._working()
        except (ModelError, LibraryError) as error:
            self._notices = [str(error)]
            log.error("%s", error)
        if not self._closing.is_set():
            self._keeper.start(watch)
        swept = time.monotonic()
        while not self._closing.wait(5.0):
            if time.monotonic() - swept > 3600:
                swept = time.monotonic()
                self._sweep()

    def _working(self) -> Pipeline:
        """The pipeline, started; with the model registered where that may change something."""
        with self._guard:
            if self._pipeline is None:
                self._pipeline = self._make_pipeline()
                self.catalogue.recut(self._pipeline.recipe)
                if self.models.is_switch():
                    try:
                        self.models.asked_for()
                    except ModelError as error:
                        self._pipeline = None
                        raise LibraryError(str(error)) from error
                self._pipeline.start()
            return self._pipeline

    def _rest(self) -> None:
        """Stop working; what is in flight stays pending."""
        with self._guard:
            if self._pipeline is not None:
                self._pipeline.stop()
                self._pipeline = None

    def _tidy(self) -> None:
        """After a run: what no file has had for a day goes, and the index is written for the next program."""
        self._sweep()
        if self.catalogue.answering() is not None:
            self.vector_index().catch_up()

    def _sweep(self) -> None:
        for digest in self.catalogue.sweep():
            self.thumbnails.remove(digest)

    def _noted(self) -> None:
        if self._pipeline is not None:
            self._pipeline.ring()
        self._written()

    def _root_returned(self) -> None:
        if self._pipeline is not None:
            self._pipeline.look_again()

    def _written(self) -> None:
        """What can be found has changed."""
        self._counted = None
        current = self._index_now
        if current is not None:
            current[1].catch_up()

    # -- searching -------------------------------------------------------------------------

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        """The hits of a query, best first; indexing waits meanwhile."""
        with self._turns.query():
            return self._searcher().search(query, k, offset)

    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer:
        """What is like a chunk of the library. Raises `LibraryError` when there is no such chunk."""
        if self.chunk(chunk_id) is None:
            raise LibraryError(f"There is no chunk {chunk_id} in the library any more.")
        return self.search(Query(parts=(Part(chunk_id=chunk_id),)), k, offset)

    def searcher(self) -> Searcher:
        """What `search` asks: for moments, labels, reels, answers and exports, which build on it."""
        return self._searcher()

    def _searcher(self) -> Searcher:
        from indexer.search import Searcher

        with self._guard:
            index = self.vector_index()
            index.catch_up()
            if self._searcher_now is None or self._searcher_now[0] is not index:
                if self._searcher_now is not None:
                    self._searcher_now[1].close()
                try:
                    _, embedder = self.models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
                self._searcher_now = (index, Searcher(self.catalogue, index, embedder, self.sandbox))
            return self._searcher_now[1]

    def vector_index(self) -> FaissIndex:
        """The vector index of the model that answers now."""
        from indexer.embeddings import StoredEmbeddings
        from indexer.vectors import FaissIndex

        with self._guard:
            row = self.catalogue.answering()
            if row is None:
                try:
                    row, _ = self.models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
            if self._index_now is None or self._index_now[0] != row.id:
                check_engine()
                old = self._index_now
                self._index_now = (
                    row.id,
                    FaissIndex(
                        self.data_dir / "vectors",
                        row.name,
                        row.dim,
                        StoredEmbeddings(self.catalogue, row.id, row.dim),
                        writable=self._lock.held,
                    ),
                )
                if old is not None:
                    old[1].close()
            return self._index_now[1]

    @property
    def sandbox(self) -> Sandbox:
        """Where files are decoded. Made with the first use."""
        from data.media.sandbox import Sandbox

        with self._guard:
            if self._made_sandbox is None:
                self._made_sandbox = Sandbox(workers=self._workers, nice=self._nice)
            return self._made_sandbox

    # -- looking ---------------------------------------------------------------------------

    def status(self) -> Status:
        counts = self._counts()
        roots = [r for r in self.catalogue.roots() if r.state != "left_out"]
        row = self.catalogue.answering()
        pipeline = self._pipeline
        chunks_s, files_s = pipeline.pace() if pipeline else (0.0, 0.0)
        return Status(
            files=counts.files,
            images=counts.images,
            videos=counts.videos,
            pdfs=counts.pdfs,
            chunks=counts.chunks,
            reused=counts.reused,
            failed=counts.failed,
            ignored=counts.ignored,
            pending=counts.pending,
            model=row.name if row else str(self._source.get("name", "lite")),
            roots=tuple(str(r.path) for r in roots),
            bytes=self._bytes(),
            boot=self.boot,
            reading=pipeline.reading() if pipeline else (),
            chunks_per_s=chunks_s,
            seconds_left=counts.pending / files_s if counts.pending and files_s > 0 else None,
            notices=tuple(self._told(roots, pipeline)),
        )

    def _counts(self) -> Counts:
        """Counted anew when something changed, at most twice a second."""
        known = self._counted
        now = time.monotonic()
        if known is None or now - known[0] > 2.0 or (now - known[0] > 0.5 and self._pipeline is not None):
            known = (now, self.catalogue.counts())
            self._counted = known
        return known[1]

    def _bytes(self) -> int:
        """What the library takes on the disk; weighed once a minute."""
        now = time.monotonic()
        if self._weighed is None or now - self._weighed[0] > 60:
            total = 0
            for at, _, names in os.walk(self.data_dir):
                for name in names:
                    try:
                        total += os.lstat(os.path.join(at, name)).st_size  # noqa: PTH118
                    except OSError:
                        continue
            self._weighed = (now, total)
        return self._weighed[1]

    def _told(self, roots: list[Root], pipeline: Pipeline | None) -> list[str]:
        told = list(self._notices)
        for r in roots:
            if r.state == "away":
                told.append(
                    f"{r.path} is not there now; what is indexed of it is kept. "
                    f"To take it out: sightline forget {_quoted(str(r.path))}"
                )
        told += self._keeper.notices()
        if pipeline is not None:
            told += [n for n in (pipeline.trouble, pipeline.ocr_notice) if n]
            unread = self.catalogue.unread_count() if pipeline.ocr != "off" else 0
            if unread and not pipeline.ocr_notice:
                told.append(
                    f"Reading the words in {unread:,} pictures and scans; they are found by their looks."
                )
        if self.models.notice:
            told.append(self.models.notice)
        told += self._model_notices()
        if self._index_now is not None and self._index_now[1].trouble:
            told.append(self._index_now[1].trouble)
        return told

    def _model_notices(self) -> list[str]:
        rows = self.catalogue.models()
        answering = next((m for m in rows if m.state == "answering"), None)
        building = next((m for m in rows if m.state == "building"), None)
        if answering is None:
            return []
        if building is not None:
            total = self.catalogue.counts().chunks
            done = total - self.catalogue.lacking(building.id)
            return [
                f"Changing the model to {building.name}: {done:,} of {total:,} pieces done; "
                f"{answering.name} answers until then."
            ]
        if json.loads(answering.source) != self._source:
            name = self._source.get("name", "lite")
            return [
                f"Answers come from {answering.name}, which indexed this library; "
                f"`sightline index --model {name}` changes it to {name}."
            ]
        lacking = self.catalogue.lacking(answering.id)
        if lacking:
            return [f"{lacking:,} pieces have no embedding yet and are found by their words only."]
        return []

    def failures(self) -> list[Failure]:
        """Every file that could not be indexed, with its reason."""
        return self.catalogue.failures()

    def retry(self) -> int:
        """Try all failed files again, at the next run or now when started. Returns how many."""
        self._may_write()
        n = self.catalogue.retry()
        self._noted()
        return n

    def file(self, file_id: int) -> FileInfo | None:
        return self.catalogue.file(file_id)

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        return self.catalogue.chunk(chunk_id)

    def chunks(self, file_id: int) -> list[ChunkInfo]:
        """The chunks of a file in order; none while it is pending or when it failed."""
        return self.catalogue.chunks(file_id)

    def thumbnail(self, chunk_id: int) -> bytes | None:
        """WebP; from the cache, or made again. None when there is no such chunk or its file is gone."""
        from data import reader
        from data.media.kinds import MediaError

        where = self.catalogue.content_of(chunk_id)
        if where is None:
            return None
        cached = self.thumbnails.get(*where)
        if cached is not None:
            return cached
        info = self.catalogue.chunk(chunk_id)
        if info is None:
            return None
        spec = reader.ChunkSpec(info.ordinal, info.start_s, info.end_s, info.page)
        for held in self.catalogue.files_of(where[0]):
            try:
                picture = self.sandbox.submit(
                    reader.make_thumbnail, held.path, held.kind, spec, urgent=True
                ).result()
            except MediaError as error:
                log.info("no thumbnail of %s: %s", held.path, error)
                continue
            if not self.read_only and picture:
                try:
                    self.thumbnails.put(*where, picture)
                except OSError as error:
                    log.info("a thumbnail could not be kept: %s", error)
            return picture or None
        return None

    # -- care ------------------------------------------------------------------------------

    def verify(self, repair: bool = False) -> VerifyReport:
        """Check files, catalogue, text, vectors, index and thumbnails against each other, and a sample of
        embeddings against the model. `repair` mends what can be; what then is pending the next run does.
        """
        from indexer.verify import verify

        report = verify(self, repair)
        if repair:
            self._root_returned()
        return report

    def duplicates(self, alike: float = 0.0) -> list[list[FileInfo]]:
        """Groups of files that are the same: the same bytes, and with `alike` (a cosine, 0.97 is customary)
        also images whose vectors are that close. The largest files first."""
        from indexer.duplicates import duplicates

        return duplicates(self.catalogue, self.vector_index() if alike else None, alike)

    def stale_thumbnails(self) -> list[Path]:
        """Cached pictures of contents that the library does not have, and half-written ones."""
        with self.catalogue.reader() as c:
            hashes = {row[0].hex() for row in c.exec_driver_sql("SELECT hash FROM content")}
        return self.thumbnails.not_among(hashes)

    def may_index(self) -> bool:
        """Become the one indexer of the library, unless another program is."""
        self._may_write()
        return self._lock.acquire()

    def indexer(self) -> str:
        """Who indexes the library now, for a message."""
        return self._lock.holder()

    def done_indexing(self) -> None:
        """Let others index, unless this program does so in the background."""
        if self._started is None:
            self._lock.release()

    def backup(self, to: Path) -> Path:
        """Copy the catalogue, as it is now, into one file; also while indexing. Returns it. To restore, put
        it in place of `catalogue.sqlite`: vector index and thumbnails are made again.

        Raises `LibraryError` when the file is there already or cannot be written.
        """
        if to.is_dir():
            to = to / f"sightline-{time.strftime('%Y%m%d-%H%M%S')}.sqlite"
        if to.exists():
            raise LibraryError(f"{to} is there already: name another file.")
        if not to.parent.is_dir():
            raise LibraryError(f"{to.parent} does not exist: name a file in a folder that does.")
        self.catalogue.backup(to)
        return to

    def close(self) -> None:
        """Stop all work and let go of everything; what is in flight stays pending."""
        self._closing.set()
        self._keeper.stop()
        if self._started is not None:
            self._started.join(30)
        self._rest()
        if self._made_sandbox is not None:
            self._made_sandbox.close()
        if self._searcher_now is not None:
            self._searcher_now[1].close()
        if self._index_now is not None:
            self._index_now[1].close()
        self.catalogue.close()
        self._lock.release()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _may_write(self) -> None:
        if self.read_only:
            raise LibraryError("This library was opened for reading only.")


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
