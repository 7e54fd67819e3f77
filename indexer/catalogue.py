"""The catalogue: every write of what a library knows; its reading side is `lookup.py`.

Built around the tables of `schema.py`. Three ideas carry it:

- The queue is the catalogue. A file is `pending` until its bytes are hashed; a content is
  `pending`, `ready` or `failed(reason)`. Nothing else remembers work, so nothing is lost
  when the program is killed.
- One content is one transaction: its chunks, their text, their vectors and its state.
- `change` is a journal, kept by triggers, of chunks that came or went. A vector index (in
  this program or another) remembers the last id it has seen and reads on from there.

It knows nothing of decoding, models, threads of work or search.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from indexer.claims import Claim, Claims, LeaseLost, WorkerRow
from indexer.dialects import explained
from indexer.expressions import spaced
from indexer.lookup import (
    Counts,
    Found,
    ModelRow,
    NewChunk,
    Root,
    Stamp,
    Unhashed,
    Work,
    stamps_of,
    under,
    unpacked,
)
from indexer.schema import Where, chunk, content, embedding, file, model, root, setting, stored_name

__all__ = [
    "Catalogue",
    "Claim",
    "Counts",
    "Found",
    "LeaseLost",
    "ModelRow",
    "NewChunk",
    "Root",
    "Stamp",
    "Unhashed",
    "Work",
    "WorkerRow",
    "stamps_of",
    "under",
    "unpacked",
]

JOURNAL_KEPT = 1_000_000
"""Journal rows kept (about 20 MB). An index that is further behind is built anew from the vectors."""

ORPHAN_KEPT_S = 24 * 3600.0
"""How long a content without a file is kept, so that a deletion undone the same day costs nothing."""

RECIPE = "recipe"
"""The setting that holds how videos are cut, where several programs do it."""

OCR = "ocr"
"""The setting that holds in what pictures words are read, likewise."""

STAMP = ("size", "mtime_ns", "ctime_ns")


class Catalogue(Claims):
    """The catalogue with its writing side. Safe to use from many threads and programs."""

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

    def _nameless(self) -> bool:
        """Whether there are files and no names of any: a step of the ladder emptied them."""
        with self.reader() as c:
            return bool(
                c.exec_driver_sql(
                    "SELECT EXISTS (SELECT 1 FROM file) AND NOT EXISTS (SELECT 1 FROM names)"
                ).scalar()
            )

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
            return _new_id(row)

    def scanned_root(self, root_id: int, mount: str, ignored: int) -> None:
        with self.writer() as c:
            values = {"state": "here", "mount": mount, "ignored": ignored, "scanned_at": time.time()}
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

    # -- the queue: reading and embedding --------------------------------------------------

    def write(
        self,
        digest: bytes,
        facts: dict[str, Any],
        chunks: Sequence[NewChunk],
        model_id: int,
        *,
        recipe: str = "",
        ocr: str = "none",
        worker: int | None = None,
    ) -> list[int]:
        """One content, whole: replaces what was known of it. Returns the ids of its chunks, in order;
        none when the content was forgotten while it was being read.

        `facts` are columns of `content` (duration_s, pages, width, height, taken_at, camera, lat, lon).
        `worker`: who has claimed it; raises LeaseLost, and writes nothing, when it has it no more.
        """
        with self.writer() as c:
            self.settle(c, digest, worker)
            if worker is not None:
                self._same_recipe(c, recipe)
            c.execute(sa.delete(chunk).where(chunk.c.content_hash == digest))
            values = {
                "state": "ready",
                "error": None,
                "failed_at": None,
                "recipe": recipe,
                "ocr": ocr,
            } | facts
            if c.execute(sa.update(content).where(content.c.hash == digest).values(values)).rowcount == 0:
                return []
            ids = []
            for piece in chunks:
                row = c.execute(
                    sa.insert(chunk).values(
                        content_hash=digest,
                        ordinal=piece.ordinal,
                        start_s=piece.start_s,
                        end_s=piece.end_s,
                        page=piece.page,
                        text=clean_text(piece.text),
                        same_as=piece.same_as,
                    )
                )
                ids.append(_new_id(row))
            texts = [clean_text(p.text) for p in chunks]
            self.dialect.write_texts(c, list(zip(ids, texts, strict=True)), new=True)
            self._embed(c, model_id, ids, [p.vector for p in chunks])
            return ids

    def _same_recipe(self, c: sa.Connection, recipe: str) -> None:
        """Raise LeaseLost when the library is cut otherwise by now."""
        asked = c.execute(sa.select(setting.c.value).where(setting.c.name == RECIPE)).scalar()
        if asked is not None and asked != recipe:
            raise LeaseLost(f"Videos are cut by {asked} now, not by {recipe}: this one is read anew.")

    def add_embeddings(
        self,
        model_id: int,
        ids: Sequence[int],
        vectors: Sequence[np.ndarray],
        *,
        claimed: tuple[bytes, int] | None = None,
    ) -> None:
        """Vectors of chunks under a model, in one transaction; chunks that have gone are left out.
        `claimed`: (content, worker) whose lease ends with it; raises LeaseLost."""
        with self.writer() as c:
            if claimed is not None:
                self.settle(c, *claimed)
            present = set(c.execute(sa.select(chunk.c.id).where(chunk.c.id.in_(ids))).scalars())
            kept = [(i, v) for i, v in zip(ids, vectors, strict=True) if i in present]
            self._embed(c, model_id, [i for i, _ in kept], [v for _, v in kept])

    def _embed(
        self, c: sa.Connection, model_id: int, ids: Sequence[int], vectors: Sequence[np.ndarray]
    ) -> None:
        if ids:
            c.exec_driver_sql(
                "INSERT INTO embedding (chunk_id, model_id, vector) VALUES (?, ?, ?)"
                " ON CONFLICT (chunk_id, model_id) DO UPDATE SET vector = excluded.vector",
                [(i, model_id, packed(v)) for i, v in zip(ids, vectors, strict=True)],
            )

    def words_read(
        self,
        digest: bytes,
        texts: dict[int, str],
        model_id: int,
        vectors: dict[int, np.ndarray],
        *,
        worker: int | None = None,
    ) -> None:
        """Words that were read in a content's pictures (OCR): chunk id -> text, and the vectors that take
        them in. Vectors of other models are out of date then and are made again. `worker`: as in `write`."""
        with self.writer() as c:
            self.settle(c, digest, worker)
            present = set(c.execute(sa.select(chunk.c.id).where(chunk.c.content_hash == digest)).scalars())
            read = [(i, clean_text(texts[i])) for i in sorted(present.intersection(texts))]
            for chunk_id, text in read:
                c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(text=text))
            self.dialect.write_texts(c, read, new=False)
            renewed = sorted(present.intersection(vectors))
            others = embedding.c.chunk_id.in_(renewed) & (embedding.c.model_id != model_id)
            c.execute(sa.delete(embedding).where(others))
            self._embed(c, model_id, renewed, [vectors[i] for i in renewed])
            c.execute(sa.update(content).where(content.c.hash == digest).values(ocr="done"))

    def fail(self, digest: bytes, reason: str, *, worker: int | None = None) -> None:
        """The content cannot be read or embedded; what was known of it goes. `worker`: as in `write`."""
        with self.writer() as c:
            self.settle(c, digest, worker)
            c.execute(sa.delete(chunk).where(chunk.c.content_hash == digest))
            values = {"state": "failed", "error": reason, "failed_at": time.time()}
            c.execute(sa.update(content).where(content.c.hash == digest).values(values))

    def retry(self) -> int:
        """Everything that failed is pending again; returns how many files that concerns."""
        with self.writer() as c:
            n = c.execute(
                sa.select(sa.func.count()).select_from(file).join(content).where(content.c.state == "failed")
            ).scalar_one()
            c.execute(sa.update(content).where(content.c.state == "failed").values(state="pending"))
            n += c.execute(sa.update(file).where(file.c.state == "failed").values(state="pending")).rowcount
            return n

    def set_pending(self, digests: Iterable[bytes]) -> None:
        with self.writer() as c:
            for digest in digests:
                c.execute(sa.update(content).where(content.c.hash == digest).values(state="pending"))

    def recut(self, recipe: str) -> int:
        """Videos that were cut by another recipe are pending again; what is known of them answers on."""
        with self.writer() as c:
            stale = (content.c.kind == "video") & (content.c.state == "ready") & (content.c.recipe != recipe)
            return c.execute(sa.update(content).where(stale).values(state="pending")).rowcount

    def mark_orphans(self) -> None:
        """Set anew which contents no file has."""
        with self.writer() as c:
            held = "EXISTS (SELECT 1 FROM file WHERE content_hash = content.hash)"
            c.exec_driver_sql(
                f"UPDATE content SET orphaned_at = NULL WHERE orphaned_at IS NOT NULL AND {held}"
            )
            c.exec_driver_sql(
                f"UPDATE content SET orphaned_at = ? WHERE orphaned_at IS NULL AND NOT {held}", (time.time(),)
            )

    def rename_all(self) -> None:
        """Build the index of names anew."""
        with self.writer() as c:
            self.dialect.clear_names(c)
            rows = c.execute(sa.select(file.c.path, root.c.path.label("top")).join(root)).all()
            self.dialect.name_files(c, [(r.path, *name_words(str(r.top), r.path)) for r in rows])

    def drop_dangling(self, rows: Iterable[tuple[str, int]]) -> None:
        """(table, rowid) of rows whose parent is missing: a file is pending again, anything else goes."""
        with self.writer() as c:
            for table, rowid in rows:
                if table == "file":
                    values = {"content_hash": None, "state": "pending"}
                    c.execute(sa.update(file).where(file.c.id == rowid).values(values))
                elif table in ("chunk", "embedding"):
                    c.exec_driver_sql(f"DELETE FROM {table} WHERE id = ?", (rowid,))

    def drop_embeddings(self, chunk_ids: Sequence[int] | None) -> None:
        """Vectors that are wrong, of all models; None: every one. They are made again by the next run."""
        with self.writer() as c:
            if chunk_ids is None:
                c.execute(sa.delete(embedding))
            for chunk_id in chunk_ids or ():
                c.execute(sa.delete(embedding).where(embedding.c.chunk_id == chunk_id))

    def sweep(self, now: float | None = None, *, kept_s: float = ORPHAN_KEPT_S) -> list[bytes]:
        """Forget contents that no file has had for `kept_s`, and old journal rows. Returns their hashes."""
        with self.writer() as c:
            clock = c.exec_driver_sql(f"SELECT {self.dialect.now}").scalar_one()
            limit = (clock if now is None else now) - kept_s
            c.exec_driver_sql(  # hashed and replaced before the hash was written down
                "UPDATE content SET orphaned_at = ? WHERE state = 'pending' AND orphaned_at IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM file WHERE content_hash = content.hash)",
                (clock,),
            )
            gone = list(c.execute(sa.select(content.c.hash).where(content.c.orphaned_at <= limit)).scalars())
            c.execute(sa.delete(content).where(content.c.orphaned_at <= limit))
            c.exec_driver_sql(
                "DELETE FROM change WHERE id <= (SELECT max(id) FROM change) - ?", (JOURNAL_KEPT,)
            )
        return gone

    # -- models and vectors ----------------------------------------------------------------

    def set_model(self, name: str, dim: int, source: str = "{}") -> ModelRow:
        """Make a model the library's own. Where another one has vectors, the new one is `building`
        until `promote`; the old one answers until then."""
        with self.writer() as c:
            rows = {r.name: r for r in c.execute(sa.select(model))}
            answering = next((r for r in rows.values() if r.state == "answering"), None)
            used = (
                answering is not None
                and c.execute(
                    sa.select(embedding.c.id).where(embedding.c.model_id == answering.id).limit(1)
                ).first()
            )
            if answering is not None and answering.name != name and not used:
                c.execute(sa.update(model).where(model.c.id == answering.id).values(state="old"))
                answering = None
            state = "answering" if answering is None or answering.name == name else "building"
            old = (model.c.state == "building") & (model.c.name != name)
            c.execute(sa.update(model).where(old).values(state="old"))
            if name in rows:
                c.execute(sa.update(model).where(model.c.name == name).values(state=state, source=source))
            else:
                c.execute(sa.insert(model).values(name=name, dim=dim, state=state, source=source))
        return next(m for m in self.models() if m.name == name)

    def promote(self, model_id: int) -> None:
        """The model answers from now on; the vectors of all others go."""
        with self.writer() as c:
            c.execute(sa.update(model).where(model.c.id == model_id).values(state="answering"))
            c.execute(sa.delete(embedding).where(embedding.c.model_id != model_id))
            c.execute(sa.delete(model).where(model.c.id != model_id))

    # -- looking up ------------------------------------------------------------------------

    def set_setting(self, name: str, value: str) -> None:
        with self.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO setting (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def name_library(self) -> None:
        """Give the library a name that no other has, once: what stands elsewhere is marked with it."""
        with self.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO setting (name, value) SELECT 'library', ?"
                " WHERE NOT EXISTS (SELECT 1 FROM setting WHERE name = 'library')",
                (uuid.uuid4().hex,),
            )

    def backup(self, to: Path) -> None:
        """A copy of the catalogue as it is now, while it is in use, in one SQLite file."""
        with explained(self.dialect):
            self.dialect.backup(to)


def name_words(top: str, path: str) -> tuple[str, str]:
    """What `names` holds of a file: its name without extension; its folders from the root's own name on."""
    below = path[len(top) :] if path.startswith(top) else path
    folder, name = os.path.split(below)
    words = f"{Path(top).name} {folder.replace(os.sep, ' ')}".strip()
    return spaced(clean_text(Path(name).stem)), spaced(clean_text(words))


def _new_id(row: sa.CursorResult[Any]) -> int:
    assert row.inserted_primary_key is not None
    return row.inserted_primary_key[0]


def clean_text(text: str) -> str:
    """Text that a database can hold: lone surrogates and NULs replaced."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def packed(vector: np.ndarray) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f2").tobytes()
