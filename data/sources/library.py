"""`type: library`: pairs mined from a Sightline library, from what is already in its catalogue.

Built around the rule that a chunk's own words describe it: a page and a passage of its text, a window of a
video and its transcript, an image and its caption or the text on it. Where the user agreed that clicks are
kept (`clicks.jsonl` beside the catalogue), they are pairs in the user's own words.
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
from data.sources.rows import JsonlRows
from data.sources.source import Source, register
from model.inputs import InputKind

CATALOGUE = "catalogue.sqlite"
CLICKS = "clicks.jsonl"
"""A line a click: `query`, `content` (hash, hexadecimal), `page`, `start_s`, `end_s`."""
PASSAGE_WORDS = 24
"""Length of a query cut from a page: a long question's worth. Shorter ones are often not specific."""

_CHUNKS = """
SELECT chunk.id, content.kind, chunk.start_s, chunk.end_s, chunk.page, length(chunk.text),
       (SELECT file.path FROM file WHERE file.content_hash = chunk.content_hash ORDER BY file.id LIMIT 1)
FROM chunk JOIN content ON content.hash = chunk.content_hash
WHERE content.state = 'ready' ORDER BY chunk.id
"""
_CONTENT = """
SELECT kind, (SELECT file.path FROM file WHERE file.content_hash = hash ORDER BY file.id LIMIT 1)
FROM content WHERE hash = ?
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
        self._clicks: JsonlRows | None = None
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
        query, text = None, ""
        if kind_of_pair == "clicks":
            assert self._clicks is not None
            click = self._clicks[number]
            query, page, start_s, end_s = (click[key] for key in ("query", "page", "start_s", "end_s"))
            kind, path = self._db().execute(_CONTENT, (bytes.fromhex(click["content"]),)).fetchone()
        else:
            kind, start_s, end_s, page, text, path = (
                self._db()
                .execute(
                    "SELECT content.kind, start_s, end_s, page, text, (SELECT path FROM file WHERE "
                    "file.content_hash = chunk.content_hash ORDER BY file.id LIMIT 1) "
                    "FROM chunk JOIN content ON content.hash = chunk.content_hash WHERE chunk.id = ?",
                    (number,),
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
        words = query if query is not None else passage(text, seed=number)
        return Pair(Side(words, role="query", looks_for=looks_for), positive, source=self.name, row=row)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_connection": None}

    def _mine(self, wanted: set[str], min_words: int) -> None:
        database = self._db()
        if "clicks" in wanted:
            self._rows += [("clicks", number) for number in self._mine_clicks(database)]
        for chunk_id, _kind, _start, _end, _page, length, path in database.execute(_CHUNKS):
            if path is None:
                continue
            if "text" in wanted and length:
                (text,) = database.execute("SELECT text FROM chunk WHERE id = ?", (chunk_id,)).fetchone()
                if len(text.split()) >= min_words:
                    self._rows.append(("text", chunk_id))
            if "media" in wanted:
                self._rows.append(("media", chunk_id))

    def _mine_clicks(self, database: sqlite3.Connection) -> list[int]:
        """Rows of the file: each query and what it opened once, of what is still in the library."""
        path = self._database.with_name(CLICKS)
        if not path.is_file():
            raise SourceError(
                f"{path} is not there: no clicks are kept of this library; `sightline clicks --keep` begins, "
                "or leave `clicks` out of `pairs`"
            )
        self._clicks = JsonlRows([path])
        found: dict[tuple[Any, ...], int] = {}
        for number in range(len(self._clicks)):
            click = self._clicks[number]
            try:
                named = database.execute(_CONTENT, (bytes.fromhex(click["content"]),)).fetchone()
                key = tuple(click[name] for name in ("query", "content", "page", "start_s"))
            except (KeyError, TypeError, ValueError) as error:
                raise SourceError(f"{path}, row {number + 1}: no click ({error}); remove the line") from error
            if named is not None and named[1] is not None:
                found.setdefault(key, number)
        return list(found.values())

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
