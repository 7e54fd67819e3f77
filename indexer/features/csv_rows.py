"""Rows of a CSV file for a spreadsheet, none of whose texts is calculated as a formula.

A spreadsheet calculates a cell that begins with =, +, -, @, a tab or a line break, and names and words of files come
from anybody (OWASP, "CSV Injection"). It knows nothing of files.
"""

from __future__ import annotations

from typing import Any

_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_text(value: Any) -> Any:
    """The value of a cell: a text that looks like a formula gets an apostrophe before it, all else stays."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_BEGINS) else value


def row_of(values: dict[str, Any]) -> dict[str, Any]:
    """A row with each value as `as_text` gives it."""
    return {name: as_text(value) for name, value in values.items()}
