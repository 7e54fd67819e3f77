"""Escapes paths of any bytes as UTF-8 text.

Built around one private-use character for each byte that does not decode: PostgreSQL's text must be UTF-8, a path
need not be. Escaping loses nothing, and keeps the order and the prefixes of paths.
"""

from __future__ import annotations

import os
import re

ESCAPES = 0x10FF00
"""Byte b of a path (128 to 255) is escaped as the private-use character ESCAPES + b. If a path has such a character
itself, each of its bytes is escaped."""

_ESCAPED = re.compile(f"[{chr(ESCAPES + 0x80)}-{chr(ESCAPES + 0xFF)}]")
_NOT_PLAIN = re.compile(f"[\udc80-\udcff{chr(ESCAPES + 0x80)}-{chr(ESCAPES + 0xFF)}]")


def escaped(name: str) -> str:
    """Returns a path with surrogate escapes as text that UTF-8 can encode."""
    return _NOT_PLAIN.sub(lambda m: "".join(chr(ESCAPES + b) for b in os.fsencode(m.group())), name)


def unescaped(text: str) -> str:
    """Returns the path of an escaped text, with surrogate escapes."""
    if not _ESCAPED.search(text):
        return text
    raw = _ESCAPED.sub(lambda m: chr(0xDC00 + ord(m.group()) - ESCAPES), text)
    return os.fsdecode(os.fsencode(raw))
