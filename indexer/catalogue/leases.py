"""Work for many: which worker has which content for how long, so that several machines index one library.

Built around leases. A content that is claimed is one worker's until its lease runs out; the
worker's heartbeat prolongs it, a dead worker's lease runs out and the content is anybody's again.
A result is written only while the lease is held, in the same transaction that ends it. All
times are the database's own clock: a machine's may be an hour off. It knows nothing of what
the work is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa

from indexer.catalogue.dialects import explained
from indexer.catalogue.lookups import Lookup
from indexer.catalogue.rows import Work
from indexer.catalogue.schema import claim, worker
from indexer.errors import LeaseLost, LibraryError
from indexer.types import KINDS, Kind

Task = Literal["read", "embed", "ocr", "hear"]
"""Contents that are pending; ready ones that lack a vector under a model; those whose words are unread, whose
sound is unheard."""

FORGOTTEN_S = 24 * 3600.0
"""A worker that was not heard of for so long is taken off the list."""


@dataclass(frozen=True)
class Claim:
    """`tries`: the how-manieth attempt this is; one that never ends well has many."""

    work: Work
    tries: int


@dataclass(frozen=True)
class WorkerRow:
    """`silent_s`: since it was last heard of; `holds`: contents it has a lease on now. `maps`: root as the
    catalogue has it -> where this worker sees it, empty where it does not."""

    id: int
    name: str
    host: str
    version: str
    model: str
    maps: Mapping[str, str] = field(default_factory=dict)
    told: str = ""
    silent_s: float = 0.0
    holds: int = 0


class Claims(Lookup):
    """The part of the catalogue that workers share."""

    _write_lock: threading.RLock

    @contextmanager
    def claiming(self) -> Iterator[sa.Connection]:
        """A short transaction on claims and workers alone; it does not wait for those who write contents."""
        with (
            explained(self.dialect),
            self._write_lock,
            self.engine.connect().execution_options(**self.dialect.writing) as connection,
            connection.begin(),
        ):
            yield connection

    def enrol(self, name: str, host: str, version: str, model: str, maps: Mapping[str, str]) -> int:
        """A worker reports for work under its own name; returns its id. One of the same name is replaced, its
        leases stay its own."""
        now = self.dialect.now
        with self.claiming() as c:
            return c.exec_driver_sql(
                "INSERT INTO worker (name, host, version, model, maps, told, since, seen)"
                f" VALUES (?, ?, ?, ?, ?, '', {now}, {now}) ON CONFLICT (name) DO UPDATE SET"
                " host = excluded.host, version = excluded.version, model = excluded.model,"
                " maps = excluded.maps, told = '', since = excluded.since, seen = excluded.seen RETURNING id",
                (name, host, version, model, json.dumps(dict(maps), sort_keys=True)),
            ).scalar_one()

    def dismiss(self, worker_id: int) -> None:
        """The worker has ended: its leases end with it."""
        with self.claiming() as c:
            c.execute(sa.delete(claim).where(claim.c.worker_id == worker_id))
            c.execute(sa.delete(worker).where(worker.c.id == worker_id))

    def claim(
        self,
        worker_id: int,
        limit: int,
        lease_s: float,
        kinds: Sequence[Kind] = KINDS,
        *,
        task: Task = "read",
        model_id: int | None = None,
        roots: Collection[int] | None = None,
        skip: Collection[bytes] = (),
    ) -> list[Claim]:
        """At most `limit` contents for a worker, the oldest first, its own for `lease_s` seconds: none that
        another has, none without a file in `roots` (ids; None: any that is here). What others are claiming
        at this moment is passed over, not waited for. `model_id`: for the task "embed". `skip`: contents that
        this worker could not do a moment ago.
        """
        among = "" if roots is None else f" AND r.id IN ({', '.join(map(str, sorted(roots)))})"
        state = {
            "read": "c.state = 'pending'",
            "embed": "c.state = 'ready' AND EXISTS (SELECT 1 FROM chunk k WHERE k.content_hash = c.hash AND"
            " NOT EXISTS (SELECT 1 FROM embedding e WHERE e.chunk_id = k.id"
            f" AND e.model_id = {int(model_id or 0)}))",
            "ocr": "c.ocr = 'pending' AND c.state = 'ready'",
            "hear": "c.heard = 'pending' AND c.state = 'ready'",
        }[task]
        now = self.dialect.now
        passed = tuple(skip)
        not_these = f" AND c.hash NOT IN ({', '.join('?' * len(passed))})" if passed else ""
        free = (
            f"SELECT c.hash FROM content c WHERE {state} AND c.kind IN ({', '.join('?' * len(kinds))})"
            " AND EXISTS (SELECT 1 FROM file f JOIN root r ON r.id = f.root_id"
            f" WHERE f.content_hash = c.hash AND f.state = 'known' AND r.state = 'here'{among})"
            f" AND NOT EXISTS (SELECT 1 FROM claim k WHERE k.hash = c.hash AND k.until > {now})"
            f"{not_these} ORDER BY c.rowid LIMIT ?{self.dialect.skip_locked}"
        )
        with self.claiming() as c:
            # A claim made since this statement began is met by ON CONFLICT, and kept: it has not run out.
            rows = c.exec_driver_sql(
                f"WITH free AS ({free}) INSERT INTO claim (hash, worker_id, until, tries)"
                f" SELECT hash, ?, {now} + ?, 1 FROM free WHERE 1 = 1 ON CONFLICT (hash) DO UPDATE SET"
                " worker_id = excluded.worker_id, until = excluded.until, tries = claim.tries + 1"
                f" WHERE claim.until <= {now} RETURNING hash, tries",
                (*kinds, *passed, limit, worker_id, float(lease_s)),
            ).all()
            claimed = {bytes(row[0]): int(row[1]) for row in rows}
            if not claimed:
                return []
            # One that was finished while its claim was being made is pending no more.
            marks = ", ".join("?" * len(claimed))
            still = c.exec_driver_sql(
                f"SELECT c.hash, c.kind FROM content c WHERE {state} AND c.hash IN ({marks})"
                " ORDER BY c.rowid",
                tuple(claimed),
            ).all()
            made = [Claim(self._work(c, bytes(r[0]), r[1]), claimed[bytes(r[0])]) for r in still]
            gone = set(claimed) - {m.work.hash for m in made}
            if gone:
                c.execute(sa.delete(claim).where(claim.c.hash.in_(gone), claim.c.worker_id == worker_id))
            return made

    def heartbeat(
        self, worker_id: int, lease_s: float, told: str = "", maps: Mapping[str, str] | None = None
    ) -> set[bytes]:
        """The worker is alive (and has this to tell): what it has is its own for `lease_s` more. Returns the
        hashes of what it still has. `maps`: what it sees of the roots now, as in `WorkerRow`. Raises
        LibraryError when it was taken off the list meanwhile."""
        now = self.dialect.now
        with self.claiming() as c:
            known = c.exec_driver_sql(
                f"UPDATE worker SET seen = {now}, told = ? WHERE id = ?", (told, worker_id)
            ).rowcount
            if known and maps is not None:
                c.exec_driver_sql(
                    "UPDATE worker SET maps = ? WHERE id = ?",
                    (json.dumps(dict(maps), sort_keys=True), worker_id),
                )
            if not known:
                raise LibraryError("This worker was taken off the library's list: start it again.")
            rows = c.exec_driver_sql(
                f"UPDATE claim SET until = {now} + ? WHERE worker_id = ? AND until > {now} RETURNING hash",
                (float(lease_s), worker_id),
            ).all()
            return {bytes(row[0]) for row in rows}

    def release(self, worker_id: int, hashes: Collection[bytes] | None = None) -> int:
        """Give contents back unfinished, all of them with None; returns how many."""
        own = claim.c.worker_id == worker_id
        with self.claiming() as c:
            if hashes is not None:
                own = own & claim.c.hash.in_(list(hashes))
            return c.execute(sa.delete(claim).where(own)).rowcount

    def settle(self, c: sa.Connection, digest: bytes, worker_id: int | None, *, ends: bool = True) -> None:
        """In the transaction that writes a result: the lease is held, and `ends` with it. Without a worker
        (one program indexes alone) nothing is asked. Raises LeaseLost."""
        if worker_id is None:
            return
        # The content first, as `claim` does: whoever locks in the other order waits for ever.
        c.exec_driver_sql(f"SELECT 1 FROM content c WHERE c.hash = ?{self.dialect.locking}", (digest,))
        held = f"FROM claim WHERE hash = ? AND worker_id = ? AND until > {self.dialect.now}"
        if ends:
            own = bool(c.exec_driver_sql(f"DELETE {held}", (digest, worker_id)).rowcount)
        else:
            own = c.exec_driver_sql(f"SELECT 1 {held}", (digest, worker_id)).first() is not None
        if not own:
            raise LeaseLost(
                f"The lease on content {digest.hex()[:12]} ran out before it was written: "
                "another worker does it."
            )

    def workers(self) -> list[WorkerRow]:
        """All that were heard of lately, by name."""
        now = self.dialect.now
        with self.reader() as c:
            rows = c.exec_driver_sql(
                f"SELECT w.id, w.name, w.host, w.version, w.model, w.maps, w.told, {now} - w.seen,"
                f" (SELECT count(*) FROM claim k WHERE k.worker_id = w.id AND k.until > {now})"
                f" FROM worker w WHERE w.seen > {now} - {FORGOTTEN_S} ORDER BY w.name"
            ).all()
        return [
            WorkerRow(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]), told=r[6], silent_s=r[7], holds=r[8])
            for r in rows
        ]

    def newest_embedding(self) -> int:
        with self.reader() as c:
            return c.exec_driver_sql("SELECT coalesce(max(id), 0) FROM embedding").scalar_one()

    def embedded_since(self, number: int) -> int:
        """How many chunks were embedded since an embedding of that number was the newest, by whomever."""
        with self.reader() as c:
            return c.exec_driver_sql("SELECT count(*) FROM embedding WHERE id > ?", (number,)).scalar_one()

    def claimed(self) -> int:
        """Contents that a worker has now."""
        with self.reader() as c:
            return c.exec_driver_sql(
                f"SELECT count(*) FROM claim WHERE until > {self.dialect.now}"
            ).scalar_one()
