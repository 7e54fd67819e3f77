"""Transcripts of videos: cues (a line and its seconds), and the text of video windows made from them.

Built around the rows of `cue`, which belong to a content and stay when it is cut in another way, and
`content.heard`, which says where they come from. It knows nothing of transcribing and of searching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from data.span import Span
from indexer.catalogue.database import Database
from indexer.catalogue.leases import settle
from indexer.catalogue.schema import chunk, clean_text, content, cue
from indexer.catalogue.settings import LISTENER, StoredSettings
from model.inputs import Cue

NO_MODEL = ("none", "pending", "failed", "subtitles")
"""The values of `content.heard` that are not the id of a speech model."""


@dataclass(frozen=True)
class Heard:
    """The value of `content.heard`: "none": the video has no sound; "pending": it waits to be transcribed, or for
    the rest; "failed": its sound cannot be decoded, to its end or at all; "subtitles": its cues came with the file;
    "transcribed": by the speech model `model` (an id, name@version)."""

    state: Literal["none", "pending", "failed", "subtitles", "transcribed"]
    model: str = ""

    @classmethod
    def read(cls, stored: Any) -> Heard:
        return cls(stored) if stored in NO_MODEL else cls("transcribed", stored)

    @property
    def stored(self) -> str:
        return self.model or self.state

    @property
    def name(self) -> str:
        """The name of the speech model, without its version."""
        return self.model.rpartition("@")[0]


class Transcripts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def cues(self, digest: bytes) -> list[Cue]:
        """Returns the cues of a video in order."""
        with self._database.reader() as c:
            return cues_of(c, digest)

    def state(self, digest: bytes) -> str:
        """Returns `Heard.state` of a content; before its video was read "unread", and "unreadable" if it cannot be."""
        with self._database.reader() as c:
            row = c.execute(sa.select(content.c.heard, content.c.state).where(content.c.hash == digest)).first()
        if row is None or (row.heard == "none" and row.state == "pending"):
            return "unread"
        return "unreadable" if row.heard == "none" and row.state == "failed" else Heard.read(row.heard).state

    def add(self, digest: bytes, cues: Sequence[Cue], *, by: str | None, worker: int | None = None) -> None:
        """Add cues to a video; those that begin before the end of the stored ones are skipped, as two programs may
        transcribe it at once. `by`: the value of `content.heard` (`Heard.stored`) if all of it is transcribed;
        None if there is more. `worker`: as in `Contents.write`."""
        with self._database.writer() as c:
            settle(c, self._database, digest, worker, ends=by is not None)
            if c.execute(sa.select(content.c.hash).where(content.c.hash == digest)).first() is None:
                return
            before = cues_of(c, digest)
            add_cues(c, digest, [q for q in cues if not before or q.start_s >= before[-1].end_s])
            self._update_texts(c, digest, before, cues_of(c, digest))
            if by is not None:
                c.execute(sa.update(content).where(content.c.hash == digest).values(heard=by))

    def set_speech_model(self, name: str, *, whole: bool = True) -> int:
        """Set the speech model of the library. Videos that another model transcribed completely (if `whole`) or in
        part lose their cues and wait to be transcribed again. Returns how many."""
        settings = StoredSettings(self._database)
        last = settings.get(LISTENER)
        if last == name and not whole:
            return 0
        with self._database.writer() as c:
            query = sa.select(content.c.hash, content.c.heard).where(content.c.heard.not_in(NO_MODEL))
            stale = [r.hash for r in c.execute(query) if whole and Heard.read(r.heard).name != name]
            if last not in (None, name):
                has_cues = sa.select(cue.c.id).where(cue.c.content_hash == content.c.hash).exists()
                query = sa.select(content.c.hash).where(content.c.heard == sa.text("'pending'"), has_cues)
                stale += c.execute(query).scalars()
            for digest in stale:
                before = cues_of(c, digest)
                drop_cues(c, digest)
                self._update_texts(c, digest, before, ())
                c.execute(sa.update(content).where(content.c.hash == digest).values(heard="pending"))
        if last != name:
            settings.set(LISTENER, name)
        return len(stale)

    def _update_texts(self, c: sa.Connection, digest: bytes, before: Sequence[Cue], after: Sequence[Cue]) -> None:
        """Replace the cues in the texts of a video's windows."""
        changed = []
        for row in c.execute(sa.select(chunk).where(chunk.c.content_hash == digest)).all():
            old, new = (said_in(cues, Span(row.start_s, row.end_s)) for cues in (before, after))
            if old != new:
                changed.append((row.id, renewed(row.text, old, new)))
        for chunk_id, text in changed:
            c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(text=text))
        self._database.dialect.write_texts(c, changed, new=False)


def heard_after_write(c: sa.Connection, digest: bytes, has_sound: bool, subtitles: Sequence[Cue]) -> Heard | None:
    """Delete the outdated cues of a content that is written, add its subtitles, and return its new
    `content.heard`; None if the content was deleted meanwhile."""
    stored = c.exec_driver_sql("SELECT heard FROM content WHERE hash = ?", (digest,)).scalar()
    if stored is None:
        return None
    before = Heard.read(stored)
    if subtitles or before.state == "subtitles" or not has_sound:
        drop_cues(c, digest)
    if subtitles:
        add_cues(c, digest, subtitles)
        return Heard("subtitles")
    if not has_sound:
        return Heard("none")
    return before if before.model else Heard("pending")


def cues_of(c: sa.Connection, digest: bytes) -> list[Cue]:
    """Returns the cues of a content in order."""
    query = sa.select(cue.c.start_s, cue.c.end_s, cue.c.text).where(cue.c.content_hash == digest)
    return [Cue(*row) for row in c.execute(query.order_by(cue.c.start_s, cue.c.id))]


def add_cues(c: sa.Connection, digest: bytes, cues: Sequence[Cue]) -> None:
    rows = [{"content_hash": digest, "start_s": q.start_s, "end_s": q.end_s, "text": clean_text(q.text)} for q in cues]
    if rows:
        c.execute(sa.insert(cue), rows)


def drop_cues(c: sa.Connection, digest: bytes) -> None:
    c.exec_driver_sql("DELETE FROM cue WHERE content_hash = ?", (digest,))


def said_in(cues: Sequence[Cue], span: Span) -> str:
    """Returns the text of the cues in a span of a video, one line per cue; a cue across the edge of two spans is in
    both."""
    start_s, end_s = span.seconds
    return "\n".join(clean_text(q.text) for q in cues if q.start_s < end_s and q.end_s > start_s)


def renewed(text: str, before: str, after: str) -> str:
    """Returns a window's text with `after` in place of its old cue text `before`."""
    lines, old = f"\n{text}\n", f"\n{before}\n"
    at = lines.rfind(old) if before else -1  # whole lines: a short cue may be part of another line
    if at >= 0:
        return "\n".join(part for part in (lines[1:at], after, lines[at + len(old) : -1]) if part)
    return f"{text}\n{after}".strip() if after else text
