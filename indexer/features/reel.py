"""A highlight reel: the best moments of a query, cut into one video.

Built around `moments.py`, which finds them, and `data.media.clip`, which cuts them. Near-duplicates are left out;
the clips follow in the order of their dates. Edit lists (`edit_list.py`) are written beside the video. It
knows nothing of codecs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.media import clip
from data.media.kinds import MediaError
from data.media.sandbox import Sandbox
from data.media.video import probe
from data.span import Span
from indexer.errors import LibraryError
from indexer.features.edit_list import ReelClip, write_csv, write_edl
from indexer.features.moments import Moments
from indexer.search.searcher import Searcher
from indexer.types import ChunkInfo, Moment, Query

CLIP_S = 8.0
SHORTEST_S = 2.0
CANDIDATES = 40
ALIKE = 0.95
"""Cosine from which two windows show the same: a fixed camera, the same recording twice."""
ENCODE_TIMEOUT_S = 900.0


def reel(
    searcher: Searcher, query: Query, out: Path, max_length_s: float = 90.0, clip_s: float = CLIP_S
) -> list[ReelClip]:
    """Write `out` (an MP4) and its edit lists (.csv and .edl) beside it. Returns the clips in order.

    Raises LibraryError if no video of the library is relevant.
    """
    candidates = Moments(searcher).find(query, CANDIDATES, refine=CANDIDATES // 4)
    selection = _select(searcher, [m for m in candidates if m.hit.relevant], max_length_s, clip_s)
    if not selection:
        raise LibraryError("No video in the library is close enough to that for a reel: try other words.")
    cuts = [clip.Cut(Path(m.hit.path), start, end) for m, start, end in selection]
    return _joined(searcher.sandbox, cuts, [m.score for m, _, _ in selection], out)


def reel_of(sandbox: Sandbox, chunks: Sequence[ChunkInfo], out: Path, clip_s: float = CLIP_S) -> list[ReelClip]:
    """Write a reel of chunks of videos, in their order, and its edit lists: of each window its middle `clip_s` seconds.

    Raises LibraryError if none of the chunks is of a video.
    """
    cuts = []
    for chunk in chunks:
        if chunk.file.kind == "video" and chunk.span.start_s is not None:
            start_s, end_s = chunk.span.seconds
            start = start_s + max(0.0, end_s - start_s - clip_s) / 2
            cuts.append(clip.Cut(chunk.file.path, start, min(end_s, start + clip_s)))
    if not cuts:
        raise LibraryError("A reel is cut from videos, and none is selected.")
    return _joined(sandbox, cuts, [0.0] * len(cuts), out)


def _joined(sandbox: Sandbox, cuts: Sequence[clip.Cut], scores: Sequence[float], out: Path) -> list[ReelClip]:
    try:
        with clip.replacing(out) as part:
            places = sandbox.submit(clip.join, cuts, part, timeout_s=ENCODE_TIMEOUT_S, writes=(part,)).result()
    except MediaError as error:
        raise LibraryError(f"The reel cannot be made: {error}") from error
    clips = [
        ReelClip(str(cut.path), Span(round(cut.start_s, 3), round(cut.end_s, 3)), round(float(at), 3), score)
        for cut, score, (at, _) in zip(cuts, scores, places, strict=True)
    ]
    write_csv(clips, out.with_suffix(".csv"))
    write_edl(clips, out.with_suffix(".edl"), probe(out).fps or 25)
    return clips


def _select(
    searcher: Searcher, moments: Sequence[Moment], max_length_s: float, clip_s: float
) -> list[tuple[Moment, float, float]]:
    """The best moments that fit and differ, with start and end in seconds, in the order of their dates."""
    selection: list[tuple[Moment, float, float]] = []
    vectors: list[np.ndarray] = []
    left_s = max_length_s
    for moment in moments:
        vector = searcher.catalogue.contents.vector(moment.hit.chunk_id, searcher.model_id)
        if vector is None or any(float(vector @ other) >= ALIKE for other in vectors):
            continue
        start_s, end_s = moment.span.seconds
        start = max(start_s, moment.at_s - clip_s / 2)
        end = min(end_s, start + clip_s, start + left_s)
        if end - start < SHORTEST_S:
            continue
        selection.append((moment, start, end))
        vectors.append(vector)
        left_s -= end - start
        if left_s < SHORTEST_S:
            break
    return sorted(selection, key=lambda c: (c[0].hit.taken or "", c[0].hit.path, c[1]))
