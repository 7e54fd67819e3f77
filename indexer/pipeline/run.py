"""Indexing in the program that watches the folders: one run, or in the background until the end.

Built around the owner lock, the folder follower, and a pipeline that is made with the first work. It knows
nothing of searching.
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
from indexer.files.ignore import Intake
from indexer.files.scanner import Scan
from indexer.pipeline.context import AWAY_S
from indexer.pipeline.jobs import Tally
from indexer.pipeline.pipeline import Pipeline
from indexer.thumbnails import Thumbnails
from model import speech
from model.embedder import ModelAway, ModelError

log = logging.getLogger(__name__)

PROGRESS_S = 0.25

CHECK_S = 0.1
"""Seconds between checks whether the run is done or stopped, and whether progress is due."""

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
        intake: Intake,
        make_pipeline: Callable[[], Pipeline],
        on_change: Callable[[], None],
        fill_picture_hashes: Callable[[], int],
    ) -> None:
        """`on_change` is called after each change of the searchable contents, `fill_picture_hashes` while there is
        nothing else to do: it gives some images of an older library what newer ones get when they are read."""
        self._catalogue, self._models, self._thumbnails = catalogue, models, thumbnails
        self._make_pipeline, self._on_change = make_pipeline, on_change
        self._fill_picture_hashes = fill_picture_hashes
        self.lock = catalogue.database.dialect.owner_lock(data_dir)
        self.follower = FolderFollower(
            catalogue, data_dir, poll=poll, intake=intake, on_change=self.on_files_changed, on_return=self.look_again
        )
        self.pipeline: Pipeline | None = None
        """The running pipeline."""
        self.notices: list[str] = []
        self.running = False
        """Whether `run` is in progress."""
        self._guard = threading.RLock()
        self._thread: threading.Thread | None = None
        self._watch = True
        self._closing = threading.Event()

    @property
    def in_background(self) -> bool:
        return self._thread is not None

    # -- one run ---------------------------------------------------------------------------

    def run(self, roots: list[Root], on_progress: Callable[[], None] | None) -> tuple[Scan, Tally]:
        """Scan roots and work until nothing is pending; `on_progress` is called every PROGRESS_S.

        The caller holds the lock. Raises `LibraryError` if indexing cannot go on.
        """
        self.running = True
        try:
            pipeline, newest = self._wait_for_catalogue(on_progress)
            before = vars(pipeline.tally).copy()
            scan = self._scan_and_work(roots, pipeline, on_progress)
        finally:
            self.running = False
        tally = Tally(**{name: value - before[name] for name, value in vars(pipeline.tally).items()})
        if self._catalogue.database.dialect.shared:  # the chunks of the workers count as well
            tally.chunks = max(tally.chunks, self._catalogue.contents.embedded_since(newest))
        return scan, tally

    def _wait_for_catalogue(self, on_progress: Callable[[], None] | None) -> tuple[Pipeline, int]:
        """Returns the pipeline and the id of the newest embedding, as soon as the catalogue's server answers."""
        while True:
            try:
                return self._started_pipeline(), self._catalogue.contents.newest_embedding()
            except CatalogueAway as error:
                log.warning("%s", error)
                if on_progress is not None:
                    on_progress()
                if self._closing.wait(AWAY_S):
                    raise

    def _scan_and_work(self, roots: list[Root], pipeline: Pipeline, on_progress: Callable[[], None] | None) -> Scan:
        scans: list[Scan] = []
        missing: set[str] = set()
        scanned_for: set[str] = set()
        stop = threading.Event()
        errors: list[BaseException] = []

        def walk() -> None:
            try:
                while not stop.is_set():
                    try:
                        scans.append(self.follower.scan_roots(roots, stop.is_set))
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
                    scanning.join(CHECK_S)
                else:
                    pipeline.wait(CHECK_S)
                if errors:
                    raise errors[0]
                if pipeline.trouble.message:
                    raise LibraryError(pipeline.trouble.message)
                if pipeline.trouble.waiting and not self._models.is_loaded():
                    raise LibraryError(pipeline.trouble.waiting)  # it never answered: most likely a wrong address
                if on_progress is not None and time.monotonic() - last >= PROGRESS_S:
                    last = time.monotonic()
                    on_progress()
                try:
                    if not scanning.is_alive() and pipeline.idle():
                        missing |= pipeline.pop_missing_files()
                        if not self._scan_around(missing - scanned_for):
                            break
                        scanned_for |= missing
                except CatalogueAway as error:
                    pipeline.trouble.catalogue_is_away(str(error))
                    time.sleep(AWAY_S)
                if not scanning.is_alive():
                    time.sleep(0.02)  # a content is between two stages, or a file is postponed
        finally:
            stop.set()
            scanning.join()
        if errors:
            raise errors[0]
        if pipeline.trouble.message:
            raise LibraryError(pipeline.trouble.message)
        return scans[0]

    def _scan_around(self, missing: set[str]) -> bool:
        """Scan the roots of missing files: a file is deleted, or its drive is disconnected. Returns False if no
        reachable root has one."""
        roots = [r for r in self._catalogue.files.roots() if r.state == "here"] if missing else []
        affected = [r for r in roots if any(Path(path).is_relative_to(r.path) for path in missing)]
        self.follower.scan_roots(affected)
        return bool(affected)

    # -- in the background -----------------------------------------------------------------

    def start(self, watch: bool) -> None:
        """Index and watch until `close`; while another program does, set a notice, and take over after it."""
        self._watch = watch
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run_owned, args=(watch,), name="indexer-start", daemon=True
                )
                self._thread.start()

    def _run_owned(self, watch: bool) -> None:
        while self._acquire_lock():
            try:
                self._begin()
            except (ModelError, LibraryError) as error:
                self.notices = [str(error)]
                log.error("%s", error)
            if not self._closing.is_set():
                self.follower.start(watch)
            self._wait_while_owned()
            if self._closing.is_set():
                return
            self.follower.stop()
            self.stop_pipeline()

    def _acquire_lock(self) -> bool:
        """Wait until this is the one program that watches the library. Returns False when the program ends."""
        while not self._closing.is_set():
            try:
                if self.lock.acquire():
                    self.notices = []
                    return True
                notice = (
                    f"Another Sightline ({self.lock.holder()}) is indexing this library; this one only searches it."
                )
            except CatalogueAway as error:
                notice = str(error)
            if [notice] != self.notices:
                self.notices = [notice]
                log.info(notice)
            self._closing.wait(2.0)
        return False

    def _wait_while_owned(self) -> None:
        """Wait until the program ends, or until the server has given the lock to another program."""
        swept, last_change, lacks_hashes = time.monotonic(), 0, True
        shared = self._catalogue.database.dialect.shared
        while not self._closing.wait(5.0):
            try:
                if shared and (change := self._catalogue.contents.last_change()) != last_change:
                    last_change = change
                    self._on_change()  # index what workers wrote before the next query
                if not self.lock.acquire():
                    log.warning("%s indexes this library now", self.lock.holder())
                    return
                if lacks_hashes and (pipeline := self.pipeline) is not None and pipeline.idle():
                    lacks_hashes = self._fill_picture_hashes() > 0
                if time.monotonic() - swept > SWEEP_S:
                    swept = time.monotonic()
                    self.sweep()
            except CatalogueAway as error:
                log.info("%s", error)

    def _begin(self) -> None:
        """Start the pipeline, as soon as the model's and the catalogue's servers answer."""
        while not self._closing.is_set():
            try:
                self._started_pipeline()
            except (ModelAway, CatalogueAway) as error:
                self.notices = [f"{error} Indexing begins when it does."]
                self._closing.wait(AWAY_S)
            else:
                self.notices = []
                return

    def _started_pipeline(self) -> Pipeline:
        """Returns the running pipeline. A new model is registered when the pipeline starts."""
        with self._guard:
            if self.pipeline is None:
                pipeline = self._make_pipeline()
                shared = self._catalogue.database.dialect.shared
                if shared:  # the workers use the same options
                    pipeline.options.store(self._catalogue.settings)
                self._catalogue.queue.recut(pipeline.options.recipe)
                if pipeline.transcribes and pipeline.options.speech_model is None:
                    self._catalogue.transcripts.set_speech_model(speech.BUILT_IN, whole=False)
                if shared or self._models.is_switch():
                    try:
                        self._models.requested()
                    except ModelAway:
                        raise
                    except ModelError as error:
                        raise LibraryError(str(error)) from error
                pipeline.start()
                self.pipeline = pipeline
            return self.pipeline

    def restart(self, intake: Intake) -> None:
        """Go on with the options that `make_pipeline` has now, and with `intake`; contents in progress stay pending."""
        with self._guard:
            self.follower.take_in(intake)
            if self.pipeline is None:
                return
            in_background = self.in_background
            if in_background:
                self.follower.stop()
            self.stop_pipeline()
            if in_background:
                self._begin()
                self.follower.start(self._watch)

    def stop_pipeline(self) -> None:
        """Stop working; contents in progress stay pending."""
        with self._guard:
            if self.pipeline is not None:
                self.pipeline.stop()
                self.pipeline = None

    def close(self) -> None:
        self._closing.set()
        self.follower.stop()
        if self._thread is not None:
            self._thread.join(30)
        self.stop_pipeline()

    # -- between runs ----------------------------------------------------------------------

    def sweep(self) -> None:
        """Delete the contents that no file has had for a day, their thumbnails, and the vectors of a model that was
        replaced long ago."""
        self._catalogue.models.drop_previous(time.time())
        for digest in self._catalogue.contents.sweep():
            self._thumbnails.remove(digest)

    def on_files_changed(self) -> None:
        """There are files to hash, or files are deleted."""
        if self.pipeline is not None:
            self.pipeline.wake()
        self._on_change()

    def look_again(self) -> None:
        """Vectors may be missing: a root came back, or the library was repaired."""
        if self.pipeline is not None:
            self.pipeline.look_again()
