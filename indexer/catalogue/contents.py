"""Contents: what the bytes of files hold, as chunks, their text and their vectors.

Built around two ideas. One content is one transaction: its chunks, their text, their vectors and
its state. And `change` is a journal, kept by triggers, of chunks that came or went: a vector index
(in this program or another) remembers the last id it has seen and reads on from there. It
knows nothing of decoding, models or search.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import sqlalchemy as sa

from data.media.kinds import GENERATION
from data.media.metadata import GENERATION as FACTS_GENERATION
from data.span import Span
from indexer.catalogue.database import Database, new_id
from indexer.catalogue.files import file_info, files_with_facts, free_halves
from indexer.catalogue.leases import settle
from indexer.catalogue.rows import NewChunk, StoredChunk
from indexer.catalogue.schema import chunk, clean_text, content, embedding, file, setting
from indexer.catalogue.settings import RECIPE
from indexer.catalogue.transcripts import cues_of, heard_after_write, renewed, said_in
from indexer.errors import LeaseLost
from indexer.types import ChunkInfo, FileInfo
from model.inputs import Cue

JOURNAL_KEPT = 1_000_000
"""Journal rows kept (about 20 MB). An index that is further behind is built anew from the vectors."""

ORPHAN_KEPT_S = 24 * 3600.0
"""How long a content without a file is kept, so that a deletion undone the same day costs nothing."""


class Contents:
    def __init__(self, database: Database) -> None:
        self._database = database

    # -- writing -----------------------------------------------------------------------------

    def write(
        self,
        digest: bytes,
        facts: dict[str, Any],
        chunks: Sequence[NewChunk],
        model_id: int,
        *,
        recipe: str = "",
        ocr: str = "none",
        has_sound: bool = False,
        cues: Sequence[Cue] = (),
        worker: int | None = None,
    ) -> list[int]:
        """One content, whole: replaces what was known of it. Returns the ids of its chunks, in order;
        none when the content was forgotten while it was being read. A chunk that was there before, at the same
        place, keeps its id: links to it and its labels stay.

        `facts` are columns of `content` (duration_s, pages, width, height, taken, taken_from, camera, lat, lon, note).
        What is known of its files is due: it rests on these.
        `sounds`: it has a sound track; `cues`: the subtitles that came with it, which spare hearing it. What
        a listener has heard in it before is kept.
        `worker`: who has a lease on it; raises LeaseLost, and writes nothing, when the lease is lost.
        """
        with self._database.writer() as c:
            settle(c, self._database, digest, worker)
            if worker is not None:
                _check_recipe(c, recipe)
            heard = heard_after_write(c, digest, has_sound, cues)
            if heard is None:
                return []
            stored = _drop_chunks(c, digest, {(p.ordinal, p.span) for p in chunks})
            values: dict[str, Any] = {"state": "ready", "error": None, "failed_at": None, "recipe": recipe, "ocr": ocr}
            values |= {"heard": heard.stored, "generation": _newest(), "facts": FACTS_GENERATION} | facts
            c.execute(sa.update(content).where(content.c.hash == digest).values(values))
            said = cues_of(c, digest) if heard.state != "none" else []
            texts = [renewed(clean_text(p.text), "", said_in(said, p.span)) for p in chunks]
            ids = []
            for new, text in zip(chunks, texts, strict=True):
                row: dict[str, Any] = {"text": text, "same_as": new.same_as}
                chunk_id = stored.get((new.ordinal, new.span))
                if chunk_id is None:
                    row |= {"content_hash": digest, "ordinal": new.ordinal} | asdict(new.span)
                    chunk_id = new_id(c.execute(sa.insert(chunk).values(row)))
                else:
                    c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(row))
                ids.append(chunk_id)
            known = set(stored.values())
            for is_new in (True, False):
                written = [(i, text) for i, text in zip(ids, texts, strict=True) if (i not in known) is is_new]
                self._database.dialect.write_texts(c, written, new=is_new)
            _embed(c, model_id, ids, [p.vector for p in chunks])
            _make_due(c, digest)
            return ids

    def add_embeddings(
        self,
        model_id: int,
        ids: Sequence[int],
        vectors: Sequence[np.ndarray],
        *,
        lease: tuple[bytes, int] | None = None,
    ) -> None:
        """Vectors of chunks under a model, in one transaction; chunks that have gone are left out.
        `lease`: (content, worker) of the lease that ends with it; raises LeaseLost."""
        with self._database.writer() as c:
            if lease is not None:
                settle(c, self._database, *lease)
            present = set(c.execute(sa.select(chunk.c.id).where(chunk.c.id.in_(ids))).scalars())
            kept = [(i, v) for i, v in zip(ids, vectors, strict=True) if i in present]
            _embed(c, model_id, [i for i, _ in kept], [v for _, v in kept])

    def write_ocr(
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
        with self._database.writer() as c:
            settle(c, self._database, digest, worker)
            present = set(c.execute(sa.select(chunk.c.id).where(chunk.c.content_hash == digest)).scalars())
            read = [(i, clean_text(texts[i])) for i in sorted(present.intersection(texts))]
            for chunk_id, text in read:
                c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(text=text))
            self._database.dialect.write_texts(c, read, new=False)
            renewed = sorted(present.intersection(vectors))
            others = embedding.c.chunk_id.in_(renewed) & (embedding.c.model_id != model_id)
            c.execute(sa.delete(embedding).where(others))
            _embed(c, model_id, renewed, [vectors[i] for i in renewed])
            c.execute(sa.update(content).where(content.c.hash == digest).values(ocr="done"))

    def fail(self, digest: bytes, reason: str, *, worker: int | None = None) -> None:
        """The content cannot be read or embedded; what was known of it goes. `worker`: as in `write`."""
        with self._database.writer() as c:
            settle(c, self._database, digest, worker)
            c.execute(sa.delete(chunk).where(chunk.c.content_hash == digest))
            values = {"state": "failed", "error": reason, "failed_at": time.time(), "generation": _newest()}
            c.execute(sa.update(content).where(content.c.hash == digest).values(values))
            folders = sa.select(file.c.folder).where(file.c.content_hash == digest, file.c.kind == "image")
            free_halves(c, c.execute(folders).scalars().all())
            _make_due(c, digest)

    # -- looking up ------------------------------------------------------------------------

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        with self._database.reader() as c:
            row = c.execute(sa.select(chunk).where(chunk.c.id == chunk_id)).first()
            if row is None:
                return None
            held = c.execute(
                files_with_facts().where(file.c.content_hash == row.content_hash).order_by(file.c.id)
            ).first()
        return None if held is None else _chunk_info(row, file_info(held))

    def chunks(self, file_id: int) -> list[ChunkInfo]:
        with self._database.reader() as c:
            held = c.execute(files_with_facts().where(file.c.id == file_id)).first()
            if held is None or held.content_hash is None:
                return []
            info = file_info(held)
            rows = c.execute(
                sa.select(chunk).where(chunk.c.content_hash == held.content_hash).order_by(chunk.c.ordinal)
            )
            return [_chunk_info(r, info) for r in rows]

    def chunks_of(self, digest: bytes) -> list[StoredChunk]:
        """The chunks of a content in order."""
        query = sa.select(chunk).where(chunk.c.content_hash == digest).order_by(chunk.c.ordinal)
        with self._database.reader() as c:
            rows = c.execute(query).all()
        return [StoredChunk(r.id, r.ordinal, _span(r), r.same_as, r.text) for r in rows]

    def of_chunk(self, chunk_id: int) -> tuple[bytes, int] | None:
        """(content hash, ordinal) of a chunk."""
        with self._database.reader() as c:
            row = c.execute(sa.select(chunk.c.content_hash, chunk.c.ordinal).where(chunk.c.id == chunk_id)).first()
        return None if row is None else (row.content_hash, row.ordinal)

    def hashes(self) -> set[bytes]:
        """Of all contents."""
        with self._database.reader() as c:
            return set(c.execute(sa.select(content.c.hash)).scalars())

    def are_wordless(self) -> bool:
        """Whether there are chunks and no words of any: a migration emptied them."""
        with self._database.reader() as c:
            return bool(
                c.exec_driver_sql("SELECT EXISTS (SELECT 1 FROM chunk) AND NOT EXISTS (SELECT 1 FROM words)").scalar()
            )

    def rebuild_words(self) -> None:
        """Build the index of the chunks' words anew."""
        with self._database.writer() as c:
            self._database.dialect.rebuild_texts(c)

    def vector(self, chunk_id: int, model_id: int) -> np.ndarray | None:
        """float32 [dim] of one chunk."""
        query = sa.select(embedding.c.vector).where(embedding.c.chunk_id == chunk_id, embedding.c.model_id == model_id)
        with self._database.reader() as c:
            blob = c.execute(query).scalar()
        return None if blob is None else unpacked(blob)

    # -- the journal -----------------------------------------------------------------------

    def last_change(self) -> int:
        """The id of the newest journal row; 0 when there is none."""
        with self._database.reader() as c:
            return last_change_of(c)

    def newest_embedding(self) -> int:
        with self._database.reader() as c:
            return c.exec_driver_sql("SELECT coalesce(max(id), 0) FROM embedding").scalar_one()

    def embedded_since(self, number: int) -> int:
        """How many chunks were embedded since an embedding of that number was the newest, by whomever."""
        with self._database.reader() as c:
            return c.exec_driver_sql("SELECT count(*) FROM embedding WHERE id > ?", (number,)).scalar_one()

    # -- care ------------------------------------------------------------------------------

    def mark_orphans(self) -> None:
        """Set anew which contents no file has."""
        with self._database.writer() as c:
            held = "EXISTS (SELECT 1 FROM file WHERE content_hash = content.hash)"
            c.exec_driver_sql(f"UPDATE content SET orphaned_at = NULL WHERE orphaned_at IS NOT NULL AND {held}")
            c.exec_driver_sql(
                f"UPDATE content SET orphaned_at = ? WHERE orphaned_at IS NULL AND NOT {held}", (time.time(),)
            )

    def drop_dangling(self, rows: Iterable[tuple[str, int]]) -> None:
        """(table, rowid) of rows whose parent is missing: a file is pending again, anything else goes."""
        with self._database.writer() as c:
            for table, rowid in rows:
                if table == "file":
                    values = {"content_hash": None, "state": "pending"}
                    c.execute(sa.update(file).where(file.c.id == rowid).values(values))
                elif table in ("chunk", "embedding", "cue"):
                    c.exec_driver_sql(f"DELETE FROM {table} WHERE id = ?", (rowid,))

    def drop_embeddings(self, chunk_ids: Sequence[int] | None) -> None:
        """Vectors that are wrong, of all models; None: every one. They are made again by the next run."""
        with self._database.writer() as c:
            if chunk_ids is None:
                c.execute(sa.delete(embedding))
            for chunk_id in chunk_ids or ():
                c.execute(sa.delete(embedding).where(embedding.c.chunk_id == chunk_id))

    def sweep(self, now: float | None = None, *, kept_s: float = ORPHAN_KEPT_S) -> list[bytes]:
        """Forget contents that no file has had for `kept_s`, and old journal rows. Returns their hashes."""
        with self._database.writer() as c:
            clock = c.exec_driver_sql(f"SELECT {self._database.dialect.now}").scalar_one()
            limit = (clock if now is None else now) - kept_s
            c.exec_driver_sql(  # hashed and replaced before the hash was written down
                "UPDATE content SET orphaned_at = ? WHERE state = 'pending' AND orphaned_at IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM file WHERE content_hash = content.hash)",
                (clock,),
            )
            gone = list(c.execute(sa.select(content.c.hash).where(content.c.orphaned_at <= limit)).scalars())
            c.execute(sa.delete(content).where(content.c.orphaned_at <= limit))
            c.exec_driver_sql("DELETE FROM change WHERE id <= (SELECT max(id) FROM change) - ?", (JOURNAL_KEPT,))
        return gone


def _drop_chunks(c: sa.Connection, digest: bytes, places: set[tuple[int, Span]]) -> dict[tuple[int, Span], int]:
    """Remove the vectors of a content and its chunks elsewhere than at `places` (ordinal, span). Returns the ids of
    those that stay."""
    rows = c.execute(sa.select(chunk).where(chunk.c.content_hash == digest)).all()
    stored = {(r.ordinal, _span(r)): r.id for r in rows if (r.ordinal, _span(r)) in places}
    for row in rows:
        table, column = (embedding, embedding.c.chunk_id) if row.id in stored.values() else (chunk, chunk.c.id)
        c.execute(sa.delete(table).where(column == row.id))
    return stored


def _newest() -> sa.ColumnElement[int]:
    """SQL: the current generation of reading of a content's kind."""
    return sa.case(GENERATION, value=content.c.kind)


def _make_due(c: sa.Connection, digest: bytes) -> None:
    c.exec_driver_sql("UPDATE file SET due = coalesce(due, 0) + 1 WHERE content_hash = ?", (digest,))


def _check_recipe(c: sa.Connection, recipe: str) -> None:
    """Raise LeaseLost when the library's videos are cut in another way by now."""
    current = c.execute(sa.select(setting.c.value).where(setting.c.name == RECIPE)).scalar()
    if current is not None and current != recipe:
        raise LeaseLost(f"Videos are cut by {current} now, not by {recipe}: this one is read anew.")


def _embed(c: sa.Connection, model_id: int, ids: Sequence[int], vectors: Sequence[np.ndarray]) -> None:
    if ids:
        c.exec_driver_sql(
            "INSERT INTO embedding (chunk_id, model_id, vector) VALUES (?, ?, ?)"
            " ON CONFLICT (chunk_id, model_id) DO UPDATE SET vector = excluded.vector",
            [(i, model_id, packed(v)) for i, v in zip(ids, vectors, strict=True)],
        )


def last_change_of(c: sa.Connection) -> int:
    return c.exec_driver_sql("SELECT max(id) FROM change").scalar() or 0


def packed(vector: np.ndarray) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f2").tobytes()


def unpacked(blob: bytes) -> np.ndarray:
    """float32 [dim]."""
    return np.frombuffer(blob, dtype="<f2").astype(np.float32)


def _chunk_info(row: Any, info: FileInfo) -> ChunkInfo:
    return ChunkInfo(row.id, info, row.ordinal, _span(row), row.text)


def _span(row: Any) -> Span:
    return Span(row.start_s, row.end_s, row.page)
