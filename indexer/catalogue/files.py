"""Roots and files in the catalogue: what the scanner and the watcher saw, and what was hashed of it.

Built around `file` rows: each is `pending` until its bytes are hashed and `known` by them after, or
`failed(reason)`. It knows nothing of what a content holds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from indexer.catalogue.leases import Claims
from indexer.catalogue.lookups import under
from indexer.catalogue.rows import Found, Stamp, Unhashed
from indexer.catalogue.schema import Where, clean_text, file, root, stored_name
from indexer.catalogue.text.expression import spaced

STAMP = ("size", "mtime_ns", "ctime_ns")


class Filing(Claims):
    """The catalogue's writing side as far as roots and files go."""

    def __init__(self, path: Where, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._write_lock = threading.RLock()
        if not read_only and self._nameless():
            self.rename_all()

    @contextmanager
    def writer(self) -> Iterator[sa.Connection]:
        """One transaction: all of it, or none of it when the block raises."""
        with self.claiming() as connection:
            self.dialect.begin_write(connection)
            yield connection

    # -- roots -----------------------------------------------------------------------------

    def set_root(self, path: Path, state: str = "here") -> int:
        """Add a root, or give a known one another state. Returns its id."""
        with self.writer() as c:
            known = c.execute(sa.select(root.c.id, root.c.state).where(root.c.path == str(path))).first()
            if known is not None:
                if known.state != state:
                    c.execute(sa.update(root).where(root.c.id == known.id).values(state=state))
                return known.id
            row = c.execute(sa.insert(root).values(path=str(path), state=state, ignored=0))
            return new_id(row)

    def scanned_root(self, root_id: int, mount: str, ignored: int, begun: float) -> None:
        with self.writer() as c:
            values = {"state": "here", "mount": mount, "ignored": ignored, "scanned_at": begun}
            c.execute(sa.update(root).where(root.c.id == root_id).values(values))

    def remove_root(self, root_id: int) -> int:
        """Forget a root and its files; returns how many. Their contents are orphans now."""
        with self.writer() as c:
            n = c.execute(sa.delete(file).where(file.c.root_id == root_id)).rowcount
            c.execute(sa.delete(root).where(root.c.id == root_id))
            return n

    # -- files -----------------------------------------------------------------------------

    def note(self, root_id: int, found: Sequence[Found]) -> None:
        """New or changed files: pending again. A changed file keeps its old content until it is read."""
        with self.writer() as c:
            top = str(c.execute(sa.select(root.c.path).where(root.c.id == root_id)).scalar_one())
            paths = [stored_name(f.path) for f in found]
            c.exec_driver_sql(
                "INSERT INTO file (root_id, path, folder, name, kind, size, mtime_ns, ctime_ns)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
                " root_id = excluded.root_id, kind = excluded.kind,"
                " size = excluded.size, mtime_ns = excluded.mtime_ns,"
                " ctime_ns = excluded.ctime_ns, state = 'pending', error = NULL, failed_at = NULL",
                [
                    (root_id, path, *map(stored_name, os.path.split(f.path)), f.kind, *f.stamp)
                    for path, f in zip(paths, found, strict=True)
                ],
            )
            named = [(f.path, *name_words(top, f.path)) for f in found]
            self.dialect.name_files(c, named)

    def agree(self, root_id: int, folders: Sequence[tuple[str, bytes, int, int]]) -> None:
        """These folders are as the catalogue has them: (folder, digest of its listing, files, ignored)."""
        with self.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO seen (root_id, folder, digest, files, ignored) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (root_id, folder) DO UPDATE SET digest = excluded.digest,"
                " files = excluded.files, ignored = excluded.ignored",
                [(root_id, stored_name(folder), *rest) for folder, *rest in folders],
            )

    def move(self, old: str, root_id: int, found: Found) -> bool:
        """A file was renamed: its row keeps its id and content when its bytes cannot have changed
        (same size and mtime). False when `old` is not known or the file is another one."""
        with self.writer() as c:
            row = c.execute(sa.select(file).where(file.c.path == old)).first()
            if row is None or (row.size, row.mtime_ns) != found.stamp[:2] or row.kind != found.kind:
                return False
            top = str(c.execute(sa.select(root.c.path).where(root.c.id == root_id)).scalar_one())
            c.execute(sa.delete(file).where(file.c.path == found.path, file.c.id != row.id))
            folder, name = os.path.split(found.path)
            values = {
                "path": found.path,
                "folder": folder,
                "name": name,
                "root_id": root_id,
                "ctime_ns": found.stamp[2],
            }
            c.execute(sa.update(file).where(file.c.id == row.id).values(values))
            self.dialect.rename_file(c, row.id, *name_words(top, found.path))
            return True

    def differing(self, found: Sequence[Found]) -> list[Found]:
        """Those that are new, or not as they were noted."""
        with self.reader() as c:
            result = []
            for f in found:
                row = c.exec_driver_sql(
                    "SELECT size, mtime_ns, ctime_ns FROM file WHERE path = ?", (stored_name(f.path),)
                ).first()
                if row is None or tuple(row) != f.stamp:
                    result.append(f)
        return result

    def rehash(self, path: str, stamp: Stamp) -> None:
        """The file is not the one that was hashed any more."""
        with self.writer() as c:
            values = dict(zip(STAMP, stamp, strict=True)) | {"state": "pending"}
            c.execute(sa.update(file).where(file.c.path == path).values(values))

    def rehash_all(self, changed: Iterable[tuple[str, Stamp]]) -> None:
        for path, stamp in changed:
            self.rehash(path, stamp)

    def remove_files(self, paths: Iterable[str]) -> int:
        with self.writer() as c:
            return sum(c.execute(sa.delete(file).where(file.c.path == p)).rowcount for p in paths)

    def remove_under(self, folder: str) -> int:
        """Forget the files in a folder and below it."""
        with self.writer() as c:
            return c.execute(sa.delete(file).where(under(file.c.path, folder))).rowcount

    # -- the queue: hashing ----------------------------------------------------------------

    def hashed(self, done: Iterable[tuple[Unhashed, Stamp, bytes]]) -> int:
        """These files, as they were with that stamp, hold these bytes. Returns how many pieces they bring
        that are embedded already. A file noted as changed again meanwhile stays pending.

        A content that failed under another kind (a photo named .pdf) is tried again under the new one.
        """
        reused = 0
        with self.writer() as c:
            for f, stamp, digest in done:
                known = c.exec_driver_sql("SELECT kind, state FROM content WHERE hash = ?", (digest,)).first()
                if known is None:
                    c.exec_driver_sql("INSERT INTO content (hash, kind) VALUES (?, ?)", (digest, f.kind))
                elif known.state == "failed" and known.kind != f.kind:
                    c.exec_driver_sql(
                        "UPDATE content SET kind = ?, state = 'pending', error = NULL WHERE hash = ?",
                        (f.kind, digest),
                    )
                elif known.state == "ready":
                    reused += c.exec_driver_sql(
                        "SELECT count(*) FROM chunk WHERE content_hash = ? AND NOT EXISTS"
                        " (SELECT 1 FROM file WHERE id = ? AND content_hash = ?)",
                        (digest, f.file_id, digest),
                    ).scalar_one()
                c.exec_driver_sql(
                    "UPDATE file SET content_hash = ?, state = 'known', error = NULL, failed_at = NULL,"
                    " size = ?, mtime_ns = ?, ctime_ns = ?"
                    " WHERE id = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?",
                    (digest, *stamp, f.file_id, *f.stamp),
                )
        return reused

    def fail_file(self, file_id: int, reason: str) -> None:
        """The file cannot even be read (permission, a broken disk)."""
        with self.writer() as c:
            values = {"state": "failed", "error": reason, "failed_at": time.time()}
            c.execute(sa.update(file).where(file.c.id == file_id).values(values))

    def fail_path(self, path: str, reason: str) -> None:
        """The same for a file that could be hashed and cannot be opened now."""
        with self.writer() as c:
            values = {"state": "failed", "error": reason, "failed_at": time.time()}
            c.execute(sa.update(file).where(file.c.path == path).values(values))

    # -- names -----------------------------------------------------------------------------

    def _nameless(self) -> bool:
        """Whether there are files and no names of any: a step of the ladder emptied them."""
        with self.reader() as c:
            return bool(
                c.exec_driver_sql(
                    "SELECT EXISTS (SELECT 1 FROM file) AND NOT EXISTS (SELECT 1 FROM names)"
                ).scalar()
            )

    def rename_all(self) -> None:
        """Build the index of names anew."""
        with self.writer() as c:
            self.dialect.clear_names(c)
            rows = c.execute(sa.select(file.c.path, root.c.path.label("top")).join(root)).all()
            self.dialect.name_files(c, [(r.path, *name_words(str(r.top), r.path)) for r in rows])


def name_words(top: str, path: str) -> tuple[str, str]:
    """What `names` holds of a file: its name without extension; its folders from the root's own name on."""
    below = path[len(top) :] if path.startswith(top) else path
    folder, name = os.path.split(below)
    words = f"{Path(top).name} {folder.replace(os.sep, ' ')}".strip()
    return spaced(clean_text(Path(name).stem)), spaced(clean_text(words))


def new_id(row: sa.CursorResult[Any]) -> int:
    assert row.inserted_primary_key is not None
    return row.inserted_primary_key[0]
