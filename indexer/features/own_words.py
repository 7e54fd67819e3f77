"""A person's own words for what the library holds: searches with what was opened, captions, names of files.

Built around `OwnWords`, words with the places that they mean. `judge.py` scores the search with them, `tune.py` learns
from them. Labels are left out: they are guesses of a model. It knows nothing of models or vectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import sqlalchemy as sa

from data.media.kinds import MediaError
from data.span import Span
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.schema import content, file
from indexer.features.click_log import Clicks
from indexer.types import Kind

Source = Literal["click", "caption", "name"]
SOURCES: tuple[Source, ...] = ("click", "caption", "name")
LONGEST = 24
"""Words of a caption that are a query; the rest of a longer one is cut."""
LONGEST_IN_LIST = 4
"""Words of an entry in a list of keywords, people or places; a longer entry is part of a sentence."""
CAPTIONS_READ = 2_000
"""Files whose captions are read from their bytes, evenly spread over the library: 3 ms each."""

_BY_CAMERAS = frozenset(
    re.findall(
        r"\w+",
        "img image dsc dscn dscf dcim pict pic photo foto vid video mvi mov scan page untitled clip pxl gopr "
        "screenshot copy file document wa",
    )
)
"""Words of names that cameras and programs give."""
_LETTERS = re.compile(r"[^\W\d_]{2,}")


class Place(NamedTuple):
    """A chunk, or a whole content if the span is empty. `paths`: the files that hold it."""

    content: bytes
    kind: Kind
    paths: tuple[Path, ...]
    span: Span = Span()

    def holds(self, span: Span) -> bool:
        """Whether a chunk with this span is of the place; a window is if it overlaps."""
        if self.span.page is not None:
            return span.page == self.span.page
        if self.span.start_s is None:
            return True
        (start, end), (own_start, own_end) = span.seconds, self.span.seconds
        return start < own_end and end > own_start


@dataclass(frozen=True)
class OwnWords:
    words: str
    source: Source
    places: tuple[Place, ...]


CaptionOf = Callable[[Path, Kind], str]
"""A file -> the caption in its bytes, one fact per line. Raises `MediaError`."""


def own_words(
    catalogue: Catalogue, clicks: Clicks, caption_of: CaptionOf, sources: Sequence[Source] = SOURCES
) -> list[OwnWords]:
    """Returns the words of these sources, each once a source, with all the places that they mean. Raises
    `LibraryError` at a damaged click."""
    contents = _contents(catalogue)
    means: dict[tuple[Source, str], dict[tuple[bytes, Span], Place]] = {}
    spelled: dict[tuple[Source, str], str] = {}

    def add(source: Source, words: str, digest: bytes, span: Span = Span()) -> None:
        words = " ".join(words.split()[:LONGEST])
        if digest in contents and _LETTERS.search(words):
            key = source, words.casefold()
            spelled.setdefault(key, words)
            means.setdefault(key, {})[digest, span] = Place(digest, *contents[digest], span)

    if "click" in sources and len(clicks):
        for row in clicks.rows():
            add("click", row["query"], bytes.fromhex(row["content"]), Span(row["start_s"], row["end_s"], row["page"]))
    if "caption" in sources:
        for digest, text in [*_beside(catalogue), *_inside(catalogue, contents, caption_of)]:
            for words in facts(text):
                add("caption", words, digest)
    if "name" in sources:
        for digest, (_, paths) in contents.items():
            for path in paths:
                add("name", words_of_name(path.stem), digest)
    return [OwnWords(spelled[key], key[0], tuple(places.values())) for key, places in means.items()]


def facts(caption: str) -> list[str]:
    """Returns the facts of a caption: its sentences, and the entries of its lists."""
    result = []
    for line in caption.splitlines():
        entries = [entry.strip() for entry in line.split(", ")]
        short = len(entries) > 1 and all(len(entry.split()) <= LONGEST_IN_LIST for entry in entries)
        result += entries if short and not line.endswith(".") else [line.strip()]
    return [fact for fact in result if fact]


def words_of_name(stem: str) -> str:
    """Returns the words in a file's name; empty for a name that a camera or a program gave."""
    words = _LETTERS.findall(stem)
    return " ".join(words) if any(word.casefold() not in _BY_CAMERAS and len(word) > 2 for word in words) else ""


def _contents(catalogue: Catalogue) -> dict[bytes, tuple[Kind, tuple[Path, ...]]]:
    """Returns content hash -> kind and files, of all contents that are ready."""
    rows = sa.select(file.c.path, content.c.hash, content.c.kind).join(content, content.c.hash == file.c.content_hash)
    result: dict[bytes, tuple[Kind, tuple[Path, ...]]] = {}
    with catalogue.database.reader() as c:
        for row in c.execute(rows.where(content.c.state == "ready").order_by(file.c.id)):
            before = result.get(bytes(row.hash), (row.kind, ()))[1]
            result[bytes(row.hash)] = row.kind, (*before, Path(row.path))
    return result


def _beside(catalogue: Catalogue) -> list[tuple[bytes, str]]:
    """Returns (content hash, text) of the sidecar files."""
    with catalogue.database.reader() as c:
        rows = c.execute(sa.select(file.c.content_hash, file.c.words).where(file.c.words != "").order_by(file.c.id))
        return [(bytes(row.content_hash), row.words) for row in rows if row.content_hash is not None]


def _inside(
    catalogue: Catalogue, contents: dict[bytes, tuple[Kind, tuple[Path, ...]]], caption_of: CaptionOf
) -> Iterable[tuple[bytes, str]]:
    """Yields (content hash, caption) of images with text: their chunks hold the caption and the words read in them,
    and only the file tells which is which."""
    with catalogue.database.reader() as c:
        worded = {
            bytes(r[0]) for r in c.exec_driver_sql("SELECT content_hash FROM chunk WHERE ordinal = 0 AND text <> ''")
        }
    images = [digest for digest in sorted(worded) if contents.get(digest, ("",))[0] == "image"]
    for digest in images[:: -(-len(images) // CAPTIONS_READ) or 1]:
        kind, paths = contents[digest]
        try:
            yield digest, caption_of(paths[0], kind)
        except MediaError:
            continue  # the file left its place, or is damaged since
