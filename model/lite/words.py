"""What the words of a text mean one by one, without a network.

Built around a linear map (`build/words.py`) from the row that MiniLM begins with for a word to what it would make of
the word alone. The rows stand in `text.onnx` and are read from there. It knows nothing of which words count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.lite.multilingual import Rows
from model.lite.weights import TEXT_DIM, TEXT_ROWS_AT, TEXT_SCALES_AT

MAP = Path(__file__).with_name("words.npz")
VOCABULARY = 30_522


class Words:
    """Safe to call from several threads."""

    def __init__(self, network: Path) -> None:
        """`network`: `text.onnx`."""
        self._rows = Rows(np.memmap(network, np.int8, "r", TEXT_ROWS_AT, (VOCABULARY, TEXT_DIM)))
        self._scales = np.fromfile(network, np.float32, VOCABULARY, offset=TEXT_SCALES_AT)[:, None]
        with np.load(MAP) as stored:
            self._map = stored["map"].astype(np.float32) * np.float32(stored["scale"])
            self._common = stored["common"]

    def known(self, tokens: np.ndarray) -> np.ndarray:
        """float32 [n, 384]: what MiniLM begins with for each."""
        return np.asarray(self._rows[tokens] * self._scales[tokens])

    def directions(self, tokens: np.ndarray) -> np.ndarray:
        """float32 [n, 384], of unit length."""
        mapped = self.known(tokens) @ self._map - self._common
        return np.asarray(mapped / np.linalg.norm(mapped, axis=1, keepdims=True))
