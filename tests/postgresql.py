"""A real PostgreSQL server for the tests: private, in a folder of its own, gone afterwards.

Debian's package is enough (`tests/install_postgresql.sh`); nothing of the machine's own servers is touched.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "sightline"


def programs() -> Path | None:
    """Where initdb and pg_ctl are; None: not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))  # noqa: PTH207
    there = found[-1] if found else shutil.which("initdb")
    return Path(there).parent if there else None


class Server:
    """`start`, `stop` (or `kill`) and `start` again: the same data on the same port."""

    def __init__(self, folder: Path, bin_dir: Path) -> None:
        self.folder, self.bin = folder, bin_dir
        self.port = 0
        self._numbers = itertools.count(1)
        # PostgreSQL refuses to run as root: Debian's package brings a user for it.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(folder, "postgres")
        self._run(
            "initdb", "-D", str(folder / "data"), "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8",
            "--locale=C.UTF-8",
        )  # fmt: skip
        # One user with a password, so that a wrong one can be tried.
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self.bin / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            log = self.folder / "log"
            told = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stderr}{told}")

    def start(self) -> None:
        """The first start takes a free port; another one when somebody else was quicker to take it."""
        for left in reversed(range(1 if self.port else 5)):
            before, self.port = self.port, self.port or _free_port()
            try:
                self._start()
                return
            except RuntimeError:
                self.port = before
                if not left:
                    raise

    def _start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories= -c fsync=off"
            " -c full_page_writes=off -c max_connections=200"
        )
        data = str(self.folder / "data")
        self._run("pg_ctl", "-D", data, "-w", "-s", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-s", "-m", mode, "stop")

    def start_again(self) -> None:
        """Start it unless it runs."""
        data = str(self.folder / "data")
        status = [*self._as, str(self.bin / "pg_ctl"), "-D", data, "status"]
        if subprocess.run(status, cwd=self.folder, capture_output=True, check=False).returncode:
            self.start()

    def kill(self) -> None:
        """As a power cut does."""
        self.stop("immediate")

    def url(self, database: str, user: str = USER) -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True
        ) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def database(self, like: str = "template1") -> str:
        """A new database's address."""
        name = f"library_{os.getpid()}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {like}")
        return self.url(name)


@contextmanager
def running() -> Iterator[Server]:
    """A server of one's own. Skips (in CI: fails) where PostgreSQL or psycopg is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        _missing("psycopg", "pip install 'sightline[scale]'")
    bin_dir = programs()
    if bin_dir is None:
        _missing("PostgreSQL", "tests/install_postgresql.sh installs it")
        raise AssertionError
    folder = Path(tempfile.mkdtemp(prefix="sightline-postgresql-"))
    try:
        server = Server(folder, bin_dir)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _missing(what: str, how: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing; {how}")
    pytest.skip(f"{what} is missing; {how}")
