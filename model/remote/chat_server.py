"""An OpenAI-compatible server with chat embeddings (vLLM with VLM2Vec or Qwen3-VL-Embedding) as an `Embedder`.

Built around `ChatServer`: one conversation per input, images as PNG, a clip as the sequence of its frames. Such a
server does not tell its weights: the id of its model is a hash of its vectors for fixed inputs, the canary.

Sources for vLLM, not tested against a server: the request's fields from `vllm/entrypoints/pooling/base/protocol.py`
(commit 020638a6), Qwen3-VL-Embedding's conversation from `examples/pooling/embed/vision_embedding_online.py`
(dd30740a), a clip as images between commas from `VideoMediaIO.load_base64` (by default the first 32).
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model import self_check
from model.embedder import ModelError, unit_rows
from model.inputs import Input
from model.qwen.vision import sample_frames
from model.remote.connection import MAX_CONNECTIONS, Connection, read_json_object
from model.remote.embedder import RemoteEmbedder

RECIPE = "o1"
"""The version of the conversations; part of the id of a model on an OpenAI-compatible server."""

INSTRUCTION = "Represent the user's input."
"""The default instruction of Qwen3-VL-Embedding."""


class ChatServer(RemoteEmbedder):
    """An OpenAI-compatible server with chat embeddings: one conversation per input."""

    named = False
    recipe = RECIPE
    parallel_requests = MAX_CONNECTIONS

    def __init__(self, connection: Connection, name: str, dim: int | None, max_frames: int | None) -> None:
        super().__init__(connection, self.parallel_requests)
        self.name, self._truncate_dim = name, dim
        self._messages = vlm2vec_messages if "vlm2vec" in name.lower() else qwen_messages
        if is_gemma(name):
            self._messages = gemma_messages
        self.max_frames = max_frames or (8 if self._messages is vlm2vec_messages else 16)
        self.canary = np.stack([row for item in self_check.inputs() for row in self._request([item])])
        self.dim = self.canary.shape[1]
        if dim is not None and dim > self.dim:
            raise ModelError(f"{name} gives vectors of {self.dim} values; --dim {dim} is more.")
        self.id = self.id_of(hashlib.sha256(np.round(self.canary, 2).tobytes()).hexdigest()[:8])

    def id_of(self, canary_hash: str) -> str:
        """Returns the model id for the hash of this canary, or of an earlier one that agrees with it."""
        suffix = f"-d{self._truncate_dim}" if self._truncate_dim else ""
        return f"{self.name}@canary-{canary_hash}-{self.recipe}{suffix}"

    def _split(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        return [[item] for item in inputs]

    def _request(self, inputs: Sequence[Input]) -> np.ndarray:
        (item,) = inputs
        if item.video is not None:
            item = replace(item, video=sample_frames(item.video, self.max_frames))
        return unit_rows(self._embed_one(item)[:, : self._truncate_dim])

    def _embed_one(self, item: Input) -> np.ndarray:
        """Returns float32 [1, the server's dimension], of any length."""
        return self._post("/v1/embeddings", {"encoding_format": "base64", **self._messages(item)})

    def _post(self, path: str, body: dict[str, Any]) -> np.ndarray:
        """Returns float32 [1, the server's dimension], the first vector of a response, OpenAI's or Ollama's."""
        response = read_json_object(self.connection.post(path, json={"model": self.name, **body}), self.address)
        self._require_model(response.get("model", self.name), self.name)
        try:
            embedding = response["embeddings"][0] if "embeddings" in response else response["data"][0]["embedding"]
            vector = np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else embedding
            return np.asarray(vector, np.float32).reshape(1, -1)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(f"{self.address} gave no vectors: is {self.name} an embedding model?") from error


def vlm2vec_messages(item: Input) -> dict[str, Any]:
    """Returns VLM2Vec's conversation: images, then instruction and text in one line, as in its training."""
    from model.prompts import vlm2vec

    prompt = vlm2vec(item)
    text = f"{prompt.head}{prompt.text}{prompt.tail}"
    for pad in ("<|image_pad|>", "<|video_pad|>"):
        text = text.replace(pad, "")
    content = [*visuals(item), {"type": "text", "text": text.strip()}]
    return {"messages": [{"role": "user", "content": content}]}


def qwen_messages(item: Input) -> dict[str, Any]:
    """Returns Qwen3-VL-Embedding's conversation: the instruction as system, then the input; the vector is that
    of the last token, where the model's turn begins."""
    from model.prompts import plain

    content = [*visuals(item)]
    if item.text or not content:
        content.append({"type": "text", "text": plain(item.text or "")})
    return {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": item.instruction or INSTRUCTION}]},
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": ""}]},
        ],
        "continue_final_message": True,
        "add_special_tokens": True,
    }


def is_gemma(name: str) -> bool:
    """Returns whether the name of a server's model is one of EmbeddingGemma 2."""
    return re.search(r"embedding[-_]?gemma[-_]?2", name.lower()) is not None


def gemma_messages(item: Input) -> dict[str, Any]:
    """Returns EmbeddingGemma 2's conversation: the prompt as system, then text, images, clip, the model's own order."""
    from model.gemma.prompts import prompt_and_text
    from model.prompts import plain

    prompt, text = prompt_and_text(item)
    content = [*([{"type": "text", "text": plain(text)}] if text else []), *visuals(item)]
    system = [{"role": "system", "content": [{"type": "text", "text": prompt}]}] if prompt else []
    return {"messages": [*system, {"role": "user", "content": content or [{"type": "text", "text": ""}]}]}


def visuals(item: Input) -> list[dict[str, Any]]:
    """Returns the images and the clip of an input as parts of a message."""
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png(image)}"}} for image in item.images
    ]
    if item.video is not None:
        # vLLM splits this at the commas and detects the format of each image: PNG is lossless.
        frames = ",".join(png(frame) for frame in item.video)
        parts.append({"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{frames}"}})
    return parts


def png(image: np.ndarray) -> str:
    """Returns an image as PNG in base64."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, "PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode()
