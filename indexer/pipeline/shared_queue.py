"""What to do next where several programs share a library: the agenda, with leases for claims.

Built around `Leases`: what is next is claimed in the catalogue, a little ahead of the readers, and
no more at once than a few seconds of work, so that at the end of a run no worker sits on what
others could do. What could not be done here rests, and others may do it meanwhile.
"""

from __future__ import annotations

import time

from indexer.catalogue import leases as claims
from indexer.catalogue.rows import ModelRow, Work
from indexer.pipeline.context import Workshop
from indexer.pipeline.heartbeat import Leases
from indexer.pipeline.queue import REST_FIRST_S, REST_MOST_S, Agenda, Task
from indexer.types import KINDS, Kind

AHEAD: dict[Kind, int] = {"image": 8, "pdf": 2, "video": 1}
"""Contents a claim. A claim is one statement of some milliseconds; at eight photos it costs a photo less than
one, which is little beside decoding it."""

HELD_S, HELD_LEAST, HELD_MOST = 0.25, 8, 512
"""So much work is claimed at once, in seconds at the present pace, and in contents. At the end others wait
for it: of 400 photos at 20 ms two workers did 1.85 times what one did with 1.0 s, 1.94 with 0.25 s."""

LOOKED_S = 10.0
"""Between looks for vectors that lack and words unread, when there were none: every content is asked."""

MOST_RESTING = 500


class SharedAgenda(Agenda):
    def __init__(self, shop: Workshop, leases: Leases, *, words: bool, sounds: bool, keeps: bool) -> None:
        """`keeps`: whether this program looks after the library: it waits until all is done, and lets a
        model take over. Others do what they are given."""
        super().__init__(shop, words=words, sounds=sounds)
        self._leases, self._keeps, self._shop = leases, keeps, shop
        self._rests: dict[bytes, tuple[float, float]] = {}  # not before, wait
        self._looked: dict[str, float] = {}
        self._found_none = 0

    def _next(self, *, quick: bool = False, take: bool = True) -> tuple[Task, Work] | None:
        if not take:
            return self._left()
        kinds: tuple[Kind, ...] = ("image", "pdf") if quick else KINDS
        found = self._ahead_of(kinds)
        if found is None and len(self._claimed) < self._most():
            found = self._claim(kinds, quick)
        if found is not None:
            self._found_none = 0
        elif not quick:
            self._found_none += not self._claimed
        return found

    def _ahead_of(self, kinds: tuple[Kind, ...]) -> tuple[Task, Work] | None:
        for kind in ("image", "pdf", "video"):
            if kind in kinds and self._ahead[kind]:
                work = self._ahead[kind].popleft()
                self._claimed.add(work.hash)
                return "index", work
        return None

    def _claim(self, kinds: tuple[Kind, ...], quick: bool) -> tuple[Task, Work] | None:
        rows = [r for r in self._catalogue.models() if r.state in ("answering", "building")]
        mine = [r for r in rows if self._shop.models.does(r)]
        self._switching = any(r.state == "building" for r in rows)
        resting = self._resting_now()
        if not rows or any(r.state == "answering" for r in mine):
            for kind in ("image", "pdf", "video"):
                if kind in kinds:
                    self._ahead[kind].extend(self._leases.take("read", (kind,), AHEAD[kind], skip=resting))
                    found = self._ahead_of((kind,))
                    if found is not None:
                        return found
        if quick:
            return None
        for row in mine:
            works = self._seldom(f"embed {row.id}", row, resting)
            if works:
                return "embed", works[0]
            if not self._makes_vectors():
                self._complete.add(row.id)
        if self._words and any(r.state == "answering" for r in mine):
            works = self._seldom("words", None, resting)
            if works:
                return "words", works[0]
        if self._sounds and self._listens_to is None:
            works = self._seldom("hear", None, resting)
            if works:
                self._listens_to = works[0].hash
                return "hear", works[0]
        return None

    def _seldom(self, what: str, row: ModelRow | None, resting: list[bytes]) -> list[Work]:
        """Work that is asked of every content: not again at once when there was none."""
        if time.monotonic() < self._looked.get(what, 0.0):
            return []
        task: claims.Task = "embed" if row is not None else "hear" if what == "hear" else "ocr"
        model_id = None if row is None else row.id
        works = self._leases.take(task, model_id=model_id, skip=resting)
        if works:
            self._claimed.add(works[0].hash)
        else:
            self._looked[what] = time.monotonic() + LOOKED_S
        return works

    def _most(self) -> int:
        _, files_s = self._shop.pace.now()
        return int(min(max(HELD_LEAST, files_s * HELD_S), HELD_MOST))

    def _resting_now(self) -> list[bytes]:
        now = time.monotonic()
        return [h for h, (until, _) in self._rests.items() if until > now][:MOST_RESTING]

    def release(self, work: Work, *, done: bool = False) -> None:
        with self._claims:
            self._let_go_of(work)
            if done:
                self._rests.pop(work.hash, None)
                self._looked.clear()  # it may have words to read, or lack another model's vectors
            else:
                _, last = self._rests.get(work.hash, (0.0, REST_FIRST_S / 2))
                wait = min(2 * last, REST_MOST_S)
                self._rests[work.hash] = (time.monotonic() + wait, wait)
        if not done:
            self._leases.give_back([work.hash])
        if len(self._claimed) < self._most():
            self._shop.bell.ring()
        self._tell()

    # -- the end of it ---------------------------------------------------------------------

    def look_again(self) -> None:
        super().look_again()
        self._looked.clear()

    def is_empty(self) -> bool:
        if self._keeps:
            return super().is_empty()
        return not self._claimed and not any(self._ahead.values()) and self._found_none > 1

    def _left(self) -> tuple[Task, Work] | None:
        """Work of anybody's that is not done yet: whoever keeps the library waits for it."""
        unreached = self._passed_over()
        for kind in KINDS:
            if works := self._catalogue.pending(kind, 1, unreached):
                return "index", works[0]
        for row in self._catalogue.models():
            lack = row.state in ("answering", "building")
            if lack and (works := self._catalogue.unembedded(row.id, 1, unreached)):
                self._looked.pop(f"embed {row.id}", None)
                return "embed", works[0]
            self._complete.add(row.id)
        if self._words and (works := self._catalogue.unread(1, unreached)):
            self._looked.pop("words", None)
            return "words", works[0]
        if self._sounds and (works := self._catalogue.unheard(1, unreached)):
            self._looked.pop("hear", None)
            return "hear", works[0]
        return None

    def promote(self) -> None:
        if self._keeps:
            super().promote()
