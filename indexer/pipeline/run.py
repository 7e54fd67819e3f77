"""The work of the one program that indexes a library: one run of it, or for ever in the background.

Built around the owner's lock, the follower of the folders, and a pipeline that is made
when there is something to do. It knows nothing of searching.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indexer.active_models import ActiveModels
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Root
from indexer.errors import CatalogueAway, LibraryError
from indexer.files.follower import FolderFollower
from indexer.files.scanner import Scan
from indexer.pipeline.context import AWAY_S
from indexer.pipeline.jobs import Tally
from indexer.pipeline.pipeline import Pipeline
from indexer.thumbnails import Thumbnails
from model import speech
from model.embedder import ModelAway, ModelError

log = logging.getLogger(__name__)

PROGRESS_S = 0.25

LOOK_S = 0.1
"""Between looks whether it is done, whether it stands still, and whether there is progress to tell."""

SWEEP_S = 3600.0


class Indexer:
    def __init__(
        self,
        catalogue: Catalogue,
        models: ActiveModels,
        thumbnails: Thumbnails,
        data_dir: Path,
        *,
        poll: bool,
        make_pipeline: Callable[[], Pipeline],
        written: Callable[[], None],
    ) -> None:
        """`written` is called after each change of what can be found."""
        self._catalogue, self._models, self._thumbnails = catalogue, models, thumbnails
        self._make_pipeline, self._written = make_pipeline, written
        self.lock = catalogue.database.dialect.owner_lock(data_dir)
        self.follower = FolderFollower(catalogue, data_dir, poll=poll, noted=self.noted, returned=self.look_again)
        self.pipeline: Pipeline | None = None
        """The one at work now."""
        self.notices: list[str] = []
        self.running = False
        """Whether somebody waits for a run to end."""
        self._guard = threading.RLock()
        self._started: threading.Thread | None = None
        self._closing = threading.Event()

    @property
    def in_background(self) -> bool:
        return self._started is not None

    # -- one run ---------------------------------------------------------------------------

    def run(self, roots: list[Root], told: Callable[[], None] | None) -> tuple[Scan, Tally]:
        """Scan roots and work until nothing is pending; `told` is called now and then meanwhile.

        The caller holds the lock. Raises `LibraryError` when the work stands still.
        """
        self.running = True
        try:
            pipeline, newest = self._at_work(told)
            before = vars(pipeline.tally).copy()
            seen = self._scan_and_work(roots, pipeline, told)
        finally:
            self.running = False
        tally = Tally(**{name: value - before[name] for name, value in vars(pipeline.tally).items()})
        if self._catalogue.database.dialect.shared:  # what workers made meanwhile is the run's as well
            tally.chunks = max(tally.chunks, self._catalogue.contents.embedded_since(newest))
        return seen, tally

    def _at_work(self, told: Callable[[], None] | None) -> tuple[Pipeline, int]:
        """The pipeline, and the newest embedding. The catalogue answered when it was opened: it is waited
        for."""
        while True:
            try:
                return self._working(), self._catalogue.contents.newest_embedding()
            except CatalogueAway as error:
                log.warning("%s", error)
                if told is not None:
                    told()
                if self._closing.wait(AWAY_S):
                    raise

    def _scan_and_work(self, roots: list[Root], pipeline: Pipeline, told: Callable[[], None] | None) -> Scan:
        seen: list[Scan] = []
        missed: set[str] = set()
        sought: set[str] = set()
        stop = threading.Event()
        errors: list[BaseException] = []

        def walk() -> None:
            try:
                while not stop.is_set():
                    try:
                        seen.append(self.follower.scan_roots(roots, stop.is_set))
                        return
                    except CatalogueAway as error:
                        pipeline.trouble.catalogue_is_away(str(error))
                        stop.wait(AWAY_S)
            except Exception as error:  # noqa: BLE001 – raised again below, in the caller's thread
                errors.append(error)

        scanning = threading.Thread(target=walk, name="indexer-scan", daemon=True)
        scanning.start()
        last = 0.0
        try:
            while True:
                if scanning.is_alive():
                    scanning.join(LOOK_S)
                else:
                    pipeline.wait(LOOK_S)
                if errors:
                    raise errors[0]
                if pipeline.trouble.told:
                    raise LibraryError(pipeline.trouble.told)
                if pipeline.trouble.waiting and not self._models.is_loaded():
                    raise LibraryError(pipeline.trouble.waiting)  # it was never there: a wrong address, most likely
                if told is not None and time.monotonic() - last >= PROGRESS_S:
                    last = time.monotonic()
                    told()
                try:
                    if not scanning.is_alive() and pipeline.idle():
                        missed |= pipeline.missed()
                        if not self._scan_around(missed - sought):
                            break
                        sought |= missed
                except CatalogueAway as error:
                    pipeline.trouble.catalogue_is_away(str(error))
                    time.sleep(AWAY_S)
                if not scanning.is_alive():
                    time.sleep(0.02)  # it is between two roles, or a file rests
        finally:
            stop.set()
            scanning.join()
        if errors:
            raise errors[0]
        if pipeline.trouble.told:
            raise LibraryError(pipeline.trouble.told)
        return seen[0]

    def _scan_around(self, missed: set[str]) -> bool:
        """Scan the roots that lack a file: it is gone, or it is away with its root or drive. False where
        there is none."""
        roots = [r for r in self._catalogue.files.roots() if r.state == "here"] if missed else []
        lacking = [r for r in roots if any(Path(path).is_relative_to(r.path) for path in missed)]
        self.follower.scan_roots(lacking)
        return bool(lacking)

    # -- in the background -----------------------------------------------------------------

    def start(self, watch: bool) -> None:
        """Index and watch until `close`; while another program does, say so, and take over after it."""
        with self._guard:
            if self._started is None:
                self._started = threading.Thread(target=self._keep, args=(watch,), name="indexer-start", daemon=True)
                self._started.start()

    def _keep(self, watch: bool) -> None:
        while self._own():
            try:
                self._begin()
            except (ModelError, LibraryError) as error:
                self.notices = [str(error)]
                log.error("%s", error)
            if not self._closing.is_set():
                self.follower.start(watch)
            self._while_owned()
            if self._closing.is_set():
                return
            self.follower.stop()
            self.rest()

    def _own(self) -> bool:
        """Wait to be the one program that watches this library; False at the end."""
        while not self._closing.is_set():
            try:
                if self.lock.acquire():
                    self.notices = []
                    return True
                told = f"Another Sightline ({self.lock.holder()}) is indexing this library; this one only searches it."
            except CatalogueAway as error:
                told = str(error)
            if [told] != self.notices:
                self.notices = [told]
                log.info(told)
            self._closing.wait(2.0)
        return False

    def _while_owned(self) -> None:
        """Until the end, or until a server that went away has given the lock to another program."""
        swept, seen = time.monotonic(), 0
        shared = self._catalogue.database.dialect.shared
        while not self._closing.wait(5.0):
            try:
                if shared and (now := self._catalogue.contents.last_change()) != seen:
                    seen = now
                    self._written()  # what workers wrote goes into the index before anybody asks
                if not self.lock.acquire():
                    log.warning("%s indexes this library now", self.lock.holder())
                    return
                if time.monotonic() - swept > SWEEP_S:
                    swept = time.monotonic()
                    self.sweep()
            except CatalogueAway as error:
                log.info("%s", error)

    def _begin(self) -> None:
        """The pipeline at work, as soon as the model's server is there."""
        while not self._closing.is_set():
            try:
                self._working()
            except (ModelAway, CatalogueAway) as error:
                self.notices = [f"{error} Indexing begins when it does."]
                self._closing.wait(AWAY_S)
            else:
                self.notices = []
                return

    def _working(self) -> Pipeline:
        """The pipeline, started; with the model registered where that may change something."""
        with self._guard:
            if self.pipeline is None:
                made = self._make_pipeline()
                shared = self._catalogue.database.dialect.shared
                if shared:  # workers do as this program does
                    made.options.store(self._catalogue.settings)
                self._catalogue.queue.recut(made.options.recipe)
                if made.listens and made.options.listener is None:
                    self._catalogue.transcripts.set_listener(speech.BUILT_IN, whole=False)
                if shared or self._models.is_switch():
                    try:
                        self._models.requested()
                    except ModelAway:
                        raise
                    except ModelError as error:
                        raise LibraryError(str(error)) from error
                made.start()
                self.pipeline = made
            return self.pipeline

    def rest(self) -> None:
        """Stop working; what is in flight stays pending."""
        with self._guard:
            if self.pipeline is not None:
                self.pipeline.stop()
                self.pipeline = None

    def close(self) -> None:
        self._closing.set()
        self.follower.stop()
        if self._started is not None:
            self._started.join(30)
        self.rest()

    # -- between runs ----------------------------------------------------------------------

    def sweep(self) -> None:
        """What no file has had for a day goes."""
        for digest in self._catalogue.contents.sweep():
            self._thumbnails.remove(digest)

    def noted(self) -> None:
        """There is something to hash, or something is gone."""
        if self.pipeline is not None:
            self.pipeline.wake()
        self._written()

    def look_again(self) -> None:
        """Vectors may be missing: a root came back, or something was repaired."""
        if self.pipeline is not None:
            self.pipeline.look_again()
