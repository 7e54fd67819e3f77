"""The stored queue: files to hash, contents that wait for a stage, and what makes them wait again.

Built around the states in the tables `file` and `content`: work is recorded nowhere else, so nothing is lost
when the program is killed. The oldest row comes first; files of a root that is away wait. It knows nothing of
how the work is done, or which worker does it (`leases.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from data.media.kinds import GENERATION, TEXTLESS
from indexer.catalogue.database import Database
from indexer.catalogue.rows import Pictures, Stage, Stamp, Unhashed, Work
from indexer.catalogue.schema import content, file, root, stored_name
from indexer.types import Kind


class Queue:
    def __init__(self, database: Database) -> None:
        self._database = database

    # -- files to hash ---------------------------------------------------------------------

    def unhashed(self, limit: int, skip: Collection[int] = ()) -> list[Unhashed]:
        """Returns the files to hash, oldest first, of roots that are here. `skip`: ids of files."""
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

    def hashed(self, hashes: Iterable[tuple[Unhashed, Stamp, bytes]]) -> int:
        """Store the hashes of files and the stamps that they had. Returns how many chunks of them are embedded
        already. A file that has changed again meanwhile stays pending.

        A content that failed as another kind (an image named .pdf) is tried again as the new one.
        """
        reused = 0
        with self._database.writer() as c:
            for f, stamp, digest in hashes:
                stored = c.exec_driver_sql("SELECT kind, state FROM content WHERE hash = ?", (digest,)).first()
                if stored is None:
                    c.exec_driver_sql("INSERT INTO content (hash, kind) VALUES (?, ?)", (digest, f.kind))
                elif stored.state == "failed" and stored.kind != f.kind:
                    c.exec_driver_sql(
                        "UPDATE content SET kind = ?, state = 'pending', error = NULL WHERE hash = ?", (f.kind, digest)
                    )
                elif stored.state == "ready":
                    reused += c.exec_driver_sql(
                        "SELECT count(*) FROM chunk WHERE content_hash = ? AND NOT EXISTS"
                        " (SELECT 1 FROM file WHERE id = ? AND content_hash = ?)",
                        (digest, f.file_id, digest),
                    ).scalar_one()
                due = "NULL" if stored is None or stored.state == "pending" else "coalesce(due, 0) + 1"
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
        newest: bool = False,
    ) -> list[Work]:
        """Returns contents that wait for a stage and have a file in a root that is here, oldest first, or `newest`
        first. `model_id`: for the stage "embed"."""
        condition = waits_for(stage, model_id)
        if kind is not None:
            condition += f" AND c.kind = '{kind}'"  # a literal: so that the index `content_pending` serves it
        return self._works(condition, limit, skip, "DESC" if newest else "ASC")

    def count(self, stage: Stage) -> int:
        """Returns how many contents wait for a stage, also those of roots that are away."""
        with self._database.reader() as c:
            query = f"SELECT count(*) FROM content c WHERE {waits_for(stage)} AND c.orphaned_at IS NULL"
            return int(c.exec_driver_sql(query).scalar_one())

    def pictures_for_ocr(self, *, every: bool) -> dict[Kind, Pictures]:
        """Returns the images, and the pages without text of PDFs, in the contents that wait for OCR; `every`: all pages
        and windows."""
        textless = "" if every else f" AND length(k.text) < {TEXTLESS}"
        with self._database.reader() as c:
            rows = c.exec_driver_sql(
                "SELECT kind, pictures, count(*) FROM (SELECT c.kind, CASE WHEN c.kind = 'image' THEN 1 ELSE"
                f" (SELECT count(*) FROM chunk k WHERE k.content_hash = c.hash{textless}) END AS pictures"
                f" FROM content c WHERE {waits_for('ocr')} AND c.orphaned_at IS NULL) waiting GROUP BY kind, pictures"
            )
            waiting: dict[Kind, Pictures] = {}
            for kind, number, contents in rows:
                known, each = waiting.get(kind, Pictures()), max(number, 1)
                waiting[kind] = Pictures(
                    known.contents + contents, known.number + each * contents, max(known.most, each)
                )
            return waiting

    def chunks_to_reread(self) -> dict[Kind, int]:
        """Returns the chunks of the contents that wait to be read again, and one for each that failed."""
        with self._database.reader() as c:
            rows = c.exec_driver_sql(
                "SELECT c.kind, count(*) FROM content c LEFT JOIN chunk k ON k.content_hash = c.hash"
                f" WHERE {waits_for('reread')} AND c.orphaned_at IS NULL GROUP BY c.kind"
            )
            return {kind: int(count) for kind, count in rows}

    def seconds_to_hear(self) -> float:
        """Returns the seconds of the videos that wait to be transcribed, also those that were heard of them."""
        with self._database.reader() as c:
            query = f"SELECT sum(c.duration_s) FROM content c WHERE {waits_for('speech')} AND c.orphaned_at IS NULL"
            return float(c.exec_driver_sql(query).scalar_one() or 0.0)

    def is_waiting(self, stage: Stage, digest: bytes) -> bool:
        """Whether a content waits for a stage, or for the rest of one."""
        with self._database.reader() as c:
            query = f"SELECT 1 FROM content c WHERE c.hash = ? AND {waits_for(stage)}"
            return c.exec_driver_sql(query, (digest,)).first() is not None

    def works(self, rowids: Collection[int]) -> list[Work]:
        """Returns contents by their row numbers."""
        return self._works(f"c.rowid IN ({', '.join(map(str, rowids)) or 'NULL'})", len(rowids), ())

    def _works(self, condition: str, limit: int, skip: Collection[bytes], order: str = "ASC") -> list[Work]:
        query = (
            f"SELECT c.hash, c.kind FROM content c WHERE {condition} AND {is_here()} ORDER BY c.rowid {order} LIMIT ?"
        )
        with self._database.reader() as c:
            rows = [(bytes(r[0]), r[1]) for r in c.exec_driver_sql(query, (limit + len(skip),))]
            return [work_of(c, *row) for row in rows if row[0] not in skip][:limit]

    # -- making contents wait again --------------------------------------------------------

    def retry(self) -> int:
        """Make all failed files and contents pending again. Returns the number of files."""
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
        """Make the indexed contents of these files pending again, as their sidecars have changed. Returns how
        many."""
        with self._database.writer() as c:
            return sum(
                c.exec_driver_sql(
                    "UPDATE content SET state = 'pending' WHERE state = 'ready'"
                    " AND hash = (SELECT content_hash FROM file WHERE path = ?)",
                    (stored_name(path),),
                ).rowcount
                for path in paths
            )

    def read_words(self, videos: Iterable[str]) -> None:
        """Make the contents of these videos, which have subtitles beside them, pending again if they were indexed
        without subtitles."""
        with self._database.writer() as c:
            for path in videos:
                c.exec_driver_sql(
                    "UPDATE content SET state = 'pending' WHERE state = 'ready' AND heard <> 'subtitles'"
                    " AND hash = (SELECT content_hash FROM file WHERE path = ?)",
                    (stored_name(path),),
                )

    def make_live(self, images: Collection[str]) -> bool:
        """Mark images (paths) as live photos. Returns False, and marks none, if one is not in the library."""
        with self._database.writer() as c:
            query = sa.select(file.c.content_hash).where(file.c.path.in_(images)).join(content)
            rows = c.execute(query.where(content.c.kind == "image", content.c.state != "failed")).scalars().all()
            if len(rows) < len(images):
                return False
            c.execute(sa.update(content).where(content.c.hash.in_(rows)).values(live=1))
            return True

    def read_pictures(self, *, every: bool) -> None:
        """Have the words read of images and of pages without text that were indexed while none were read; `every`: of
        all pages."""
        textless = "EXISTS (SELECT 1 FROM chunk k WHERE k.content_hash = content.hash AND k.text = '')"
        pages = "1 = 1" if every else textless
        with self._database.writer() as c:
            c.exec_driver_sql(
                "UPDATE content SET ocr = 'pending' WHERE ocr = 'none' AND state = 'ready'"
                f" AND (kind = 'image' OR kind = 'pdf' AND {pages})"
            )

    def read_half_again(self, video: str) -> None:
        """Make the video of a live photo (a path) pending again if it was indexed as a video of its own."""
        with self._database.writer() as c:
            c.exec_driver_sql(
                "UPDATE content SET state = 'pending' WHERE state = 'ready'"
                " AND hash = (SELECT content_hash FROM file WHERE path = ?)"
                " AND EXISTS (SELECT 1 FROM chunk WHERE content_hash = content.hash)",
                (stored_name(video),),
            )

    def recut(self, recipe: str) -> int:
        """Make videos that were cut by another recipe pending again; their chunks answer until they are cut.
        Returns how many."""
        with self._database.writer() as c:
            stale = (content.c.kind == "video") & (content.c.state == "ready") & (content.c.recipe != recipe)
            return c.execute(sa.update(content).where(stale).values(state="pending")).rowcount


def waits_for(stage: Stage, model_id: int | None = None) -> str:
    """Returns the SQL condition that content `c` waits for a stage. Its values are literals, so that the partial
    indexes serve it."""
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
    """Returns the SQL condition that content `c` has a file in a root that is here (one of `roots`, ids)."""
    among = "" if roots is None else f" AND r.id IN ({', '.join(map(str, sorted(roots)))})"
    return (
        "EXISTS (SELECT 1 FROM file f JOIN root r ON r.id = f.root_id"
        f" WHERE f.content_hash = c.hash AND f.state = 'known' AND r.state = 'here'{among})"
    )


_FILES_HERE = (
    sa.select(file.c.path, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
    .join(root, root.c.id == file.c.root_id)
    .where(file.c.content_hash == sa.bindparam("digest"), file.c.state == "known", root.c.state == "here")
    .order_by(file.c.id)
)


def work_of(c: sa.Connection, digest: bytes, kind: Kind) -> Work:
    rows = c.execute(_FILES_HERE, {"digest": digest}).all()
    files = tuple((r.path, (r.size, r.mtime_ns, r.ctime_ns)) for r in rows)
    return Work(digest, kind, files, rows[0].size if rows else 0)
