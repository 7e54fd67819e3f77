"""What to do next, and who is at what: the catalogue's queue, taken content by content.

Built around one lock over what this program has in work. Images and pages go before videos; new
contents come first, then re-embedding for a model switch, then OCR, then what an older program
has read (`data.media.kinds.GENERATION`), then speech. All of it is forgotten at the end: what was
in work and not written is pending in the catalogue. It knows nothing of how work is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from indexer.catalogue.rows import Stage, Unhashed, Work
from indexer.pipeline.context import PipelineContext
from indexer.types import Kind

log = logging.getLogger(__name__)

REST_FIRST_S, REST_MOST_S = 0.5, 8.0
"""A file that changes while it is read is left alone for so long, doubled each time."""

UNREACHED_S = 30.0
"""A content that no file could be read of is left alone for so long, or until the folders change."""

ORDER: tuple[Kind, ...] = ("image", "pdf", "video")


class WorkQueue:
    def __init__(self, ctx: PipelineContext, *, ocr: bool, speech: bool) -> None:
        """`ocr`, `speech`: whether these stages are work here."""
        self._queue, self._models, self._written = ctx.catalogue.queue, ctx.catalogue.models, ctx.written
        self._ocr, self._speech = ocr, speech
        self._transcribing: bytes | None = None  # one at a time: a long film must not keep all threads
        self._unreached: dict[bytes, float] = {}  # -> not before
        self._lock = threading.Lock()
        self._all_done = threading.Condition()  # notified when nothing is in work any more
        self._in_work: set[bytes] = set()
        self._hashing: set[int] = set()
        self._ahead: dict[Kind, deque[Work]] = {kind: deque() for kind in ORDER}
        self._older: deque[Work] = deque()  # what an older program has read, a few contents ahead
        self._all_reread = False  # until `look_again`
        self._resting: dict[int, tuple[float, float]] = {}  # file id -> (not before, wait)
        self._switching = False
        self._complete: set[int] = set()  # ids of models that no chunk lacks, until `look_again`

    # -- files to hash ---------------------------------------------------------------------

    def take_files(self, most: int) -> list[Unhashed]:
        """Files whose bytes have to be hashed, in work until `files_done`."""
        with self._lock:
            files = self._queue.unhashed(most, self._resting_now())
            self._hashing = {f.file_id for f in files}
        if len(files) < most:
            for rested in self._resting.keys() - self._resting_now() - self._hashing:
                self._resting.pop(rested, None)  # gone from the catalogue
        return files

    def files_done(self) -> None:
        with self._lock:
            self._hashing = set()
        self._notify()

    def let_rest(self, file_id: int) -> None:
        """The file is still changing: leave it alone for a while."""
        _, last = self._resting.get(file_id, (0.0, REST_FIRST_S / 2))
        wait = min(2 * last, REST_MOST_S)
        self._resting[file_id] = (time.monotonic() + wait, wait)

    def rested(self, file_id: int) -> None:
        self._resting.pop(file_id, None)

    def has_resting(self) -> bool:
        return bool(self._resting)

    def _resting_now(self) -> set[int]:
        now = time.monotonic()
        return {i for i, (until, _) in list(self._resting.items()) if until > now}

    # -- contents to work on ---------------------------------------------------------------

    def take(self, *, quick: bool = False) -> tuple[Stage, Work] | None:
        """The next content, in work until `release`; `quick`: images and PDFs that are not indexed yet."""
        with self._lock:
            return self._next(quick=quick)

    def release(self, work: Work, *, done: bool = False) -> None:
        """`done`: it was written, or what is to be known of it is."""
        with self._lock:
            self._drop(work)
        self._notify()

    def _drop(self, work: Work) -> None:
        self._in_work.discard(work.hash)
        if self._transcribing == work.hash:
            self._transcribing = None

    def out_of_reach(self, work: Work) -> None:
        """None of its files can be read now: it is not waited for."""
        with self._lock:
            self._unreached[work.hash] = time.monotonic() + UNREACHED_S

    def in_reach(self) -> None:
        """The folders have changed: what was out of reach is tried again."""
        with self._lock:
            self._unreached.clear()

    def _passed_over(self) -> set[bytes]:
        now = time.monotonic()
        self._unreached = {h: until for h, until in self._unreached.items() if until > now}
        return self._in_work | self._unreached.keys()

    def _makes_vectors(self) -> bool:
        """Whether anything is in work that may get vectors: not a film that is transcribed, for hours."""
        return bool(self._in_work - {self._transcribing})

    @property
    def busy(self) -> bool:
        """Whether anything is in work."""
        return bool(self._in_work or self._hashing)

    def _notify(self) -> None:
        if not self.busy:
            with self._all_done:
                self._all_done.notify_all()

    def wait(self, seconds: float) -> None:
        """Until nothing is in work, at most so long."""
        with self._all_done:
            self._all_done.wait_for(lambda: not self.busy, seconds)

    def _next(self, *, quick: bool = False) -> tuple[Stage, Work] | None:
        found = self._find(quick)
        if found is not None:
            stage, work = found
            self._in_work.add(work.hash)
            if stage == "decode":
                self._ahead[work.kind].popleft()
            elif stage == "reread":
                self._older.popleft()
            elif stage == "speech":
                self._transcribing = work.hash
        return found

    def _find(self, quick: bool) -> tuple[Stage, Work] | None:
        passed_over = self._passed_over()
        for kind in ORDER[:2] if quick else ORDER:
            ahead = self._ahead[kind]
            if not ahead:
                ahead.extend(self._queue.waiting("decode", 32, passed_over, kind=kind))
            while ahead and ahead[0].hash in passed_over:
                ahead.popleft()
            if ahead:
                return "decode", ahead[0]
        if quick:
            return None
        if (work := self._lacking(passed_over)) is not None:
            return "embed", work
        if self._ocr and (works := self._queue.waiting("ocr", 1, passed_over)):
            return "ocr", works[0]
        if (work := self._read_by_older(passed_over)) is not None:
            return "reread", work
        is_free = self._speech and self._transcribing is None
        if is_free and (works := self._queue.waiting("speech", 1, passed_over)):
            return "speech", works[0]
        return None

    def _lacking(self, passed_over: set[bytes]) -> Work | None:
        """A ready content without a vector under the model that answers, or that is to take over."""
        rows = self._models.all()
        self._switching = any(row.state == "building" for row in rows)
        for row in rows:
            if row.state in ("answering", "building") and row.id not in self._complete:
                works = self._queue.waiting("embed", 1, passed_over, model_id=row.id)
                if works:
                    return works[0]
                if not self._makes_vectors() and not self._queue.waiting("embed", 1, model_id=row.id):
                    self._complete.add(row.id)
        return None

    def _read_by_older(self, passed_over: set[bytes]) -> Work | None:
        """The first content that an older program has read."""
        while self._older and self._older[0].hash in passed_over:
            self._older.popleft()
        if not self._older and not self._all_reread:
            self._older.extend(self._queue.waiting("reread", 32, passed_over))
            if not self._older and not self._in_work:
                self._all_reread = not self._queue.waiting("reread", 1)
        return self._older[0] if self._older else None

    def leave_ocr(self) -> None:
        """Words in images cannot be read here: they are no work any more."""
        self._ocr = False

    def leave_speech(self) -> None:
        """Nobody transcribes here: sound is no work any more."""
        self._speech = False

    def may_promote(self) -> bool:
        """Whether a look may find that a model switch is complete."""
        return self._switching and not self._makes_vectors()

    def written_under(self, model_id: int) -> None:
        """A content has vectors of this model: another one that is being built lacks them."""
        self._complete &= {model_id}

    def look_again(self) -> None:
        """Vectors may be missing: a switch of the model, a repair, a root that came back."""
        self._complete.clear()
        self._all_reread = False

    # -- the end of it ---------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether nothing is in work and nothing is left that can be done now."""
        if self.busy:  # most of the time; without disturbing the threads at work
            return False
        with self._lock:
            if self.busy or any(self._ahead.values()):
                return False
            if any(wait < REST_MOST_S for _, wait in self._resting.values()):
                return False  # a file that was only just written; one that keeps growing is not waited for
            if self._queue.unhashed(1, self._resting_now()):
                return False
            return not self._is_anything_left()

    def _is_anything_left(self) -> bool:
        return self._find(quick=False) is not None

    def promote(self) -> None:
        """A model switch is complete when nothing that can be read lacks its vector."""
        for row in self._models.all():
            if row.state == "building" and row.id in self._complete:
                with self._lock:
                    if self._makes_vectors() or self._queue.waiting("embed", 1, model_id=row.id):
                        return
                    self._models.promote(row.id)
                log.info("%s answers from now on", row.name)
                self._written()
