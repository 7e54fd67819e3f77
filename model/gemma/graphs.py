"""The two towers of EmbeddingGemma 2 as ONNX graphs, on onnxruntime.

Built around the signature of the published graphs, which is checked at the start. It knows nothing of inputs.
"""

from __future__ import annotations

import numpy as np

from model.embedder import ModelError
from model.gemma.files import Files
from model.onnx_graphs import open_graph, require, run, width

DIM = 768
TEXT_INPUTS = ("input_ids", "attention_mask", "image_features", "video_features", "audio_features")
VISION_INPUTS = ("pixel_values", "pixel_position_ids")


class GraphTowers:
    """`hidden`: values of one row that the vision tower makes of 48 x 48 pixels."""

    batch_tokens = 4096
    batch_patches = 2520
    """A picture at 280 tokens. Attention may need the square of it, 300 MB over 12 heads."""

    def __init__(self, files: Files, threads: int | None = None) -> None:
        """Raises `ModelError` that names the file that does not fit."""
        self._text = open_graph(files.text, threads)
        self._vision = open_graph(files.vision, threads)
        require(self._text, files.text, TEXT_INPUTS, "sentence_embedding")
        require(self._vision, files.vision, VISION_INPUTS, "image_features")
        self.hidden = width(self._text, "image_features") or 512
        seen = width(self._vision, "image_features")
        if seen not in (None, self.hidden):
            raise ModelError(f"{files.vision} gives rows of {seen} values where {files.text} takes {self.hidden}.")
        if width(self._text, "sentence_embedding") not in (None, DIM):
            raise ModelError(f"{files.text} gives no vectors of {DIM} values: it is another model.")

    def read(self, ids: np.ndarray, mask: np.ndarray, images: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """float32 [n, 768], the mean over all tokens. `ids`, `mask`: int64 [n, tokens]; `images`, `frames`: float32
        [rows, hidden], in the order of their tokens."""
        feeds = {
            "input_ids": ids,
            "attention_mask": mask,
            "image_features": images,
            "video_features": frames,
            "audio_features": np.zeros((0, self.hidden), np.float32),
        }
        return run(self._text, "sentence_embedding", feeds)

    def look(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """float32 [pictures * rows, hidden]. `values`: float32 [pictures, patches, 768], all of one grid."""
        return run(self._vision, "image_features", {"pixel_values": values, "pixel_position_ids": positions})
