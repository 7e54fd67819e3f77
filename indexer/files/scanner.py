"""The scan of a root: it records new, changed and deleted files in the catalogue.

Built around `os.scandir` and the stamps of the last scan: a file with an unchanged size, mtime and ctime is
not opened, and a folder with an unchanged hash of its listing costs one query, so a second scan costs little
more than the walk itself (`make bench-index`). A file that differs becomes pending; hashing decides later
whether its bytes are new. Files that cannot be seen now (a disconnected drive, a folder without permission)
never count as deleted. The file knows nothing of contents, decoding or watching.
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
from indexer.catalogue.dialects import Reading
from indexer.catalogue.left_out import LeftOut
from indexer.catalogue.rows import FoundFile, Root, Stamp
from indexer.catalogue.schema import stored_name
from indexer.catalogue.settings import MOUNT_END
from indexer.files.ignore import DEFAULT, HIDDEN, IGNORE_FILE, NO_FILE, Intake, Rules, why_unread
from indexer.types import COPIES

BATCH = 1000
"""Files per transaction: 70,000 rows/s from this size on, 8,000 with one file each (SQLite, WAL)."""

BATCH_S = 0.25
"""Seconds until a smaller batch is written as well, so that its files can be indexed."""

LISTING = "SELECT digest, files, left_out FROM seen WHERE root_id = ? AND folder = ?"
STAMPS = "SELECT name, size, mtime_ns, ctime_ns FROM file WHERE root_id = ? AND folder = ?"


@dataclass
class Scan:
    """The result of a scan. `files`: those of a kind that is indexed. `changed`: new and changed ones."""

    files: int = 0
    changed: int = 0
    deleted: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    away: bool = False
    notices: list[str] = field(default_factory=list)
    """Sentences for a person: folders that could not be read, mounts that are missing."""


def scan(
    catalogue: Catalogue,
    root: Root,
    *,
    intake: Intake = DEFAULT,
    skip: Collection[str] = (),
    on_change: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> Scan:
    """Update the catalogue with the files below `root`.

    `skip`: folders not to enter (other roots, the library's own folder). `on_change` is called when files
    have become pending. `stop` is called once per folder; True ends the scan, and no file counts as deleted.
    """
    top = str(root.path)
    mounts = mount_points()
    if _is_away(catalogue, root, mounts):
        catalogue.files.set_root(root.path, "away")
        return Scan(away=True)
    stored_mounts = (catalogue.settings.get(f"mounts:{root.id}") or "").replace("\0", MOUNT_END)
    missing = [m for m in stored_mounts.split(MOUNT_END) if m and m not in mounts]
    start = time.time()
    walk = _Walk(catalogue, root, intake, frozenset(skip), on_change, missing)
    finished = walk.run(stop)
    if finished:
        for folder in catalogue.files.folders(root.id) - walk.visited:
            if not walk.is_hidden(folder):
                names = catalogue.files.stamps(root.id, folder)
                walk.deleted.extend(os.path.join(folder, name) for name in names)  # noqa: PTH118
    walk.flush()
    walk.result.deleted = catalogue.files.remove(walk.deleted) if walk.deleted else 0
    if finished:
        catalogue.files.scanned_root(root.id, mount_of(top, mounts), walk.result.left_out, start)
        below = [m for m in mounts if m.startswith(top.rstrip(os.sep) + os.sep)]
        all_mounts = MOUNT_END.join(os.fsencode(m).decode("utf-8", "replace") for m in [*below, *missing])
        if all_mounts != (catalogue.settings.get(f"mounts:{root.id}") or ""):
            catalogue.settings.set(f"mounts:{root.id}", all_mounts)
    for mount in missing:
        walk.result.notices.append(f"{mount} is not mounted: its files are kept as away.")
    return walk.result


def stamp_of(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def media_of_sidecars(sidecars: Iterable[str], media: Iterable[str]) -> list[str]:
    """Returns the names in `media` that a file in `sidecars` may belong to (`may_describe`), sorted. They are looked up
    by the beginnings of names: comparing 5,000 photos with 5,000 sidecars one by one takes a minute."""
    media = list(media)
    by_beginning: dict[str, set[str]] = defaultdict(set)
    by_key: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in media:
        by_beginning[name].add(name)
        by_beginning[os.path.splitext(name)[0]].add(name)  # noqa: PTH122
    sidecars = list(sidecars)
    if any(map(is_note, sidecars)):
        for name in media:
            for key in keys_of_media(name):
                by_key[key].add(name)
    matches: set[str] = set()
    for sidecar in sidecars:
        if is_note(sidecar):
            candidates = {name for key in keys_of_note(sidecar) for name in by_key.get(key, ())}
        else:
            candidates = {name for n, c in enumerate(sidecar) if c == "." for name in by_beginning.get(sidecar[:n], ())}
        matches.update(name for name in candidates if may_describe(sidecar, name))
    return sorted(matches)


def read_again(catalogue: Catalogue, folder: str, sidecars: Iterable[str], media: Iterable[str]) -> int:
    """Sidecars in a folder are new, changed or deleted: the media files that they belong to are read again.
    Returns how many."""
    sidecars, media = list(sidecars), list(media)
    notes = [name for name in sidecars if name.lower().endswith(NOTES)]
    subtitles = [name for name in sidecars if name not in notes]
    of_copies, of_contents = (
        [os.path.join(folder, name) for name in media_of_sidecars(names, media)]  # noqa: PTH118
        for names in (notes, subtitles)
    )
    return catalogue.copies.read_again(of_copies) + catalogue.queue.read_again(of_contents)


def mount_points() -> list[str]:
    """Returns the mount points of all mounted file systems."""
    import psutil

    return [p.mountpoint for p in psutil.disk_partitions(all=True)]


def mount_of(path: str, mounts: Collection[str]) -> str:
    """Returns the mount point that holds a path."""
    around = [m for m in mounts if path == m or path.startswith(m.rstrip(os.sep) + os.sep)]
    return max(around, key=len, default=os.sep)


def _is_away(catalogue: Catalogue, root: Root, mounts: Collection[str]) -> bool:
    """Whether a root is missing, cannot be listed, or lies on a drive that is not mounted (an empty mount point
    looks like an empty folder)."""
    try:
        with os.scandir(root.path):
            pass
    except OSError:
        return True
    if root.mount is None or root.mount in mounts:
        return False
    sample = (
        Path(folder, name)
        for folder in sorted(catalogue.files.folders(root.id))[:20]
        for name in list(catalogue.files.stamps(root.id, folder))[:5]
    )
    return not any(path.exists() for path in sample)


def _digest(entries: list[os.DirEntry[str]], folders: list[os.DirEntry[str]]) -> bytes | None:
    """Returns a hash of the names and stamps of a folder's files, and appends its folders to `folders`. None if
    a hash is not enough: a link, whose target may change, or a file that is being deleted."""
    listing = []
    try:
        for entry in entries:
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
        on_change: Callable[[], None],
        missing: list[str],
    ) -> None:
        self._intake = intake
        self.catalogue, self.root_id, self.top, self.skip = catalogue, root.id, str(root.path), skip
        self.on_change, self._scanned_at = on_change, root.scanned_at
        self.result = Scan()
        self.visited: set[str] = set()
        self.deleted: list[str] = []
        self._hidden = missing.copy()  # missing mounts, and folders without permission
        self._changed: list[FoundFile] = []
        self._sidecars: list[tuple[str, list[str], list[str]]] = []  # folder, its new sidecars, its media files
        self._listings: list[tuple[str, bytes, int, LeftOut]] = []  # folders that the catalogue agrees with
        self._flushed_at = time.monotonic()
        self._real_top = os.path.realpath(self.top)
        self._linked: set[tuple[int, int]] = set()  # (device, inode) of folders entered through a symlink

    def run(self, stop: Callable[[], bool]) -> bool:
        """Walk through all folders. Returns False if `stop` ended the walk."""
        pending = [(self.top, self._intake.rules_of(self.top))]
        reading = self.catalogue.database.dialect.reading({})  # a short snapshot for each folder
        try:
            while pending:
                if stop():
                    return False
                self._folder(*pending.pop(), reading, pending)
        finally:
            reading.close()
        return True

    def _folder(self, folder: str, rules: Rules, reading: Reading, inner: list[tuple[str, Rules]]) -> None:
        """Compare one folder with the catalogue: by the hash of its listing, then file by file. `inner`: the list
        that its folders are appended to."""
        try:
            with os.scandir(folder) as iterator:
                entries = list(iterator)
        except FileNotFoundError:
            return
        except OSError as error:
            self._hidden.append(folder)
            self.result.notices.append(f"{folder} cannot be read ({error.strerror}): its files are left as they were.")
            return
        self.visited.add(folder)
        key = (self.root_id, stored_name(folder))
        folders: list[os.DirEntry[str]] = []
        digest = None if rules.in_files else _digest(entries, folders)
        if digest is not None:
            listing = reading.execute(LISTING, key).fetchone()
            if listing is not None and listing[0] == digest:
                self.result.files += listing[1]
                self.result.left_out.add(LeftOut.read(listing[2]))
                for entry in folders:
                    self._entry(folder, entry, rules, {}, [], inner, LeftOut())
                return
        before, left_out = self.result.files, LeftOut()
        agrees = self._compare(folder, entries, rules, reading.execute(STAMPS, key).fetchall(), inner, left_out)
        self.result.left_out.add(left_out)
        if digest is not None and agrees:
            self._listings.append((folder, digest, self.result.files - before, left_out))
        if len(self._changed) + len(self._listings) >= BATCH or (
            self._changed and time.monotonic() - self._flushed_at > BATCH_S
        ):
            self.flush()

    def _compare(
        self,
        folder: str,
        entries: list[os.DirEntry[str]],
        rules: Rules,
        rows: list[Any],
        inner: list[tuple[str, Rules]],
        left_out: LeftOut,
    ) -> bool:
        """Compare file by file; files that are left out are added to `left_out`. Returns whether the folder and the
        catalogue agree once the changed files are written."""
        has_rules = any(entry.name == IGNORE_FILE for entry in entries)
        rules = rules.below(folder, has_rules)
        stored: dict[str, Any] = {os.fsdecode(row[0]): row for row in rows}
        present: list[str] = []
        for entry in entries:
            self._entry(folder, entry, rules, stored, present, inner, left_out)
        if self._scanned_at is not None:
            sidecars = [e.name for e in entries if may_describe_others(e.name) and self._is_new(e)]
            if sidecars:
                self._sidecars.append((folder, sidecars, [*present]))
        self.result.files += len(present)
        if len(present) == len(stored):
            return not has_rules
        if not self.is_hidden(folder):
            self.deleted.extend(
                os.path.join(folder, name)  # noqa: PTH118 – a path that need not be UTF-8
                for name in stored.keys() - set(present)
            )
        return False  # the next scan may find that they agree

    def _entry(
        self,
        folder: str,
        entry: os.DirEntry[str],
        rules: Rules,
        stored: dict[str, Any],
        present: list[str],
        inner: list[tuple[str, Rules]],
        left_out: LeftOut,
    ) -> None:
        """Sort one entry of a folder: into `left_out`, `inner`, `present` (names in `stored`), the changed files."""
        try:
            is_dir = entry.is_dir()
            if (why := rules.why_not(folder, entry.name, is_dir)) is not None:
                what = entry.name if why == COPIES else "hidden" if why == HIDDEN else suffix_of(entry.name)
                (self.result.left_out if is_dir else left_out).put(what, why, entry.path)
            elif is_dir:
                if entry.path not in self.skip and (not entry.is_symlink() or self._may_follow(entry)):
                    inner.append((entry.path, rules))
            elif (kind := self._kind(entry, stored)) is None:
                left_out.put(suffix_of(entry.name) or entry.name, why_unread(entry.name), entry.path)
            elif not entry.is_file():
                left_out.put(suffix_of(entry.name), NO_FILE, entry.path)
            else:
                file = FoundFile(entry.path, kind, stamp_of(entry.stat()))
                row = stored.get(entry.name)
                if row is None:
                    self.result.files += 1
                else:
                    present.append(entry.name)
                if row is None or tuple(row[1:4]) != file.stamp:
                    self._changed.append(file)
        except OSError:
            return  # deleted meanwhile

    def _kind(self, entry: os.DirEntry[str], stored: dict[str, Any]) -> Kind | None:
        """Returns the kind of a file. A sound file in the catalogue stays there, also without a speech model."""
        kind = self._intake.kind(entry.path)
        return "video" if kind is None and suffix_of(entry.name) in SOUNDS and entry.name in stored else kind

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file was written or moved here since the last scan."""
        try:
            return entry.is_file() and entry.stat().st_ctime >= (self._scanned_at or 0.0)
        except OSError:
            return False

    def _may_follow(self, link: os.DirEntry[str]) -> bool:
        """Whether to follow a link to a folder: once, and only if it leads out of the root."""
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
        """Whether files that are missing from a folder may still exist, as it cannot be read now."""
        return any(folder == h or folder.startswith(h.rstrip(os.sep) + os.sep) for h in self._hidden)

    def flush(self) -> None:
        if self._changed:
            self.catalogue.files.note(self.root_id, self._changed)
            self.result.changed += len(self._changed)
            self._changed = []
            self.on_change()
        if self._sidecars:
            if sum(read_again(self.catalogue, *sidecars) for sidecars in self._sidecars):
                self.on_change()
            self._sidecars = []
        if self._listings:
            self.catalogue.files.agree(self.root_id, self._listings)
            self._listings = []
        self._flushed_at = time.monotonic()
