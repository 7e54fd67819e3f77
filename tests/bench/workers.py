"""`make bench-workers`: two workers beside one, on the same contents of one library on PostgreSQL.

Each worker stands for a machine: it has one core to itself (decode-bound), or a model behind a stub that
takes a fixed time a chunk (embedding-bound). Timed from the first content that is ready to the last, so that
starting programs does not count.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.library import Library
from tests import media, postgresql
from tests.bench import report
from tests.indexer.pipeline.killable_worker import Program

FILMS = 32

ROUNDS = 2
"""One worker, two workers, one worker, two workers: what else the machine does falls on both."""


@contextmanager
def library(folder: Path, server: postgresql.Server) -> Iterator[tuple[str, Catalogue]]:
    """Indexed once: the catalogue's address, and the catalogue, in which all can be pending again."""
    database = server.database()
    with Library.open(folder.parent / "watcher", nice=False, ocr="off", speech="off", catalogue=database) as opened:
        opened.index([folder])
    catalogue = Catalogue(place(database))
    yield database, catalogue
    catalogue.close()
    shutil.rmtree(folder.parent / "watcher")


def rate(folder: Path, database: str, catalogue: Catalogue, workers: int, **options: float) -> float:
    """Contents a second of so many workers."""
    cores = sorted(os.sched_getaffinity(0))
    programs = [
        Program(
            "worker", database, folder.parent / f"w{n}", name=f"w{n}", threads=1, core=cores[n % len(cores)], **options
        )
        for n in range(workers)
    ]
    try:
        while len([w for w in catalogue.leases.workers() if w.told]) < workers:
            time.sleep(0.05)
        again(catalogue, 4 * workers)  # children are started and files are in the system's cache
        while left(catalogue):
            time.sleep(0.05)
        time.sleep(1.0)
        again(catalogue, None)
        total = first = left(catalogue)
        begun = time.perf_counter()
        while first == total:
            time.sleep(0.005)
            first, begun = left(catalogue), time.perf_counter()
        while left(catalogue):
            time.sleep(0.02)  # each look takes its time of the cores that are measured
        return first / (time.perf_counter() - begun)
    finally:
        for each in programs:
            each.end()


def again(catalogue: Catalogue, most: int | None) -> None:
    """So many contents are pending again (None: all); their chunks go."""
    with catalogue.database.writer() as c:
        some = f"IN (SELECT hash FROM content ORDER BY rowid LIMIT {most})" if most else "IS NOT NULL"
        c.exec_driver_sql(f"DELETE FROM chunk WHERE content_hash {some}")
        c.exec_driver_sql(f"UPDATE content SET state = 'pending' WHERE hash {some}")


def left(catalogue: Catalogue) -> int:
    with catalogue.database.reader() as c:
        return c.exec_driver_sql("SELECT count(*) FROM content WHERE state = 'pending'").scalar_one()


def compared(folder: Path, server: postgresql.Server, **options: float) -> tuple[float, float, float]:
    """(two workers / one, contents a second of one, of two)."""
    with library(folder, server) as (database, catalogue):
        rates = [[rate(folder, database, catalogue, workers, **options) for workers in (1, 2)] for _ in range(ROUNDS)]
    one, two = (statistics.mean(r[n] for r in rates) for n in (0, 1))
    return two / one, one, two


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="sightline-bench-"))
    rows = []
    try:
        with postgresql.running() as server:
            large, small = folder / "large" / "media", folder / "small" / "media"
            large.mkdir(parents=True)
            small.mkdir(parents=True)
            for n in range(4):
                media.draw_video(large / f"{n}.mp4", 60.0, size=(1280, 720), fps=15, text=str(n), gop=60)
            for path in list(large.iterdir()):
                for n in range(1, FILMS // 4):
                    (large / f"{n} {path.name}").write_bytes(path.read_bytes() + bytes([n]))
            for n in range(400):
                media.draw_image(small / f"{n}.jpg", seed=n, size=(160, 120))
            ratio, one, two = compared(large, server, stub_s=0.0001)
            told = f"{FILMS} films of a minute, one core a worker: {one:.2f} and {two:.2f} a second"
            rows.append(("two workers / one, decode-bound", ratio, "≥ 1.7", told))
            ratio, one, two = compared(small, server, stub_s=0.02)
            told = f"400 small photos, 20 ms a chunk behind a stub: {one:.1f} and {two:.1f} a second"
            rows.append(("two workers / one, embedding-bound", ratio, "≥ 1.9", told))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.write("workers", report.table(["measure", "measured", "target", "details"], rows))


if __name__ == "__main__":
    main()
