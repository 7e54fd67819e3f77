"""Duplicates: files with the same bytes, and images that look the same by their vectors.

Built around the catalogue's contents (the copies of a file share one) and the vector index. It deletes nothing.
"""

from __future__ import annotations

import numpy as np

from indexer.catalogue.catalogue import Catalogue
from indexer.types import FileInfo
from indexer.vectors.index import VectorIndex
from indexer.vectors.source import GROUPS, StoredEmbeddings

NEIGHBOURS = 16


def duplicates(catalogue: Catalogue, index: VectorIndex | None, alike: float) -> list[list[FileInfo]]:
    """Groups of two or more files. With an index, images at a cosine of `alike` or more are one group."""
    parents: dict[bytes, bytes] = {}  # union-find over contents

    def top(digest: bytes) -> bytes:
        while parents.get(digest, digest) != digest:
            parents[digest] = parents.get(parents[digest], parents[digest])
            digest = parents[digest]
        return digest

    with catalogue.database.reader() as c:
        exact = [
            row[0]
            for row in c.exec_driver_sql(
                "SELECT content_hash FROM file WHERE content_hash IS NOT NULL GROUP BY content_hash HAVING count(*) > 1"
            )
        ]
    members = {digest: {digest} for digest in exact}
    row = catalogue.models.answering()
    if index is not None and row is not None:
        with catalogue.database.reader() as c:
            image = {
                r[0]: r[1]
                for r in c.exec_driver_sql(
                    "SELECT k.id, c.hash FROM content c JOIN chunk k ON k.content_hash = c.hash"
                    " WHERE c.kind = 'image' AND c.orphaned_at IS NULL"
                )
            }
        for ids, vectors in StoredEmbeddings(catalogue.database, row.id, row.dim).vectors(GROUPS["image"]):
            scores, near = index.search(vectors.astype(np.float32), NEIGHBOURS, None, GROUPS["image"])
            for chunk_id, row_scores, others in zip(ids.tolist(), scores, near.tolist(), strict=True):
                for score, other in zip(row_scores, others, strict=True):
                    if chunk_id in image and other in image and other != chunk_id and score >= alike:
                        parents[top(image[chunk_id])] = top(image[other])
        for digest in {*parents, *exact}:
            members.setdefault(top(digest), set()).add(digest)
            if top(digest) != digest:
                members.pop(digest, None)
    groups = [
        [info for digest in sorted(group) for info in catalogue.files.of_content(digest)] for group in members.values()
    ]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: (-max(f.size for f in g), str(g[0].path)))
