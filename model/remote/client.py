"""A model on another machine as an `Embedder`: `--model https://gpu-box:8000`.

Built around `connect`, which asks `GET /v1/models`. A `sightline serve-model` answers with the id, dimension and
frames of its model and takes whole batches of exact pixels (`model/remote/wire.py`). Any other OpenAI-compatible
server with chat embeddings (vLLM with VLM2Vec or Qwen3-VL-Embedding) receives one conversation per input, images as
PNG, a clip as the sequence of its frames. Such a server does not tell its weights: the id of its model is a hash of
its vectors for fixed inputs, the canary.

Every response names its model, and the vectors of another model are an error: there is no fallback to another
model. It knows nothing of HTTP (`connection.py`) or libraries; `indexer/active_models.py` stores the canary.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from model import self_check
from model.embedder import InputRejected, ModelError, unit_rows
from model.inputs import Input
from model.qwen.vision import sample_frames
from model.ranking_profile import RankingProfile
from model.remote import wire
from model.remote.connection import MAX_CONNECTIONS, Connection, read_json_object

RECIPE = "o1"
"""The version of the conversations; part of the id of a model on an OpenAI-compatible server."""

PARALLEL_REQUESTS = 4
"""Concurrent requests of one `embed`: the next images are sent while the server embeds."""
REQUEST_BYTES = 8 << 20
REQUEST_INPUTS = 32

INSTRUCTION = "Represent the user's input."
"""The default instruction of Qwen3-VL-Embedding."""


def connect(
    address: str, *, token: str | None = None, dim: int | None = None, max_frames: int | None = None
) -> RemoteEmbedder:
    """Returns the embedder of the server at `address`; `#name` at the end selects one of several models.

    Raises `ModelAway` if the server does not answer, `ModelError` if it is no model server, rejects the token, or
    has several models and `address` names none.
    """
    connection = Connection(address, token)
    base, name = connection.base, connection.model_name
    data = connection.get("/v1/models").get("data")
    models = [m for m in data if isinstance(m, dict) and "id" in m] if isinstance(data, list) else []
    names = [str(m["id"]) for m in models]
    if name and name not in names:
        raise ModelError(f"{base} has no model {name}; it has {', '.join(names) or 'none'}.")
    if not names:
        raise ModelError(f"{base} is no model server: it lists no models under /v1/models.")
    if len(names) > 1 and not name:
        raise ModelError(f"{base} has several models; choose one: " + ", ".join(f"{base}#{n}" for n in names))
    model = models[names.index(name) if name else 0]
    if isinstance(model.get("sightline"), dict):
        if dim is not None:
            raise ModelError(f"{base} decides how long its vectors are: start `serve-model` there with --dim.")
        return SightlineServer(connection, model["sightline"], max_frames)
    from model.remote.parts_servers import SERVERS

    server = SERVERS.get(str(model.get("owned_by")), ChatServer)
    return server(connection, str(model["id"]), dim, max_frames)


class RemoteEmbedder:
    """An `Embedder` over a connection. Safe to call from several threads.

    `canary`: float32 [6, dim], the server's vectors of `self_check.inputs()` at connection.
    `named`: whether the server gives the id of its weights; else `id` is a hash of the canary.
    """

    id: str
    dim: int
    max_frames: int
    named: bool
    canary: np.ndarray
    profile: RankingProfile | None = None

    def __init__(self, connection: Connection, parallel_requests: int) -> None:
        self.connection, self.address = connection, connection.base
        self._pool = ThreadPoolExecutor(parallel_requests, thread_name_prefix="model-server")

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in order. Raises `ModelAway` if the server does
        not answer, `InputRejected` for an input that it cannot embed, else `ModelError`."""
        if not inputs:
            return np.zeros((0, self.dim), np.float32)
        requests = self._split(inputs)
        parts = list(self._pool.map(self._request, requests)) if len(requests) > 1 else [self._request(requests[0])]
        vectors = np.concatenate(parts)
        if vectors.shape != (len(inputs), self.dim):
            raise ModelError(
                f"{self.address} answered {len(inputs)} inputs with {vectors.shape[0]} vectors of"
                f" {vectors.shape[1]} values; {self.dim} were promised."
            )
        return vectors

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.connection.close()

    def _split(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        """Returns the inputs of each request."""
        raise NotImplementedError

    def _request(self, inputs: Sequence[Input]) -> np.ndarray:
        raise NotImplementedError

    def _require_model(self, name: object, expected_name: str) -> None:
        if name != expected_name:
            raise ModelError(
                f"{self.address} has another model now ({name!s:.80}) than at the start ({expected_name}): nothing "
                "more is embedded with it. Start Sightline again to change the library to it."
            )


class SightlineServer(RemoteEmbedder):
    """A `sightline serve-model`: whole batches, exact pixels, and the model's own id."""

    named = True

    def __init__(self, connection: Connection, fields: dict[str, Any], max_frames: int | None) -> None:
        super().__init__(connection, PARALLEL_REQUESTS)
        try:
            self.id, self.dim = str(fields["id"]), int(fields["dim"])
            self.max_frames = min(int(fields["max_frames"]), max_frames or 10**6)
            self._max_bytes = int(fields.get("most_bytes", REQUEST_BYTES))
            profile = fields.get("profile")  # None: the model is untuned, or the server is older
            self.profile = None if profile is None else RankingProfile(**profile)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{self.address} speaks another version of `serve-model`; update one of the two."
            raise ModelError(message) from error
        self._compact = not connection.is_loopback
        self.canary = self.embed(self_check.inputs())

    def _split(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        """Returns parts in order, of bounded size; an input above the bound is a part of its own."""
        parts: list[list[Input]] = [[]]
        part_bytes = 0
        for item in inputs:
            n_bytes = sum(p.nbytes for p in item.images) + (0 if item.video is None else item.video.nbytes)
            if parts[-1] and (part_bytes + n_bytes > REQUEST_BYTES or len(parts[-1]) == REQUEST_INPUTS):
                parts.append([])
                part_bytes = 0
            parts[-1].append(item)
            part_bytes += n_bytes
        return list(parts)

    def _request(self, inputs: Sequence[Input]) -> np.ndarray:
        body = wire.pack(inputs, compact=self._compact)
        if len(body) > self._max_bytes:
            raise InputRejected(f"it is {len(body) >> 20} MB, and {self.address} takes {self._max_bytes >> 20}")
        response = self.connection.post("/v1/embed", content=body, kind=wire.CONTENT_TYPE)
        try:
            vectors, model_id = wire.unpack_vectors(response.content)
        except wire.WireError as error:
            raise ModelError(f"{self.address} gave no vectors ({error}).") from error
        self._require_model(model_id, self.id)
        return vectors


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
