"""The terminal: text from files made safe to print and to log, and `Screen`, which shows styles where they are seen.

Built around two replacements of characters, and the codes of ISO 6429 for bold, dim and colours. It knows not what is
printed.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any, Literal, TextIO

BOLD, DIM, GREEN, YELLOW, CYAN = "1", "2", "32", "33", "36"
_STYLE = re.compile(r"\x1b\[\d*m")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text with spaces for its control characters; lines and what joins letters stay."""
    return _CONTROLS.sub(" ", text)


def one_line(text: str) -> str:
    """The text without a line break or any other character that is not seen."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def styled(text: str, style: str) -> str:
    """The text, which must be harmless, in one of the styles above."""
    return f"\x1b[{style}m{text}\x1b[0m" if text else ""


class Screen:
    """stdout or stderr: a text has its styles on a terminal, and none elsewhere."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name

    @property
    def file(self) -> TextIO:
        file: TextIO = getattr(sys, self._name)
        return file

    @property
    def is_terminal(self) -> bool:
        return self.file.isatty()

    @property
    def has_styles(self) -> bool:
        """Of a terminal, unless NO_COLOR says otherwise; elsewhere FORCE_COLOR asks for them (no-color.org)."""
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or (self.is_terminal and os.environ.get("TERM", "dumb") != "dumb")

    def print(self, text: str = "", end: str = "\n") -> None:
        file, text = self.file, text + end
        if not self.has_styles:
            text = _STYLE.sub("", text)
        encoding = file.encoding or "utf-8"
        file.write(text.encode(encoding, "replace").decode(encoding))
        file.flush()


class OneLine(logging.Formatter):
    """One line for each record, and indented lines for a traceback: none of them looks like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {one_line(line)}" for line in super().formatException(ei).splitlines())
