"""What the roles of the pipeline share: tools, a bell, and the trouble that makes all of them stand still.

Built around two small objects with a lock each: the bell wakes who waits for work or for the
end, the trouble is one sentence for a person. It knows nothing of what the roles do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.active_models import ModelSource
from indexer.catalogue.catalogue import Catalogue
from indexer.pipeline.heartbeat import Leases
from indexer.pipeline.jobs import Pace, Tally
from indexer.priority import Turns
from indexer.thumbnails import Thumbnails

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)

PAUSE_S = 10.0
"""After a full disk: how long until the next attempt."""

AWAY_S = 3.0
"""After a server did not answer, the model's or the catalogue's."""


class Bell:
    """Rung when there may be work of one sort, and at the end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0
        self._stop = threading.Event()

    def ring(self) -> None:
        """There may be work."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until it rings, at most so long."""
        with self._changed:
            rings = self._rings
            self._changed.wait_for(lambda: self._rings != rings or self._stop.is_set(), seconds)

    def stop(self) -> None:
        self._stop.set()
        self.ring()

    def stopped(self) -> bool:
        return self._stop.is_set()


class Trouble:
    """Why indexing stands still: a full disk, a broken model."""

    def __init__(self) -> None:
        self.told: str | None = None
        """One sentence for a person."""
        self.waiting: str | None = None
        """Why it will go on by itself: the model's server is away, or the catalogue's. One sentence for a
        person."""
        self._catalogue_is_away = False
        self._lock = threading.Lock()
        self._until = 0.0
        self._broken = False

    def pause(self, told: str) -> None:
        """Stand still for a while, then try again."""
        if told != self.told:
            log.warning(told)
        self.told = told
        self._until = time.monotonic() + PAUSE_S

    def model_broke(self, told: str) -> None:
        """Stand still until `forget`."""
        with self._lock:
            self._broken = True
            self.pause(told)

    def model_is_away(self, told: str) -> None:
        """Its server does not answer. What was in flight is pending again, and is tried soon."""
        with self._lock:
            if self.waiting is None:
                log.warning(told)
            self.waiting = told
            self._until = time.monotonic() + AWAY_S

    def model_answered(self) -> None:
        if not self._catalogue_is_away:
            self.waiting = None

    def catalogue_is_away(self, told: str) -> None:
        """Its server does not answer: what is finished is kept and written when it does."""
        with self._lock:
            if self.waiting is None:
                log.warning(told)
            self.waiting, self._catalogue_is_away = told, True
            self._until = time.monotonic() + AWAY_S

    def catalogue_answered(self) -> None:
        with self._lock:
            if self._catalogue_is_away:
                self.waiting, self._catalogue_is_away = None, False

    def written(self) -> None:
        """A content was written, so the disk is well; that does not mend a model that broke after it."""
        with self._lock:
            if not self._broken:
                self.told = None

    def forget(self) -> None:
        """Try again now."""
        self._broken = False
        self._until = 0.0

    @property
    def broken(self) -> bool:
        return self._broken

    def stands(self) -> bool:
        return self._broken or time.monotonic() < self._until


@dataclass(eq=False)
class Workshop:
    """The tools of all roles."""

    catalogue: Catalogue
    models: ModelSource
    sandbox: Sandbox
    thumbnails: Thumbnails
    turns: Turns
    written: Callable[[], None]
    """Called after each change of what can be found."""
    bell: Bell = field(default_factory=Bell)
    """There may be contents to read."""
    files_bell: Bell = field(default_factory=Bell)
    """There may be files to hash."""
    trouble: Trouble = field(default_factory=Trouble)
    missed: set[str] = field(default_factory=set)
    """Files that were to be read and are not there: somebody has to look where they are."""
    tally: Tally = field(default_factory=Tally)
    pace: Pace = field(default_factory=Pace)
    leases: Leases | None = None
    """Where others index this library too: what this program has claimed of it."""

    @property
    def worker_id(self) -> int | None:
        return self.leases.worker_id if self.leases is not None else None
