"""The library as pairs to train a model with, in the form that `type: pairs` of a training config reads.

Built around the rule that a chunk's own words describe it: a page and a passage of its text, a window of a
video and its transcript, an image and its caption or the text on it. Clicks are pairs in the person's own
words. A pair is one JSON object a line, streamed; media are named by where they lie. It knows nothing of
what is trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from indexer.catalogue.catalogue import Catalogue
from indexer.features.click_log import Clicks

PAIR_KINDS = ("text", "clicks", "media")
PASSAGE_WORDS = 24
"""Length of a query cut from a page: a long question's worth. Shorter ones are often not specific."""
WORDS_LEAST = 4
"""A chunk with fewer words is described by none of them."""

_PATH = "(SELECT path FROM file WHERE content_hash = content.hash ORDER BY id LIMIT 1) AS path"
_CHUNKS = (
    f"SELECT chunk.id, content.kind, {_PATH}, page, start_s, end_s, text FROM chunk "
    "JOIN content ON content.hash = chunk.content_hash WHERE content.state = 'ready' ORDER BY chunk.id"
)
_CONTENT = sa.text(f"SELECT content.kind, {_PATH} FROM content WHERE content.hash = :hash")


def export_pairs(catalogue: Catalogue, clicks: Clicks, path: Path, kinds: Sequence[str]) -> int:
    """Write the library's pairs of these kinds to `path`; returns how many. Raises `LibraryError`.

    `text`: a chunk and its words. `clicks`: a search and what was opened. `media`: every chunk alone, as
    distillation wants it.
    """
    with path.open("w", encoding="ascii") as file:  # escapes names of any bytes
        return sum(1 for pair in _pairs(catalogue, clicks, kinds) if file.write(json.dumps(pair) + "\n"))


def _pairs(catalogue: Catalogue, clicks: Clicks, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    with catalogue.database.reader() as c:
        for click in clicks.rows() if "clicks" in kinds else ():
            found = c.execute(_CONTENT, {"hash": bytes.fromhex(click["content"])}).one_or_none()
            if found is not None and found.path is not None:
                yield {"query": click["query"], "positive": _side(found, click)}
        if {"text", "media"}.isdisjoint(kinds):
            return
        for chunk in c.exec_driver_sql(_CHUNKS, execution_options={"yield_per": 1000}):
            if chunk.path is None:
                continue
            side = _side(chunk, chunk._mapping)
            if "text" in kinds and len(chunk.text.split()) >= WORDS_LEAST:
                yield {"query": passage(chunk.text, seed=chunk.id), "positive": side}
            if "media" in kinds:
                yield {"positive": side}


def _side(content: Any, at: Any) -> dict[str, Any]:
    side = {content.kind: os.fsdecode(content.path)}
    return side | {key: at[key] for key in ("page", "start_s", "end_s") if at[key] is not None}


def passage(text: str, seed: int, words: int = PASSAGE_WORDS) -> str:
    """At most `words` words of a text, from the start of a sentence; the same for the same seed."""
    sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n{2,}", text) if len(s.split()) >= 4]
    if not sentences:
        sentences = [text]
    pick = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "little")
    tokens = sentences[pick % len(sentences)].split()
    return " ".join(tokens[:words])
