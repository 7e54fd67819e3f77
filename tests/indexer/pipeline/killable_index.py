"""An indexing program to be killed: `python -m tests.indexer.pipeline.killable_index DATA_DIR FOLDER MODEL`.

Prints `begun` when the work begins. Model `other` is the lite model in another space.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


class OtherModel:
    """A model in another space: the axes in reverse."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.id, self.dim, self.max_frames = inner, "other@1-r1", inner.dim, inner.max_frames
        self.max_side = inner.max_side

    def embed(self, inputs: Any) -> np.ndarray:
        return np.ascontiguousarray(self.inner.embed(inputs)[:, ::-1])


def main(data_dir: str, folder: str, model: str) -> None:
    from indexer.library import Library
    from model import loading

    real = loading.load
    loading.load = lambda name="lite", **o: OtherModel(real("lite")) if name == "other" else real(name, **o)  # type: ignore[assignment]
    with Library.open(Path(data_dir), model, nice=False, ocr="off") as library:
        print("begun", flush=True)
        library.index([Path(folder)])
        library.vector_index().merge()


if __name__ == "__main__":
    main(*sys.argv[1:])
