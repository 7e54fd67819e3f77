"""What to do next where several programs share a library: the work queue, with leases from the catalogue.

Built around `Heartbeat`: what is next is leased in the catalogue, a little ahead of the decoders, and
no more at once than a few seconds of work, so that at the end of a run no worker sits on what
others could do. What could not be done here rests, and others may do it meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from indexer.catalogue.rows import Stage, Work
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.heartbeat import Heartbeat
from indexer.pipeline.queue import ORDER, REST_FIRST_S, REST_MOST_S, WorkQueue
from indexer.types import KINDS, Kind

AHEAD: dict[Kind, int] = {"image": 8, "pdf": 2, "video": 1}
"""Contents a lease statement. It takes some milliseconds; at eight photos it costs a photo less than
one, which is little beside decoding it."""

HELD_S, HELD_LEAST, HELD_MOST = 0.25, 8, 512
"""So much work is leased at once, in seconds at the present pace, and in contents. At the end others wait
for it: of 400 photos at 20 ms two workers did 1.85 times what one did with 1.0 s, 1.94 with 0.25 s."""

LOOKED_S = 10.0
"""Between looks for vectors that lack and words unread, when there were none: every content is asked."""

MOST_RESTING = 500


class SharedQueue(WorkQueue):
    def __init__(self, ctx: PipelineContext, heartbeat: Heartbeat, *, ocr: bool, speech: bool, keeps: bool) -> None:
        """`keeps`: whether this program looks after the library: it waits until all is done, and lets a
        model take over. Others do what they are given."""
        super().__init__(ctx, ocr=ocr, speech=speech)
        self._heartbeat, self._keeps, self._ctx = heartbeat, keeps, ctx
        self._rests: dict[bytes, tuple[float, float]] = {}  # not before, wait
        self._looked: dict[tuple[Stage, int | None], float] = {}  # stage, model -> not before
        self._found_none = 0

    def _next(self, *, quick: bool = False) -> tuple[Stage, Work] | None:
        kinds = ORDER[:2] if quick else ORDER
        found = self._from_ahead(kinds)
        if found is None and len(self._in_work) < self._most():
            found = self._lease(kinds, quick)
        if found is not None:
            self._found_none = 0
        elif not quick:
            self._found_none += not self._in_work
        return found

    def _from_ahead(self, kinds: Sequence[Kind]) -> tuple[Stage, Work] | None:
        for kind in kinds:
            if self._ahead[kind]:
                work = self._ahead[kind].popleft()
                self._in_work.add(work.hash)
                return "decode", work
        return None

    def _lease(self, kinds: Sequence[Kind], quick: bool) -> tuple[Stage, Work] | None:
        rows = [r for r in self._models.all() if r.state in ("answering", "building")]
        mine = [r for r in rows if self._ctx.models.does(r)]
        answers = any(r.state == "answering" for r in mine)
        self._switching = any(r.state == "building" for r in rows)
        resting = self._contents_resting()
        if not rows or answers:
            for kind in kinds:
                self._ahead[kind].extend(self._heartbeat.take("decode", (kind,), AHEAD[kind], skip=resting))
                if found := self._from_ahead((kind,)):
                    return found
        if quick:
            return None
        for row in mine:
            if found := self._seldom("embed", row.id, resting):
                return found
            if not self._makes_vectors():
                self._complete.add(row.id)
        if self._ocr and answers and (found := self._seldom("ocr", None, resting)):
            return found
        if answers and (found := self._seldom("reread", None, resting)):
            return found
        if self._speech and self._transcribing is None and (found := self._seldom("speech", None, resting)):
            self._transcribing = found[1].hash
            return found
        return None

    def _seldom(self, stage: Stage, model_id: int | None, resting: list[bytes]) -> tuple[Stage, Work] | None:
        """Work that is asked of every content: not again at once when there was none."""
        if time.monotonic() < self._looked.get((stage, model_id), 0.0):
            return None
        works = self._heartbeat.take(stage, model_id=model_id, skip=resting)
        if not works:
            self._looked[stage, model_id] = time.monotonic() + LOOKED_S
            return None
        self._in_work.add(works[0].hash)
        return stage, works[0]

    def _most(self) -> int:
        _, files_s = self._ctx.pace.now()
        return int(min(max(HELD_LEAST, files_s * HELD_S), HELD_MOST))

    def _contents_resting(self) -> list[bytes]:
        now = time.monotonic()
        return [h for h, (until, _) in self._rests.items() if until > now][:MOST_RESTING]

    def release(self, work: Work, *, done: bool = False) -> None:
        with self._lock:
            self._drop(work)
            if done:
                self._rests.pop(work.hash, None)
                self._looked.clear()  # it may have words to read, or lack another model's vectors
            else:
                _, last = self._rests.get(work.hash, (0.0, REST_FIRST_S / 2))
                wait = min(2 * last, REST_MOST_S)
                self._rests[work.hash] = (time.monotonic() + wait, wait)
        if not done:
            self._heartbeat.give_back([work.hash])
        if len(self._in_work) < self._most():
            self._ctx.wake.set()
        self._notify()

    # -- the end of it ---------------------------------------------------------------------

    def look_again(self) -> None:
        super().look_again()
        self._looked.clear()

    def is_empty(self) -> bool:
        if self._keeps:
            return super().is_empty()
        return not self._in_work and not any(self._ahead.values()) and self._found_none > 1

    def _is_anything_left(self) -> bool:
        """Work of anybody's that is not done yet: whoever keeps the library waits for it."""
        unreached = self._passed_over()
        if any(self._queue.waiting("decode", 1, unreached, kind=kind) for kind in KINDS):
            return True
        for row in self._models.all():
            lacks = row.state in ("answering", "building")
            if lacks and self._queue.waiting("embed", 1, unreached, model_id=row.id):
                self._looked.pop(("embed", row.id), None)
                return True
            self._complete.add(row.id)
        stages: tuple[tuple[Stage, bool], ...] = (("ocr", self._ocr), ("reread", True), ("speech", self._speech))
        for stage, is_work in stages:
            if is_work and self._queue.waiting(stage, 1, unreached):
                self._looked.pop((stage, None), None)
                return True
        return False

    def promote(self) -> None:
        if self._keeps:
            super().promote()
