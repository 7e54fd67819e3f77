"""From a queue of files to vectors in the catalogue: hash -> decode -> embed -> write, overlapped.

Built around the catalogue's own queue and four kinds of threads, each taking what the one
before has finished:

    hasher     file -> content            one thread; BLAKE3 lets go of the interpreter
    readers    content -> decoded chunks  wait for children of the `Sandbox`; photos and PDFs
                                          go before videos, also between two windows of one
    embedder   chunks -> vectors          batches across files, paced so that a query waits
                                          for a tenth of a second at most
    writer     content -> catalogue       one transaction each

Decoded pictures wait in one queue of bounded bytes, so memory stays flat however big the
folder. A content that fails costs itself. What is in flight when the program dies is still
pending in the catalogue, and nothing else remembers it. It knows nothing of scanning,
watching or searching.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media.kinds import MediaError
from indexer import reading
from indexer.catalogue import Catalogue, NewChunk, Unhashed, Work
from indexer.hashing import StillChanging, hash_file
from indexer.lookup import ModelRow, Piece, Stamp
from indexer.models import Models
from indexer.records import Kind, LibraryError
from indexer.schema import full_disk
from indexer.thumbnails import Thumbnails
from indexer.turns import SharedEmbedder, Turns
from indexer.vetting import InputRefused, embed_checked
from model.embedder import ModelError
from model.inputs import Input

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox
    from data.reader import Chunk, ChunkSpec, Outline

log = logging.getLogger(__name__)

QUEUE_BYTES = 96 << 20
"""Decoded pictures that wait for the model: some seconds of work for it."""

BATCH_S = 0.1
"""A batch is sized to take about so long, which is what a query may have to wait for."""

BATCH_MOST = 64

GROUP: dict[Kind, int] = {"image": 1, "pdf": 8, "video": 2}
"""Chunks a trip to a child: enough to open the file seldom, few enough that others get their turn."""

SIDE: dict[Kind, int] = {"image": 1280, "pdf": 1280, "video": 640}
"""Longest side of decoded pictures where the model does not say (`Embedder.max_side`)."""

OCR_SIDE = 1600

REST_FIRST_S, REST_MOST_S = 0.5, 8.0
"""A file that changes while it is read is left alone for so long, doubled each time."""

TEXTLESS = 16
"""A page with fewer characters than this is a scan: its words are in the picture."""

PAUSE_S = 10.0
"""After a full disk: how long until the next attempt."""

GONE = ("gone", "no permission", "disk")
"""Causes that are one path's fault, not the content's: another copy of it may do."""


@dataclass(eq=False)
class Job:
    """One content on its way."""

    work: Work
    model: ModelRow
    embedder: SharedEmbedder
    path: str = ""
    pieces: list[Piece] | None = None
    """Set when the catalogue has the chunks and only vectors are missing."""
    facts: dict[str, Any] = field(default_factory=dict)
    done: dict[int, NewChunk] = field(default_factory=dict)
    sent: int = 0
    error: str | None = None
    dropped: bool = False


@dataclass(eq=False)
class Item:
    """A chunk on its way to the model; without a chunk, the end of its job."""

    job: Job
    chunk: Chunk | None = None
    input: Input | None = None
    bytes: int = 0


class ByteQueue:
    """A queue that is full by the bytes in it; one item always fits."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()

    def put(self, item: Item, stop: Callable[[], bool]) -> None:
        with self._changed:
            while self._items and self._bytes + item.bytes > self._most and not stop():
                self._changed.wait(0.2)
            self._items.append(item)
            self._bytes += item.bytes
            self._changed.notify_all()

    def take(self, most: int, timeout_s: float) -> list[Item]:
        """What is there, at least one, up to `most` chunks; empty after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items), timeout_s)
            taken: list[Item] = []
            while self._items and sum(i.chunk is not None for i in taken) < most:
                taken.append(self._items.popleft())
            self._bytes -= sum(i.bytes for i in taken)
            self._changed.notify_all()
            return taken


@dataclass
class Tally:
    """What this run did."""

    chunks: int = 0
    reused: int = 0
    contents: int = 0
    failed: int = 0


class Pipeline:
    def __init__(
        self,
        catalogue: Catalogue,
        models: Models,
        sandbox: Sandbox,
        thumbnails: Thumbnails,
        turns: Turns,
        *,
        workers: int = 2,
        nice: bool = True,
        window_s: float = 30.0,
        overlap_s: float = 0.0,
        ocr: str = "auto",
        written: Callable[[], None] = lambda: None,
    ) -> None:
        """`written` is called after each change of what can be found."""
        self.catalogue, self.models, self.sandbox = catalogue, models, sandbox
        self.thumbnails, self.turns, self.nice = thumbnails, turns, nice
        self.window_s, self.overlap_s, self.ocr = window_s, overlap_s, ocr
        self.recipe = f"w{window_s:g} o{overlap_s:g}"
        self.written = written
        self.tally = Tally()
        self.trouble: str | None = None
        """Why indexing stands still: a full disk, a broken model. One sentence for a person."""
        self.ocr_notice: str | None = None
        self._decoded = ByteQueue(QUEUE_BYTES)
        self._finished: queue.Queue[Job | None] = queue.Queue(maxsize=64)
        self._bell = threading.Condition()
        self._rings = 0
        self._claims = threading.Lock()
        self._claimed: set[bytes] = set()
        self._ahead: dict[Kind, deque[Work]] = {"image": deque(), "pdf": deque(), "video": deque()}
        self._hashing: set[int] = set()
        self._resting: dict[int, tuple[float, float]] = {}  # file id -> (not before, wait)
        self._reading: dict[int, str] = {}
        self._rate: deque[tuple[float, int, int]] = deque(maxlen=4096)  # time, chunks, files
        self._paused_until = 0.0
        self._broken = False
        self._telling = threading.Lock()
        self._complete: set[int] = set()  # ids of models that no chunk lacks, until `look_again`
        self._batch = 8
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers = max(1, workers)

    # -- for the library -------------------------------------------------------------------

    def start(self) -> None:
        if self._threads:
            return
        roles = [self._hash, self._embed, self._write, *[self._read] * (self._workers + 1)]
        for role in roles:
            name = f"indexer-{role.__name__.strip('_')}"
            thread = threading.Thread(target=self._run, args=(role,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def ring(self) -> None:
        """There may be work."""
        with self._bell:
            self._rings += 1
            self._bell.notify_all()

    def look_again(self) -> None:
        """Vectors may be missing: a switch of the model, a repair, a root that came back."""
        self._complete.clear()
        self._broken = False
        self._paused_until = 0.0
        self.ring()

    def stop(self) -> None:
        """End soon; what is not written stays pending."""
        self._stop.set()
        self.ring()
        with contextlib.suppress(queue.Full):
            self._finished.put_nowait(None)
        for thread in self._threads:
            thread.join(30)
        self._threads = []

    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is left that can be done now."""
        if not self._is_quiet():
            return False
        self._promote()
        return True

    def _is_quiet(self) -> bool:
        if self._claimed or self._hashing:  # most of the time; without disturbing the readers
            return False
        with self._claims:
            if self._claimed or self._hashing or any(self._ahead.values()):
                return False
            if any(wait < REST_MOST_S for _, wait in self._resting.values()):
                return False  # a file that was only just written; one that keeps growing is not waited for
            if self.catalogue.unhashed(1, self._patient()):
                return False
            return self._next(take=False) is None

    def reading(self) -> tuple[str, ...]:
        return tuple(sorted(set(self._reading.values())))

    def pace(self) -> tuple[float, float]:
        """(chunks, files) a second, over the last half minute of work."""
        now = time.monotonic()
        recent = [r for r in list(self._rate) if now - r[0] < 30]
        if not recent:
            return 0.0, 0.0
        span = max(now - recent[0][0], 0.5)
        return sum(r[1] for r in recent) / span, sum(r[2] for r in recent) / span

    # -- threads ---------------------------------------------------------------------------

    def _run(self, role: Callable[[], None]) -> None:
        """A thread's life: its role again and again; trouble is told once and waited out."""
        if self.nice and hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._stop.is_set():
            try:
                if self._broken or time.monotonic() < self._paused_until:
                    self._wait(1.0)
                    continue
                role()
            except LibraryError as error:  # a full disk, a lock held too long
                self._pause(str(error))
            except ModelError as error:
                with self._telling:
                    self._broken = True
                    self._pause(str(error))
            except OSError as error:
                folder = self.catalogue.path.parent
                full = error.errno == errno.ENOSPC
                self._pause(full_disk(folder) if full else f"{folder} cannot be written: {error.strerror}.")
            except Exception:  # the boundary of a thread: a bug here must not end indexing silently
                log.exception("indexing: an error that should not happen")
                self._pause("Indexing met an error of its own; the log has the details.")

    def _pause(self, told: str) -> None:
        if told != self.trouble:
            log.warning(told)
        self.trouble = told
        self._paused_until = time.monotonic() + PAUSE_S

    def _wait(self, seconds: float) -> None:
        with self._bell:
            rings = self._rings
            self._bell.wait_for(lambda: self._rings != rings or self._stop.is_set(), seconds)

    # -- hashing ---------------------------------------------------------------------------

    def _patient(self) -> set[int]:
        now = time.monotonic()
        return {i for i, (until, _) in list(self._resting.items()) if until > now}

    def _hash(self) -> None:
        with self._claims:
            files = self.catalogue.unhashed(256, self._patient())
            self._hashing = {f.file_id for f in files}
        if len(files) < 256:
            for rested in self._resting.keys() - self._patient() - self._hashing:
                self._resting.pop(rested, None)  # gone from the catalogue
        if not files:
            return self._wait(0.25 if self._resting else 1.0)
        try:
            self._hash_files(files)
        finally:
            with self._claims:
                self._hashing = set()
        self.ring()
        return None

    def _hash_files(self, files: list[Unhashed]) -> None:
        done: list[tuple[Unhashed, Stamp, bytes]] = []
        gone: list[str] = []
        told = time.monotonic()
        for f in files:
            if self._stop.is_set():
                break
            try:
                digest, stamp = hash_file(f.path)
                done.append((f, stamp, digest))
                self._resting.pop(f.file_id, None)
            except StillChanging:
                _, last = self._resting.get(f.file_id, (0.0, REST_FIRST_S / 2))
                wait = min(2 * last, REST_MOST_S)
                self._resting[f.file_id] = (time.monotonic() + wait, wait)
            except FileNotFoundError:
                gone.append(f.path)
                self._resting.pop(f.file_id, None)
            except OSError as error:
                self._resting.pop(f.file_id, None)
                self.catalogue.fail_file(f.file_id, _os_reason(error))
                self.tally.failed += 1
            if time.monotonic() - told > 0.2:
                self._commit_hashes(done)
                done, told = [], time.monotonic()
        self._commit_hashes(done)
        if gone:
            self.catalogue.remove_files(gone)
            self.written()

    def _commit_hashes(self, done: list[tuple[Unhashed, Stamp, bytes]]) -> None:
        if done:
            self.tally.reused += self.catalogue.hashed(done)
            self.written()  # a copy may bring back what was an orphan
            self.ring()

    # -- reading ---------------------------------------------------------------------------

    def _next(self, *, quick: bool = False, take: bool = True) -> tuple[str, Work] | None:
        """The next content to work on, claimed (under `_claims`). Photos and pages before videos; what
        is not indexed at all before what another model, or a reader of words, has to see again."""
        kinds: tuple[Kind, ...] = ("image", "pdf") if quick else ("image", "pdf", "video")
        for kind in kinds:
            ahead = self._ahead[kind]
            if not ahead:
                ahead.extend(self.catalogue.pending(kind, 32, self._claimed))
            while ahead:
                work = ahead[0]
                if work.hash in self._claimed:
                    ahead.popleft()
                    continue
                if take:
                    ahead.popleft()
                    self._claimed.add(work.hash)
                return "index", work
        if quick:
            return None
        lacking = self._lacking()
        if lacking is not None:
            if take:
                self._claimed.add(lacking.hash)
            return "embed", lacking
        if self.ocr != "off" and self.ocr_notice is None:
            unread = self.catalogue.unread(1, self._claimed)
            if unread:
                if take:
                    self._claimed.add(unread[0].hash)
                return "ocr", unread[0]
        return None

    def _lacking(self) -> Work | None:
        """A ready content without a vector under the model that answers, or that is to take over."""
        for row in self.catalogue.models():
            if row.state in ("answering", "building") and row.id not in self._complete:
                works = self.catalogue.unembedded(row.id, 1, self._claimed)
                if works:
                    return works[0]
                if not self._claimed:
                    self._complete.add(row.id)
        return None

    def _read(self) -> None:
        self.turns.give_way()
        with self._claims:
            task = self._next()
        if task is None:
            self._promote()
            return self._wait(1.0)
        self._do(*task)
        return None

    def _do(self, what: str, work: Work) -> None:
        passed_on = False
        me = threading.get_ident()
        try:
            path = self._path(work)
            if path is None:
                return
            self._reading[me] = path
            if what == "ocr":
                self._read_words(work, path)
                return
            job = self._job(what, work, path)
            if job is None:
                return
            try:
                self._decode(job)
            except MediaError as error:
                if not self._is_about_the_path(job, error):
                    job.error = str(error)
            passed_on = True
            self._decoded.put(Item(job), self._stop.is_set)
        finally:
            self._reading.pop(me, None)
            if not passed_on:
                self._release(work)

    def _release(self, work: Work) -> None:
        with self._claims:
            self._claimed.discard(work.hash)

    def _path(self, work: Work) -> str | None:
        """A file that holds these bytes still; those that do not are noted."""
        gone = []
        for path, stamp in work.files:
            try:
                now = os.stat(path)  # noqa: PTH116 – a path that need not be UTF-8
            except OSError:
                gone.append(path)
                continue
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == stamp:
                return path
            self.catalogue.rehash(path, (now.st_size, now.st_mtime_ns, now.st_ctime_ns))
            self.ring()
        for path in gone:
            if not Path(path).exists() and Path(path).parent.exists():
                self.catalogue.remove_files([path])
        if gone:
            time.sleep(0.05)  # a root that went away: the scanner finds out; do not spin until then
        return None

    def _job(self, what: str, work: Work, path: str) -> Job | None:
        if what == "index":
            return Job(work, *self.models.for_new(), path)
        for row in self.catalogue.models():
            if row.state == "answering" and self.catalogue.lacks(work.hash, row.id):
                return Job(work, *self.models.answering(), path, self.catalogue.pieces(work.hash))
        building = self.models.building()
        if building is None:
            return None
        return Job(work, *building, path, self.catalogue.pieces(work.hash))

    def _decode(self, job: Job) -> None:
        """Send everything of a content to the model, some chunks at a time."""
        from data import reader

        path, kind = Path(job.path), job.work.kind
        frames = job.embedder.max_frames
        side = min(getattr(job.embedder.inner, "max_side", SIDE[kind]), SIDE[kind])
        count = GROUP[kind]
        patience = 60.0 + job.work.size / 20e6
        if job.pieces is not None:
            own = [p for p in job.pieces if p.same_as is None]
            specs = [reader.ChunkSpec(p.ordinal, p.start_s, p.end_s, p.page) for p in own]
        elif kind == "video":
            found = self.sandbox.submit(
                reader.outline,
                path,
                kind,
                window_s=self.window_s,
                overlap_s=self.overlap_s,
                timeout_s=patience,
            ).result()
            specs = list(found.chunks)
            job.facts = _facts(found)
        else:
            options = {"window_s": self.window_s, "overlap_s": self.overlap_s}
            found, first = self.sandbox.submit(
                reading.first_look,
                path,
                kind,
                count,
                **options,
                max_frames=frames,
                max_side=side,
                timeout_s=patience,
                urgent=True,
            ).result()
            specs = list(found.chunks)
            job.facts = _facts(found)
            self._send(job, first, None)
            specs = specs[count:]
        last: tuple[int, np.ndarray] | None = None
        missed: MediaError | None = None
        groups = [specs[i : i + count] for i in range(0, len(specs), count)]
        for group in groups:
            if self._stop.is_set() or job.error:
                job.dropped = self._stop.is_set()
                return
            self.turns.give_way()
            if kind == "video":
                self._quick_ones()
            try:
                chunks = self.sandbox.submit(
                    reader.decode,
                    path,
                    kind,
                    group,
                    max_frames=frames,
                    max_side=side,
                    timeout_s=60.0 + 15.0 * len(group),
                    urgent=kind != "video",
                ).result()
            except MediaError as error:
                if error.cause in (*GONE, "closed"):
                    raise
                missed = error
                continue
            last = self._send(job, chunks, last)
        if missed is not None and not job.done and job.sent == 0:
            raise missed
        if missed is not None:
            job.facts["error"] = f"some of it could not be read: {missed}"

    def _quick_ones(self) -> None:
        """Photos and pages that came while a long video is being read."""
        while not self._stop.is_set():
            with self._claims:
                task = self._next(quick=True)
            if task is None:
                return
            self._do(*task)

    def _send(
        self, job: Job, chunks: list[Chunk], last: tuple[int, np.ndarray] | None
    ) -> tuple[int, np.ndarray] | None:
        """Hand decoded chunks on. A video window that shows what the last embedded one showed shares its
        vector; returns that last one and its signature."""
        from data import reader

        known = {p.ordinal: p for p in job.pieces or ()}
        for chunk in chunks:
            spec = chunk.spec
            if chunk.thumbnail and (job.pieces is None):
                self.thumbnails.put(job.work.hash, spec.ordinal, chunk.thumbnail)
            job.sent += 1
            if job.work.kind == "video" and job.pieces is None:
                seen = reading.signature(chunk.frames)
                if last is not None and reading.still(last[1], seen):
                    job.done[spec.ordinal] = _new_chunk(spec, chunk.text, NO_VECTOR, same_as=last[0])
                    continue
                last = (spec.ordinal, seen)
            if spec.ordinal in known and known[spec.ordinal].text:
                chunk = replace(chunk, text=known[spec.ordinal].text)
            item = Item(job, chunk, reader.to_input(chunk, job.work.kind), chunk.frames.nbytes)
            self._decoded.put(item, self._stop.is_set)
        return last

    def _is_about_the_path(self, job: Job, error: MediaError) -> bool:
        """Whether the content may still be good: the file went away, or cannot be opened by us."""
        if error.cause == "closed":
            job.dropped = True
            return True
        if error.cause not in GONE:
            return False
        job.dropped = True
        if error.cause == "gone":
            if Path(job.path).parent.exists() and not Path(job.path).exists():
                self.catalogue.remove_files([job.path])
        else:
            self.catalogue.fail_path(job.path, str(error))
            self.tally.failed += 1
        return True

    # -- embedding -------------------------------------------------------------------------

    def _embed(self) -> None:
        items = self._decoded.take(self._batch, 0.5)
        try:
            wanted = [i for i in items if i.input is not None and not (i.job.error or i.job.dropped)]
            for embedder in {id(i.job.embedder): i.job.embedder for i in wanted}.values():
                self._embed_batch(embedder, [i for i in wanted if i.job.embedder is embedder])
        except BaseException:
            for item in items:
                item.job.dropped = True
            raise
        finally:
            for item in items:
                if item.chunk is None:
                    self._finish(item.job)

    def _finish(self, job: Job) -> None:
        while True:
            try:
                return self._finished.put(job, timeout=0.5)
            except queue.Full:
                if self._stop.is_set():
                    return None

    def _embed_batch(self, embedder: SharedEmbedder, items: list[Item]) -> None:
        inputs = [i.input for i in items if i.input is not None]
        self.turns.give_way()
        begun = time.monotonic()
        try:
            vectors = embed_checked(embedder, inputs)
        except InputRefused as refused:
            if len(items) == 1:
                items[0].job.error = str(refused)
                return
            for item in items:  # find the one to blame
                if not item.job.error:
                    self._embed_batch(embedder, [item])
            return
        took = time.monotonic() - begun
        if len(items) == self._batch or took > 2 * BATCH_S:
            self._batch = int(
                min(max(1, len(items) * BATCH_S / max(took, 1e-3)), BATCH_MOST, 2 * self._batch)
            )
        for item, vector in zip(items, vectors, strict=True):
            assert item.chunk is not None
            spec = item.chunk.spec
            item.job.done[spec.ordinal] = _new_chunk(spec, item.chunk.text, vector)

    # -- writing ---------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            job = self._finished.get(timeout=0.5)
        except queue.Empty:
            return
        if job is None:
            return
        try:
            if not job.dropped:
                self._write_job(job)
                with self._telling:
                    if not self._broken:  # what was embedded before the model broke does not mend it
                        self.trouble = None
        finally:
            self._release(job.work)
        self.ring()

    def _write_job(self, job: Job) -> None:
        digest = job.work.hash
        if job.error is None and not job.done and job.pieces is None:
            job.error = "there is nothing in it to show"
        if job.error is not None:
            self.catalogue.fail(digest, job.error)
            self.thumbnails.remove(digest)
            self.tally.failed += len(job.work.files)
            log.info("%s: %s", job.path, job.error)
            self.written()
            return
        if job.pieces is not None:
            vectors = {p.ordinal: job.done[p.ordinal].vector for p in job.pieces if p.ordinal in job.done}
            for p in job.pieces:
                if p.same_as in vectors:
                    vectors[p.ordinal] = vectors[p.same_as]
            known = {p.ordinal: p.chunk_id for p in job.pieces}
            self.catalogue.add_embeddings(job.model.id, [known[o] for o in vectors], list(vectors.values()))
            if len(vectors) < len(job.pieces):
                self.catalogue.set_pending([digest])  # it cannot be read as it was: read it anew
            made = len(vectors)
        else:
            chunks = [job.done[o] for o in sorted(job.done)]
            chunks = [
                replace(c, vector=job.done[c.same_as].vector) if c.same_as is not None else c for c in chunks
            ]
            ocr = "pending" if self._has_unread_words(job.work.kind, chunks) else "none"
            made = len(
                self.catalogue.write(digest, job.facts, chunks, job.model.id, recipe=self.recipe, ocr=ocr)
            )
            self._complete &= {job.model.id}  # a model that is being built lacks these
            shared = sum(c.same_as is not None for c in chunks)
            self.tally.reused += shared
        self.tally.chunks += made
        self.tally.contents += 1
        self._rate.append((time.monotonic(), made, len(job.work.files)))
        self.written()

    def _has_unread_words(self, kind: Kind, chunks: list[NewChunk]) -> bool:
        if self.ocr == "off":
            return False
        if self.ocr == "all":
            return True
        return kind == "image" or (kind == "pdf" and any(len(c.text.strip()) < TEXTLESS for c in chunks))

    # -- what comes when nothing else is left ----------------------------------------------

    def _read_words(self, work: Work, path: str) -> None:
        """Second look, at the lowest priority: words in pictures (OCR), and the vectors that take them in."""
        from data import reader

        read_text = _ocr()
        if read_text is None:
            self.ocr_notice = "Words in pictures are not read: onnxruntime is not installed."
            return
        row, embedder = self.models.answering()
        texts: dict[int, str] = {}
        vectors: dict[int, np.ndarray] = {}
        for piece in self.catalogue.pieces(work.hash):
            if len(piece.text.strip()) >= TEXTLESS and self.ocr != "all":
                continue
            if self._stop.is_set():
                return
            self.turns.give_way()
            spec = reader.ChunkSpec(piece.ordinal, piece.start_s, piece.end_s, piece.page)
            try:
                chunks = self.sandbox.submit(
                    reader.decode, Path(path), work.kind, [spec], max_frames=1, max_side=OCR_SIDE
                ).result()
            except MediaError as error:
                if error.cause in (*GONE, "closed"):
                    return
                continue
            for chunk in chunks:
                try:
                    text = read_text(chunk.frames[0])
                except ModelError as error:
                    self.ocr_notice = f"Words in pictures are not read: {error}."
                    return
                if text.strip():
                    texts[piece.chunk_id] = f"{piece.text}\n{text}".strip()
                    if work.kind != "video":
                        told = reader.to_input(replace(chunk, text=texts[piece.chunk_id]), work.kind)
                        vectors[piece.chunk_id] = embed_checked(embedder, [told])[0]
        self.catalogue.words_read(work.hash, texts, row.id, vectors)
        if texts:
            self.written()

    def _promote(self) -> None:
        """A model switch is complete when nothing that can be read lacks its vector."""
        for row in self.catalogue.models():
            if row.state == "building" and row.id in self._complete:
                with self._claims:
                    if self._claimed or self.catalogue.unembedded(row.id, 1):
                        return
                    self.catalogue.promote(row.id)
                log.info("%s answers from now on", row.name)
                self.written()


NO_VECTOR = np.empty(0, np.float32)


def _new_chunk(spec: ChunkSpec, text: str, vector: np.ndarray, same_as: int | None = None) -> NewChunk:
    return NewChunk(spec.ordinal, vector, spec.start_s, spec.end_s, spec.page, text, same_as)


def _facts(found: Outline) -> dict[str, Any]:
    """The columns of `content` that an outline fills."""
    names = ("duration_s", "pages", "width", "height", "taken_at", "camera", "lat", "lon")
    return {name: getattr(found, name) for name in names}


def _ocr() -> Callable[[np.ndarray], str] | None:
    try:
        from model.ocr import read_text
    except ImportError:
        return None
    return read_text


def _os_reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read the file; change its permissions"
    return f"the disk could not deliver the file ({error.strerror or error})"
