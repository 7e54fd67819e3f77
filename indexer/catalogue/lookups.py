"""The catalogue's reading side: the queue, the journal, the vectors, files and chunks by id, counts.

Built around snapshots: each method reads one, and never waits for the writer (SQLite's WAL,
PostgreSQL's row versions), in this program or another. Nothing here changes a library.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from indexer.catalogue import transcripts
from indexer.catalogue.dialects import dialect_of, explained
from indexer.catalogue.rows import Counts, ModelRow, Piece, Root, Stamp, Unhashed, Work
from indexer.catalogue.schema import (
    PathText,
    RawName,
    Where,
    chunk,
    content,
    embedding,
    file,
    model,
    root,
    setting,
    stored_name,
)
from indexer.types import ChunkInfo, Failure, FileInfo, Kind
from model.inputs import Cue


class Lookup:
    """What the catalogue in `path` (a SQLite file, or the address of a PostgreSQL database) holds. Safe to
    use from many threads and programs."""

    def __init__(self, path: Where, *, read_only: bool = False) -> None:
        self.path = path
        self.dialect = dialect_of(path)
        with explained(self.dialect):
            self.engine = self.dialect.open_engine(read_only)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """A consistent snapshot."""
        with explained(self.dialect), self.engine.begin() as connection:
            yield connection

    # -- roots -----------------------------------------------------------------------------

    def roots(self) -> list[Root]:
        with self.reader() as c:
            rows = c.execute(sa.select(root).order_by(root.c.id))
            return [Root(r.id, Path(r.path), r.state, r.mount, r.ignored, r.scanned_at) for r in rows]

    # -- files -----------------------------------------------------------------------------

    def stamps(self, root_id: int, folder: str) -> dict[str, Stamp]:
        """Name -> stamp of the known files that lie directly in a folder."""
        with self.reader() as c:
            return stamps_of(c, root_id, folder)

    def folders(self, root_id: int) -> set[str]:
        """The folders of a root that hold files."""
        with self.reader() as c:
            return set(
                c.execute(sa.select(file.c.folder).where(file.c.root_id == root_id).distinct()).scalars()
            )

    def paths_under(self, folder: str) -> list[str]:
        with self.reader() as c:
            return list(c.execute(sa.select(file.c.path).where(under(file.c.path, folder))).scalars())

    # -- the queue: hashing ----------------------------------------------------------------

    def unhashed(self, limit: int, skip: Collection[int] = ()) -> list[Unhashed]:
        """Files whose bytes have to be hashed, oldest first, of roots that are here."""
        query = (
            sa.select(file.c.id, file.c.path, file.c.kind, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
            .join(root, root.c.id == file.c.root_id)
            .where(file.c.state == sa.text("'pending'"), root.c.state == "here")
            .order_by(file.c.id)
            .limit(limit + len(skip))
        )
        with self.reader() as c:
            rows = [r for r in c.execute(query) if r.id not in skip][:limit]
        return [Unhashed(r.id, r.path, r.kind, (r.size, r.mtime_ns, r.ctime_ns)) for r in rows]

    # -- the queue: reading and embedding --------------------------------------------------

    def pending(self, kind: Kind, limit: int, skip: Collection[bytes] = ()) -> list[Work]:
        """Contents of a kind to read and embed, oldest first, that a file of a root that is here holds."""
        return self._works(  # literals, so that the partial index `content_pending` serves the order
            (content.c.state == sa.text("'pending'")) & (content.c.kind == sa.text(f"'{kind}'")), limit, skip
        )

    def unembedded(self, model_id: int, limit: int, skip: Collection[bytes] = ()) -> list[Work]:
        """Ready contents with a chunk that has no vector under a model (a model switch, a repair)."""
        lacks = sa.select(chunk.c.id).where(chunk.c.content_hash == content.c.hash, _lacks(model_id)).exists()
        return self._works((content.c.state == "ready") & lacks, limit, skip)

    def lacks(self, digest: bytes, model_id: int) -> bool:
        """Whether a chunk of a content has no vector under a model."""
        query = sa.select(chunk.c.id).where(chunk.c.content_hash == digest, _lacks(model_id)).limit(1)
        with self.reader() as c:
            return c.execute(query).first() is not None

    def unread(self, limit: int, skip: Collection[bytes] = ()) -> list[Work]:
        """Contents whose pictures may hold words that nobody has read yet (OCR)."""
        return self._works(
            (content.c.ocr == sa.text("'pending'")) & (content.c.state == "ready"), limit, skip
        )

    def unread_count(self) -> int:
        """Contents whose pictures wait for their words to be read."""
        with self.reader() as c:
            return c.exec_driver_sql(
                "SELECT count(*) FROM content"
                " WHERE ocr = 'pending' AND orphaned_at IS NULL AND state = 'ready'"
            ).scalar_one()

    def unheard(self, limit: int, skip: Collection[bytes] = ()) -> list[Work]:
        """Videos whose sound nobody has listened to yet."""
        return self._works(
            (content.c.heard == sa.text("'pending'")) & (content.c.state == "ready"), limit, skip
        )

    def unheard_count(self) -> int:
        with self.reader() as c:
            return c.exec_driver_sql(
                "SELECT count(*) FROM content"
                " WHERE heard = 'pending' AND orphaned_at IS NULL AND state = 'ready'"
            ).scalar_one()

    def is_unheard(self, digest: bytes) -> bool:
        """Whether a video's sound waits for somebody to listen to it, or to the rest of it."""
        with self.reader() as c:
            return (
                c.exec_driver_sql(
                    "SELECT 1 FROM content WHERE hash = ? AND heard = 'pending' AND state = 'ready'",
                    (digest,),
                ).first()
                is not None
            )

    def cues(self, digest: bytes) -> list[Cue]:
        """What is said in a video, in order."""
        with self.reader() as c:
            return transcripts.cues_of(c, digest)

    def works(self, rowids: Collection[int]) -> list[Work]:
        """Contents by their row numbers."""
        return self._works(sa.literal_column("content.rowid").in_(list(rowids)), len(rowids), ())

    def _works(self, which: sa.ColumnElement[bool], limit: int, skip: Collection[bytes]) -> list[Work]:
        at_hand = (
            sa.select(sa.literal(1))
            .select_from(file.join(root, root.c.id == file.c.root_id))
            .where(file.c.content_hash == content.c.hash, file.c.state == "known", root.c.state == "here")
            .exists()
        )
        query = sa.select(content.c.hash, content.c.kind).where(which, at_hand)
        query = query.order_by(sa.text("content.rowid")).limit(limit + len(skip))
        with self.reader() as c:
            rows = [r for r in c.execute(query) if r.hash not in skip][:limit]
            return [self._work(c, r.hash, r.kind) for r in rows]

    def _work(self, c: sa.Connection, digest: bytes, kind: Kind) -> Work:
        rows = c.execute(
            sa.select(file.c.path, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
            .join(root, root.c.id == file.c.root_id)
            .where(file.c.content_hash == digest, file.c.state == "known", root.c.state == "here")
            .order_by(file.c.id)
        ).all()
        files = tuple((r.path, (r.size, r.mtime_ns, r.ctime_ns)) for r in rows)
        return Work(digest, kind, files, rows[0].size if rows else 0)

    def pieces(self, digest: bytes) -> list[Piece]:
        """The chunks of a content in order."""
        query = sa.select(chunk).where(chunk.c.content_hash == digest).order_by(chunk.c.ordinal)
        with self.reader() as c:
            rows = c.execute(query).all()
        return [Piece(r.id, r.ordinal, r.start_s, r.end_s, r.page, r.same_as, r.text) for r in rows]

    # -- models and vectors ----------------------------------------------------------------

    def models(self) -> list[ModelRow]:
        with self.reader() as c:
            rows = c.execute(sa.select(model).order_by(model.c.id))
            return [ModelRow(r.id, r.name, r.dim, r.state, r.source) for r in rows]

    def answering(self) -> ModelRow | None:
        """The model whose vectors answer now."""
        return next((m for m in self.models() if m.state == "answering"), None)

    def last_change(self) -> int:
        """The id of the newest journal row; 0 when there is none."""
        with self.reader() as c:
            return last_change_of(c)

    def vectors(self, model_id: int, batch: int = 10_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Everything that can be found now under a model, in order of chunk id: int64 ids [n] and
        float16 vectors [n, dim] a batch. Take `last_change` first, and `changes` from there after."""
        last = -1
        while True:
            with self.reader() as c:
                rows = c.exec_driver_sql(
                    "SELECT e.chunk_id, e.vector FROM chunk k CROSS JOIN content c ON c.hash = k.content_hash"
                    " CROSS JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
                    " WHERE k.id > ? AND c.orphaned_at IS NULL ORDER BY k.id LIMIT ?",
                    (model_id, last, batch),
                ).all()
            if not rows:
                return
            last = rows[-1][0]
            yield _ids_and_vectors(rows)

    def changes(self, since: int, model_id: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray] | None:
        """What an index that has seen the journal up to `since` lacks: (new position, int64 ids to add or
        replace, their float16 vectors [n, dim], int64 ids to remove). None: too far behind, build anew."""
        with self.reader() as c:
            position = last_change_of(c)
            oldest = c.exec_driver_sql("SELECT min(id) FROM change").scalar()
            if position == since:
                return position, *_ids_and_vectors([]), np.empty(0, np.int64)
            if since > position or (oldest is not None and oldest > since + 1):
                return None
            ids = set(
                c.exec_driver_sql("SELECT DISTINCT chunk_id FROM change WHERE id > ?", (since,)).scalars()
            )
            rows = c.exec_driver_sql(
                "SELECT e.chunk_id, e.vector FROM (SELECT DISTINCT chunk_id FROM change WHERE id > ?) j"
                " CROSS JOIN embedding e ON e.chunk_id = j.chunk_id AND e.model_id = ?"
                " JOIN chunk k ON k.id = e.chunk_id"
                " JOIN content c ON c.hash = k.content_hash WHERE c.orphaned_at IS NULL",
                (since, model_id),
            ).all()
        present, vectors = _ids_and_vectors(rows)
        gone = np.fromiter(sorted(ids.difference(present.tolist())), np.int64)
        return position, present, vectors, gone

    def vector(self, chunk_id: int, model_id: int) -> np.ndarray | None:
        """float32 [dim] of one chunk."""
        query = sa.select(embedding.c.vector).where(
            embedding.c.chunk_id == chunk_id, embedding.c.model_id == model_id
        )
        with self.reader() as c:
            blob = c.execute(query).scalar()
        return None if blob is None else unpacked(blob)

    # -- looking up ------------------------------------------------------------------------

    def counts(self, roots: Collection[int] | None = None) -> Counts:
        """Of the library, or (files, kinds and failures only) of some of its roots. Every query is served
        by an index: 0.1 s at a million chunks."""
        among = "" if roots is None else f"AND f.root_id IN ({','.join(map(str, roots)) or 'NULL'})"
        with self.reader() as c:
            sql = c.exec_driver_sql
            rows = sql(f"SELECT kind, count(*) FROM file f WHERE 1 = 1 {among} GROUP BY kind").all()
            kinds = {row[0]: row[1] for row in rows}
            waiting = {}
            for state in ("pending", "failed"):
                waiting[state] = (
                    sql(f"SELECT count(*) FROM file f WHERE f.state = '{state}' {among}").scalar_one()
                    + sql(
                        "SELECT count(*) FROM content c JOIN file f ON f.content_hash = c.hash"
                        f" WHERE c.state = '{state}' AND f.state = 'known' {among}"
                    ).scalar_one()
                )
            ignored = sql("SELECT coalesce(sum(ignored), 0) FROM root WHERE state <> 'left_out'").scalar_one()
            orphaned = sql(
                "SELECT count(*) FROM content c JOIN chunk k ON k.content_hash = c.hash"
                " WHERE c.orphaned_at IS NOT NULL"
            ).scalar_one()
            chunks = sql("SELECT count(*) FROM chunk").scalar_one() - orphaned
            shared = sql("SELECT count(*) FROM chunk WHERE same_as IS NOT NULL").scalar_one()
            copies = sql(
                "SELECT coalesce(sum((n - 1) * (SELECT count(*) FROM chunk k WHERE k.content_hash = h)), 0)"
                " FROM (SELECT content_hash h, count(*) n FROM file WHERE content_hash IS NOT NULL"
                " GROUP BY content_hash HAVING count(*) > 1) held"
            ).scalar_one()
        return Counts(
            files=sum(kinds.values()),
            images=kinds.get("image", 0),
            videos=kinds.get("video", 0),
            pdfs=kinds.get("pdf", 0),
            chunks=chunks,
            reused=shared + copies,
            failed=waiting["failed"],
            pending=waiting["pending"],
            ignored=ignored,
        )

    def lacking(self, model_id: int) -> int:
        """Chunks that have no vector under a model."""
        with self.reader() as c:
            return c.exec_driver_sql(
                "SELECT (SELECT count(*) FROM chunk) - (SELECT count(*) FROM embedding WHERE model_id = ?)",
                (model_id,),
            ).scalar_one()

    def failures(self) -> list[Failure]:
        """Every file that could not be indexed, with its reason; the oldest first."""
        with self.reader() as c:
            own = c.execute(
                sa.select(file.c.path, file.c.kind, file.c.error, file.c.failed_at).where(
                    file.c.state == "failed"
                )
            ).all()
            by_content = c.execute(
                sa.select(file.c.path, file.c.kind, content.c.error, content.c.failed_at)
                .join(content, content.c.hash == file.c.content_hash)
                .where(content.c.state == "failed", file.c.state == "known")
            ).all()
        rows = sorted([*own, *by_content], key=lambda r: (r.failed_at or 0.0, r.path))
        return [Failure(r.path, r.kind, r.error or "unknown", r.failed_at or 0.0) for r in rows]

    def file(self, file_id: int) -> FileInfo | None:
        with self.reader() as c:
            row = c.execute(_files_with_facts().where(file.c.id == file_id)).first()
        return None if row is None else _file_info(row)

    def file_at(self, path: str) -> FileInfo | None:
        with self.reader() as c:
            row = c.execute(_files_with_facts().where(file.c.path == path)).first()
        return None if row is None else _file_info(row)

    def files_of(self, digest: bytes) -> list[FileInfo]:
        """All files with these bytes, the first indexed first."""
        with self.reader() as c:
            rows = c.execute(_files_with_facts().where(file.c.content_hash == digest).order_by(file.c.id))
            return [_file_info(r) for r in rows]

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        with self.reader() as c:
            row = c.execute(sa.select(chunk).where(chunk.c.id == chunk_id)).first()
            if row is None:
                return None
            held = c.execute(
                _files_with_facts().where(file.c.content_hash == row.content_hash).order_by(file.c.id)
            ).first()
        return None if held is None else _chunk_info(row, _file_info(held))

    def chunks(self, file_id: int) -> list[ChunkInfo]:
        with self.reader() as c:
            held = c.execute(_files_with_facts().where(file.c.id == file_id)).first()
            if held is None or held.content_hash is None:
                return []
            info = _file_info(held)
            rows = c.execute(
                sa.select(chunk).where(chunk.c.content_hash == held.content_hash).order_by(chunk.c.ordinal)
            )
            return [_chunk_info(r, info) for r in rows]

    def content_of(self, chunk_id: int) -> tuple[bytes, int] | None:
        """(content hash, ordinal) of a chunk."""
        with self.reader() as c:
            row = c.execute(
                sa.select(chunk.c.content_hash, chunk.c.ordinal).where(chunk.c.id == chunk_id)
            ).first()
        return None if row is None else (row.content_hash, row.ordinal)

    def content_of_file(self, file_id: int) -> bytes | None:
        """The content hash of a file; None: no such file, or not hashed yet."""
        with self.reader() as c:
            return c.execute(sa.select(file.c.content_hash).where(file.c.id == file_id)).scalar()

    def hashes(self) -> set[bytes]:
        """Of all contents."""
        with self.reader() as c:
            return set(c.execute(sa.select(content.c.hash)).scalars())

    def setting(self, name: str) -> str | None:
        with self.reader() as c:
            return c.execute(sa.select(setting.c.value).where(setting.c.name == name)).scalar()


def under(column: sa.ColumnElement[str], folder: str) -> sa.ColumnElement[bool]:
    """The condition that a path lies below a folder. Two ranges, so that an index serves both the
    paths that are UTF-8 and, in SQLite, those that are not (BLOB)."""
    inside = folder.rstrip(os.sep) + os.sep
    after = inside[:-1] + chr(ord(os.sep) + 1)
    low, high = (sa.literal(RawName(os.fsencode(end)), PathText) for end in (inside, after))
    raw = sa.and_(column >= low, column < high)
    return sa.or_(sa.and_(column >= inside, column < after), raw) if _is_text(inside) else raw


def _is_text(name: str) -> bool:
    return not isinstance(stored_name(name), bytes)


def _lacks(model_id: int) -> sa.ColumnElement[bool]:
    own = (embedding.c.chunk_id == chunk.c.id) & (embedding.c.model_id == model_id)
    return ~sa.select(sa.literal(1)).where(own).exists()


def stamps_of(c: sa.Connection, root_id: int, folder: str) -> dict[str, Stamp]:
    """`Catalogue.stamps` on an open connection. Raw SQL: this is the whole cost of a second scan."""
    rows = c.exec_driver_sql(
        "SELECT name, size, mtime_ns, ctime_ns FROM file WHERE root_id = ? AND folder = ?",
        (root_id, stored_name(folder)),
    ).all()
    return {(n if isinstance(n, str) else os.fsdecode(n)): (s, m, t) for n, s, m, t in rows}


def unpacked(blob: bytes) -> np.ndarray:
    """float32 [dim]."""
    return np.frombuffer(blob, dtype="<f2").astype(np.float32)


def _ids_and_vectors(rows: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    if not rows:
        return np.empty(0, np.int64), np.empty((0, 0), np.float16)
    ids = np.fromiter((r[0] for r in rows), np.int64, len(rows))
    vectors = np.frombuffer(b"".join(r[1] for r in rows), "<f2").reshape(len(rows), -1)
    return ids, vectors


def last_change_of(c: sa.Connection) -> int:
    return c.exec_driver_sql("SELECT max(id) FROM change").scalar() or 0


def _files_with_facts() -> sa.Select[Any]:
    facts = (content.c.duration_s, content.c.pages, content.c.width, content.c.height, content.c.taken_at)
    columns = (file.c.id, file.c.path, file.c.kind, file.c.size, file.c.content_hash, *facts)
    return sa.select(*columns).select_from(file.outerjoin(content, content.c.hash == file.c.content_hash))


def _file_info(row: Any) -> FileInfo:
    return FileInfo(
        row.id,
        Path(row.path),
        row.kind,
        row.size,
        row.duration_s,
        row.pages,
        row.width,
        row.height,
        row.taken_at,
    )


def _chunk_info(row: Any, info: FileInfo) -> ChunkInfo:
    return ChunkInfo(row.id, info, row.ordinal, row.start_s, row.end_s, row.page, row.text)
