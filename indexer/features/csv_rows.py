"""Rows of a CSV file that a spreadsheet opens: no cell of ours is taken for a formula.

Names of files and their words come from anybody; a cell that begins with =, +, -, @, a tab or a line's end would be
calculated. It knows nothing of files.
"""

from __future__ import annotations

from typing import Any

_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_text(value: Any) -> Any:
    """The value of a cell; a text that would be calculated with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_BEGINS) else value


def row_of(values: dict[str, Any]) -> dict[str, Any]:
    return {name: as_text(value) for name, value in values.items()}
