"""One hit per file: the chunks of a video, a PDF or a scan under their best one.

Built around the ranking of chunks. A file's score is that of its best chunk, or is moved by how near the centroid
of its vectors is to the query, instead of the best chunk's vector. It knows nothing of how chunks are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from indexer.search.calibration import Scale
from indexer.search.ranking import Ranked
from indexer.vectors.source import GROUPS


def folded(ranking: Sequence[Ranked]) -> list[Ranked]:
    """Returns the best place of each content, in the order of the ranking, with the number of the further ones that
    are as relevant as it in `folded`."""
    best: dict[bytes, Ranked] = {}
    for place in ranking:
        first = best.setdefault(place.fact.content, place)
        if first is not place and place.relevant == first.relevant:
            best[place.fact.content] = first._replace(folded=first.folded + 1)
    return list(best.values())


def by_centroid(
    ranking: Sequence[Ranked], queries: np.ndarray, scales: dict[int, Scale], vectors_of: Callable[[bytes], np.ndarray]
) -> list[Ranked]:
    """Returns the ranking folded and sorted by the centroids of the contents; relevant places stay before the others.

    `queries`: float32 [q, dim]; `scales`: group -> the scale of the queries there; `vectors_of`: content -> its
    chunks' vectors in order, float32 [n, dim].
    """
    result = []
    for place in folded(ranking):
        scale = scales.get(GROUPS[place.fact.kind])
        vectors = vectors_of(place.fact.content) if scale is not None and len(queries) else queries[:0]
        if scale is not None and len(vectors) > 1:
            centroid = vectors.mean(axis=0)
            rows = np.vstack([vectors, centroid / max(float(np.linalg.norm(centroid)), 1e-9)])
            *chunks, of_all = scale.standardise(queries @ rows.T).max(axis=0).tolist()
            place = place._replace(score=place.score + of_all - max(chunks))
        result.append(place)
    return sorted(result, key=lambda place: (not place.relevant, -place.score, place.fact.chunk_id))
