"""torchvision beside the CPU torch of the tests, for the door's trials alone.

Its wheel was built against another torch and stops at import for want of two operators that nothing
here calls; declared, it imports and its transforms work. It lies outside site-packages (make setup-dev),
because half-imported it would take transformers down with it. Users get torch and torchvision from one
index and need none of this.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PLACES = (os.environ.get("SIGHTLINE_TORCHVISION", ""), str(Path(sys.prefix) / "torchvision"))

sys.path[:0] = [place for place in PLACES if place and Path(place, "torchvision").is_dir()]
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch  # noqa: E402

for operator in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, operator):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
