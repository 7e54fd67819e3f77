"""What all tests share: reports that can travel between processes whatever a file is called, and servers
of PostgreSQL and Milvus for those that ask for one."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
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


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """One server a session of tests; `database()` gives an empty database."""
    with postgresql.running() as server:
        yield server
