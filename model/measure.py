"""The cost of a model on this machine: seconds per image, page and video window, measured in a short run.

Built around `Embedder.embed` on random images with the sizes of the indexer. It knows nothing of libraries.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from model.embedder import Embedder, side_for
from model.inputs import Input, InputKind

PHOTO, PAGE, FRAME = (960, 1280), (1280, 905), (360, 640)
SAMPLE_FRAMES = 2
"""Frames that are measured; all frames of a window cost the same."""


@dataclass(frozen=True)
class Cost:
    """Seconds per chunk, without decoding."""

    image: float
    page: float
    window: float


def measure(embedder: Embedder) -> Cost:
    """Embeds an image, a page and a part of a window. Raises `ModelError`."""
    embedder.embed([Input("warm up", role="query")])
    frames = min(SAMPLE_FRAMES, embedder.max_frames)
    image = _seconds(embedder, (_noise(PHOTO, side_for(embedder, "image")),), "image")
    page = _seconds(embedder, (_noise(PAGE, side_for(embedder, "pdf")),), "pdf")
    side = side_for(embedder, "video")
    clip = _seconds(embedder, tuple(_noise(FRAME, side, seed) for seed in range(frames)), "video")
    return Cost(image, page, clip * embedder.max_frames / frames)


def _seconds(embedder: Embedder, images: tuple[np.ndarray, ...], kind: InputKind) -> float:
    video = np.stack(images) if kind == "video" else None
    start = time.perf_counter()
    embedder.embed([Input(images=() if video is not None else images, video=video, kind=kind)])
    return time.perf_counter() - start


def _noise(shape: tuple[int, int], side: int, seed: int = 0) -> np.ndarray:
    """Returns uint8 [H, W, 3] with `side` as longest side."""
    scale = side / max(shape)
    size = tuple(max(1, round(length * scale)) for length in shape)
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
