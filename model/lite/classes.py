"""The 1,000 things that lite tells apart in pictures, as one of its two readers of words understands them.

Built around one matrix: what each class is called and looks like, a row a class. A picture's meaning is their mean by
probability; a query is familiar if it is near one of them. It knows nothing of files and networks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Classes(NamedTuple):
    """`rows`: float32 [1000, n], their mean taken away; `lengths` [1000] theirs. `common`: the direction [n] of that
    mean."""

    rows: np.ndarray
    lengths: np.ndarray
    common: np.ndarray

    @staticmethod
    def of(meanings: np.ndarray) -> Classes:
        mean = meanings.mean(0)
        rows = meanings - mean
        return Classes(rows, np.linalg.norm(rows, axis=1), unit(mean))

    def of_shares(self, shares: np.ndarray) -> np.ndarray:
        """The meaning [n] of a picture by its classes' probabilities [1000]."""
        meaning = unit(shares @ self.rows)
        # What all classes have in common says "this is a photo": without it, photos and pages compare.
        return unit(meaning - (meaning @ self.common) * self.common)

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        """The cosine of each query's reading [q, n] and the class that is nearest to it, [q]; below zero for a row of
        zeros, which this reader has not read."""
        lengths = np.linalg.norm(queries, axis=1)
        near = (queries @ self.rows.T / self.lengths).max(axis=1)
        return np.asarray(np.where(lengths > 0, near / np.maximum(lengths, 1e-12), -1.0))


def unit(vector: np.ndarray) -> np.ndarray:
    """To unit length; a zero vector becomes the first axis, so that a row is always of unit length."""
    length = float(np.linalg.norm(vector))
    if length < 1e-12:
        return np.asarray(np.eye(1, len(vector), dtype=np.float32)[0])
    return np.asarray(vector / np.float32(length))
