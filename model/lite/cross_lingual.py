"""What MiniLM would make of a query in a language that it does not know, told from the multilingual reading of it.

Built around a linear map (`build/cross_lingual.py`) from the Universal Sentence Encoder's vectors to MiniLM's, learnt
from English texts that both have read. As the former says nearly the same of a text in each of its languages, what is
true of English is nearly true of the others. It knows nothing of tokens, pages and pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.lite.classes import unit

MAP = Path(__file__).with_name("cross_lingual.npz")


class CrossLingual:
    """Safe to call from several threads."""

    def __init__(self) -> None:
        with np.load(MAP) as stored:
            self._map = stored["map"].astype(np.float32) * np.float32(stored["scale"])
            self._offset = stored["offset"]

    def to_english(self, reading: np.ndarray) -> np.ndarray:
        """A multilingual reading [512] as an English one, float32 [384], unit length."""
        return unit(reading @ self._map + self._offset)
