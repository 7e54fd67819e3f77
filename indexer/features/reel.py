"""A highlight reel: the best moments for some words, across the library, as one film.

Built around `moments.py` for where they are and `data.media.clip` for the cutting; near-duplicates
are left out, what stays is put in the order in which it was filmed. Edit lists (`edit_list.py`) are
written beside the film. It knows nothing of codecs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.media import clip
from data.media.kinds import MediaError
from data.media.video import probe
from data.span import Span
from indexer.errors import LibraryError
from indexer.features.edit_list import ReelClip, write_csv, write_edl
from indexer.features.moments import Moments
from indexer.search.searcher import Searcher
from indexer.types import Moment, Query

CLIP_S = 8.0
SHORTEST_S = 2.0
CANDIDATES = 40
ALIKE = 0.95
"""Cosine from which two windows show the same thing: a still camera, the same file twice."""
ENCODE_S = 900.0


def reel(
    searcher: Searcher, query: Query, out: Path, max_length_s: float = 90.0, clip_s: float = CLIP_S
) -> list[ReelClip]:
    """Write `out` (an MP4) and beside it its edit lists, .csv and .edl. Returns its clips in order.

    Raises LibraryError when nothing in the library is close enough.
    """
    moments = Moments(searcher)
    candidates = moments.find(query, CANDIDATES, looked_at=CANDIDATES // 4)
    chosen = _chosen(searcher, [m for m in candidates if m.hit.relevant], max_length_s, clip_s)
    if not chosen:
        raise LibraryError("No film in the library is close enough to that for a reel: try other words.")
    cuts = [clip.Cut(Path(m.hit.path), start, end) for m, start, end in chosen]
    try:
        with tempfile.TemporaryDirectory(prefix=".sightline-", dir=out.parent) as name:
            made = Path(name, out.name)  # the child may write to this folder, and to nothing else beside `out`
            places = searcher.sandbox.submit(clip.join, cuts, made, timeout_s=ENCODE_S, writes=made.parent).result()
            made.replace(out)
    except MediaError as error:
        raise LibraryError(f"The reel cannot be made: {error}") from error
    except OSError as error:
        raise LibraryError(f"{out} cannot be written: {error.strerror}") from error
    clips = [
        ReelClip(m.hit.path, Span(round(start, 3), round(end, 3)), round(float(at), 3), m.score)
        for (m, start, end), (at, _) in zip(chosen, places, strict=True)
    ]
    write_csv(clips, out.with_suffix(".csv"))
    write_edl(clips, out.with_suffix(".edl"), probe(out).fps or 25)
    return clips


def _chosen(
    searcher: Searcher, moments: Sequence[Moment], max_length_s: float, clip_s: float
) -> list[tuple[Moment, float, float]]:
    """The best moments that fit and are unlike each other, in order of when they were filmed."""
    chosen: list[tuple[Moment, float, float]] = []
    shown: list[np.ndarray] = []
    left = max_length_s
    for moment in moments:
        vector = searcher.catalogue.contents.vector(moment.hit.chunk_id, searcher.model_id)
        if vector is None or any(float(vector @ other) >= ALIKE for other in shown):
            continue
        start_s, end_s = moment.span.seconds
        start = max(start_s, moment.at_s - clip_s / 2)
        end = min(end_s, start + clip_s, start + left)
        if end - start < SHORTEST_S:
            continue
        chosen.append((moment, start, end))
        shown.append(vector)
        left -= end - start
        if left < SHORTEST_S:
            break
    return sorted(chosen, key=lambda c: (c[0].hit.taken_at or 0.0, c[0].hit.path, c[1]))
