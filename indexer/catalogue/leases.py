"""Leases: which worker has which content for how long, so that several machines index one library.

Built around a row a content: a content that is leased is one worker's until the lease runs out; the
worker's heartbeat prolongs it, a dead worker's lease runs out and the content is anybody's again.
A result is written only while the lease is held, in the same transaction that ends it (`settle`). All
times are the database's own clock: a machine's may be an hour off. It knows nothing of what
the work is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from indexer.catalogue.database import Database
from indexer.catalogue.files import roots_of
from indexer.catalogue.queue import is_here, waits_for, work_of
from indexer.catalogue.rows import Root, Stage, Work
from indexer.catalogue.schema import lease, worker
from indexer.errors import LeaseLost, LibraryError
from indexer.types import KINDS, Kind

FORGOTTEN_S = 24 * 3600.0
"""A worker that was silent for so long is taken off the list."""


@dataclass(frozen=True)
class Lease:
    """`attempt`: 1 for the first; a content that keeps killing its workers is given up after some."""

    work: Work
    attempt: int


@dataclass(frozen=True)
class WorkerRow:
    """`silent_s`: since its last heartbeat; `holds`: contents it has a lease on now. `maps`: root as the
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


class Leases:
    def __init__(self, database: Database) -> None:
        self._database = database

    def roots(self) -> list[tuple[Root, bool]]:
        """The roots of the library, each with whether the catalogue has files of it. A worker reads them to
        find them on its machine, and has no way to change them."""
        with self._database.reader() as c:
            held = set(
                c.exec_driver_sql(
                    "SELECT r.id FROM root r WHERE EXISTS (SELECT 1 FROM file f WHERE f.root_id = r.id)"
                ).scalars()
            )
            return [(root, root.id in held) for root in roots_of(c)]

    def enrol(self, name: str, host: str, version: str, model: str, maps: Mapping[str, str]) -> int:
        """A worker reports for work under its own name; returns its id. One of the same name is replaced, its
        leases stay its own."""
        now = self._database.dialect.now
        with self._database.short_writer() as c:
            return c.exec_driver_sql(
                "INSERT INTO worker (name, host, version, model, maps, told, since, seen)"
                f" VALUES (?, ?, ?, ?, ?, '', {now}, {now}) ON CONFLICT (name) DO UPDATE SET"
                " host = excluded.host, version = excluded.version, model = excluded.model,"
                " maps = excluded.maps, told = '', since = excluded.since, seen = excluded.seen RETURNING id",
                (name, host, version, model, json.dumps(dict(maps), sort_keys=True)),
            ).scalar_one()

    def dismiss(self, worker_id: int) -> None:
        """The worker has ended: its leases end with it."""
        with self._database.short_writer() as c:
            c.execute(sa.delete(lease).where(lease.c.worker_id == worker_id))
            c.execute(sa.delete(worker).where(worker.c.id == worker_id))

    def take(
        self,
        worker_id: int,
        limit: int,
        lease_s: float,
        kinds: Sequence[Kind] = KINDS,
        *,
        stage: Stage = "decode",
        model_id: int | None = None,
        roots: Collection[int] | None = None,
        skip: Collection[bytes] = (),
    ) -> list[Lease]:
        """At most `limit` contents for a worker, the oldest first, its own for `lease_s` seconds: none that
        another has, none without a file in `roots` (ids; None: any that is here). What others are leasing
        at this moment is passed over, not waited for. `model_id`: for the stage "embed". `skip`: contents
        that this worker could not do a moment ago.
        """
        waits = waits_for(stage, model_id)
        now = self._database.dialect.now
        passed = tuple(skip)
        not_these = f" AND c.hash NOT IN ({', '.join('?' * len(passed))})" if passed else ""
        free = (
            f"SELECT c.hash FROM content c WHERE {waits} AND c.kind IN ({', '.join('?' * len(kinds))})"
            f" AND {is_here(roots)}"
            f" AND NOT EXISTS (SELECT 1 FROM claim k WHERE k.hash = c.hash AND k.until > {now})"
            f"{not_these} ORDER BY c.rowid LIMIT ?{self._database.dialect.skip_locked}"
        )
        with self._database.short_writer() as c:
            # A lease given since this statement began is met by ON CONFLICT, and kept: it has not run out.
            rows = c.exec_driver_sql(
                f"WITH free AS ({free}) INSERT INTO claim (hash, worker_id, until, tries)"
                f" SELECT hash, ?, {now} + ?, 1 FROM free WHERE 1 = 1 ON CONFLICT (hash) DO UPDATE SET"
                " worker_id = excluded.worker_id, until = excluded.until, tries = claim.tries + 1"
                f" WHERE claim.until <= {now} RETURNING hash, tries",
                (*kinds, *passed, limit, worker_id, float(lease_s)),
            ).all()
            attempts = {bytes(row[0]): int(row[1]) for row in rows}
            if not attempts:
                return []
            # One that was finished while its lease was being given is pending no more.
            marks = ", ".join("?" * len(attempts))
            still = c.exec_driver_sql(
                f"SELECT c.hash, c.kind FROM content c WHERE {waits} AND c.hash IN ({marks}) ORDER BY c.rowid",
                tuple(attempts),
            ).all()
            given = [Lease(work_of(c, bytes(r[0]), r[1]), attempts[bytes(r[0])]) for r in still]
            gone = set(attempts) - {g.work.hash for g in given}
            if gone:
                c.execute(sa.delete(lease).where(lease.c.hash.in_(gone), lease.c.worker_id == worker_id))
            return given

    def heartbeat(
        self, worker_id: int, lease_s: float, told: str = "", maps: Mapping[str, str] | None = None
    ) -> set[bytes]:
        """The worker is alive (and has this to tell): what it has is its own for `lease_s` more. Returns the
        hashes of what it still has. `maps`: what it sees of the roots now, as in `WorkerRow`. Raises
        LibraryError when it was taken off the list meanwhile."""
        now = self._database.dialect.now
        with self._database.short_writer() as c:
            known = c.exec_driver_sql(
                f"UPDATE worker SET seen = {now}, told = ? WHERE id = ?", (told, worker_id)
            ).rowcount
            if known and maps is not None:
                c.exec_driver_sql(
                    "UPDATE worker SET maps = ? WHERE id = ?", (json.dumps(dict(maps), sort_keys=True), worker_id)
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
        own = lease.c.worker_id == worker_id
        with self._database.short_writer() as c:
            if hashes is not None:
                own = own & lease.c.hash.in_(list(hashes))
            return c.execute(sa.delete(lease).where(own)).rowcount

    def workers(self) -> list[WorkerRow]:
        """The workers with a recent heartbeat, by name."""
        now = self._database.dialect.now
        with self._database.reader() as c:
            rows = c.exec_driver_sql(
                f"SELECT w.id, w.name, w.host, w.version, w.model, w.maps, w.told, {now} - w.seen,"
                f" (SELECT count(*) FROM claim k WHERE k.worker_id = w.id AND k.until > {now})"
                f" FROM worker w WHERE w.seen > {now} - {FORGOTTEN_S} ORDER BY w.name"
            ).all()
        return [
            WorkerRow(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]), told=r[6], silent_s=r[7], holds=r[8])
            for r in rows
        ]

    def count(self) -> int:
        """How many contents are leased now."""
        with self._database.reader() as c:
            return c.exec_driver_sql(
                f"SELECT count(*) FROM claim WHERE until > {self._database.dialect.now}"
            ).scalar_one()


def settle(c: sa.Connection, database: Database, digest: bytes, worker_id: int | None, *, ends: bool = True) -> None:
    """In the transaction that writes a result: check that the worker holds the lease, and end it unless
    not `ends`. Without a worker (one program indexes alone) nothing is checked. Raises LeaseLost."""
    if worker_id is None:
        return
    # The content first, as `Leases.take` does: whoever locks in the other order waits for ever.
    c.exec_driver_sql(f"SELECT 1 FROM content c WHERE c.hash = ?{database.dialect.locking}", (digest,))
    held = f"FROM claim WHERE hash = ? AND worker_id = ? AND until > {database.dialect.now}"
    if ends:
        own = bool(c.exec_driver_sql(f"DELETE {held}", (digest, worker_id)).rowcount)
    else:
        own = c.exec_driver_sql(f"SELECT 1 {held}", (digest, worker_id)).first() is not None
    if not own:
        raise LeaseLost(
            f"The lease on content {digest.hex()[:12]} ran out before it was written: another worker does it."
        )
