"""Makes text from files safe to print and to log: no control characters, no forged lines.

Built around two replacements of characters. It knows neither Rich nor what is printed.
"""

from __future__ import annotations

import logging
import re
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text with spaces for its control characters; lines and what joins letters stay."""
    return _CONTROLS.sub(" ", text)


def one_line(text: str) -> str:
    """The text without a line break or any other character that is not seen."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class OneLine(logging.Formatter):
    """One line for each record, and indented lines for a traceback: none of them looks like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {one_line(line)}" for line in super().formatException(ei).splitlines())
