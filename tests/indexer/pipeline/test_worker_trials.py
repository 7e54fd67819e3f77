"""The `sightline worker` of the command line, killed again and again, and its database killed under it.

Two workers index a library whose folder lies elsewhere for them; what they end with must be what one
undisturbed run made. The journal tells that nothing was written twice: a chunk that was written again would
have left a second row there.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.library import Library
from indexer.pipeline.worker import Worker
from model.embedder import Embedder
from tests import media, postgresql
from tests.indexer.conftest import contents_of, wait_for
from tests.postgresql import Server

LEASE_S = 3.0

LONGEST_S = 180.0


class Sightline:
    """One command of ours as a process; `said`: its lines for people."""

    def __init__(self, *arguments: str) -> None:
        self.command = [sys.executable, "-m", "app.cli", *arguments]
        self.start()

    def start(self) -> None:
        self.said: list[str] = []
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reading.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self.said.append(line.rstrip())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> int:
        """Ask it to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reading.join(10)
        return code


class Made:
    """A library that an undisturbed run made and that is all pending again; its folder was moved since."""

    def __init__(self, at: Path, server: Server, photos: int = 200) -> None:
        self.there, self.here = at / "volume1", at / "nas"
        self.there.mkdir(parents=True)
        for n in range(photos):
            media.draw_image(self.there / f"{n}.jpg", seed=n, size=(800, 600))
        media.draw_pdf(self.there / "book.pdf", [f"Page {n} of the book" for n in range(6)])
        media.draw_video(self.there / "film.mp4", 65.0, size=(128, 96), fps=5)
        (self.there / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
        self.server, address = server, server.database()
        with Library.open(at / "home", catalogue=address, nice=False, ocr="off") as library:
            library.index([self.there])
            self.expected = contents_of(library)
            with library.catalogue.database.writer() as c:
                c.exec_driver_sql("DELETE FROM chunk")
                c.exec_driver_sql("UPDATE content SET state = 'pending', error = NULL, failed_at = NULL")
            self.journal = library.catalogue.contents.last_change()
        self.there.rename(self.here)
        self.database = address.rsplit("/", 1)[1]

    def copy(self) -> str:
        """The address of another such library."""
        return self.server.database(like=self.database)


class Trial:
    """Two workers over such a library, that see its folder at another place."""

    def __init__(self, at: Path, made: Made) -> None:
        self.made, self.address, self.home = made, made.copy(), at / "home"
        self.catalogue = Catalogue(place(self.address))
        self.workers = [
            Sightline(
                "worker", "--catalogue", self.address, "--map", f"{made.here}={made.there}",
                "--name", f"w{n}", "--lease", str(LEASE_S), "--no-nice", "--data-dir", str(at / f"w{n}"),
            )
            for n in range(2)
        ]  # fmt: skip

    def wait_for_middle(self, seconds: float) -> int:
        """Until so long after both workers have something; returns how many files are pending then."""
        wait_for(lambda: sum(w.holds > 0 for w in self.catalogue.leases.workers()) == 2, LONGEST_S)
        time.sleep(seconds)
        return self.catalogue.files.counts().pending

    def wait_for_end(self) -> None:
        """Until the workers have done everything, then ask them to leave: both leave well."""
        wait_for(lambda: self.catalogue.files.counts().pending == 0 and not self.catalogue.leases.count(), LONGEST_S)
        for each in self.workers:
            assert each.leave() == 0, each.said
            assert "contents" in each.said[-1]

    def assert_as_undisturbed(self) -> None:
        assert self.catalogue.leases.count() == 0 and self.catalogue.leases.workers() == []
        with self.catalogue.database.reader() as c:
            told = c.exec_driver_sql("SELECT chunk_id FROM change WHERE id > ?", (self.made.journal,)).all()
            chunks = c.exec_driver_sql("SELECT id FROM chunk").all()
        assert sorted(told) == sorted(chunks), "a chunk was written twice"
        found = contents_of(self)  # type: ignore[arg-type]
        assert found.keys() == self.made.expected.keys()
        for key, value in self.made.expected.items():
            assert found[key][:-1] == value[:-1]
            if value[-1] is not None:
                one, other = (np.frombuffer(v[-1], "<f2").astype(np.float32) for v in (found[key], value))
                assert np.abs(one - other).max() < 1e-3  # a batch may round its last bit another way

    def close(self) -> None:
        for each in self.workers:
            each.kill()
        self.catalogue.close()


def worker_killed(at: Path, made: Made, seed: int) -> bool:
    """SIGKILL for one of two workers, which is started again; whether anything was left to do then."""
    chance = random.Random(seed)
    trial = Trial(at, made)
    try:
        left = trial.wait_for_middle(chance.uniform(0, 1.0))
        trial.workers[0].kill()
        time.sleep(chance.choice([0.0, 2 * LEASE_S]))  # at once, or after its leases have run out
        trial.workers[0].start()
        wait_for(lambda: trial.workers[0].said, LONGEST_S)  # it is at work
        trial.wait_for_end()
        trial.assert_as_undisturbed()
    finally:
        trial.close()
    return left > 0


def server_killed(at: Path, made: Made, seed: int) -> bool:
    """SIGKILL for the database server under both workers; whether anything was left to do then."""
    chance = random.Random(seed)
    trial = Trial(at, made)
    try:
        left = trial.wait_for_middle(chance.uniform(0, 1.0))
        kill_9(made.server)
        for each in trial.workers:
            wait_for(partial(tells_of_waiting, each), LONGEST_S)
        status = Sightline("status", "--catalogue", trial.address, "--data-dir", str(trial.home))
        assert status.process.wait(60) == 1
        status.leave()
        assert len(status.said) == 1 and "does not answer" in status.said[0]
        start_again(made.server)
        trial.wait_for_end()
        trial.assert_as_undisturbed()
    finally:
        start_again(made.server)
        trial.close()
    return left > 0


def tells_of_waiting(worker: Sightline) -> bool:
    assert worker.process.poll() is None, worker.said
    return any("The database server of" in s and "goes on by itself" in s for s in worker.said)


def kill_9(server: Server) -> None:
    """The postmaster dies without a word; its children see it and follow."""
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not has_process(pid), 60)


def has_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def start_again(server: Server) -> None:
    """Unless it runs; as soon as the children of the one before have gone."""

    def started() -> bool:
        try:
            server.start_again()
        except RuntimeError:
            return False
        return True

    wait_for(started, 60)


def test_a_database_that_dies_while_a_worker_begins_is_waited_for(tmp_path: Path, lite: Embedder) -> None:
    with postgresql.running() as server:
        made = Made(tmp_path / "made", server, photos=3)
        address = made.copy()
        said: list[str] = []

        def loaded(name: str, **options: object) -> Embedder:
            if not said:
                kill_9(server)
            return lite

        def tell(line: str) -> None:
            said.append(line)
            start_again(server)

        worker = Worker(tmp_path, address, maps=[f"{made.here}={made.there}"], name="w0", nice=False, loader=loaded)
        try:
            tally = worker.run(threading.Event(), tell, once=True)
        finally:
            worker.close()
    assert "does not answer" in said[0] and "goes on by itself" in said[0]
    assert (tally.contents, tally.failed) == (5, 1)


def many(trial: Callable[[Path, Made, int], bool], at: Path, server: Server) -> int:
    """How many of twenty trials hit a library in the middle of it."""
    made = Made(at / "made", server)
    return sum(trial(at / str(n), made, n) for n in range(1, 21))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_worker_command_is_killed_twenty_times(tmp_path: Path, postgresql_server: Server) -> None:
    assert many(worker_killed, tmp_path, postgresql_server) >= 15


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_database_dies_twenty_times_under_the_worker_command(tmp_path: Path) -> None:
    with postgresql.running() as server:
        assert many(server_killed, tmp_path, server) >= 15
