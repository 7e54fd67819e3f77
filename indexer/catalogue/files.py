"""Roots and files: the rows that the scanner and the watcher write, failures, and counts.

Built around `file` rows: a file is `pending` until its bytes are hashed, then `known`, or `failed(reason)`.
It knows nothing of contents.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from data.media.kinds import kind_of
from data.span import unpacked_parts
from indexer.catalogue.database import Database, new_id
from indexer.catalogue.left_out import LeftOut
from indexer.catalogue.rows import Counts, FoundFile, Root, Stamp
from indexer.catalogue.schema import PathText, RawName, clean_text, content, file, root, setting, stored_name
from indexer.catalogue.text.expression import spaced
from indexer.types import Failure, FileInfo, Kind

INTAKE = "taken in"
"""The setting with the `Intake` of the last scan."""

STAMP = ("size", "mtime_ns", "ctime_ns")


class Files:
    def __init__(self, database: Database) -> None:
        self.database = self._database = database

    # -- roots -----------------------------------------------------------------------------

    def roots(self) -> list[Root]:
        with self._database.reader() as c:
            return roots_of(c)

    def set_root(self, path: Path, state: Literal["here", "away", "left_out"] = "here") -> int:
        """Add a root, or change the state of an existing one. Returns its id."""
        with self._database.writer() as c:
            stored = c.execute(sa.select(root.c.id, root.c.state).where(root.c.path == str(path))).first()
            if stored is not None:
                if stored.state != state:
                    c.execute(sa.update(root).where(root.c.id == stored.id).values(state=state))
                return int(stored.id)
            row = c.execute(sa.insert(root).values(path=str(path), state=state, ignored=0))
            return new_id(row)

    def scanned_root(self, root_id: int, mount: str, left_out: LeftOut, start: float) -> None:
        with self._database.writer() as c:
            values = {"state": "here", "mount": mount, "scanned_at": start}
            values |= {"ignored": left_out.total, "left_out": left_out.stored()}
            c.execute(sa.update(root).where(root.c.id == root_id).values(values))

    def remove_root(self, root_id: int) -> int:
        """Delete a root and its files, whose contents become orphans. Returns how many files."""
        with self._database.writer() as c:
            n = c.execute(sa.delete(file).where(file.c.root_id == root_id)).rowcount
            c.execute(sa.delete(root).where(root.c.id == root_id))
            return n

    # -- files on disk ---------------------------------------------------------------------

    def stamps(self, root_id: int, folder: str) -> dict[str, Stamp]:
        """Returns name -> stamp of the files in a folder, without those in its folders."""
        with self._database.reader() as c:  # raw SQL: this query is the whole cost of a second scan
            rows = c.exec_driver_sql(
                "SELECT name, size, mtime_ns, ctime_ns FROM file WHERE root_id = ? AND folder = ?",
                (root_id, stored_name(folder)),
            ).all()
        return {(n if isinstance(n, str) else os.fsdecode(n)): (s, m, t) for n, s, m, t in rows}

    def folders(self, root_id: int) -> set[str]:
        """Returns the folders of a root that have files."""
        with self._database.reader() as c:
            return set(c.execute(sa.select(file.c.folder).where(file.c.root_id == root_id).distinct()).scalars())

    def note(self, root_id: int, files: Sequence[FoundFile]) -> None:
        """Store new or changed files as pending. A changed file keeps its old content until it is hashed."""
        with self._database.writer() as c:
            top = str(c.execute(sa.select(root.c.path).where(root.c.id == root_id)).scalar_one())
            paths = [stored_name(f.path) for f in files]
            c.exec_driver_sql(
                "INSERT INTO file (root_id, path, folder, name, kind, size, mtime_ns, ctime_ns)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
                " root_id = excluded.root_id, kind = excluded.kind,"
                " size = excluded.size, mtime_ns = excluded.mtime_ns,"
                " ctime_ns = excluded.ctime_ns, state = 'pending', error = NULL, failed_at = NULL",
                [
                    (root_id, path, *map(stored_name, os.path.split(f.path)), f.kind, *f.stamp)
                    for path, f in zip(paths, files, strict=True)
                ],
            )
            names = [(f.path, *name_words(top, f.path)) for f in files]
            self._database.dialect.name_files(c, names)

    def agree(self, root_id: int, folders: Sequence[tuple[str, bytes, int, LeftOut]]) -> None:
        """Store the listings of folders that the catalogue agrees with: (folder, digest, number of files, left
        out)."""
        with self._database.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO seen (root_id, folder, digest, files, ignored, left_out) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (root_id, folder) DO UPDATE SET digest = excluded.digest,"
                " files = excluded.files, ignored = excluded.ignored, left_out = excluded.left_out",
                [(root_id, stored_name(f), digest, n, out.total, out.stored()) for f, digest, n, out in folders],
            )

    def take_in(self, intake: str) -> None:
        """Store which files are taken in, as text. If that has changed, the next scan compares every folder."""
        with self._database.writer() as c:
            query = sa.select(setting.c.value).where(setting.c.name == INTAKE)
            before = c.execute(query).scalar()
            if before != intake:
                c.exec_driver_sql("DELETE FROM seen")
                c.execute(sa.delete(setting).where(setting.c.name == INTAKE))
                c.execute(sa.insert(setting).values(name=INTAKE, value=intake))

    def move(self, old: str, root_id: int, new: FoundFile) -> bool:
        """A file was renamed: its row keeps its id and content if its size and mtime are the same. Returns False
        if there is no file `old`, or if `new` is a different file."""
        with self._database.writer() as c:
            row = c.execute(sa.select(file).where(file.c.path == old)).first()
            if row is None or (row.size, row.mtime_ns) != new.stamp[:2] or row.kind != new.kind:
                return False
            top = str(c.execute(sa.select(root.c.path).where(root.c.id == root_id)).scalar_one())
            c.execute(sa.delete(file).where(file.c.path == new.path, file.c.id != row.id))
            folder, name = os.path.split(new.path)
            values = {
                "path": new.path,
                "folder": folder,
                "name": name,
                "root_id": root_id,
                "ctime_ns": new.stamp[2],
                "words": "",
                "due": sa.case((file.c.content_hash.is_not(None), sa.func.coalesce(file.c.due, 0) + 1)),
            }
            c.execute(sa.update(file).where(file.c.id == row.id).values(values))
            self._database.dialect.rename_file(c, row.id, *name_words(top, new.path))
            free_halves(c, (row.path, new.path))
            return True

    def differing(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """Returns the files that the catalogue lacks or has with another stamp."""
        with self._database.reader() as c:
            result = []
            for f in files:
                row = c.exec_driver_sql(
                    "SELECT size, mtime_ns, ctime_ns FROM file WHERE path = ?", (stored_name(f.path),)
                ).first()
                if row is None or tuple(row) != f.stamp:
                    result.append(f)
        return result

    def rehash(self, changed: Iterable[tuple[str, Stamp]]) -> None:
        """Make files (path, new stamp) that have changed since they were hashed pending again."""
        with self._database.writer() as c:
            for path, stamp in changed:
                values = dict(zip(STAMP, stamp, strict=True)) | {"state": "pending"}
                c.execute(sa.update(file).where(file.c.path == path).values(values))

    def remove(self, paths: Iterable[str]) -> int:
        with self._database.writer() as c:
            paths = list(paths)
            count = sum(c.execute(sa.delete(file).where(file.c.path == p)).rowcount for p in paths)
            free_halves(c, (p for p in paths if kind_of(p) == "image"))
            return count

    def remove_under(self, folder: str) -> int:
        """Delete the files in a folder and below it. Returns how many."""
        with self._database.writer() as c:
            return c.execute(sa.delete(file).where(under(file.c.path, folder))).rowcount

    # -- failures and counts ---------------------------------------------------------------

    def fail(self, path: str, reason: str) -> None:
        """Store that a file cannot be read at all (permission, a broken disk)."""
        with self._database.writer() as c:
            values = {"state": "failed", "error": reason, "failed_at": time.time()}
            c.execute(sa.update(file).where(file.c.path == path).values(values))

    def failures(self) -> list[Failure]:
        """Returns every file that could not be indexed, with its reason, the oldest failure first."""
        with self._database.reader() as c:
            by_file = c.execute(
                sa.select(file.c.path, file.c.kind, file.c.error, file.c.failed_at).where(file.c.state == "failed")
            ).all()
            by_content = c.execute(
                sa.select(file.c.path, file.c.kind, content.c.error, content.c.failed_at)
                .join(content, content.c.hash == file.c.content_hash)
                .where(content.c.state == "failed", file.c.state == "known")
            ).all()
        rows = sorted([*by_file, *by_content], key=lambda r: (r.failed_at or 0.0, r.path))
        return [Failure(r.path, r.kind, r.error or "unknown", r.failed_at or 0.0) for r in rows]

    def counts(self, roots: Collection[int] | None = None) -> Counts:
        """Returns the counts of the library, or those of some of its roots (`left_out` is always the library's). The
        library's are served by indexes: 0.1 s at a million chunks."""
        among = "" if roots is None else f"AND f.root_id IN ({','.join(map(str, roots)) or 'NULL'})"
        with self._database.reader() as c:
            sql = c.exec_driver_sql
            rows = sql(f"SELECT kind, count(*) FROM file f WHERE 1 = 1 {among} GROUP BY kind").all()
            kinds = {row[0]: row[1] for row in rows}
            waiting: dict[str, dict[Kind, tuple[int, int]]] = {"pending": {}, "failed": {}}
            for state, kinds_waiting in waiting.items():
                for where in (
                    f"file f WHERE f.state = '{state}'",
                    f"content c JOIN file f ON f.content_hash = c.hash WHERE c.state = '{state}' AND f.state = 'known'",
                ):
                    for kind, number, size in sql(
                        f"SELECT f.kind, count(*), sum(f.size) FROM {where} {among} GROUP BY f.kind"
                    ):
                        before = kinds_waiting.get(kind, (0, 0))
                        kinds_waiting[kind] = before[0] + number, before[1] + int(size)
            left_out = sql("SELECT left_out FROM root WHERE state <> 'left_out'").scalars().all()
            orphaned = sql(
                "SELECT count(*) FROM content c JOIN chunk k ON k.content_hash = c.hash WHERE c.orphaned_at IS NOT NULL"
            ).scalar_one()
            contents = f"k.content_hash IN (SELECT content_hash FROM file f WHERE 1 = 1 {among})" if among else "1 = 1"
            chunks = sql(f"SELECT count(*) FROM chunk k WHERE {contents}").scalar_one()
            shared = sql(f"SELECT count(*) FROM chunk k WHERE same_as IS NOT NULL AND {contents}").scalar_one()
            copies = sql(
                "SELECT coalesce(sum((n - 1) * (SELECT count(*) FROM chunk k WHERE k.content_hash = h)), 0)"
                f" FROM (SELECT content_hash h, count(*) n FROM file f WHERE content_hash IS NOT NULL {among}"
                " GROUP BY content_hash HAVING count(*) > 1) held"
            ).scalar_one()
        return Counts(
            files=sum(kinds.values()),
            images=kinds.get("image", 0),
            videos=kinds.get("video", 0),
            pdfs=kinds.get("pdf", 0),
            chunks=chunks if among else chunks - orphaned,
            reused=shared + copies,
            failed=sum(number for number, _ in waiting["failed"].values()),
            pending=sum(number for number, _ in waiting["pending"].values()),
            unread=waiting["pending"],
            left_out=LeftOut.of(left_out).sorts(),
        )

    # -- one file --------------------------------------------------------------------------

    def get(self, file_id: int) -> FileInfo | None:
        return next(iter(self._infos(file.c.id == file_id)), None)

    def at(self, path: str) -> FileInfo | None:
        return next(iter(self._infos(file.c.path == path)), None)

    def of_content(self, digest: bytes) -> list[FileInfo]:
        """Returns all files of a content, the first indexed one first."""
        return self._infos(file.c.content_hash == digest)

    def _infos(self, condition: sa.ColumnElement[bool]) -> list[FileInfo]:
        with self._database.reader() as c:
            return [file_info(r) for r in c.execute(files_with_facts().where(condition).order_by(file.c.id))]

    def content_of(self, file_id: int) -> bytes | None:
        """Returns the content hash of a file; None if there is no such file or it is not hashed yet."""
        with self._database.reader() as c:
            return c.execute(sa.select(file.c.content_hash).where(file.c.id == file_id)).scalar()

    # -- names -----------------------------------------------------------------------------

    def are_nameless(self) -> bool:
        """Whether the index of names is empty although there are files: a migration emptied it."""
        with self._database.reader() as c:
            return bool(
                c.exec_driver_sql("SELECT EXISTS (SELECT 1 FROM file) AND NOT EXISTS (SELECT 1 FROM names)").scalar()
            )

    def rebuild_names(self) -> None:
        """Rebuild the index of names."""
        with self._database.writer() as c:
            self._database.dialect.clear_names(c)
            rows = c.execute(sa.select(file.c.path, file.c.words, root.c.path.label("top")).join(root)).all()
            self._database.dialect.name_files(c, [(r.path, *name_words(str(r.top), r.path, r.words)) for r in rows])


def free_halves(c: sa.Connection, paths: Iterable[str]) -> None:
    """Make the videos of live photos at these paths pending again, as their image may be deleted. Both halves are in
    one folder and have the same beginning of their names; only halves are ready without chunks."""
    from data.media.beside_names import stem

    for path in paths:
        folder, name = os.path.split(path)
        beginning = os.path.join(folder, name[: len(stem(name))])  # noqa: PTH118
        c.exec_driver_sql(
            "UPDATE content SET state = 'pending' WHERE state = 'ready' AND hash IN"
            " (SELECT content_hash FROM file WHERE path >= ? AND path < ?)"
            " AND NOT EXISTS (SELECT 1 FROM chunk WHERE content_hash = content.hash)",
            (stored_name(beginning), stored_name(beginning + "\x7f")),
        )


def roots_of(c: sa.Connection) -> list[Root]:
    rows = c.execute(sa.select(root).order_by(root.c.id))
    return [Root(r.id, Path(r.path), r.state, r.mount, LeftOut.read(r.left_out), r.scanned_at) for r in rows]


def name_words(top: str, path: str, beside: str = "") -> tuple[str, str]:
    """Returns a file's texts for the index `names`: its name without extension; its folders from the root's name
    on, with the text of its sidecar files (`beside`)."""
    below = path[len(top) :] if path.startswith(top) else path
    folder, name = os.path.split(below)
    words = f"{Path(top).name} {folder.replace(os.sep, ' ')}\n{beside}".strip()
    return spaced(clean_text(Path(name).stem)), spaced(clean_text(words))


def under(column: sa.ColumnElement[str], folder: str) -> sa.ColumnElement[bool]:
    """Returns the condition that a path is below a folder. It has two ranges, so that an index serves both the
    paths that are UTF-8 and, in SQLite, those that are not (BLOB)."""
    start = folder.rstrip(os.sep) + os.sep
    end = start[:-1] + chr(ord(os.sep) + 1)
    low, high = (sa.literal(RawName(os.fsencode(bound)), PathText) for bound in (start, end))
    raw = sa.and_(column >= low, column < high)
    if isinstance(stored_name(start), bytes):
        return raw
    return sa.or_(sa.and_(column >= start, column < end), raw)


def files_with_facts() -> sa.Select[Any]:
    of_file = (file.c.id, file.c.path, file.c.kind, file.c.size, file.c.content_hash, file.c.taken, file.c.taken_from)
    names = ("duration_s", "pages", "width", "height", "note", "live", "parts")
    facts = [content.c[name] for name in names]
    states = (file.c.state, content.c.state.label("content_state"))
    joined = file.outerjoin(content, content.c.hash == file.c.content_hash)
    return sa.select(*of_file, *facts, *states).select_from(joined)


def file_info(row: Any) -> FileInfo:
    facts = (row.duration_s, row.pages, row.width, row.height, row.taken, row.taken_from, row.note, bool(row.live))
    failed = "failed" in (row.state, row.content_state)
    return FileInfo(row.id, Path(row.path), row.kind, row.size, *facts, unpacked_parts(row.parts), failed=failed)
