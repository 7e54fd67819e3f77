"""Keeps the catalogue up to date with the folders: a scan at the start, then watching and repeated scans.

Built around one thread that owns the roots: it scans them, runs the watcher, checks whether roots that are
away have come back, adds roots that another program has added, and scans all of them again from time to
time, because no watcher sees every change. It knows nothing of decoding and models; new files go into the
catalogue's queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Root
from indexer.errors import LibraryError
from indexer.files.ignore import Intake
from indexer.files.scanner import Scan, scan
from indexer.files.watcher import Watcher

log = logging.getLogger(__name__)

POLL_S = 5.0
"""Seconds between scans of a root that cannot be watched."""

RESCAN_S = 600.0
"""Seconds between scans of a watched root."""

CHECK_S = 1.0
"""Seconds between checks of the table of roots, and of roots that are away."""


class FolderFollower:
    def __init__(
        self,
        catalogue: Catalogue,
        data_dir: Path,
        *,
        poll: bool,
        intake: Intake,
        on_change: Callable[[], None],
        on_return: Callable[[], None],
    ) -> None:
        """`on_change` is called when there are files to hash or files are deleted, `on_return` when a root that
        was away is back."""
        self._catalogue, self._data_dir, self._poll = catalogue, str(data_dir), poll
        self._intake = intake
        self._on_change, self._on_return = on_change, on_return
        self._stop = threading.Event()
        self._scanning = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watcher: Watcher | None = None
        self._scanned_at: dict[int, float] = {}  # root id -> monotonic time
        self._states: dict[int, str] = {}  # root id -> state at the last check
        self._requests: set[int] = set()  # ids of roots to scan at the next check
        self._wake = threading.Event()
        self._notices: dict[int, list[str]] = {}  # root id -> notices of its last scan
        self.settled = threading.Event()
        """Set when all roots have been scanned after the start."""

    def scan_roots(self, roots: list[Root], stop: Callable[[], bool] = lambda: False) -> Scan:
        """Scan roots, one after the other. Returns the sum of the results."""
        total = Scan()
        for root in roots:
            result = self._scan(root, stop)
            total.files += result.files
            total.changed += result.changed
            total.deleted += result.deleted
            total.left_out.add(result.left_out)
            total.notices += result.notices
        return total

    def _scan(self, root: Root, stop: Callable[[], bool] = lambda: False) -> Scan:
        with self._scanning:
            skip = {str(r.path) for r in self._catalogue.files.roots() if r.id != root.id} | {self._data_dir}
            before = root.state
            self._catalogue.files.take_in(repr(self._intake))
            result = scan(
                self._catalogue,
                root,
                intake=self._intake,
                skip=skip,
                on_change=self._on_change,
                stop=lambda: stop() or self._stop.is_set(),
            )
        self._scanned_at[root.id] = time.monotonic()
        self._notices[root.id] = result.notices
        if before == "away" and not result.away:
            self._on_return()
        if result.deleted or result.changed or (before == "away") != result.away:
            self._on_change()
        return result

    def notices(self) -> list[str]:
        notices = [notice for of_root in self._notices.values() for notice in of_root]
        return notices + (self._watcher.notices() if self._watcher else [])

    # -- in the background -----------------------------------------------------------------

    def take_in(self, intake: Intake) -> None:
        """Follow the folders with another intake: all roots are due for a scan."""
        if intake != self._intake:
            self._intake = intake
            self._scanned_at.clear()

    def start(self, watch: bool) -> None:
        if self._thread is None:
            self._stop.clear()
            thread = threading.Thread(target=self._run, args=(watch,), name="indexer-follower", daemon=True)
            thread.start()
            self._thread = thread  # only now: `stop`, from another thread, joins it

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._watcher is not None:
            self._watcher.stop()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None

    def look(self, root_id: int | None = None) -> None:
        """Check the roots now; scan the root `root_id` again."""
        if root_id is not None:
            self._requests.add(root_id)
        self._wake.set()

    def _run(self, watch: bool) -> None:
        if watch and not self._poll:
            self._watcher = Watcher(self._catalogue, self._data_dir, self._intake, self._on_change, self.look)
        while not self._stop.is_set():
            try:
                self._scan_due()
                self.settled.set()
            except LibraryError as error:
                log.warning("%s", error)
            except Exception:  # the boundary of a thread: it must not end silently
                log.exception("following the folders: an error that should not happen")
            self._wake.wait(CHECK_S)
            self._wake.clear()

    def _scan_due(self) -> None:
        """Scan the roots that are due: new ones, roots whose state changed, roots that the watcher does not see."""
        roots = [r for r in self._catalogue.files.roots() if r.state != "left_out"]
        if self._watcher is not None:
            self._watcher.follow([r for r in roots if r.path.is_dir()])
        for root in roots:
            if self._stop.is_set():
                return
            if self._is_due(root):
                self._requests.discard(root.id)
                self._scan(root)
        for root_id in self._states.keys() - {r.id for r in roots}:
            self._notices.pop(root_id, None)
            self._scanned_at.pop(root_id, None)
        self._states = {r.id: r.state for r in self._catalogue.files.roots()}

    def _is_due(self, root: Root) -> bool:
        scanned_at = self._scanned_at.get(root.id)
        if scanned_at is None or root.id in self._requests or self._states.get(root.id) != root.state:
            return True
        exists = root.path.is_dir()
        if (root.state == "away") == exists:
            return True  # the root went away, or may be back
        unwatched = self._watcher is None or self._watcher.is_blind(root.id)
        return time.monotonic() - scanned_at > (POLL_S if unwatched else RESCAN_S)
