"""Inputs of the trials of EmbeddingGemma 2: texts in many scripts, images of noise, the prompts."""

from __future__ import annotations

import numpy as np

SAME = 1e-5
"""The largest difference of two values of one vector in float32."""
QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "
SCRIPTS = (
    "A dog in the snow", "Ein Hund im Schnee, größer", "Собака в снегу", "Ένας σκύλος στο χιόνι", "كلب في الثلج",
    "כלב בשלג", "बर्फ में कुत्ता", "雪中的狗", "雪の中の犬", "눈 속의 개", "สุนัขในหิมะ", "ძაღლი თოვლში 🐕",
)  # fmt: skip


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
