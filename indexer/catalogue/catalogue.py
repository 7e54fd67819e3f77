"""The catalogue: what contents hold; roots and files are in `files.py`, the reading side is `lookups.py`.

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

import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from indexer.catalogue.dialects import explained
from indexer.catalogue.files import Filing, new_id
from indexer.catalogue.rows import ModelRow, NewChunk
from indexer.catalogue.schema import (
    chunk,
    clean_text,
    content,
    cue,
    embedding,
    file,
    model,
    setting,
    stored_name,
)
from indexer.catalogue.transcripts import NOBODY, add_cues, cues_of, drop_cues, renewed, said_in
from indexer.errors import LeaseLost
from model.inputs import Cue

JOURNAL_KEPT = 1_000_000
"""Journal rows kept (about 20 MB). An index that is further behind is built anew from the vectors."""

ORPHAN_KEPT_S = 24 * 3600.0
"""How long a content without a file is kept, so that a deletion undone the same day costs nothing."""

RECIPE = "recipe"
"""The setting that holds how videos are cut, where several programs do it."""

OCR = "ocr"
"""The setting that holds in what pictures words are read, likewise."""

SPEECH = "speech"
"""The setting that holds who listens to videos, likewise."""

LISTENER = "listener"
"""The setting that holds by whom what is half heard was heard."""


class Catalogue(Filing):
    """The catalogue with its writing side. Safe to use from many threads and programs."""

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
        sounds: bool = False,
        cues: Sequence[Cue] = (),
        worker: int | None = None,
    ) -> list[int]:
        """One content, whole: replaces what was known of it. Returns the ids of its chunks, in order;
        none when the content was forgotten while it was being read.

        `facts` are columns of `content` (duration_s, pages, width, height, taken_at, camera, lat, lon).
        `sounds`: it has a sound track; `cues`: the subtitles that came with it, which spare hearing it. What
        a listener has heard in it before is kept.
        `worker`: who has claimed it; raises LeaseLost, and writes nothing, when it has it no more.
        """
        with self.writer() as c:
            self.settle(c, digest, worker)
            if worker is not None:
                self._same_recipe(c, recipe)
            c.execute(sa.delete(chunk).where(chunk.c.content_hash == digest))
            heard = self._heard_before(c, digest, sounds, cues)
            if heard is None:
                return []
            values = {
                "state": "ready",
                "error": None,
                "failed_at": None,
                "recipe": recipe,
                "ocr": ocr,
                "heard": heard,
            } | facts
            c.execute(sa.update(content).where(content.c.hash == digest).values(values))
            said = cues_of(c, digest) if heard != "none" else []
            texts = [renewed(clean_text(p.text), "", said_in(said, p.start_s, p.end_s)) for p in chunks]
            ids = []
            for piece, text in zip(chunks, texts, strict=True):
                row = c.execute(
                    sa.insert(chunk).values(
                        content_hash=digest,
                        ordinal=piece.ordinal,
                        start_s=piece.start_s,
                        end_s=piece.end_s,
                        page=piece.page,
                        text=text,
                        same_as=piece.same_as,
                    )
                )
                ids.append(new_id(row))
            self.dialect.write_texts(c, list(zip(ids, texts, strict=True)), new=True)
            self._embed(c, model_id, ids, [p.vector for p in chunks])
            return ids

    def _heard_before(
        self, c: sa.Connection, digest: bytes, sounds: bool, subtitles: Sequence[Cue]
    ) -> str | None:
        """What `content.heard` becomes when a content is written; None: it was forgotten. Cues that do not
        hold any more go."""
        known = c.execute(sa.select(content.c.heard).where(content.c.hash == digest)).scalar()
        if known is None:
            return None
        if subtitles or known == "subtitles" or not sounds:
            drop_cues(c, digest)
        if subtitles:
            add_cues(c, digest, subtitles)
            return "subtitles"
        if not sounds:
            return "none"
        return "pending" if known in NOBODY else known

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

    def hear(self, digest: bytes, cues: Sequence[Cue], *, by: str | None, worker: int | None = None) -> None:
        """Cues of a video that come after those already there; what two heard at once is kept once. `by`: who
        has heard all of it by now (a listener's id, `subtitles`, `none` where there is no sound); None: there
        is more. `worker`: as in `write`."""
        with self.writer() as c:
            self.settle(c, digest, worker, ends=by is not None)
            if c.execute(sa.select(content.c.hash).where(content.c.hash == digest)).first() is None:
                return
            before = cues_of(c, digest)
            add_cues(c, digest, [q for q in cues if not before or q.start_s >= before[-1].end_s])
            self._say(c, digest, before, cues_of(c, digest))
            if by is not None:
                c.execute(sa.update(content).where(content.c.hash == digest).values(heard=by))

    def _say(self, c: sa.Connection, digest: bytes, before: Sequence[Cue], after: Sequence[Cue]) -> None:
        """Bring the text of a video's windows up to what is said in them now."""
        changed = []
        for piece in c.execute(sa.select(chunk).where(chunk.c.content_hash == digest)).all():
            was, is_now = (said_in(cues, piece.start_s, piece.end_s) for cues in (before, after))
            if was != is_now:
                changed.append((piece.id, renewed(piece.text, was, is_now)))
        for chunk_id, text in changed:
            c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(text=text))
        self.dialect.write_texts(c, changed, new=False)

    def hear_anew(self, name: str, *, whole: bool = True) -> int:
        """`name` listens from now on. Videos that another listener heard (`whole`), or half of which it
        heard, are to be heard again; what it heard goes. Returns how many."""
        last = self.setting(LISTENER)
        if last == name and not whole:
            return 0
        with self.writer() as c:
            query = sa.select(content.c.hash, content.c.heard).where(content.c.heard.not_in(NOBODY))
            stale = [r.hash for r in c.execute(query) if whole and r.heard.rpartition("@")[0] != name]
            if last not in (None, name):
                half = cue.c.content_hash == content.c.hash
                query = sa.select(content.c.hash).where(
                    content.c.heard == sa.text("'pending'"), sa.select(cue.c.id).where(half).exists()
                )
                stale += c.execute(query).scalars()
            for digest in stale:
                before = cues_of(c, digest)
                drop_cues(c, digest)
                self._say(c, digest, before, ())
                c.execute(sa.update(content).where(content.c.hash == digest).values(heard="pending"))
        if last != name:
            self.set_setting(LISTENER, name)
        return len(stale)

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

    def read_again(self, paths: Iterable[str]) -> int:
        """What these files hold is pending again where it was read: the words beside them are others now."""
        with self.writer() as c:
            return sum(
                c.exec_driver_sql(
                    "UPDATE content SET state = 'pending' WHERE state = 'ready'"
                    " AND hash = (SELECT content_hash FROM file WHERE path = ?)",
                    (stored_name(path),),
                ).rowcount
                for path in paths
            )

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

    def drop_dangling(self, rows: Iterable[tuple[str, int]]) -> None:
        """(table, rowid) of rows whose parent is missing: a file is pending again, anything else goes."""
        with self.writer() as c:
            for table, rowid in rows:
                if table == "file":
                    values = {"content_hash": None, "state": "pending"}
                    c.execute(sa.update(file).where(file.c.id == rowid).values(values))
                elif table in ("chunk", "embedding", "cue"):
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
        """A copy of the catalogue as it is now, while it is in use, in one file."""
        with explained(self.dialect):
            self.dialect.backup(to)


def packed(vector: np.ndarray) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f2").tobytes()
