"""What the model tests share."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def torchvision() -> None:
    """torchvision beside the CPU torch of the tests.

    Its wheel was built against another torch and stops at import for want of two operators that
    nothing here calls; declared, it imports and its transforms work. Users get torch and
    torchvision from one index and need none of this.
    """
    if importlib.util.find_spec("torchvision") is None:
        if os.environ.get("CI"):
            pytest.fail("torchvision is missing: make setup-dev installs it")
        pytest.skip("torchvision is not installed (make setup-dev installs it)")
    import torch

    for name, schema in (
        ("nms", "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
        ("qnms", "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
    ):
        try:
            getattr(torch.ops.torchvision, name)
        except AttributeError:
            torch.library.define(f"torchvision::{name}", schema.partition("(")[1] + schema.partition("(")[2])
    import torchvision  # noqa: F401
