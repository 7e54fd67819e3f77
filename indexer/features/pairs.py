"""The library as training pairs, in the format that `type: pairs` of a training config reads.

Built around the rule that a chunk's text describes it: a page and a passage of its text, a window of a video
and its transcript, an image and its caption or OCR text. Clicks are pairs in the person's own words. A pair is
one JSON object a line, streamed; media are named by their paths. It knows nothing of training.
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
"""Length of a query cut from a page, that of a long question. Shorter ones are often not specific."""
LEAST_WORDS = 4
"""Words that a chunk needs for a pair: fewer do not describe it."""

_PATH = "(SELECT path FROM file WHERE content_hash = content.hash ORDER BY id LIMIT 1) AS path"
_CHUNKS = (
    f"SELECT chunk.id, content.kind, {_PATH}, page, start_s, end_s, text FROM chunk "
    "JOIN content ON content.hash = chunk.content_hash WHERE content.state = 'ready' ORDER BY chunk.id"
)
_CONTENT = sa.text(f"SELECT content.kind, {_PATH} FROM content WHERE content.hash = :hash")


def export_pairs(catalogue: Catalogue, clicks: Clicks, path: Path, kinds: Sequence[str]) -> int:
    """Write the library's pairs of these kinds to `path`. Returns their number. Raises `LibraryError`.

    `text`: a chunk and its words. `clicks`: a search and the chunk opened from it. `media`: every chunk alone,
    for distillation.
    """
    with path.open("w", encoding="ascii") as file:  # escapes names of any bytes
        return sum(1 for pair in _pairs(catalogue, clicks, kinds) if file.write(json.dumps(pair) + "\n"))


def _pairs(catalogue: Catalogue, clicks: Clicks, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    with catalogue.database.reader() as c:
        for click in clicks.rows() if "clicks" in kinds else ():
            content = c.execute(_CONTENT, {"hash": bytes.fromhex(click["content"])}).one_or_none()
            if content is not None and content.path is not None:
                yield {"query": click["query"], "positive": _side(content, click)}
        if {"text", "media"}.isdisjoint(kinds):
            return
        for chunk in c.exec_driver_sql(_CHUNKS, execution_options={"yield_per": 1000}):
            if chunk.path is None:
                continue
            side = _side(chunk, chunk._mapping)
            if "text" in kinds and len(chunk.text.split()) >= LEAST_WORDS:
                yield {"query": passage(chunk.text, seed=chunk.id), "positive": side}
            if "media" in kinds:
                yield {"positive": side}


def _side(content: Any, at: Any) -> dict[str, Any]:
    side = {content.kind: os.fsdecode(content.path)}
    return side | {key: at[key] for key in ("page", "start_s", "end_s") if at[key] is not None}


def passage(text: str, seed: int, words: int = PASSAGE_WORDS) -> str:
    """At most `words` words of a text, from the start of a sentence; the same for the same seed."""
    sentences = [s for s in re.split(r"(?<=[.!?])\s+|\n{2,}", text) if len(s.split()) >= LEAST_WORDS] or [text]
    pick = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "little")
    return " ".join(sentences[pick % len(sentences)].split()[:words])
