"""What is said in videos: cues (a line and its seconds), and the text of windows that is made from them.

Built around the rows of `cue`, which belong to a content and outlast the way it is cut; functions
over an open connection, for `catalogue.py`. It knows nothing of hearing and of searching.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from indexer.catalogue.schema import clean_text, cue
from model.inputs import Cue

NOBODY = ("none", "pending", "subtitles")
"""What `content.heard` says where no listener has heard a video."""


def cues_of(c: sa.Connection, digest: bytes) -> list[Cue]:
    """In order."""
    query = sa.select(cue.c.start_s, cue.c.end_s, cue.c.text).where(cue.c.content_hash == digest)
    return [Cue(*row) for row in c.execute(query.order_by(cue.c.start_s, cue.c.id))]


def add_cues(c: sa.Connection, digest: bytes, cues: Sequence[Cue]) -> None:
    rows = [
        {"content_hash": digest, "start_s": q.start_s, "end_s": q.end_s, "text": clean_text(q.text)}
        for q in cues
    ]
    if rows:
        c.execute(sa.insert(cue), rows)


def drop_cues(c: sa.Connection, digest: bytes) -> None:
    c.execute(sa.delete(cue).where(cue.c.content_hash == digest))


def said_in(cues: Sequence[Cue], start_s: float | None, end_s: float | None) -> str:
    """What is said in a stretch of a video, a line a cue; what is said across its edge, on both sides."""
    if start_s is None or end_s is None:
        return ""
    return "\n".join(clean_text(q.text) for q in cues if q.start_s < end_s and q.end_s > start_s)


def renewed(text: str, before: str, after: str) -> str:
    """A window's text with `after` in the place of what was said in it `before`."""
    lines, said = f"\n{text}\n", f"\n{before}\n"
    at = lines.rfind(said) if before else -1  # whole lines: a short word may be part of another one
    if at >= 0:
        return "\n".join(part for part in (lines[1:at], after, lines[at + len(said) : -1]) if part)
    return f"{text}\n{after}".strip() if after else text
