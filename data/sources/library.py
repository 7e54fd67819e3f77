"""`type: library`: pairs mined from a Sightline library, from what is already in its catalogue.

Built around the rule that a chunk's own words describe it: a page and a passage of its text, a window of a
video and its transcript, an image and its caption or the text on it. Where there is a `click` table (id,
query, chunk_id), which the application does not keep by itself, its rows are pairs in the user's own words.
The catalogue (SQLite) is opened read-only; media are read from where they lie. Files that moved since they
were indexed are missing media, nothing more.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

from data.sources.pair import Media, Pair, Side, SourceError
from data.sources.source import Source, register
from model.inputs import InputKind

CATALOGUE = "catalogue.sqlite"
PASSAGE_WORDS = 24
"""Length of a query cut from a page: a long question's worth. Shorter ones are often not specific."""

_CHUNKS = """
SELECT chunk.id, content.kind, chunk.start_s, chunk.end_s, chunk.page, length(chunk.text),
       (SELECT file.path FROM file WHERE file.content_hash = chunk.content_hash ORDER BY file.id LIMIT 1)
FROM chunk JOIN content ON content.hash = chunk.content_hash
WHERE content.state = 'ready' ORDER BY chunk.id
"""


@register("library")
class LibrarySource(Source):
    """Pairs of the library in `data_dir`.

    `pairs`  which to mine: `text` (a chunk and its words), `clicks`, `media` (every chunk alone, as
             distillation wants it: the query is the chunk itself). Several may be named.
    """

    def __init__(
        self,
        data_dir: str | Path,
        name: str = "library",
        pairs: str | list[str] = "text",
        min_words: int = 4,
        limit: int | None = None,
    ) -> None:
        self.name = name
        folder = Path(data_dir).expanduser()
        self._database = folder if folder.is_file() else folder / CATALOGUE
        wanted = {pairs} if isinstance(pairs, str) else set(pairs)
        if unknown := wanted - {"text", "clicks", "media"}:
            raise SourceError(f"library: pairs are text, clicks or media, not {', '.join(sorted(unknown))}")
        if not self._database.is_file():
            raise SourceError(f"{folder} holds no Sightline library ({CATALOGUE}); index a folder first")
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._rows: list[tuple[str, int]] = []
        try:
            self._mine(wanted, min_words)
        except sqlite3.DatabaseError as error:
            raise SourceError(f"{self._database} cannot be read as a Sightline library ({error})") from error
        if limit is not None:
            del self._rows[limit:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        kind_of_pair, number = self._rows[row]
        if kind_of_pair == "clicks":
            query, chunk_id = (
                self._db().execute("SELECT query, chunk_id FROM click WHERE id = ?", (number,)).fetchone()
            )
        else:
            query, chunk_id = None, number
        kind, start_s, end_s, page, text, path = (
            self._db()
            .execute(
                "SELECT content.kind, start_s, end_s, page, text, (SELECT path FROM file WHERE "
                "file.content_hash = chunk.content_hash ORDER BY file.id LIMIT 1) "
                "FROM chunk JOIN content ON content.hash = chunk.content_hash WHERE chunk.id = ?",
                (chunk_id,),
            )
            .fetchone()
        )
        looks_for: InputKind = kind
        media = Media(
            {"image": "image", "video": "video", "pdf": "page"}[kind],  # type: ignore[arg-type]
            os.fsdecode(path),
            page=page,
            start_s=start_s,
            end_s=end_s,
        )
        positive = Side(media=media, looks_for=looks_for)
        if kind_of_pair == "media":
            return Pair(positive, positive, source=self.name, row=row)
        words = query if query is not None else passage(text, seed=chunk_id)
        return Pair(Side(words, role="query", looks_for=looks_for), positive, source=self.name, row=row)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_connection": None}

    def _mine(self, wanted: set[str], min_words: int) -> None:
        database = self._db()
        if "clicks" in wanted:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'click'").fetchone() is None:
                raise SourceError(f"{self._database} keeps no table `click`; leave `clicks` out")
            self._rows += [("clicks", row[0]) for row in database.execute("SELECT id FROM click ORDER BY id")]
        for chunk_id, _kind, _start, _end, _page, length, path in database.execute(_CHUNKS):
            if path is None:
                continue
            if "text" in wanted and length:
                (text,) = database.execute("SELECT text FROM chunk WHERE id = ?", (chunk_id,)).fetchone()
                if len(text.split()) >= min_words:
                    self._rows.append(("text", chunk_id))
            if "media" in wanted:
                self._rows.append(("media", chunk_id))

    def _db(self) -> sqlite3.Connection:
        """One connection a process: SQLite connections do not cross a fork."""
        if self._connection is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._connection = sqlite3.connect(
                f"{self._database.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
        return self._connection


def passage(text: str, seed: int, words: int = PASSAGE_WORDS) -> str:
    """At most `words` words of a text, from the start of a sentence; the same for the same seed."""
    sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n{2,}", text) if len(s.split()) >= 4]
    if not sentences:
        sentences = [text]
    pick = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "little")
    tokens = sentences[pick % len(sentences)].split()
    return " ".join(tokens[:words])
