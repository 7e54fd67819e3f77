"""The memory that malloc keeps: it goes back to the system, and threads share heaps."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from model import heap

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim") if sys.platform == "linux" else True, reason="GNU's C library alone"
)

PROGRAM = """
import sys
from model import heap
heap.give_back_growth()
before = heap._private_bytes()
blocks = [b"x" * 100_000 for _ in range(1600)]
del blocks[::2]  # the heap does not shrink by itself, as what is left is in between
held = heap._private_bytes() - before
heap.give_back_growth()
print(held, heap._private_bytes() - before)
"""


def test_freed_memory_goes_back_once_the_process_has_grown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(heap.__file__).parents[1], stdout=subprocess.PIPE, check=True
    )
    held, left = map(int, done.stdout.split())
    assert left < held - heap.GROWTH


PICTURES = """
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from model.heap import few_heaps, give_back_growth
few_heaps()
from model.inputs import Input
from model.lite.embedder import LiteEmbedder
embedder = LiteEmbedder.load(threads=2)
noise = np.random.default_rng(0).integers(0, 255, (8, 224, 224, 3), dtype=np.uint8)
inputs = [Input(images=(picture,), kind="image") for picture in noise]
for _ in range(4):
    embedder.embed(inputs)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    embedder.embed(inputs)
    give_back_growth()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 80)
"""


def test_pictures_are_embedded_in_memory_that_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PICTURES], cwd=Path(heap.__file__).parents[1], stdout=subprocess.PIPE, check=True
    )
    assert float(done.stdout) < 100, "page faults of a picture, whose network takes about 2,000 pages"
