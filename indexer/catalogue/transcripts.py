"""What is said in videos: cues (a line and its seconds), and the text of windows that is made from them.

Built around the rows of `cue`, which belong to a content and outlast the way it is cut, and
`content.heard`, which says who transcribed it. It knows nothing of transcribing and of searching.
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

NO_LISTENER = ("none", "pending", "subtitles")
"""What `content.heard` says where no listener has transcribed all of a video."""


@dataclass(frozen=True)
class Heard:
    """`content.heard` as it is read: the video has no sound; it waits for a listener, or for the rest; its
    cues came with the file; `listener` (an id, name@version) transcribed all of it."""

    state: Literal["none", "pending", "subtitles", "transcribed"]
    listener: str = ""

    @classmethod
    def read(cls, stored: Any) -> Heard:
        return cls(stored) if stored in NO_LISTENER else cls("transcribed", stored)

    @property
    def stored(self) -> str:
        return self.listener or self.state

    @property
    def name(self) -> str:
        """The listener's name, whatever its version."""
        return self.listener.rpartition("@")[0]


class Transcripts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def cues(self, digest: bytes) -> list[Cue]:
        """What is said in a video, in order."""
        with self._database.reader() as c:
            return cues_of(c, digest)

    def add(self, digest: bytes, cues: Sequence[Cue], *, by: str | None, worker: int | None = None) -> None:
        """Add the cues of a video that come after those already there; what two transcribe at once is kept
        once. `by`: what `content.heard` becomes (`Heard.stored`) once all of it is transcribed; None: there
        is more. `worker`: as in `Contents.write`."""
        with self._database.writer() as c:
            settle(c, self._database, digest, worker, ends=by is not None)
            if c.execute(sa.select(content.c.hash).where(content.c.hash == digest)).first() is None:
                return
            before = cues_of(c, digest)
            add_cues(c, digest, [q for q in cues if not before or q.start_s >= before[-1].end_s])
            self._say(c, digest, before, cues_of(c, digest))
            if by is not None:
                c.execute(sa.update(content).where(content.c.hash == digest).values(heard=by))

    def set_listener(self, name: str, *, whole: bool = True) -> int:
        """`name` transcribes from now on. Videos that another listener transcribed (all of it: only if
        `whole`; in part: always) lose their cues and wait to be transcribed again. Returns how many."""
        settings = StoredSettings(self._database)
        last = settings.get(LISTENER)
        if last == name and not whole:
            return 0
        with self._database.writer() as c:
            query = sa.select(content.c.hash, content.c.heard).where(content.c.heard.not_in(NO_LISTENER))
            stale = [r.hash for r in c.execute(query) if whole and Heard.read(r.heard).name != name]
            if last not in (None, name):
                half = cue.c.content_hash == content.c.hash
                query = sa.select(content.c.hash).where(
                    content.c.heard == sa.text("'pending'"), sa.select(cue.c.id).where(half).exists()
                )
                stale += c.execute(query).scalars()
            for digest in stale:
                before = cues_of(c, digest)
                drop_cues(c, digest)
                self._say(c, digest, before, ())
                c.execute(sa.update(content).where(content.c.hash == digest).values(heard="pending"))
        if last != name:
            settings.set(LISTENER, name)
        return len(stale)

    def _say(self, c: sa.Connection, digest: bytes, before: Sequence[Cue], after: Sequence[Cue]) -> None:
        """Bring the text of a video's windows up to what is said in them now."""
        changed = []
        for piece in c.execute(sa.select(chunk).where(chunk.c.content_hash == digest)).all():
            was, is_now = (said_in(cues, Span(piece.start_s, piece.end_s)) for cues in (before, after))
            if was != is_now:
                changed.append((piece.id, renewed(piece.text, was, is_now)))
        for chunk_id, text in changed:
            c.execute(sa.update(chunk).where(chunk.c.id == chunk_id).values(text=text))
        self._database.dialect.write_texts(c, changed, new=False)


def heard_after_write(c: sa.Connection, digest: bytes, has_sound: bool, subtitles: Sequence[Cue]) -> Heard | None:
    """Delete outdated cues and return what `content.heard` becomes when a content is written; None if the
    content was deleted meanwhile."""
    stored = c.execute(sa.select(content.c.heard).where(content.c.hash == digest)).scalar()
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
    return before if before.listener else Heard("pending")


def cues_of(c: sa.Connection, digest: bytes) -> list[Cue]:
    """In order."""
    query = sa.select(cue.c.start_s, cue.c.end_s, cue.c.text).where(cue.c.content_hash == digest)
    return [Cue(*row) for row in c.execute(query.order_by(cue.c.start_s, cue.c.id))]


def add_cues(c: sa.Connection, digest: bytes, cues: Sequence[Cue]) -> None:
    rows = [{"content_hash": digest, "start_s": q.start_s, "end_s": q.end_s, "text": clean_text(q.text)} for q in cues]
    if rows:
        c.execute(sa.insert(cue), rows)


def drop_cues(c: sa.Connection, digest: bytes) -> None:
    c.execute(sa.delete(cue).where(cue.c.content_hash == digest))


def said_in(cues: Sequence[Cue], span: Span) -> str:
    """What is said in a stretch of a video, a line a cue; what is said across its edge, on both sides."""
    start_s, end_s = span.seconds
    return "\n".join(clean_text(q.text) for q in cues if q.start_s < end_s and q.end_s > start_s)


def renewed(text: str, before: str, after: str) -> str:
    """A window's text with `after` in the place of what was said in it `before`."""
    lines, said = f"\n{text}\n", f"\n{before}\n"
    at = lines.rfind(said) if before else -1  # whole lines: a short word may be part of another one
    if at >= 0:
        return "\n".join(part for part in (lines[1:at], after, lines[at + len(said) : -1]) if part)
    return f"{text}\n{after}".strip() if after else text
