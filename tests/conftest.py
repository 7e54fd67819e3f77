"""What all tests share: reports that can travel between processes whatever a file is called, and a
PostgreSQL server for those that ask for one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests import postgresql


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
