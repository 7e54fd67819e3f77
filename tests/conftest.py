"""What all tests share: reports that can travel between processes whatever a file is called, servers of
PostgreSQL and Milvus for those that ask for one, and for `unprivileged` tests a process that modes bind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.milvus_server import RunningMilvus, why_not


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMilvus]:
    """One real server for the session. Skipped where none can be had; where CI is set it must be."""
    reason = why_not()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"no Milvus: {reason}")
        pytest.skip(reason)
    server = RunningMilvus(tmp_path_factory.mktemp("milvus"))
    server.start()
    yield server
    server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    """A log line with a name that is no UTF-8 would end the worker that sends it."""
    report = yield
    report.sections = [(title, _encodable(text)) for title, text in report.sections]
    if report.longrepr is not None and report.failed:
        text = str(report.longrepr)
        if text != _encodable(text):
            report.longrepr = _encodable(text)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """As root, an `unprivileged` test runs again in a process that lacks root's way around modes."""
    if pyfuncitem.get_closest_marker("unprivileged") is None or not _may_read_everything():
        return None
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may read everything, and setpriv (util-linux) is not there to take that away")
    ran = subprocess.run(
        [
            *(setpriv, "--bounding-set=-dac_override,-dac_read_search"),
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", pyfuncitem.nodeid),
        ],
        cwd=pyfuncitem.config.rootpath,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    return True


def _may_read_everything() -> bool:
    """Whether modes do not bind this process: root, with its capability (Linux: bit 1, CAP_DAC_OVERRIDE)."""
    status = Path("/proc/self/status")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    if not status.exists():
        return True
    effective = next(line for line in status.read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) & 0b10)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """One server a session of tests; `database()` gives an empty database."""
    with postgresql.running() as server:
        yield server
