"""Leases: which worker works on which content and until when, so that several machines index one library.

Built around one row per leased content. A worker's heartbeat extends its leases; a dead worker's leases expire,
and its contents are free again. A result is written only under a valid lease, in the transaction that ends it
(`settle`). All times are of the database's clock, as a machine's may be an hour off. It knows nothing of the
work itself.
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

LISTED_S = 24 * 3600.0
"""Seconds without a heartbeat after which a worker is not listed any more."""


@dataclass(frozen=True)
class Lease:
    """`attempt`: 1 for the first lease of the content; `Heartbeat` gives up a content that keeps killing workers."""

    work: Work
    attempt: int


@dataclass(frozen=True)
class WorkerRow:
    """`silent_s`: seconds since its last heartbeat. `holds`: its leases now. `told`: what it does, in one line.
    `maps`: root in the catalogue -> its path for this worker, "" if the worker does not see it."""

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
        """Returns the roots of the library, each with whether the catalogue has files of it, for a worker, which
        finds them on its machine and does not change them."""
        with self._database.reader() as c:
            with_files = set(
                c.exec_driver_sql(
                    "SELECT r.id FROM root r WHERE EXISTS (SELECT 1 FROM file f WHERE f.root_id = r.id)"
                ).scalars()
            )
            return [(root, root.id in with_files) for root in roots_of(c)]

    def enrol(self, name: str, host: str, version: str, model: str, maps: Mapping[str, str]) -> int:
        """Add a worker and return its id. A worker of the same name is replaced; its leases stay."""
        now = self._database.dialect.now
        with self._database.short_writer() as c:
            number: int = c.exec_driver_sql(
                "INSERT INTO worker (name, host, version, model, maps, told, since, seen)"
                f" VALUES (?, ?, ?, ?, ?, '', {now}, {now}) ON CONFLICT (name) DO UPDATE SET"
                " host = excluded.host, version = excluded.version, model = excluded.model,"
                " maps = excluded.maps, told = '', since = excluded.since, seen = excluded.seen RETURNING id",
                (name, host, version, model, json.dumps(dict(maps), sort_keys=True)),
            ).scalar_one()
            return number

    def dismiss(self, worker_id: int) -> None:
        """Delete a worker and its leases."""
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
        """Lease at most `limit` contents to a worker for `lease_s` seconds, the oldest first: contents that no other
        worker has and that have a file in `roots` (ids; None: any root that is here). Rows that other workers
        are locking are skipped. `model_id`: for the stage "embed". `skip`: digests.
        """
        waits = waits_for(stage, model_id)
        now = self._database.dialect.now
        skipped = tuple(skip)
        not_skipped = f" AND c.hash NOT IN ({', '.join('?' * len(skipped))})" if skipped else ""
        free = (
            f"SELECT c.hash FROM content c WHERE {waits} AND c.kind IN ({', '.join('?' * len(kinds))})"
            f" AND {is_here(roots)}"
            f" AND NOT EXISTS (SELECT 1 FROM claim k WHERE k.hash = c.hash AND k.until > {now})"
            f"{not_skipped} ORDER BY c.rowid LIMIT ?{self._database.dialect.skip_locked}"
        )
        with self._database.short_writer() as c:
            # ON CONFLICT keeps a lease that another worker took since this statement began: it has not expired.
            rows = c.exec_driver_sql(
                f"WITH free AS ({free}) INSERT INTO claim (hash, worker_id, until, tries)"
                f" SELECT hash, ?, {now} + ?, 1 FROM free WHERE 1 = 1 ON CONFLICT (hash) DO UPDATE SET"
                " worker_id = excluded.worker_id, until = excluded.until, tries = claim.tries + 1"
                f" WHERE claim.until <= {now} RETURNING hash, tries",
                (*kinds, *skipped, limit, worker_id, float(lease_s)),
            ).all()
            attempts = {bytes(row[0]): int(row[1]) for row in rows}
            if not attempts:
                return []
            # A content that was finished meanwhile does not wait any more.
            marks = ", ".join("?" * len(attempts))
            waiting = c.exec_driver_sql(
                f"SELECT c.hash, c.kind FROM content c WHERE {waits} AND c.hash IN ({marks}) ORDER BY c.rowid",
                tuple(attempts),
            ).all()
            leases = [Lease(work_of(c, bytes(r[0]), r[1]), attempts[bytes(r[0])]) for r in waiting]
            finished = set(attempts) - {each.work.hash for each in leases}
            if finished:
                c.execute(sa.delete(lease).where(lease.c.hash.in_(finished), lease.c.worker_id == worker_id))
            return leases

    def heartbeat(
        self, worker_id: int, lease_s: float, status_text: str = "", maps: Mapping[str, str] | None = None
    ) -> set[bytes]:
        """Extend a worker's leases by `lease_s` and store its status. Returns the hashes of its contents.
        `maps`: as in `WorkerRow`. Raises LibraryError if the worker is not listed any more."""
        now = self._database.dialect.now
        with self._database.short_writer() as c:
            is_listed = c.exec_driver_sql(
                f"UPDATE worker SET seen = {now}, told = ? WHERE id = ?", (status_text, worker_id)
            ).rowcount
            if is_listed and maps is not None:
                c.exec_driver_sql(
                    "UPDATE worker SET maps = ? WHERE id = ?", (json.dumps(dict(maps), sort_keys=True), worker_id)
                )
            if not is_listed:
                raise LibraryError("This worker was taken off the library's list: start it again.")
            rows = c.exec_driver_sql(
                f"UPDATE claim SET until = {now} + ? WHERE worker_id = ? AND until > {now} RETURNING hash",
                (float(lease_s), worker_id),
            ).all()
            return {bytes(row[0]) for row in rows}

    def release(self, worker_id: int, hashes: Collection[bytes] | None = None) -> int:
        """End a worker's leases on contents; all of them with None. Returns how many."""
        condition = lease.c.worker_id == worker_id
        with self._database.short_writer() as c:
            if hashes is not None:
                condition = condition & lease.c.hash.in_(list(hashes))
            return c.execute(sa.delete(lease).where(condition)).rowcount

    def workers(self) -> list[WorkerRow]:
        """Returns the workers with a recent heartbeat, by name."""
        now = self._database.dialect.now
        with self._database.reader() as c:
            rows = c.exec_driver_sql(
                f"SELECT w.id, w.name, w.host, w.version, w.model, w.maps, w.told, {now} - w.seen,"
                f" (SELECT count(*) FROM claim k WHERE k.worker_id = w.id AND k.until > {now})"
                f" FROM worker w WHERE w.seen > {now} - {LISTED_S} ORDER BY w.name"
            ).all()
        return [
            WorkerRow(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]), told=r[6], silent_s=r[7], holds=r[8])
            for r in rows
        ]

    def count(self) -> int:
        """Returns how many contents are leased now."""
        with self._database.reader() as c:
            return int(
                c.exec_driver_sql(f"SELECT count(*) FROM claim WHERE until > {self._database.dialect.now}").scalar_one()
            )


def settle(c: sa.Connection, database: Database, digest: bytes, worker_id: int | None, *, ends: bool = True) -> None:
    """In the transaction that writes a result: check that the worker has the lease, and end it if `ends`. Nothing
    is checked without a worker (only one program indexes). Raises LeaseLost."""
    if worker_id is None:
        return
    # Lock the content first, as `Leases.take` does: another order would be a deadlock.
    c.exec_driver_sql(f"SELECT 1 FROM content c WHERE c.hash = ?{database.dialect.locking}", (digest,))
    valid = f"FROM claim WHERE hash = ? AND worker_id = ? AND until > {database.dialect.now}"
    if ends:
        has_lease = bool(c.exec_driver_sql(f"DELETE {valid}", (digest, worker_id)).rowcount)
    else:
        has_lease = c.exec_driver_sql(f"SELECT 1 {valid}", (digest, worker_id)).first() is not None
    if not has_lease:
        raise LeaseLost(
            f"The lease on content {digest.hex()[:12]} ran out before it was written: another worker does it."
        )
