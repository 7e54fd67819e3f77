"""Texts from files neither steer a terminal nor forge lines of the log."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import replace

import pytest

from app.cli import output
from app.cli.options import fail
from app.cli.terminal import OneLine
from tests.app.cli.test_output import hit

FORGED = "a\n2026 ERROR forged\x1b[2J\udc80.jpg"


def test_a_name_cannot_begin_a_line_of_the_log() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s cannot be read", (FORGED,), None)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line.isprintable() and line.startswith("INFO a")


def test_a_line_of_a_traceback_does_not_look_like_a_record() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "it failed", (), sys.exc_info())
    first, *others = OneLine("%(levelname)s %(message)s").format(record).splitlines()
    assert first == "ERROR it failed" and others
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_what_a_page_says_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output._show_hit(replace(hit(snippet="clear\x1b[2J\x9b31m the\u200d page\r\x07"), note="gone\x1b[2J"), dim=False)
    shown = re.sub(r"\x1b\[(0|1|2|33)m", "", capsys.readouterr().out)
    assert not any(control in shown for control in "\x1b\x9b\r\x07")
    assert "the\u200d page" in shown


def test_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="1"):
        fail("/photos/\x1b[2J.jpg is not there", 1)
    assert capsys.readouterr().err == "sightline: /photos/ [2J.jpg is not there\n"
