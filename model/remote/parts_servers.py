"""Servers that take the parts of an input instead of a conversation: egemma2, SGLang, Ollama.

Built around `SERVERS`, which maps the `owned_by` of `/v1/models` to the class of the server. The tests run egemma2
0.3.2; the formats of SGLang and Ollama are from their documents (EmbeddingGemma 2's pages of November 2026).

SGLang and Ollama take one image and no clip: each frame of a clip is a request, and the clip is their mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from model.embedder import InputRejected, unit_rows
from model.gemma.prompts import prompt_and_text
from model.inputs import Input
from model.prompts import plain
from model.remote.chat_server import ChatServer, is_gemma, png


class EgemmaServer(ChatServer):
    """`egemma2 serve --http`: EmbeddingGemma 2, the parts of an input in the model's own order."""

    recipe = "e1"
    parallel_requests = 1
    """It embeds one request after another, and serves few open connections."""

    def _embed_one(self, item: Input) -> np.ndarray:
        prompt, text = prompt_and_text(item)
        parts: list[dict[str, Any]] = [{"text": prompt + plain(text)}] if prompt or text else []
        parts += [{"image": _data_uri(image)} for image in item.images]
        if item.video is not None:
            parts.append({"video": [_data_uri(frame) for frame in item.video]})
        return self._post("/v1/embeddings", {"input": [{"parts": parts}], "prompt": "", "encoding_format": "base64"})


class SingleImageServer(ChatServer):
    """A server whose inputs are a text, an image, or both."""

    path = "/v1/embeddings"

    def _embed_one(self, item: Input) -> np.ndarray:
        if item.video is not None:
            if item.images:
                raise InputRejected(f"{self.address} takes no clip together with images")
            frames = [self._embed_one(replace(item, video=None, images=(f,), kind="image")) for f in item.video]
            return np.asarray(unit_rows(np.concatenate(frames)).mean(0)[None])
        if len(item.images) > 1:
            raise InputRejected(f"{self.address} takes one image at a time, not {len(item.images)}")
        return self._post(self.path, {"input": [self._format(self._text(item), item.images)]})

    def _text(self, item: Input) -> str:
        """Returns the prompt and the text of an input in one string."""
        if is_gemma(self.name):
            prompt, text = prompt_and_text(item)
            return prompt + plain(text)
        return " ".join(filter(None, (item.instruction, plain(item.text or ""))))

    def _format(self, text: str, images: tuple[np.ndarray, ...]) -> Any:
        """Returns an input in the server's format."""
        raise NotImplementedError


class SglangServer(SingleImageServer):
    """SGLang: OpenAI's route, with objects of text and image."""

    recipe = "s1"

    def _format(self, text: str, images: tuple[np.ndarray, ...]) -> Any:
        image = {"image": _data_uri(images[0])} if images else {}
        return {**({"text": text} if text else {}), **image} or {"text": ""}


class OllamaServer(SingleImageServer):
    """Ollama from 0.36: its own route, images in base64 without a data URI."""

    recipe, path = "l1", "/api/embed"

    def _format(self, text: str, images: tuple[np.ndarray, ...]) -> Any:
        return {**({"text": text} if text else {}), "image": png(images[0])} if images else text


SERVERS: dict[str, type[ChatServer]] = {"egemma2": EgemmaServer, "sglang": SglangServer, "library": OllamaServer}


def _data_uri(image: np.ndarray) -> str:
    return f"data:image/png;base64,{png(image)}"
