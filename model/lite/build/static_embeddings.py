"""Make `model/lite/static_embeddings.npz`: a linear map from MiniLM's input embedding of a token to its output for the
token alone.

    python -m model.lite.build.static_embeddings

Built around one linear map, the least squares over every eighth word of the vocabulary; cosine .68 to what MiniLM
answers for words that it was not fitted on. Run it again when MiniLM changes.
"""

from __future__ import annotations

import numpy as np

from model.lite import weights
from model.lite.embedder import LiteEmbedder
from model.lite.static_embeddings import MAP, VOCABULARY, StaticEmbeddings

_FIRST, _STEP = 2_200, 8  # below: punctuation, letters and the 200 commonest words
_RIDGE = 1.0


def linear_map(static: StaticEmbeddings, embedder: LiteEmbedder) -> tuple[np.ndarray, np.ndarray]:
    """Returns float [384, 384] and what to subtract afterwards, [384]."""
    sample = np.arange(_FIRST, VOCABULARY, _STEP)
    begin, end = embedder.ids_of("")
    answers = np.array([embedder.read_english([begin, number, end]) for number in sample.tolist()], np.float64)
    known = static.inputs(sample).astype(np.float64)
    known -= (common := known.mean(axis=0))
    answers -= answers.mean(axis=0)
    solved = np.linalg.solve(known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ answers)
    return solved, common @ solved


if __name__ == "__main__":
    solved, common = linear_map(StaticEmbeddings(weights.find() / "text.onnx"), LiteEmbedder.load())
    scale = np.abs(solved).max() / 127
    whole = np.rint(solved / scale).astype(np.int8)
    np.savez_compressed(MAP, map=whole, scale=scale, common=common.astype(np.float32))
