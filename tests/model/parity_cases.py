"""The parity cases: a tiny random Qwen2-VL, a DoRA adapter on it, and what the original code made of both.

`cases.json` holds embeddings in float32 with eager attention; see docs/models.md.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "parity"
CHECKPOINT, ADAPTER = FOLDER / "checkpoint", FOLDER / "adapter"


@cache
def cases() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "cases.json").read_text("utf-8"))["cases"]


def prompts() -> list[str]:
    return [case["text"] for case in cases()]


def visuals() -> list[list[Any] | None]:
    return [[Image.open(FOLDER / "media" / name) for name in case["media"]] or None for case in cases()]


def wanted(key: str = "embedding") -> np.ndarray:
    return np.array([case[key] for case in cases()], dtype=np.float64)
