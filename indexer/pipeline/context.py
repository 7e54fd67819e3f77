"""What the stages of the pipeline share: their tools, wake events, and the trouble that makes all wait.

Built around two small objects with a lock each: the event wakes who waits for work or for the
end, the trouble is one sentence for a person. It knows nothing of what the stages do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.active_models import ModelSource
from indexer.catalogue.contents import Contents
from indexer.catalogue.database import Database
from indexer.catalogue.leases import Leases
from indexer.catalogue.models import Models
from indexer.catalogue.queue import Queue
from indexer.catalogue.settings import StoredSettings
from indexer.catalogue.transcripts import Transcripts
from indexer.pipeline.heartbeat import Heartbeat
from indexer.pipeline.jobs import Pace, Tally
from indexer.priority import QueryPriority
from indexer.thumbnails import Thumbnails

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)

PAUSE_S = 10.0
"""After a full disk: how long until the next attempt."""

AWAY_S = 3.0
"""After a server did not answer, the model's or the catalogue's."""


class WakeEvent:
    """Set when there may be work of one sort, and at the end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times = 0
        self._stop = threading.Event()

    def set(self) -> None:
        """There may be work."""
        with self._changed:
            self._times += 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until it is set, at most so long."""
        with self._changed:
            times = self._times
            self._changed.wait_for(lambda: self._times != times or self._stop.is_set(), seconds)

    def stop(self) -> None:
        self._stop.set()
        self.set()

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
        self.broken = False
        """It stands still for good: the model."""

    def pause(self, told: str) -> None:
        """Stand still for a while, then try again."""
        if told != self.told:
            log.warning(told)
        self.told = told
        self._until = time.monotonic() + PAUSE_S

    def model_broke(self, told: str) -> None:
        """Stand still until `forget`."""
        with self._lock:
            self.broken = True
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
            if not self.broken:
                self.told = None

    def forget(self) -> None:
        """Try again now."""
        self.broken = False
        self._until = 0.0

    def stands(self) -> bool:
        return self.broken or time.monotonic() < self._until


@dataclass(frozen=True)
class CatalogueParts:
    """The parts of the catalogue that every pipeline works with, a worker's too. Roots and files are not
    among them: only the program that watches the folders has those."""

    queue: Queue
    leases: Leases
    contents: Contents
    transcripts: Transcripts
    models: Models
    settings: StoredSettings

    @classmethod
    def of(cls, database: Database) -> CatalogueParts:
        return cls(
            Queue(database),
            Leases(database),
            Contents(database),
            Transcripts(database),
            Models(database),
            StoredSettings(database),
        )


@dataclass(eq=False)
class PipelineContext:
    """The tools of all stages."""

    catalogue: CatalogueParts
    models: ModelSource
    sandbox: Sandbox
    thumbnails: Thumbnails
    priority: QueryPriority
    written: Callable[[], None]
    """Called after each change of what can be found."""
    wake: WakeEvent = field(default_factory=WakeEvent)
    """There may be contents to work on."""
    files_wake: WakeEvent = field(default_factory=WakeEvent)
    """There may be files to hash."""
    facts_wake: WakeEvent = field(default_factory=WakeEvent)
    """There may be files to read about."""
    trouble: Trouble = field(default_factory=Trouble)
    missed: set[str] = field(default_factory=set)
    """Files that were to be read and are not there: somebody has to look where they are."""
    tally: Tally = field(default_factory=Tally)
    pace: Pace = field(default_factory=Pace)
    heartbeat: Heartbeat | None = None
    """Where others index this library too: what keeps this program's leases."""

    @property
    def worker_id(self) -> int | None:
        return self.heartbeat.worker_id if self.heartbeat is not None else None
