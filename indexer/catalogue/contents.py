"""Contents: the chunks of distinct file contents, their text and their vectors.

Built around two ideas. One content is one transaction: its chunks, their text, their vectors and its state.
And triggers write each new and deleted chunk into the journal `change`: a vector index (in this program or
another) stores the last id that it has read and goes on from there. It knows nothing of decoding, models or
search.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa

from data.gazetteer import nearest
from data.media.kinds import GENERATION
from data.media.metadata import GENERATION as FACTS_GENERATION
from data.span import Span
from indexer.catalogue.copies import unpacked_people
from indexer.catalogue.database import Database, new_id
from indexer.catalogue.files import file_info, files_with_facts, free_halves
from indexer.catalogue.leases import settle
from indexer.catalogue.rows import NewChunk, StoredChunk
from indexer.catalogue.schema import album_item, chunk, clean_text, content, embedding, file, setting
from indexer.catalogue.settings import RECIPE
from indexer.catalogue.transcripts import Heard, cues_of, heard_after_write, renewed, said_in
from indexer.errors import LeaseLost
from indexer.types import FAVOURITES, ChunkDetails, ChunkInfo, FileInfo, Kind
from model.inputs import Cue

JOURNAL_KEPT = 1_000_000
"""Journal rows that are kept (about 20 MB). An index that is further behind is rebuilt from the vectors."""

ORPHAN_KEPT_S = 24 * 3600.0
"""Seconds that a content without a file is kept, so that a file restored on the same day costs nothing."""


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
        """Store a content as a whole, in place of an earlier version. Returns the ids of its chunks in order; an
        empty list if the content was deleted meanwhile. A chunk with the same ordinal and span keeps its id, and
        so its links and labels.

        `facts` are columns of `content` (duration_s, pages, width, height, taken, taken_from, camera, lat, lon, note).
        The facts of its files, which depend on these, become due.
        `cues`: the subtitles of the video, which is not transcribed then. A transcript that it has is kept.
        `worker`: the worker with the lease; raises LeaseLost, and writes nothing, if the lease is lost.
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
            values |= {"heard": heard.stored, "facts": FACTS_GENERATION} | facts
            values |= {"digest": digest} | {f"newest_{kind}": number for kind, number in GENERATION.items()}
            c.execute(_WRITTEN, values)
            all_cues = cues_of(c, digest) if heard.state != "none" else []
            texts = [renewed(clean_text(p.text), "", said_in(all_cues, p.span)) for p in chunks]
            ids = []
            for new, text in zip(chunks, texts, strict=True):
                row: dict[str, Any] = {"text": text, "same_as": new.same_as} | asdict(new.span)
                chunk_id = stored.get((new.ordinal, new.span))
                if chunk_id is None:
                    row |= {"content_hash": digest, "ordinal": new.ordinal}
                    chunk_id = new_id(c.execute(_NEW_CHUNK, row))
                else:
                    c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(row))
                ids.append(chunk_id)
            old_ids = set(stored.values())
            for is_new in (True, False):
                rows = [(i, text) for i, text in zip(ids, texts, strict=True) if (i not in old_ids) is is_new]
                self._database.dialect.write_texts(c, rows, new=is_new)
            _insert_vectors(c, model_id, ids, [p.vector for p in chunks])
            _make_facts_due(c, digest)
            return ids

    def add_embeddings(
        self,
        model_id: int,
        ids: Sequence[int],
        vectors: Sequence[np.ndarray],
        *,
        lease: tuple[bytes, int] | None = None,
    ) -> None:
        """Store vectors of chunks under a model, in one transaction; deleted chunks are skipped. `lease`: (content,
        worker) of the lease that this ends; raises LeaseLost."""
        with self._database.writer() as c:
            if lease is not None:
                settle(c, self._database, *lease)
            present = set(c.execute(sa.select(chunk.c.id).where(chunk.c.id.in_(ids))).scalars())
            rows = [(i, v) for i, v in zip(ids, vectors, strict=True) if i in present]
            _insert_vectors(c, model_id, [i for i, _ in rows], [v for _, v in rows])

    def write_ocr(
        self,
        digest: bytes,
        texts: dict[int, str],
        model_id: int,
        vectors: dict[int, np.ndarray],
        *,
        worker: int | None = None,
    ) -> None:
        """Store the texts of a content's chunks with their OCR text (chunk id -> text) and the vectors of these
        texts. Vectors of other models are deleted and made again. `worker`: as in `write`."""
        with self._database.writer() as c:
            settle(c, self._database, digest, worker)
            present = set(c.execute(sa.select(chunk.c.id).where(chunk.c.content_hash == digest)).scalars())
            rows = [(i, clean_text(texts[i])) for i in sorted(present.intersection(texts))]
            for chunk_id, text in rows:
                c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(text=text))
            self._database.dialect.write_texts(c, rows, new=False)
            ids = sorted(present.intersection(vectors))
            others = embedding.c.chunk_id.in_(ids) & (embedding.c.model_id != model_id)
            c.execute(sa.delete(embedding).where(others))
            _insert_vectors(c, model_id, ids, [vectors[i] for i in ids])
            c.execute(sa.update(content).where(content.c.hash == digest).values(ocr="done"))

    def fail(self, digest: bytes, reason: str, *, worker: int | None = None) -> None:
        """Store that a content cannot be read or embedded, and delete its chunks. `worker`: as in `write`."""
        with self._database.writer() as c:
            settle(c, self._database, digest, worker)
            c.execute(sa.delete(chunk).where(chunk.c.content_hash == digest))
            values = {"state": "failed", "error": reason, "failed_at": time.time(), "generation": _newest()}
            c.execute(sa.update(content).where(content.c.hash == digest).values(values))
            images = sa.select(file.c.path).where(file.c.content_hash == digest, file.c.kind == "image")
            free_halves(c, c.execute(images).scalars().all())
            _make_facts_due(c, digest)

    # -- looking up ------------------------------------------------------------------------

    def chunk(self, chunk_id: int) -> ChunkInfo | None:
        with self._database.reader() as c:
            row = c.execute(sa.select(chunk).where(chunk.c.id == chunk_id)).first()
            if row is None:
                return None
            file_row = c.execute(
                files_with_facts().where(file.c.content_hash == row.content_hash).order_by(file.c.id)
            ).first()
            if file_row is None:
                return None
            in_favourites = (album_item.c.key == FAVOURITES) & (album_item.c.content_hash == row.content_hash)
            favourite = c.execute(sa.select(album_item.c.id).where(in_favourites)).first() is not None
        return replace(_chunk_info(row, file_info(file_row)), favourite=favourite)

    def details(self, info: ChunkInfo) -> ChunkDetails:
        """Returns all that is known of a chunk and its file."""
        of_file = (file.c.camera, file.c.lat, file.c.lon, file.c.words, file.c.people)
        joined = sa.select(*of_file, content.c.ocr, content.c.heard, content.c.hash).join(
            content, content.c.hash == file.c.content_hash
        )
        with self._database.reader() as c:
            row = c.execute(joined.where(file.c.id == info.file.file_id)).one()
            copies = sa.select(file.c.path).where(file.c.content_hash == row.hash, file.c.id != info.file.file_id)
            also_at = tuple(c.execute(copies.order_by(file.c.id)).scalars())
            named = sa.select(album_item.c.name).where(album_item.c.content_hash == row.hash)
            albums = tuple(c.execute(named.order_by(album_item.c.key)).scalars())
        texts: dict[Kind, Literal["caption", "picture", "page", "speech"]] = {"video": "speech", "pdf": "page"}
        text_is = texts.get(info.file.kind, "picture" if row.ocr == "done" else "caption")
        place = nearest(row.lat, row.lon) if row.lat is not None and row.lon is not None else None
        heard = Heard.read(row.heard)
        named_albums = tuple(name for name in albums if name != FAVOURITES)
        return ChunkDetails(
            info,
            row.camera,
            row.lat,
            row.lon,
            place,
            unpacked_people(row.people),
            row.words,
            text_is,
            heard.state,
            named_albums,
            also_at,
        )

    def chunks(self, file_id: int) -> list[ChunkInfo]:
        with self._database.reader() as c:
            file_row = c.execute(files_with_facts().where(file.c.id == file_id)).first()
            if file_row is None or file_row.content_hash is None:
                return []
            info = file_info(file_row)
            rows = c.execute(
                sa.select(chunk).where(chunk.c.content_hash == file_row.content_hash).order_by(chunk.c.ordinal)
            )
            return [_chunk_info(r, info) for r in rows]

    def chunks_of(self, digest: bytes) -> list[StoredChunk]:
        """Returns the chunks of a content in order."""
        query = sa.select(chunk).where(chunk.c.content_hash == digest).order_by(chunk.c.ordinal)
        with self._database.reader() as c:
            rows = c.execute(query).all()
        return [StoredChunk(r.id, r.ordinal, _span(r), r.same_as, r.text) for r in rows]

    def of_chunk(self, chunk_id: int) -> tuple[bytes, int] | None:
        """Returns (content hash, ordinal) of a chunk; None if there is no such chunk."""
        with self._database.reader() as c:
            row = c.execute(sa.select(chunk.c.content_hash, chunk.c.ordinal).where(chunk.c.id == chunk_id)).first()
        return None if row is None else (row.content_hash, row.ordinal)

    def hashes(self) -> set[bytes]:
        """Returns the hashes of all contents."""
        with self._database.reader() as c:
            return set(c.execute(sa.select(content.c.hash)).scalars())

    def are_wordless(self) -> bool:
        """Whether the text index is empty although there are chunks: a migration emptied it."""
        with self._database.reader() as c:
            return bool(
                c.exec_driver_sql("SELECT EXISTS (SELECT 1 FROM chunk) AND NOT EXISTS (SELECT 1 FROM words)").scalar()
            )

    def rebuild_words(self) -> None:
        """Rebuild the text index of the chunks."""
        with self._database.writer() as c:
            self._database.dialect.rebuild_texts(c)

    def vector(self, chunk_id: int, model_id: int) -> np.ndarray | None:
        """Returns the vector of a chunk, float32 [dim]; None if it has none under the model."""
        query = sa.select(embedding.c.vector).where(embedding.c.chunk_id == chunk_id, embedding.c.model_id == model_id)
        with self._database.reader() as c:
            blob = c.execute(query).scalar()
        return None if blob is None else unpacked(blob)

    # -- the journal -----------------------------------------------------------------------

    def last_change(self) -> int:
        """Returns the id of the newest journal row; 0 if there is none."""
        with self._database.reader() as c:
            return last_change_of(c)

    def newest_embedding(self) -> int:
        with self._database.reader() as c:
            return int(c.exec_driver_sql("SELECT coalesce(max(id), 0) FROM embedding").scalar_one())

    def embedded_since(self, number: int) -> int:
        """Returns how many embeddings have an id above `number`, of all programs."""
        with self._database.reader() as c:
            return int(c.exec_driver_sql("SELECT count(*) FROM embedding WHERE id > ?", (number,)).scalar_one())

    # -- care ------------------------------------------------------------------------------

    def mark_orphans(self) -> None:
        """Mark the contents without a file as orphans, and no others."""
        with self._database.writer() as c:
            has_file = "EXISTS (SELECT 1 FROM file WHERE content_hash = content.hash)"
            c.exec_driver_sql(f"UPDATE content SET orphaned_at = NULL WHERE orphaned_at IS NOT NULL AND {has_file}")
            c.exec_driver_sql(
                f"UPDATE content SET orphaned_at = ? WHERE orphaned_at IS NULL AND NOT {has_file}", (time.time(),)
            )

    def drop_dangling(self, rows: Iterable[tuple[str, int]]) -> None:
        """Repair rows whose parent is missing, (table, rowid): a file becomes pending, other rows are deleted."""
        with self._database.writer() as c:
            for table, rowid in rows:
                if table == "file":
                    values = {"content_hash": None, "state": "pending"}
                    c.execute(sa.update(file).where(file.c.id == rowid).values(values))
                else:
                    c.exec_driver_sql(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))

    def drop_embeddings(self, chunk_ids: Sequence[int] | None) -> None:
        """Delete wrong vectors, of all models; all vectors with None. The next run makes them again."""
        with self._database.writer() as c:
            if chunk_ids is None:
                c.execute(sa.delete(embedding))
            for chunk_id in chunk_ids or ():
                c.execute(sa.delete(embedding).where(embedding.c.chunk_id == chunk_id))

    def sweep(self, now: float | None = None, *, kept_s: float = ORPHAN_KEPT_S) -> list[bytes]:
        """Delete the contents that have had no file for `kept_s`, and old journal rows. Returns the contents'
        hashes."""
        with self._database.writer() as c:
            clock = c.exec_driver_sql(f"SELECT {self._database.dialect.now}").scalar_one()
            limit = (clock if now is None else now) - kept_s
            c.exec_driver_sql(  # contents whose file was replaced before its hash was stored
                "UPDATE content SET orphaned_at = ? WHERE state = 'pending' AND orphaned_at IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM file WHERE content_hash = content.hash)",
                (clock,),
            )
            hashes = list(c.execute(sa.select(content.c.hash).where(content.c.orphaned_at <= limit)).scalars())
            c.execute(sa.delete(content).where(content.c.orphaned_at <= limit))
            c.exec_driver_sql("DELETE FROM change WHERE id <= (SELECT max(id) FROM change) - ?", (JOURNAL_KEPT,))
        return hashes


def _drop_chunks(c: sa.Connection, digest: bytes, places: set[tuple[int, Span]]) -> dict[tuple[int, Span], int]:
    """Delete the vectors of a content, and its chunks that are not at `places` (ordinal, span). Returns the ids of
    the chunks that stay. A chunk that was salvaged without its span is the one with its ordinal."""
    rows = c.execute(_CHUNKS, {"digest": digest}).all()
    spans = dict(places)
    stored = {}
    for row in rows:
        span = spans.get(row.ordinal, Span()) if _span(row) == Span() else _span(row)
        if (row.ordinal, span) in places:
            stored[row.ordinal, span] = row.id
    for row in rows:
        table, column = (embedding, embedding.c.chunk_id) if row.id in stored.values() else (chunk, chunk.c.id)
        c.execute(sa.delete(table).where(column == row.id))
    return stored


def _newest() -> sa.ColumnElement[int]:
    """Returns the SQL expression of the newest reading generation of a content's kind."""
    return sa.case(GENERATION, value=content.c.kind)


# Written once: to build a statement and to look up how it is compiled takes longer than SQLite takes to run it.
_CHUNKS = sa.select(chunk).where(chunk.c.content_hash == sa.bindparam("digest"))
_NEW_CHUNK = sa.insert(chunk)
_WRITTEN = (
    sa.update(content)
    .where(content.c.hash == sa.bindparam("digest"))
    .values(generation=sa.case({kind: sa.bindparam(f"newest_{kind}") for kind in GENERATION}, value=content.c.kind))
)


def _make_facts_due(c: sa.Connection, digest: bytes) -> None:
    c.exec_driver_sql("UPDATE file SET due = coalesce(due, 0) + 1 WHERE content_hash = ?", (digest,))


def _check_recipe(c: sa.Connection, recipe: str) -> None:
    """Raise LeaseLost if the library's recipe has changed."""
    current = c.execute(sa.select(setting.c.value).where(setting.c.name == RECIPE)).scalar()
    if current is not None and current != recipe:
        raise LeaseLost(f"Videos are cut by {current} now, not by {recipe}: this one is read anew.")


def _insert_vectors(c: sa.Connection, model_id: int, ids: Sequence[int], vectors: Sequence[np.ndarray]) -> None:
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
    """Returns the vector of a stored float16 blob, as float32 [dim]."""
    return np.frombuffer(blob, dtype="<f2").astype(np.float32)


def _chunk_info(row: Any, info: FileInfo) -> ChunkInfo:
    return ChunkInfo(row.id, info, row.ordinal, _span(row), row.text)


def _span(row: Any) -> Span:
    return Span(row.start_s, row.end_s, row.page)
