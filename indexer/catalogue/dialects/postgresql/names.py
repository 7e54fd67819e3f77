"""Names of files, of any bytes, as text that UTF-8 can hold.

Built around one private character for each byte that does not decode: PostgreSQL's text must be UTF-8, a
file-system name need not. Every name comes back as it was, and names sort and begin as they did.
"""

from __future__ import annotations

import os
import re

ESCAPES = 0x10FF00
"""Byte b of a name is the private character ESCAPES + b, b from 128 to 255. So is each byte of such a
character where a name really holds one."""

_ESCAPED = re.compile(f"[{chr(ESCAPES + 0x80)}-{chr(ESCAPES + 0xFF)}]")
_NOT_PLAIN = re.compile(f"[\udc80-\udcff{chr(ESCAPES + 0x80)}-{chr(ESCAPES + 0xFF)}]")


def escaped(name: str) -> str:
    """A name with surrogate escapes as text that UTF-8 can hold."""
    return _NOT_PLAIN.sub(lambda m: "".join(chr(ESCAPES + b) for b in os.fsencode(m.group())), name)


def unescaped(text: str) -> str:
    """The name that an escaped text stands for."""
    if not _ESCAPED.search(text):
        return text
    raw = _ESCAPED.sub(lambda m: chr(0xDC00 + ord(m.group()) - ESCAPES), text)
    return os.fsdecode(os.fsencode(raw))
