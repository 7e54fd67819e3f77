"""The order of work where several programs index one library: the work queue, with leases from the catalogue.

Built around `Heartbeat`: contents are leased in the catalogue shortly before a decoder needs them, and
at most a fraction of a second of work at once, so that no worker holds contents that another one
could do at the end of a run. A content that failed here for now is given back and tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from indexer.catalogue.rows import Stage, Work
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.heartbeat import Heartbeat
from indexer.pipeline.work_queue import ORDER, RETRY_FIRST_S, RETRY_MAX_S, WorkQueue
from indexer.types import KINDS, Kind

AHEAD: dict[Kind, int] = {"image": 8, "pdf": 2, "video": 1}
"""Contents per lease statement. A statement takes some milliseconds: with eight images less than one per
image, which is little beside decoding."""

LEASED_S, LEASED_MIN, LEASED_MAX = 0.25, 8, 512
"""Work that is leased at once: seconds at the present pace, and bounds in contents. At the end of a run the
other workers wait for it: on 400 photos of 20 ms each, two workers were 1.85 times as fast as one with 1.0 s,
1.94 times with 0.25 s."""

EMPTY_STAGE_S = 10.0
"""Seconds until a stage without work is looked at again: the statement goes through every content."""

MAX_SKIPPED = 500


class SharedQueue(WorkQueue):
    def __init__(self, ctx: PipelineContext, heartbeat: Heartbeat, *, ocr: bool, speech: bool, is_owner: bool) -> None:
        """`is_owner`: this program watches the folders; it waits until all work is done, also that of the
        workers, and lets a new model answer."""
        super().__init__(ctx, ocr=ocr, speech=speech)
        self._heartbeat, self._is_owner, self._ctx = heartbeat, is_owner, ctx
        self._backoff: dict[bytes, tuple[float, float]] = {}  # digest -> (time of the next attempt, wait)
        self._next_look: dict[tuple[Stage, int | None], float] = {}  # (stage, model id) -> time
        self._empty_takes = 0  # in a row, with nothing in progress

    def _next(self, *, quick: bool = False) -> tuple[Stage, Work] | None:
        kinds = ORDER[:2] if quick else ORDER
        task = self._take_prefetched(kinds)
        if task is None and len(self._in_progress) < self._max_leased():
            task = self._lease(kinds, quick)
        if task is not None:
            self._empty_takes = 0
        elif not quick:
            self._empty_takes += not self._in_progress
        return task

    def _take_prefetched(self, kinds: Sequence[Kind]) -> tuple[Stage, Work] | None:
        for kind in kinds:
            if self._prefetched[kind]:
                work = self._prefetched[kind].popleft()
                self._in_progress.add(work.hash)
                return "decode", work
        return None

    def _lease(self, kinds: Sequence[Kind], quick: bool) -> tuple[Stage, Work] | None:
        rows = [r for r in self._models.all() if r.state in ("answering", "building")]
        loaded = [r for r in rows if self._ctx.models.does(r)]
        answers = any(r.state == "answering" for r in loaded)
        self._switching = any(r.state == "building" for r in rows)
        skip = self._backed_off()
        if not rows or answers:
            for kind in kinds:
                self._prefetched[kind].extend(self._heartbeat.take("decode", (kind,), AHEAD[kind], skip=skip))
                if task := self._take_prefetched((kind,)):
                    return task
        if quick:
            return None
        for row in loaded:
            if task := self._lease_one("embed", row.id, skip):
                return task
            if not self._is_embedding():
                self._complete_models.add(row.id)
        if self._ocr and answers and (task := self._lease_one("ocr", None, skip)):
            return task
        if answers and (task := self._lease_one("reread", None, skip)):
            return task
        if self._speech and self._transcribing is None and (task := self._lease_one("speech", None, skip)):
            self._transcribing = task[1].hash
            return task
        return None

    def _lease_one(self, stage: Stage, model_id: int | None, skip: list[bytes]) -> tuple[Stage, Work] | None:
        """Lease a content for a stage that goes through every content; without work, not for EMPTY_STAGE_S."""
        if time.monotonic() < self._next_look.get((stage, model_id), 0.0):
            return None
        works = self._heartbeat.take(stage, model_id=model_id, skip=skip)
        if not works:
            self._next_look[stage, model_id] = time.monotonic() + EMPTY_STAGE_S
            return None
        self._in_progress.add(works[0].hash)
        return stage, works[0]

    def _max_leased(self) -> int:
        _, files_s = self._ctx.pace.now()
        return int(min(max(LEASED_MIN, files_s * LEASED_S), LEASED_MAX))

    def _backed_off(self) -> list[bytes]:
        now = time.monotonic()
        return [h for h, (until, _) in self._backoff.items() if until > now][:MAX_SKIPPED]

    def release(self, work: Work, *, finished: bool = False) -> None:
        with self._lock:
            self._drop(work)
            if finished:
                self._backoff.pop(work.hash, None)
                self._next_look.clear()  # the content may be due for OCR, or lack another model's vectors
            else:
                _, last = self._backoff.get(work.hash, (0.0, RETRY_FIRST_S / 2))
                wait = min(2 * last, RETRY_MAX_S)
                self._backoff[work.hash] = (time.monotonic() + wait, wait)
        if not finished:
            self._heartbeat.give_back([work.hash])
        if len(self._in_progress) < self._max_leased():
            self._ctx.wake.set()
        self._notify()

    # -- the end of the work ---------------------------------------------------------------

    def look_again(self) -> None:
        super().look_again()
        self._next_look.clear()

    def is_empty(self) -> bool:
        if self._is_owner:
            return super().is_empty()
        return not self._in_progress and not any(self._prefetched.values()) and self._empty_takes > 1

    def _has_work(self) -> bool:
        """Whether work is left for this program or for any worker."""
        skip = self._contents_to_skip()
        if any(self._queue.waiting("decode", 1, skip, kind=kind) for kind in KINDS):
            return True
        for row in self._models.all():
            is_in_use = row.state in ("answering", "building")
            if is_in_use and self._queue.waiting("embed", 1, skip, model_id=row.id):
                self._next_look.pop(("embed", row.id), None)
                return True
            self._complete_models.add(row.id)
        stages: tuple[tuple[Stage, bool], ...] = (("ocr", self._ocr), ("reread", True), ("speech", self._speech))
        for stage, runs_here in stages:
            if runs_here and self._queue.waiting(stage, 1, skip):
                self._next_look.pop((stage, None), None)
                return True
        return False

    def promote(self) -> None:
        if self._is_owner:
            super().promote()
