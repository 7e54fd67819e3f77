"""The order of work in one program: which content, and which stage of it, comes next.

Built around the catalogue's queue (`indexer/catalogue/queue.py`) and one lock over the contents in
progress here. New contents come first: one of each kind, then images and PDFs before videos; then re-embedding
for a model switch, OCR, contents that an older version read (`data.media.kinds.GENERATION`), and speech. The text in
a few images and scans is looked for early, and a minute of sound is heard, as nothing else tells the time that this
will take. Nothing here is stored: a content that was in progress when the program ended is still pending in the
catalogue. The file knows nothing of how the work is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TypeVar

from indexer.catalogue.rows import Stage, Unhashed, Work
from indexer.pipeline.context import PipelineContext
from indexer.types import Kind

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MAX_S = 0.5, 8.0
"""Seconds until a file that changed while it was read is tried again: the first wait, doubled up to the last."""

UNREADABLE_S = 30.0
"""Seconds until a content without a readable file is tried again, unless the folders change before."""

EARLY_EACH = 32
"""The text of the newest image is looked for after each so many contents: they tell what OCR will take, whatever is in
which folder. (It is a thirtieth of what is to be done anyway.)"""

SAMPLE_PAGES, SAMPLE_EACH = 3, 4
"""Pages of scans whose text is looked for early, one after each so many PDFs. The page is read again with its scan."""

AHEAD, FROM_THE_END = 32, 4
"""New contents that are fetched at once; one in so many is the newest, where the others are the oldest."""

EMPTY_S = 0.2
"""Seconds for which a kind of which nothing waited is asked for after the others, and no image for early OCR."""

ORDER: tuple[Kind, ...] = ("image", "pdf", "video")

T = TypeVar("T")


class WorkQueue:
    """A content is available, in progress (from `take` to `release`) or postponed (no file of it is readable)."""

    def __init__(self, ctx: PipelineContext, *, ocr: bool, speech: bool) -> None:
        """`ocr`, `speech`: whether this program runs these stages."""
        self._queue, self._models, self._on_change = ctx.catalogue.queue, ctx.catalogue.models, ctx.on_change
        self._ocr, self._speech = ocr, speech
        self._lock = threading.Lock()
        self._idle = threading.Condition()  # notified when nothing is in progress
        self._in_progress: set[bytes] = set()  # digests of contents
        self._transcribing: bytes | None = None  # one at a time: long videos must not occupy all threads
        self._postponed: dict[bytes, float] = {}  # digest -> time of the next attempt
        self._hashing: set[int] = set()  # file ids
        self._postponed_files: dict[int, tuple[float, float]] = {}  # file id -> (time of the next attempt, wait)
        self._prefetched: dict[Kind, deque[Work]] = {kind: deque() for kind in ORDER}
        self._begun: set[Kind] = set()  # the first of each kind comes first: it tells what the others will take
        self._taken = self._early = 0  # new contents, images for OCR before these were all read
        self._ask_again: dict[str, float] = {}  # when such a content of a kind is asked for again, as none waited
        self._papers = self._pages = 0  # new PDFs, early pages of scans
        self._new_left = False  # whether new contents wait
        self._has_heard = False  # a minute of sound
        self._early_film: bytes | None = None  # of which a minute is heard before other stages are done
        self._samples: set[bytes] = set()  # of those in progress
        self._asked_again = dict.fromkeys(ORDER, 0.0)  # kind -> time until which it comes last
        self._prefetched_rereads: deque[Work] = deque()
        self._all_reread = False  # reset by `look_again`
        self._switching = False  # a model is being built
        self._complete_models: set[int] = set()  # ids of models with a vector of every chunk; see `look_again`

    # -- files to hash ---------------------------------------------------------------------

    def take_files(self, most: int) -> list[Unhashed]:
        """Returns files to hash; they are in progress until `files_done`."""
        with self._lock:
            files = self._queue.unhashed(most, self._files_to_skip())
            self._hashing = {f.file_id for f in files}
        if len(files) < most:
            for file_id in self._postponed_files.keys() - self._files_to_skip() - self._hashing:
                self._postponed_files.pop(file_id, None)  # the catalogue has no such file any more
        return files

    def files_done(self) -> None:
        with self._lock:
            self._hashing = set()
        self._notify()

    def postpone_file(self, file_id: int) -> None:
        """Try a file that is still changing again later."""
        _, last = self._postponed_files.get(file_id, (0.0, RETRY_FIRST_S / 2))
        wait = min(2 * last, RETRY_MAX_S)
        self._postponed_files[file_id] = (time.monotonic() + wait, wait)

    def file_settled(self, file_id: int) -> None:
        self._postponed_files.pop(file_id, None)

    def has_postponed_files(self) -> bool:
        return bool(self._postponed_files)

    def _files_to_skip(self) -> set[int]:
        now = time.monotonic()
        return {i for i, (until, _) in list(self._postponed_files.items()) if until > now}

    # -- contents to work on ---------------------------------------------------------------

    def take(self, *, quick: bool = False) -> tuple[Stage, Work] | None:
        """Returns the next stage and its content, which is in progress until `release`; None if there is no
        work. `quick`: only images and PDFs that are not indexed yet."""
        with self._lock:
            return self._next(quick=quick)

    def release(self, work: Work, *, finished: bool = False) -> None:
        """End the work on a content. `finished`: its result is stored; otherwise it is tried again."""
        with self._lock:
            self._drop(work)
        self._notify()

    def _drop(self, work: Work) -> None:
        self._in_progress.discard(work.hash)
        self._samples.discard(work.hash)
        if self._transcribing == work.hash:
            self._transcribing = None

    def is_sample(self, work: Work) -> bool:
        """Whether one page or minute of a content in progress is enough for now."""
        return work.hash in self._samples

    def postpone(self, work: Work) -> None:
        """Skip a content none of whose files can be read now, for UNREADABLE_S or until `retry_postponed`."""
        with self._lock:
            self._postponed[work.hash] = time.monotonic() + UNREADABLE_S

    def retry_postponed(self) -> None:
        """The folders have changed: postponed contents may be readable."""
        with self._lock:
            self._postponed.clear()

    def _contents_to_skip(self) -> set[bytes]:
        now = time.monotonic()
        self._postponed = {h: until for h, until in self._postponed.items() if until > now}
        return self._in_progress | self._postponed.keys()

    def _is_embedding(self) -> bool:
        """Whether a content in progress may get vectors; transcribing, which takes hours, makes none."""
        return bool(self._in_progress - {self._transcribing})

    @property
    def busy(self) -> bool:
        """Whether a content or a file is in progress."""
        return bool(self._in_progress or self._hashing)

    def _notify(self) -> None:
        if not self.busy:
            with self._idle:
                self._idle.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until nothing is in progress, at most `seconds`."""
        with self._idle:
            self._idle.wait_for(lambda: not self.busy, seconds)

    def _next(self, *, quick: bool = False) -> tuple[Stage, Work] | None:
        task = self._peek(quick)
        if task is not None:
            stage, work = task
            self._in_progress.add(work.hash)
            if stage == "decode":
                self._prefetched[work.kind].popleft()
                self._begun.add(work.kind)
                self._taken += 1
                self._papers += work.kind == "pdf"
            elif stage == "ocr" and self._new_left:
                self._note_early(work)
            elif stage == "reread":
                self._prefetched_rereads.popleft()
            elif stage == "speech":
                self._transcribing = work.hash
                if work.hash == self._early_film:
                    self._has_heard = True
                    self._samples.add(work.hash)
        return task

    def _note_early(self, work: Work) -> None:
        if work.kind == "pdf":
            self._pages += 1
            self._samples.add(work.hash)
        else:
            self._early += 1

    def _peek(self, quick: bool) -> tuple[Stage, Work] | None:
        skip = self._contents_to_skip()
        new = self._peek_new(ORDER[:2] if quick else ORDER, skip)
        self._new_left = new is not None
        if not quick and (early := self._peek_early(skip)) is not None:
            return early
        if new is not None:
            return "decode", new
        if quick:
            return None
        if (work := self._peek_embed(skip)) is not None:
            return "embed", work
        if self._ocr and (waiting := self._queue.waiting("ocr", 1, skip)):
            return self._peek_film(skip) or ("ocr", waiting[0])
        if (work := self._peek_reread(skip)) is not None:
            return "reread", work
        may_transcribe = self._speech and self._transcribing is None
        if may_transcribe and (waiting := self._queue.waiting("speech", 1, skip)):
            return "speech", waiting[0]
        return None

    def _peek_early(self, skip: set[bytes]) -> tuple[Stage, Work] | None:
        """Returns a content that is taken before all new ones are read, for what it tells of the time that others like
        it take."""
        if not self._new_left:
            return None
        if (
            self._ocr
            and self._taken >= EARLY_EACH * (self._early + 1)
            and (work := self._early_work("ocr", "image", skip))
        ):
            return "ocr", work
        is_due = self._pages < SAMPLE_PAGES and self._papers > SAMPLE_EACH * self._pages
        if self._ocr and is_due and (work := self._early_work("ocr", "pdf", skip)):
            return "ocr", work
        return self._peek_film(skip)

    def _peek_film(self, skip: set[bytes]) -> tuple[Stage, Work] | None:
        """Returns the first film of which a minute is heard, while other stages have work."""
        self._early_film = None
        if not self._speech or self._has_heard or self._transcribing is not None:
            return None
        if (work := self._early_work("speech", "video", skip)) is None:
            return None
        self._early_film = work.hash
        return "speech", work

    def _early_work(self, stage: Stage, kind: Kind, skip: set[bytes]) -> Work | None:
        now = time.monotonic()
        if now < self._ask_again.get(kind, 0.0):
            return None
        if waiting := self._queue.waiting(stage, 1, skip, kind=kind, newest=True):
            return waiting[0]
        self._ask_again[kind] = now + EMPTY_S
        return None

    def _peek_new(self, kinds: tuple[Kind, ...], skip: set[bytes]) -> Work | None:
        """Returns a new content. Kinds that had none a moment ago come last: most folders hold one kind, and to ask for
        the others each time cost as much as all else that is asked for an image."""
        now = time.monotonic()
        for kind in sorted(kinds, key=lambda kind: (now < self._asked_again[kind], kind in self._begun)):
            works = self._prefetched[kind]
            if not works:
                works.extend(self._prefetch(kind, skip))
            while works and works[0].hash in skip:
                works.popleft()
            if works:
                return works[0]
            self._asked_again[kind] = now + EMPTY_S
        return None

    def _prefetch(self, kind: Kind, skip: set[bytes]) -> list[Work]:
        """Returns new contents: the oldest, and after each few of them one of the newest. What a kind costs differs
        from folder to folder, and what was read of both ends tells more of the rest."""
        oldest = self._queue.waiting("decode", AHEAD, skip, kind=kind)
        if len(oldest) < AHEAD:
            newest = [oldest.pop() for _ in range(len(oldest) // FROM_THE_END)]
        else:
            taken = skip | {work.hash for work in oldest}
            newest = self._queue.waiting("decode", AHEAD // FROM_THE_END, taken, kind=kind, newest=True)
        return in_turn(oldest, newest)

    def _peek_embed(self, skip: set[bytes]) -> Work | None:
        """Returns a decoded content that lacks vectors of the answering model or of the one being built."""
        rows = self._models.all()
        self._switching = any(row.state == "building" for row in rows)
        for row in rows:
            if row.state in ("answering", "building") and row.id not in self._complete_models:
                works = self._queue.waiting("embed", 1, skip, model_id=row.id)
                if works:
                    return works[0]
                if not self._is_embedding() and not self._queue.waiting("embed", 1, model_id=row.id):
                    self._complete_models.add(row.id)
        return None

    def _peek_reread(self, skip: set[bytes]) -> Work | None:
        """Returns a content that an older version read."""
        works = self._prefetched_rereads
        while works and works[0].hash in skip:
            works.popleft()
        if not works and not self._all_reread:
            works.extend(self._queue.waiting("reread", 32, skip))
            if not works and not self._in_progress:
                self._all_reread = not self._queue.waiting("reread", 1)
        return works[0] if works else None

    def disable_ocr(self) -> None:
        """This program cannot run OCR."""
        self._ocr = False

    def disable_speech(self) -> None:
        """This program cannot transcribe."""
        self._speech = False

    def may_promote(self) -> bool:
        """Whether the model that is being built may be complete."""
        return self._switching and not self._is_embedding()

    def on_written(self, model_id: int) -> None:
        """A content got vectors of this model alone: no other model is complete any more."""
        self._complete_models &= {model_id}

    def look_again(self) -> None:
        """Vectors may be missing: the model was switched, the library repaired, or a root came back."""
        self._complete_models.clear()
        self._all_reread = False

    # -- the end of the work ---------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether nothing is in progress and nothing can be done now."""
        if self.busy:  # the usual case, answered without the lock that the stages need
            return False
        with self._lock:
            if self.busy or any(self._prefetched.values()):
                return False
            if any(wait < RETRY_MAX_S for _, wait in self._postponed_files.values()):
                return False  # a file that was just written is waited for, one that keeps growing is not
            if self._queue.unhashed(1, self._files_to_skip()):
                return False
            return not self._has_work()

    def _has_work(self) -> bool:
        return self._peek(quick=False) is not None

    def promote(self) -> None:
        """Let the model that is being built answer, once every readable content has its vectors."""
        for row in self._models.all():
            if row.state == "building" and row.id in self._complete_models:
                with self._lock:
                    if self._is_embedding() or self._queue.waiting("embed", 1, model_id=row.id):
                        return
                    self._models.promote(row.id)
                log.info("%s answers from now on", row.name)
                self._on_change()


def in_turn(oldest: list[T], newest: list[T]) -> list[T]:
    """Returns all of them, one of the newest before each few of the oldest but the first."""
    works: list[T] = []
    for n, work in enumerate(oldest):
        if newest and n % (FROM_THE_END - 1) == 1:
            works.append(newest.pop(0))
        works.append(work)
    return works + newest
