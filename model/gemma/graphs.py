"""The two towers of EmbeddingGemma 2 as ONNX graphs, on onnxruntime.

Built around the inputs and outputs of the published graphs, which are checked at the start. It knows nothing of
`Input`.
"""

from __future__ import annotations

import numpy as np

from model.embedder import ModelError
from model.gemma.files import GemmaFiles
from model.onnx_graphs import open_graph, require, run, width

DIM = 768
TEXT_INPUTS = ("input_ids", "attention_mask", "image_features", "video_features", "audio_features")
VISION_INPUTS = ("pixel_values", "pixel_position_ids")


class GraphTowers:
    """`hidden`: the dimension of an image token, the vision tower's row for 48 x 48 pixels."""

    is_thread_safe = True
    batch_tokens = 4096
    batch_patches = 2520
    """An image of 280 tokens. Attention needs up to the square of it, 300 MB over 12 heads."""

    def __init__(self, files: GemmaFiles) -> None:
        """Raises `ModelError` if a file is another model's or does not fit the other file."""
        # q8 has one scale for a tensor, also of several inputs; in int8 a batch's other rounding may change a code.
        if files.precision in ("int8", "q8"):
            self.batch_tokens = self.batch_patches = 1
        self._text = open_graph(files.text)
        self._vision = open_graph(files.vision)
        require(self._text, files.text, TEXT_INPUTS, "sentence_embedding")
        require(self._vision, files.vision, VISION_INPUTS, "image_features")
        self.hidden = width(self._text, "image_features") or 512
        vision_width = width(self._vision, "image_features")
        if vision_width not in (None, self.hidden):
            raise ModelError(f"{files.vision} gives rows of {vision_width} values; {files.text} takes {self.hidden}.")
        if width(self._text, "sentence_embedding") not in (None, DIM):
            raise ModelError(f"{files.text} gives no vectors of {DIM} values: it is another model.")

    def embed_tokens(self, ids: np.ndarray, mask: np.ndarray, images: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Returns float32 [n, 768], the mean over all tokens. `ids`, `mask`: int64 [n, tokens]; `images`, `frames`:
        float32 [rows, hidden], in the order of their tokens."""
        feeds = {
            "input_ids": ids,
            "attention_mask": mask,
            "image_features": images,
            "video_features": frames,
            "audio_features": np.zeros((0, self.hidden), np.float32),
        }
        return run(self._text, "sentence_embedding", feeds)

    def embed_patches(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Returns float32 [images * tokens, hidden]. `values`: float32 [images, patches, 768], images of one grid."""
        return run(self._vision, "image_features", {"pixel_values": values, "pixel_position_ids": positions})
