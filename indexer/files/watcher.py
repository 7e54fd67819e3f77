"""Watches the roots while the program runs, through watchdog, and records changes in the catalogue.

Built around one dictionary of paths with events, each with the time from which on it is checked. A file is
checked when it is complete: its writer has closed it, or it appeared in one step (a rename, a hard link), or
nothing has written to it for a while. Only a difference to the catalogue is recorded.

No watcher sees every change: the kernel's queue overflows, inotify limits the number of folders, and folders
behind symlinks are not watched. A notice says so, and a scan finds the changes (`follower.py`). The file
knows nothing of contents.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data.media.kinds import may_describe_others
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, Root
from indexer.errors import LibraryError
from indexer.files.ignore import IGNORE_FILE, Intake, rules_for
from indexer.files.scanner import read_again, stamp_of

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)

CLOSED_S = 0.05
"""Seconds from a file's close to its check; the writer may open it once more (`cp -p` sets times)."""

PLACED_S = 0.25
"""Seconds from the appearance of a file without a write (a rename, a link) to its check."""

OPEN_S = 20.0
"""Seconds from the last write to an open file to its check: a recorder may keep the file open."""

QUIET_S = 2.0
"""The same where the system does not report that a file is closed."""

REPORTS_CLOSE = sys.platform.startswith("linux")

RULES_CACHED_S = 2.0


class Watcher:
    def __init__(
        self,
        catalogue: Catalogue,
        data_dir: str,
        intake: Intake,
        on_change: Callable[[], None],
        rescan: Callable[[int | None], None],
    ) -> None:
        """`on_change` is called when the catalogue has changed. `rescan` scans a root; with None it checks which
        roots are due."""
        self._catalogue, self._data_dir, self._intake = catalogue, data_dir, intake
        self._on_change, self._rescan = on_change, rescan
        self._observer: BaseObserver | None = None
        self._watched: dict[int, tuple[str, Any]] = {}
        self._blind: set[int] = set()
        self._limit: str | None = None
        self._lock = threading.Condition()
        self._due: dict[str, float] = {}  # path -> monotonic time of its check
        self._open: set[str] = set()  # paths with a write and no close since
        self._moved: list[tuple[str, str]] = []
        self._rules: dict[str, tuple[float, Any]] = {}
        self._stop = threading.Event()
        self._overflow = _OverflowHandler(self._overflowed)
        logging.getLogger("watchdog").addHandler(self._overflow)
        self._thread = threading.Thread(target=self._work, name="indexer-watcher", daemon=True)
        self._thread.start()

    def follow(self, roots: list[Root]) -> None:
        """Watch exactly these roots. Cheap if nothing has changed since the last call."""
        paths = {r.id: str(r.path) for r in roots}
        for root_id in [i for i, (path, _) in self._watched.items() if paths.get(i) != path]:
            self._unwatch(root_id)
        for root_id, path in paths.items():
            if root_id not in self._watched:
                self._add(root_id, path)
        if self._watched:
            self._probe()

    def is_blind(self, root_id: int) -> bool:
        """Whether changes in a root may be missed."""
        return root_id in self._blind or self._limit is not None

    def notices(self) -> list[str]:
        return [self._limit] if self._limit else []

    def stop(self) -> None:
        self._stop.set()
        logging.getLogger("watchdog").removeHandler(self._overflow)
        with self._lock:
            self._lock.notify_all()
        for root_id in list(self._watched):
            self._unwatch(root_id)
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(10)
        self._thread.join(10)

    # -- watches ---------------------------------------------------------------------------

    def _unwatch(self, root_id: int) -> None:
        path, watch = self._watched.pop(root_id)
        self._blind.discard(root_id)
        if self._observer is not None and watch is not None:
            try:
                self._observer.unschedule(watch)
            except (KeyError, OSError):  # watchdog's, after a folder was moved out of the root
                log.debug("the watch of %s had ended", path)

    def _add(self, root_id: int, path: str) -> None:
        from watchdog.observers import Observer

        # watchdog's warning about a folder that was moved while it was watched; it is still watched.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        try:
            if self._observer is None:
                self._observer = Observer()
                self._observer.start()
            handler: Any = _Forward(self)
            watch = self._observer.schedule(handler, path, recursive=True)
            self._watched[root_id] = (path, watch)
            self._blind.discard(root_id)
        except OSError as error:
            self._watched[root_id] = (path, None)
            self._blind.add(root_id)
            if error.errno in (errno.ENOSPC, errno.EMFILE):
                self._limit = _limit_notice(error.errno)
            log.warning("%s is not watched (%s); it is scanned every few seconds", path, error)

    def _probe(self) -> None:
        """Check whether the kernel's limit is reached: watchdog silently skips folders that it cannot watch."""
        problem = _inotify_problem()
        notice = _limit_notice(problem) if problem else None
        if notice and notice != self._limit:
            log.warning(notice)
        if notice or not self._blind:
            self._limit = notice

    def _overflowed(self) -> None:
        log.warning("too many changes at once for the system's queue; scanning the folders to catch up")
        self._rescan(None)
        for root_id in list(self._watched):
            self._rescan(root_id)

    # -- events (called from watchdog's thread) --------------------------------------------

    def happened(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.src_path)
        kind = event.event_type
        if kind in ("opened", "closed_no_write"):
            return
        now = time.monotonic()
        with self._lock:
            if kind == "moved":
                self._moved.append((path, os.fsdecode(event.dest_path)))
                self._open.discard(path)
                self._due.pop(path, None)
            elif kind == "closed":
                self._open.discard(path)
                self._due[path] = now + CLOSED_S
            elif kind == "modified":
                if event.is_directory:
                    return
                self._open.add(path)
                self._due[path] = now + (OPEN_S if REPORTS_CLOSE else QUIET_S)
            elif kind == "created" and not event.is_directory:
                if path not in self._open:
                    self._due[path] = now + PLACED_S
            else:  # deleted; a folder created
                self._due[path] = now
            self._lock.notify_all()

    # -- the worker ------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                now = time.monotonic()
                next_due = min(self._due.values(), default=now + 1.0)
                if not self._moved and next_due > now:
                    self._lock.wait(min(next_due - now, 1.0))
                now = time.monotonic()
                moved, self._moved = self._moved, []
                ready = [p for p, t in self._due.items() if t <= now]
                for path in ready:
                    del self._due[path]
                    self._open.discard(path)
            if not (moved or ready) or self._stop.is_set():
                continue
            try:
                self._check(moved, ready)
            except LibraryError as error:  # a full disk: check again later
                log.warning("%s", error)
                with self._lock:
                    self._moved = moved + self._moved
                    self._due.update({p: time.monotonic() + 5.0 for p in ready if p not in self._due})
                self._stop.wait(1.0)
            except Exception:  # the boundary of a thread: watching must not end silently
                log.exception("watching: an error that should not happen")
                self._rescan(None)

    def _check(self, moved: list[tuple[str, str]], ready: list[str]) -> None:
        changed = False
        moves = []
        for old, new in moved:
            target = self._file(new)
            if target is not None:
                moves.append((old, *target))
            else:
                ready.append(old)
                ready.append(new)
        for old, root_id, file in moves:
            if self._catalogue.files.move(old, root_id, file):
                changed = True
            else:
                ready.extend((old, file.path))
        files: dict[int, list[FoundFile]] = {}  # by root id
        missing: list[str] = []
        sidecars: dict[tuple[int, str], list[str]] = {}  # (root id, folder) -> names
        for path in ready:
            changed |= self._check_path(path, files, missing, sidecars)
        for root_id, files_of_root in files.items():
            differing = self._catalogue.files.differing(files_of_root)
            if differing:
                self._catalogue.files.note(root_id, differing)
                changed = True
        if missing:
            changed |= self._catalogue.files.remove(missing) > 0
        for (root_id, folder), names in sidecars.items():
            changed |= read_again(self._catalogue, folder, names, self._catalogue.files.stamps(root_id, folder)) > 0
        if changed:
            self._on_change()

    def _check_path(
        self,
        path: str,
        files: dict[int, list[FoundFile]],
        missing: list[str],
        sidecars: dict[tuple[int, str], list[str]],
    ) -> bool:
        """Add one path to `files`, `missing` or `sidecars`. Returns whether the catalogue has changed already."""
        root = self._root_of(path)
        if root is None:
            return False
        root_id, top = root
        if os.path.basename(path) == IGNORE_FILE:  # noqa: PTH119
            self._rules.clear()
            self._rescan(root_id)
            return False
        try:
            status = os.stat(path)  # noqa: PTH116 – a path that need not be UTF-8
        except OSError:
            if path == top:
                self._rescan(root_id)
                return False
            missing.append(path)
            _add_sidecar(path, root_id, sidecars)
            return bool(self._catalogue.files.remove_under(path))
        if stat.S_ISDIR(status.st_mode):
            if path == top:
                self._rescan(root_id)
            else:
                self._walk(path)
            return False
        file = self._file(path)
        if file is not None:
            files.setdefault(file[0], []).append(file[1])
        else:
            missing.append(path)
            _add_sidecar(path, root_id, sidecars)
        return False

    def _walk(self, folder: str) -> None:
        """Check all files of a new folder after PLACED_S."""
        with self._lock:
            for at, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(at, name)  # noqa: PTH118
                    if path not in self._due and self._intake.kind(path) is not None:
                        self._due[path] = time.monotonic() + PLACED_S

    def _file(self, path: str) -> tuple[int, FoundFile] | None:
        """Returns a file of the library and its root id; None for any other path."""
        kind = self._intake.kind(path)
        root = self._root_of(path)
        if kind is None or root is None:
            return None
        folder, name = os.path.split(path)
        rules = self._rules_in(root[1], folder)
        if rules is None or rules.why_not(folder, name, False):
            return None
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return root[0], FoundFile(path, kind, stamp_of(status))

    def _rules_in(self, top: str, folder: str) -> Any:
        now = time.monotonic()
        cached = self._rules.get(folder)
        if cached is None or cached[0] < now:
            if len(self._rules) > 10_000:
                self._rules.clear()
            cached = (now + RULES_CACHED_S, rules_for(top, folder, self._intake))
            self._rules[folder] = cached
        return cached[1]

    def _root_of(self, path: str) -> tuple[int, str] | None:
        """Returns the id and the path of the innermost root that holds a path; None in the library's own folder or
        in a folder that is left out."""
        best: tuple[int, str] | None = None
        for root_id, (top, _) in list(self._watched.items()):
            if (path == top or path.startswith(top.rstrip(os.sep) + os.sep)) and (
                best is None or len(top) > len(best[1])
            ):
                best = (root_id, top)
        if best is None:
            return None
        for top in (self._data_dir, *self._left_out()):
            if path.startswith(top + os.sep) and len(top) > len(best[1]):
                return None
        return best

    def _left_out(self) -> list[str]:
        now = time.monotonic()
        cached = self._rules.get("")
        if cached is None or cached[0] < now:
            paths = [str(r.path) for r in self._catalogue.files.roots() if r.state == "left_out"]
            cached = self._rules[""] = (now + RULES_CACHED_S, paths)
        return cached[1]


def _add_sidecar(path: str, root_id: int, sidecars: dict[tuple[int, str], list[str]]) -> None:
    folder, name = os.path.split(path)
    if may_describe_others(name):
        sidecars.setdefault((root_id, folder), []).append(name)


class _Forward:
    """The method of watchdog's handler interface that is needed."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def dispatch(self, event: FileSystemEvent) -> None:
        self._watcher.happened(event)


class _OverflowHandler(logging.Handler):
    """Calls `on_overflow` for watchdog's log line about an overflow, its only sign of one."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_overflow = on_overflow

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._on_overflow()


def _inotify_problem() -> int:
    """Returns 0 if one more folder can be watched, else the kernel's error (ENOSPC, EMFILE). Linux only."""
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return ctypes.get_errno()
    try:
        watch = libc.inotify_add_watch(descriptor, b"/", 0x00000400)  # IN_DELETE_SELF
        return ctypes.get_errno() if watch < 0 else 0
    finally:
        os.close(descriptor)


def _limit_notice(number: int) -> str:
    name = "max_user_instances" if number == errno.EMFILE else "max_user_watches"
    more = 1024 if number == errno.EMFILE else 1_048_576
    return (
        "The system's limit of watched folders is reached: changes are found by a scan every few seconds. "
        f"To watch everything: sudo sysctl fs.inotify.{name}={more} (and put it into /etc/sysctl.conf)."
    )
