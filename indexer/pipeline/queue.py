"""What to do next, and who is at what: the catalogue's queue, claimed piece by piece.

Built around one lock over the claims of this program. Photos and pages go before videos; what
is not indexed at all before what another model, or who reads words or listens, has to see again. All
of it is forgotten at the end: what was claimed and not written is pending in the catalogue.
It knows nothing of how work is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Literal

from indexer.catalogue.rows import Unhashed, Work
from indexer.pipeline.context import Workshop
from indexer.types import Kind

log = logging.getLogger(__name__)

REST_FIRST_S, REST_MOST_S = 0.5, 8.0
"""A file that changes while it is read is left alone for so long, doubled each time."""

UNREACHED_S = 30.0
"""A content that no file could be read of is left alone for so long, or until the folders change."""

Task = Literal["index", "embed", "words", "hear"]


class Agenda:
    def __init__(self, shop: Workshop, *, words: bool, sounds: bool) -> None:
        """`words`, `sounds`: whether pictures whose words nobody has read, and videos that nobody has heard,
        are work."""
        self._catalogue, self._written = shop.catalogue, shop.written
        self._words, self._sounds = words, sounds
        self._listens_to: bytes | None = None  # one at a time: a long film must not keep all readers
        self._unreached: dict[bytes, float] = {}  # -> not before
        self._claims = threading.Lock()
        self._let_go = threading.Condition()  # told when nothing is claimed any more
        self._claimed: set[bytes] = set()
        self._hashing: set[int] = set()
        self._ahead: dict[Kind, deque[Work]] = {"image": deque(), "pdf": deque(), "video": deque()}
        self._resting: dict[int, tuple[float, float]] = {}  # file id -> (not before, wait)
        self._switching = False
        self._complete: set[int] = set()  # ids of models that no chunk lacks, until `look_again`

    # -- files to hash ---------------------------------------------------------------------

    def claim_files(self, most: int) -> list[Unhashed]:
        """Files whose bytes have to be hashed, claimed until `files_done`."""
        with self._claims:
            files = self._catalogue.unhashed(most, self._patient())
            self._hashing = {f.file_id for f in files}
        if len(files) < most:
            for rested in self._resting.keys() - self._patient() - self._hashing:
                self._resting.pop(rested, None)  # gone from the catalogue
        return files

    def files_done(self) -> None:
        with self._claims:
            self._hashing = set()
        self._tell()

    def let_rest(self, file_id: int) -> None:
        """The file is still changing: leave it alone for a while."""
        _, last = self._resting.get(file_id, (0.0, REST_FIRST_S / 2))
        wait = min(2 * last, REST_MOST_S)
        self._resting[file_id] = (time.monotonic() + wait, wait)

    def rested(self, file_id: int) -> None:
        self._resting.pop(file_id, None)

    def has_resting(self) -> bool:
        return bool(self._resting)

    def _patient(self) -> set[int]:
        now = time.monotonic()
        return {i for i, (until, _) in list(self._resting.items()) if until > now}

    # -- contents to work on ---------------------------------------------------------------

    def claim(self, *, quick: bool = False) -> tuple[Task, Work] | None:
        """The next content, claimed until `release`; `quick`: photos and PDFs that are not indexed yet."""
        with self._claims:
            return self._next(quick=quick)

    def release(self, work: Work, *, done: bool = False) -> None:
        """`done`: it was written, or what is to be known of it is."""
        with self._claims:
            self._let_go_of(work)
        self._tell()

    def _let_go_of(self, work: Work) -> None:
        self._claimed.discard(work.hash)
        if self._listens_to == work.hash:
            self._listens_to = None

    def out_of_reach(self, work: Work) -> None:
        """None of its files can be read now: it is not waited for."""
        with self._claims:
            self._unreached[work.hash] = time.monotonic() + UNREACHED_S

    def in_reach(self) -> None:
        """The folders have changed: what was out of reach is tried again."""
        with self._claims:
            self._unreached.clear()

    def _passed_over(self) -> set[bytes]:
        now = time.monotonic()
        self._unreached = {h: until for h, until in self._unreached.items() if until > now}
        return self._claimed | self._unreached.keys()

    def _makes_vectors(self) -> bool:
        """Whether anything is claimed that may get vectors: not a film that is listened to, for hours."""
        return bool(self._claimed - {self._listens_to})

    @property
    def busy(self) -> bool:
        """Whether anything is claimed."""
        return bool(self._claimed or self._hashing)

    def _tell(self) -> None:
        if not self._claimed and not self._hashing:
            with self._let_go:
                self._let_go.notify_all()

    def wait(self, seconds: float) -> None:
        """Until nothing is claimed, at most so long."""
        with self._let_go:
            self._let_go.wait_for(lambda: not self._claimed and not self._hashing, seconds)

    def _next(self, *, quick: bool = False, take: bool = True) -> tuple[Task, Work] | None:
        kinds: tuple[Kind, ...] = ("image", "pdf") if quick else ("image", "pdf", "video")
        passed_over = self._passed_over()
        for kind in kinds:
            ahead = self._ahead[kind]
            if not ahead:
                ahead.extend(self._catalogue.pending(kind, 32, passed_over))
            while ahead:
                work = ahead[0]
                if work.hash in passed_over:
                    ahead.popleft()
                    continue
                if take:
                    ahead.popleft()
                    self._claimed.add(work.hash)
                return "index", work
        if quick:
            return None
        lacking = self._lacking(passed_over)
        if lacking is not None:
            if take:
                self._claimed.add(lacking.hash)
            return "embed", lacking
        if self._words:
            unread = self._catalogue.unread(1, passed_over)
            if unread:
                if take:
                    self._claimed.add(unread[0].hash)
                return "words", unread[0]
        if self._sounds and self._listens_to is None:
            unheard = self._catalogue.unheard(1, passed_over)
            if unheard:
                if take:
                    self._listens_to = unheard[0].hash
                    self._claimed.add(unheard[0].hash)
                return "hear", unheard[0]
        return None

    def _lacking(self, passed_over: set[bytes]) -> Work | None:
        """A ready content without a vector under the model that answers, or that is to take over."""
        rows = self._catalogue.models()
        self._switching = any(row.state == "building" for row in rows)
        for row in rows:
            if row.state in ("answering", "building") and row.id not in self._complete:
                works = self._catalogue.unembedded(row.id, 1, passed_over)
                if works:
                    return works[0]
                if not self._makes_vectors() and not self._catalogue.unembedded(row.id, 1):
                    self._complete.add(row.id)
        return None

    def leave_words(self) -> None:
        """Words in pictures cannot be read here: they are no work any more."""
        self._words = False

    def leave_sounds(self) -> None:
        """Nobody listens here: sound is no work any more."""
        self._sounds = False

    def may_promote(self) -> bool:
        """Whether a look may find that a model switch is complete."""
        return self._switching and not self._makes_vectors()

    def written_under(self, model_id: int) -> None:
        """A content has vectors of this model: another one that is being built lacks them."""
        self._complete &= {model_id}

    def look_again(self) -> None:
        """Vectors may be missing: a switch of the model, a repair, a root that came back."""
        self._complete.clear()

    # -- the end of it ---------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether nothing is claimed and nothing is left that can be done now."""
        if self._claimed or self._hashing:  # most of the time; without disturbing the readers
            return False
        with self._claims:
            if self._claimed or self._hashing or any(self._ahead.values()):
                return False
            if any(wait < REST_MOST_S for _, wait in self._resting.values()):
                return False  # a file that was only just written; one that keeps growing is not waited for
            if self._catalogue.unhashed(1, self._patient()):
                return False
            return self._next(take=False) is None

    def promote(self) -> None:
        """A model switch is complete when nothing that can be read lacks its vector."""
        for row in self._catalogue.models():
            if row.state == "building" and row.id in self._complete:
                with self._claims:
                    if self._makes_vectors() or self._catalogue.unembedded(row.id, 1):
                        return
                    self._catalogue.promote(row.id)
                log.info("%s answers from now on", row.name)
                self._written()
