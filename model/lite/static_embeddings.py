"""Static embeddings of tokens: what each means alone, without running MiniLM.

Built around a linear map (`build/static_embeddings.py`) from MiniLM's input embedding of a token to an approximation of
MiniLM's output for that token alone. The input embeddings are read out of `text.onnx`. It knows nothing of which tokens
count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.lite.multilingual import Rows
from model.lite.weights import TEXT_DIM, TEXT_ROWS_AT, TEXT_SCALES_AT

MAP = Path(__file__).with_name("static_embeddings.npz")
VOCABULARY = 30_522


class StaticEmbeddings:
    """Safe to call from several threads."""

    def __init__(self, network: Path) -> None:
        """`network`: `text.onnx`."""
        self._rows = Rows(np.memmap(network, np.int8, "r", TEXT_ROWS_AT, (VOCABULARY, TEXT_DIM)))
        self._scales = np.fromfile(network, np.float32, VOCABULARY, offset=TEXT_SCALES_AT)[:, None]
        with np.load(MAP) as stored:
            self._map = stored["map"].astype(np.float32) * np.float32(stored["scale"])
            self._common = stored["common"]

    def inputs(self, tokens: np.ndarray) -> np.ndarray:
        """MiniLM's input embeddings of token ids [n], float32 [n, 384]."""
        return np.asarray(self._rows[tokens] * self._scales[tokens])

    def embed(self, tokens: np.ndarray) -> np.ndarray:
        """The static embeddings of token ids [n], float32 [n, 384], of unit length."""
        mapped = self.inputs(tokens) @ self._map - self._common
        return np.asarray(mapped / np.linalg.norm(mapped, axis=1, keepdims=True))
