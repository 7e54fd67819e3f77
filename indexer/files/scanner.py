"""The walk over a root that tells the catalogue what is new, changed and gone.

Built around `os.scandir` and the stamps of the last walk: a file whose size, mtime and ctime are
as they were is not opened, and a folder whose listing has the hash it had costs one look into
the catalogue, so a second walk costs little more than the walk itself (`make bench-index`).
What differs is noted as pending; hashing decides later whether its bytes are new. Files that
cannot be seen now (a drive that is unplugged, a folder without permission) are never taken for
deleted. It knows nothing of contents, decoding or watching.
"""

from __future__ import annotations

import marshal
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

from data.media.beside_names import is_note, keys_of_media, keys_of_note, may_describe
from data.media.kinds import NOTES, SOUNDS, Kind, may_describe_others, suffix_of
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.connections import Reading
from indexer.catalogue.left_out import LeftOut
from indexer.catalogue.rows import FoundFile, Root, Stamp
from indexer.catalogue.schema import stored_name
from indexer.catalogue.settings import MOUNT_END
from indexer.files.ignore import DEFAULT, HIDDEN, IGNORE_FILE, NO_FILE, Intake, Rules, why_unread
from indexer.types import COPIES

BATCH = 1000
"""Files a transaction: 70 k rows/s from there on, 8 k at one a transaction (SQLite, WAL)."""

BATCH_S = 0.25
"""A first find is handed on at the latest after so long, so that its embedding can begin."""

AGREED = "SELECT digest, files, left_out FROM seen WHERE root_id = ? AND folder = ?"
KNOWN = "SELECT name, size, mtime_ns, ctime_ns FROM file WHERE root_id = ? AND folder = ?"


@dataclass
class Scan:
    """What one walk saw: `files` are those of a kind that is taken in."""

    files: int = 0
    noted: int = 0
    gone: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    away: bool = False
    troubles: list[str] = field(default_factory=list)
    """Sentences for a person: folders that could not be read, mounts that are missing."""


def scan(
    catalogue: Catalogue,
    root: Root,
    *,
    intake: Intake = DEFAULT,
    skip: Collection[str] = (),
    noted: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> Scan:
    """Bring the catalogue in line with what lies below `root` now.

    `skip` are folders not to enter (other roots, the library's own). `noted` is called whenever
    work was added to the queue; `stop` is asked once a folder and ends the walk early, without
    taking anything unseen for gone.
    """
    top = str(root.path)
    mounts = mount_points()
    if _is_away(catalogue, root, mounts):
        catalogue.files.set_root(root.path, "away")
        return Scan(away=True)
    noted_mounts = (catalogue.settings.get(f"mounts:{root.id}") or "").replace("\0", MOUNT_END)
    missing = [m for m in noted_mounts.split(MOUNT_END) if m and m not in mounts]
    begun = time.time()
    walk = _Walk(catalogue, root, intake, frozenset(skip), noted, missing)
    finished = walk.run(stop)
    if finished:
        for folder in catalogue.files.folders(root.id) - walk.visited:
            if not walk.is_hidden(folder):
                names = catalogue.files.stamps(root.id, folder)
                walk.gone.extend(os.path.join(folder, name) for name in names)  # noqa: PTH118
    walk.flush()
    walk.result.gone = catalogue.files.remove(walk.gone) if walk.gone else 0
    if finished:
        catalogue.files.scanned_root(root.id, mount_of(top, mounts), walk.result.left_out, begun)
        below = [m for m in mounts if m.startswith(top.rstrip(os.sep) + os.sep)]
        kept = MOUNT_END.join(os.fsencode(m).decode("utf-8", "replace") for m in [*below, *missing])
        if kept != (catalogue.settings.get(f"mounts:{root.id}") or ""):
            catalogue.settings.set(f"mounts:{root.id}", kept)
    for mount in missing:
        walk.result.troubles.append(f"{mount} is not mounted: its files are kept as away.")
    return walk.result


def stamp_of(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def told_of(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The `others` that files of these `names` may describe (`may_describe`). Looked up by the beginnings of
    names: 5,000 photos and as many notes compared one by one take a minute."""
    others = list(others)
    beginning: dict[str, set[str]] = defaultdict(set)
    exported: dict[str, set[str]] = defaultdict(set)
    for other in others:
        beginning[other].add(other)
        beginning[os.path.splitext(other)[0]].add(other)  # noqa: PTH122
    names = list(names)
    if any(map(is_note, names)):
        for other in others:
            for key in keys_of_media(other):
                exported[key].add(other)
    told: set[str] = set()
    for name in names:
        if is_note(name):
            candidates = {other for key in keys_of_note(name) for other in exported.get(key, ())}
        else:
            candidates = {other for n, c in enumerate(name) if c == "." for other in beginning.get(name[:n], ())}
        told.update(other for other in candidates if may_describe(name, other))
    return sorted(told)


def read_again(catalogue: Catalogue, folder: str, names: Iterable[str], others: Iterable[str]) -> int:
    """Files beside others came, changed or went: what they tell of `others` in the folder is read again. Returns of
    how many."""
    names, others = list(names), list(others)
    notes = [name for name in names if name.lower().endswith(NOTES)]
    subtitles = [name for name in names if name not in notes]
    of_copies, of_contents = (
        [os.path.join(folder, other) for other in told_of(some, others)]  # noqa: PTH118
        for some in (notes, subtitles)
    )
    return catalogue.copies.read_again(of_copies) + catalogue.queue.read_again(of_contents)


def mount_points() -> list[str]:
    """Where file systems are mounted now."""
    import psutil

    return [p.mountpoint for p in psutil.disk_partitions(all=True)]


def mount_of(path: str, mounts: Collection[str]) -> str:
    """The mount point that holds a path."""
    holding = [m for m in mounts if path == m or path.startswith(m.rstrip(os.sep) + os.sep)]
    return max(holding, key=len, default=os.sep)


def _is_away(catalogue: Catalogue, root: Root, mounts: Collection[str]) -> bool:
    """Not there, or its drive is not, or it cannot be listed. An empty mount point is not an empty folder."""
    try:
        with os.scandir(root.path):
            pass
    except OSError:
        return True
    if root.mount is None or root.mount in mounts:
        return False
    known = (
        Path(folder, name)
        for folder in sorted(catalogue.files.folders(root.id))[:20]
        for name in list(catalogue.files.stamps(root.id, folder))[:5]
    )
    return not any(path.exists() for path in known)


def _digest(listed: list[os.DirEntry[str]], folders: list[os.DirEntry[str]]) -> bytes | None:
    """A hash over the names and stamps of a folder's files; its folders go into `folders`. None where a
    hash does not tell all: a link (what it leads to may change), a name that is going just now."""
    listing = []
    try:
        for entry in listed:
            if entry.is_file(follow_symlinks=False):
                stat = entry.stat()
                listing.append((entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry)
            else:
                return None
    except OSError:
        return None
    return blake3(marshal.dumps(listing, 2)).digest(16)  # version 2: equal lists, equal bytes


class _Walk:
    def __init__(
        self,
        catalogue: Catalogue,
        root: Root,
        intake: Intake,
        skip: frozenset[str],
        noted: Callable[[], None],
        missing: list[str],
    ) -> None:
        self._intake = intake
        self.catalogue, self.root_id, self.top, self.skip = catalogue, root.id, str(root.path), skip
        self.noted, self._scanned_at = noted, root.scanned_at
        self.result = Scan()
        self.visited: set[str] = set()
        self.gone: list[str] = []
        self._hidden = missing.copy()  # mounts that are away, folders that may not be read
        self._found: list[FoundFile] = []
        self._renewed: list[tuple[str, list[str], list[str]]] = []  # folder, what is new beside files, the files
        self._agreed: list[tuple[str, bytes, int, LeftOut]] = []
        self._flushed = time.monotonic()
        self._real_top = os.path.realpath(self.top)
        self._linked: set[tuple[int, int]] = set()  # folders entered through a symlink

    def run(self, stop: Callable[[], bool]) -> bool:
        """Walk everything; False when stopped on the way."""
        pending = [(self.top, Rules(copies=self._intake.copies))]
        reading = self.catalogue.database.dialect.reading({})  # each folder is a short snapshot of its own
        try:
            while pending:
                if stop():
                    return False
                self._folder(*pending.pop(), reading, pending)
        finally:
            reading.close()
        return True

    def _folder(self, folder: str, rules: Rules, reading: Reading, inner: list[tuple[str, Rules]]) -> None:
        """Compare one folder with what is known of it: by one hash of its listing, then file by file."""
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except FileNotFoundError:
            return
        except OSError as error:
            self._hidden.append(folder)
            self.result.troubles.append(f"{folder} cannot be read ({error.strerror}): its files are left as they were.")
            return
        self.visited.add(folder)
        where = (self.root_id, stored_name(folder))
        others: list[os.DirEntry[str]] = []
        digest = None if rules.specs else _digest(listed, others)
        if digest is not None:
            agreed = reading.execute(AGREED, where).fetchone()
            if agreed is not None and agreed[0] == digest:
                self.result.files += agreed[1]
                self.result.left_out.add(LeftOut.read(agreed[2]))
                for entry in others:
                    self._entry(folder, entry, rules, {}, [], inner, LeftOut())
                return
        before, here = self.result.files, LeftOut()
        clean = self._compare(folder, listed, rules, reading.execute(KNOWN, where).fetchall(), inner, here)
        self.result.left_out.add(here)
        if digest is not None and clean:
            self._agreed.append((folder, digest, self.result.files - before, here))
        if len(self._found) + len(self._agreed) >= BATCH or (
            self._found and time.monotonic() - self._flushed > BATCH_S
        ):
            self.flush()

    def _compare(
        self,
        folder: str,
        listed: list[os.DirEntry[str]],
        rules: Rules,
        rows: list[Any],
        inner: list[tuple[str, Rules]],
        here: LeftOut,
    ) -> bool:
        """File by file; files that are left out go to `here`. Whether folder and catalogue agree once what was
        found is noted."""
        ruled = any(entry.name == IGNORE_FILE for entry in listed)
        rules = rules.below(folder, ruled)
        known: dict[str, Any] = {os.fsdecode(row[0]): row for row in rows}
        kept: list[str] = []
        for entry in listed:
            self._entry(folder, entry, rules, known, kept, inner, here)
        if self._scanned_at is not None:
            new = [e.name for e in listed if may_describe_others(e.name) and self._is_new(e)]
            if new:
                self._renewed.append((folder, new, [*kept]))
        self.result.files += len(kept)
        if len(kept) == len(known):
            return not ruled
        if not self.is_hidden(folder):
            self.gone.extend(
                os.path.join(folder, name)  # noqa: PTH118 – a path that need not be UTF-8
                for name in known.keys() - set(kept)
            )
        return False  # next time

    def _entry(
        self,
        folder: str,
        entry: os.DirEntry[str],
        rules: Rules,
        known: dict[str, Any],
        kept: list[str],
        inner: list[tuple[str, Rules]],
        here: LeftOut,
    ) -> None:
        """A name that is new, changed, or under rules."""
        try:
            is_dir = entry.is_dir()
            if (why := rules.why_not(folder, entry.name, is_dir)) is not None:
                what = entry.name if why == COPIES else "hidden" if why == HIDDEN else suffix_of(entry.name)
                (self.result.left_out if is_dir else here).put(what, why, entry.path)
            elif is_dir:
                if entry.path not in self.skip and (not entry.is_symlink() or self._may_follow(entry)):
                    inner.append((entry.path, rules))
            elif (kind := self._kind(entry, known)) is None:
                here.put(suffix_of(entry.name) or entry.name, why_unread(entry.name), entry.path)
            elif not entry.is_file():
                here.put(suffix_of(entry.name), NO_FILE, entry.path)
            else:
                found = FoundFile(entry.path, kind, stamp_of(entry.stat()))
                row = known.get(entry.name)
                if row is None:
                    self.result.files += 1
                else:
                    kept.append(entry.name)
                if row is None or tuple(row[1:4]) != found.stamp:
                    self._found.append(found)
        except OSError:
            return  # gone meanwhile

    def _kind(self, entry: os.DirEntry[str], known: dict[str, Any]) -> Kind | None:
        """A recording that is known stays, also while nobody listens."""
        kind = self._intake.kind(entry.path)
        return "video" if kind is None and suffix_of(entry.name) in SOUNDS and entry.name in known else kind

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file was written, or put here, since the last scan."""
        try:
            return entry.is_file() and entry.stat().st_ctime >= (self._scanned_at or 0.0)
        except OSError:
            return False

    def _may_follow(self, link: os.DirEntry[str]) -> bool:
        """A link to a folder is followed once, and not when it leads to where the walk goes anyway."""
        real = os.path.realpath(link.path)
        for inside, around in ((real, self._real_top), (self._real_top, real)):
            if inside == around or inside.startswith(around.rstrip(os.sep) + os.sep):
                return False
        stat = link.stat()
        key = (stat.st_dev, stat.st_ino)
        if key in self._linked:
            return False
        self._linked.add(key)
        return True

    def is_hidden(self, folder: str) -> bool:
        """Whether what is missing in a folder may only be out of sight."""
        return any(folder == h or folder.startswith(h.rstrip(os.sep) + os.sep) for h in self._hidden)

    def flush(self) -> None:
        if self._found:
            self.catalogue.files.note(self.root_id, self._found)
            self.result.noted += len(self._found)
            self._found = []
            self.noted()
        if self._renewed:
            if sum(read_again(self.catalogue, *renewed) for renewed in self._renewed):
                self.noted()
            self._renewed = []
        if self._agreed:
            self.catalogue.files.agree(self.root_id, self._agreed)
            self._agreed = []
        self._flushed = time.monotonic()
