"""Servers that take the parts of an input instead of a conversation: egemma2, SGLang, Ollama.

Built around `STYLES`: what a server calls itself under `/v1/models` (`owned_by`) to how it is asked. egemma2 0.3.2 is
run in the tests; SGLang's and Ollama's forms are from their documents (EmbeddingGemma 2's pages of November 2026).

The latter two take one picture and no clip: a clip is sent as pictures, one request a frame, and is their mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from model.embedder import InputRejected
from model.gemma.wording import words
from model.inputs import Input
from model.prompts import plain
from model.remote.client import ChatServer, is_gemma, png


class EgemmaServer(ChatServer):
    """`egemma2 serve --http`: EmbeddingGemma 2, its parts in the order in which they are read."""

    recipe = "e1"

    def _one(self, item: Input) -> np.ndarray:
        prompt, text = words(item)
        parts: list[dict[str, Any]] = [{"text": prompt + plain(text)}] if prompt or text else []
        parts += [{"image": _url(picture)} for picture in item.images]
        if item.video is not None:
            parts.append({"video": [_url(frame) for frame in item.video]})
        return self._vector("/v1/embeddings", {"input": [{"parts": parts}], "prompt": "", "encoding_format": "base64"})


class OnePictureServer(ChatServer):
    """A server whose inputs are a text, a picture, or both."""

    path = "/v1/embeddings"

    def _one(self, item: Input) -> np.ndarray:
        if item.video is not None:
            if item.images:
                raise InputRejected(f"{self.address} takes no clip together with pictures")
            frames = [self._one(replace(item, video=None, images=(frame,), kind="image")) for frame in item.video]
            rows = np.concatenate(frames)
            return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).mean(0, keepdims=True)
        if len(item.images) > 1:
            raise InputRejected(f"{self.address} takes one picture at a time, not {len(item.images)}")
        return self._vector(self.path, {"input": [self._form(self._words(item), item.images)]})

    def _words(self, item: Input) -> str:
        if is_gemma(self.name):
            prompt, text = words(item)
            return prompt + plain(text)
        return " ".join(filter(None, (item.instruction, plain(item.text or ""))))

    def _form(self, text: str, images: tuple[np.ndarray, ...]) -> Any:
        """One input in the server's own form."""
        raise NotImplementedError


class SglangServer(OnePictureServer):
    """SGLang: OpenAI's route with objects of text and image."""

    recipe = "s1"

    def _form(self, text: str, images: tuple[np.ndarray, ...]) -> Any:
        return {**({"text": text} if text else {}), **({"image": _url(images[0])} if images else {})} or {"text": ""}


class OllamaServer(OnePictureServer):
    """Ollama from 0.36: a route of its own, pictures as bare base64."""

    recipe, path = "l1", "/api/embed"

    def _form(self, text: str, images: tuple[np.ndarray, ...]) -> Any:
        return {**({"text": text} if text else {}), "image": png(images[0])} if images else text


STYLES: dict[str, type[ChatServer]] = {"egemma2": EgemmaServer, "sglang": SglangServer, "library": OllamaServer}


def _url(picture: np.ndarray) -> str:
    return f"data:image/png;base64,{png(picture)}"
