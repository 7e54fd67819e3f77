"""What all tests share: the choice of `--fast`, servers of PostgreSQL and Milvus for tests that ask for one,
reports that can travel between processes whatever a file is called, a list of the tests that were tried
again, and for `unprivileged` tests a process that modes bind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import postgresql
from tests.milvus_server import RunningMilvus, why_not

# On a busy machine an example takes longer than the 200 ms that hypothesis allows.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

HEAVY_IMPORTS = re.compile(
    r"^(?:import|from) (?:"
    r"subprocess|multiprocessing|uvicorn|playwright|torch|train|pyarrow|psycopg|pymilvus|jsonschema|nbformat"
    r"|model$|tests\.app\.serving|tests\.bench|tests\.notebook)\b",
    re.MULTILINE,
)
"""`--fast` does not read a test file (or a folder whose conftest.py) that imports one of these: it starts
processes or servers, trains, or needs more than the small install."""
HEAVY_FIXTURES = {"client", "library", "milvus", "open_library", "postgresql_server", "mmeb"}
"""`--fast` leaves out a test that uses one of these: a server, or a whole library over real media."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="unit and property tests alone (tests/README.md)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    path = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    if not config.getoption("fast") or path == Path(__file__) or path.suffix != ".py" or not path.exists():
        return None
    return True if HEAVY_IMPORTS.search(path.read_text("utf-8")) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("fast"):
        return
    heavy = [item for item in items if _is_heavy(item)]
    config.hook.pytest_deselected(items=heavy)
    items[:] = [item for item in items if item not in set(heavy)]


def _is_heavy(item: pytest.Item) -> bool:
    """Whether `--fast` leaves a test out, by its markers, its fixtures and the engine it runs on."""
    names = set(getattr(item, "fixturenames", ()))
    values = {str(value) for value in getattr(getattr(item, "callspec", None), "params", {}).values()}
    marked = any(item.get_closest_marker(name) for name in ("slow", "long", "unprivileged"))
    opens = "Library" in dir(getattr(item, "module", None)) or names & HEAVY_FIXTURES
    return marked or bool(opens) or bool(values & {"postgresql", "milvus"})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names in red the tests that failed and were tried again: they pass now and want mending."""
    rerun = {report.nodeid for report in terminalreporter.stats.get("rerun", ())}
    if rerun:
        terminalreporter.section(f"{len(rerun)} tried again, please mend", sep="!", red=True, bold=True)
        for name in sorted(rerun):
            terminalreporter.write_line(name, red=True)


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


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """SVT-AV1 makes the thread that encodes with it real-time when root runs it; threads and children inherit that."""
    yield
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
