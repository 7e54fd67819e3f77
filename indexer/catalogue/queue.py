"""The queue: files whose bytes have to be hashed, contents that wait for a stage, and what waits again.

Built around states in the tables `file` and `content`: nothing else remembers work, so nothing
is lost when the program is killed. What is here is done first come, first served; a root that
is away waits. It knows nothing of how the work is done, or of who does it (`leases.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from data.media.kinds import GENERATION
from indexer.catalogue.database import Database
from indexer.catalogue.rows import Stage, Stamp, Unhashed, Work
from indexer.catalogue.schema import content, file, root, stored_name
from indexer.types import Kind


class Queue:
    def __init__(self, database: Database) -> None:
        self._database = database

    # -- files to hash ---------------------------------------------------------------------

    def unhashed(self, limit: int, skip: Collection[int] = ()) -> list[Unhashed]:
        """Files whose bytes have to be hashed, oldest first, of roots that are here."""
        query = (
            sa.select(file.c.id, file.c.path, file.c.kind, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
            .join(root, root.c.id == file.c.root_id)
            .where(file.c.state == sa.text("'pending'"), root.c.state == "here")
            .order_by(file.c.id)
            .limit(limit + len(skip))
        )
        with self._database.reader() as c:
            rows = [r for r in c.execute(query) if r.id not in skip][:limit]
        return [Unhashed(r.id, r.path, r.kind, (r.size, r.mtime_ns, r.ctime_ns)) for r in rows]

    def hashed(self, done: Iterable[tuple[Unhashed, Stamp, bytes]]) -> int:
        """These files, as they were with that stamp, hold these bytes. Returns how many chunks they bring
        that are embedded already. A file noted as changed again meanwhile stays pending.

        A content that failed under another kind (an image named .pdf) is tried again under the new one.
        """
        reused = 0
        with self._database.writer() as c:
            for f, stamp, digest in done:
                known = c.exec_driver_sql("SELECT kind, state FROM content WHERE hash = ?", (digest,)).first()
                if known is None:
                    c.exec_driver_sql("INSERT INTO content (hash, kind) VALUES (?, ?)", (digest, f.kind))
                elif known.state == "failed" and known.kind != f.kind:
                    c.exec_driver_sql(
                        "UPDATE content SET kind = ?, state = 'pending', error = NULL WHERE hash = ?", (f.kind, digest)
                    )
                elif known.state == "ready":
                    reused += c.exec_driver_sql(
                        "SELECT count(*) FROM chunk WHERE content_hash = ? AND NOT EXISTS"
                        " (SELECT 1 FROM file WHERE id = ? AND content_hash = ?)",
                        (digest, f.file_id, digest),
                    ).scalar_one()
                due = "NULL" if known is None or known.state == "pending" else "coalesce(due, 0) + 1"
                c.exec_driver_sql(
                    "UPDATE file SET content_hash = ?, state = 'known', error = NULL, failed_at = NULL,"
                    f" size = ?, mtime_ns = ?, ctime_ns = ?, due = {due}"
                    " WHERE id = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?",
                    (digest, *stamp, f.file_id, *f.stamp),
                )
        return reused

    # -- contents that wait for a stage ----------------------------------------------------

    def waiting(
        self,
        stage: Stage,
        limit: int,
        skip: Collection[bytes] = (),
        *,
        kind: Kind | None = None,
        model_id: int | None = None,
    ) -> list[Work]:
        """Contents that wait for a stage, oldest first, that a file of a root that is here holds.
        `model_id`: for the stage "embed"."""
        condition = waits_for(stage, model_id)
        if kind is not None:
            condition += f" AND c.kind = '{kind}'"  # a literal: so that the index `content_pending` serves it
        return self._works(condition, limit, skip)

    def count(self, stage: Stage) -> int:
        """How many contents wait for a stage, here or away."""
        with self._database.reader() as c:
            query = f"SELECT count(*) FROM content c WHERE {waits_for(stage)} AND c.orphaned_at IS NULL"
            return c.exec_driver_sql(query).scalar_one()

    def is_waiting(self, stage: Stage, digest: bytes) -> bool:
        """Whether a content waits for a stage, or for the rest of it."""
        with self._database.reader() as c:
            query = f"SELECT 1 FROM content c WHERE c.hash = ? AND {waits_for(stage)}"
            return c.exec_driver_sql(query, (digest,)).first() is not None

    def works(self, rowids: Collection[int]) -> list[Work]:
        """Contents by their row numbers."""
        return self._works(f"c.rowid IN ({', '.join(map(str, rowids)) or 'NULL'})", len(rowids), ())

    def _works(self, condition: str, limit: int, skip: Collection[bytes]) -> list[Work]:
        query = f"SELECT c.hash, c.kind FROM content c WHERE {condition} AND {is_here()} ORDER BY c.rowid LIMIT ?"
        with self._database.reader() as c:
            rows = [(bytes(r[0]), r[1]) for r in c.exec_driver_sql(query, (limit + len(skip),))]
            return [work_of(c, *row) for row in rows if row[0] not in skip][:limit]

    # -- what waits again ------------------------------------------------------------------

    def retry(self) -> int:
        """Everything that failed is pending again; returns how many files that concerns."""
        with self._database.writer() as c:
            n = c.execute(
                sa.select(sa.func.count()).select_from(file).join(content).where(content.c.state == "failed")
            ).scalar_one()
            c.execute(sa.update(content).where(content.c.state == "failed").values(state="pending"))
            n += c.execute(sa.update(file).where(file.c.state == "failed").values(state="pending")).rowcount
            return n

    def set_pending(self, digests: Iterable[bytes]) -> None:
        with self._database.writer() as c:
            for digest in digests:
                c.execute(sa.update(content).where(content.c.hash == digest).values(state="pending"))

    def read_again(self, paths: Iterable[str]) -> int:
        """The indexed contents of these files are pending again: a file beside them has new words for them.
        Returns how many."""
        with self._database.writer() as c:
            return sum(
                c.exec_driver_sql(
                    "UPDATE content SET state = 'pending' WHERE state = 'ready'"
                    " AND hash = (SELECT content_hash FROM file WHERE path = ?)",
                    (stored_name(path),),
                ).rowcount
                for path in paths
            )

    def read_words(self, films: Iterable[str]) -> None:
        """Subtitles lie beside these copies: where a film was indexed without any, it is pending again."""
        with self._database.writer() as c:
            for path in films:
                c.exec_driver_sql(
                    "UPDATE content SET state = 'pending' WHERE state = 'ready' AND heard <> 'subtitles'"
                    " AND hash = (SELECT content_hash FROM file WHERE path = ?)",
                    (stored_name(path),),
                )

    def make_live(self, pictures: Collection[str]) -> bool:
        """Note of images that they have a film; False, and nothing is noted, where one of them is not in the
        library."""
        with self._database.writer() as c:
            held = sa.select(file.c.content_hash).where(file.c.path.in_(pictures)).join(content)
            rows = c.execute(held.where(content.c.kind == "image", content.c.state != "failed")).scalars().all()
            if len(rows) < len(pictures):
                return False
            c.execute(sa.update(content).where(content.c.hash.in_(rows)).values(live=1))
            return True

    def read_half_again(self, film: str) -> None:
        """An image has this film for its half: where that was read as a film of its own, it is pending again."""
        with self._database.writer() as c:
            c.exec_driver_sql(
                "UPDATE content SET state = 'pending' WHERE state = 'ready'"
                " AND hash = (SELECT content_hash FROM file WHERE path = ?)"
                " AND EXISTS (SELECT 1 FROM chunk WHERE content_hash = content.hash)",
                (stored_name(film),),
            )

    def recut(self, recipe: str) -> int:
        """Videos that were cut by another recipe are pending again; their chunks answer until then."""
        with self._database.writer() as c:
            stale = (content.c.kind == "video") & (content.c.state == "ready") & (content.c.recipe != recipe)
            return c.execute(sa.update(content).where(stale).values(state="pending")).rowcount


def waits_for(stage: Stage, model_id: int | None = None) -> str:
    """SQL: content `c` waits for a stage. Literals, so that the partial indexes serve it."""
    older = " OR ".join(f"c.kind = '{kind}' AND c.generation < {newest}" for kind, newest in GENERATION.items())
    return {
        "decode": "c.state = 'pending'",
        "embed": "c.state = 'ready' AND EXISTS (SELECT 1 FROM chunk k WHERE k.content_hash = c.hash AND"
        " NOT EXISTS (SELECT 1 FROM embedding e WHERE e.chunk_id = k.id"
        f" AND e.model_id = {int(model_id or 0)}))",
        "ocr": "c.ocr = 'pending' AND c.state = 'ready'",
        "reread": f"c.state <> 'pending' AND ({older})",
        "speech": "c.heard = 'pending' AND c.state = 'ready'",
    }[stage]


def is_here(roots: Collection[int] | None = None) -> str:
    """SQL: a file of a root that is here (one of `roots`, ids) holds content `c`."""
    among = "" if roots is None else f" AND r.id IN ({', '.join(map(str, sorted(roots)))})"
    return (
        "EXISTS (SELECT 1 FROM file f JOIN root r ON r.id = f.root_id"
        f" WHERE f.content_hash = c.hash AND f.state = 'known' AND r.state = 'here'{among})"
    )


def work_of(c: sa.Connection, digest: bytes, kind: Kind) -> Work:
    rows = c.execute(
        sa.select(file.c.path, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
        .join(root, root.c.id == file.c.root_id)
        .where(file.c.content_hash == digest, file.c.state == "known", root.c.state == "here")
        .order_by(file.c.id)
    ).all()
    files = tuple((r.path, (r.size, r.mtime_ns, r.ctime_ns)) for r in rows)
    return Work(digest, kind, files, rows[0].size if rows else 0)
