"""A model on another machine behind the `Embedder` interface: `--model https://gpu-box:8000`.

Built around one question at connection, `GET /v1/models`. A `sightline serve-model` answers with the id,
dimension and frames of its model and takes whole batches of exact pixels (`model/remote/wire.py`). Any other
OpenAI-compatible server with chat embeddings (vLLM serves VLM2Vec and Qwen3-VL-Embedding so) is sent one
conversation an input, pictures as PNG, a clip as the sequence of its frames. Such a server cannot say which
weights it has: its model is named by what it makes of the canary's inputs.

Every answer says whose vectors it holds, and another model's are refused: nothing here ever falls back to
another model. It knows nothing of libraries; who remembers the canary is `indexer/active_models.py`.

vLLM's side was read, not run: the request's fields from `vllm/entrypoints/pooling/base/protocol.py` (commit
020638a6), Qwen3-VL-Embedding's conversation from `examples/pooling/embed/vision_embedding_online.py`
(dd30740a), a clip as pictures between commas from `VideoMediaIO.load_base64` (the first 32, unless the server
is told otherwise).
"""

from __future__ import annotations

import base64
import hashlib
import io
import ipaddress
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from model import self_check
from model.embedder import InputRejected, ModelAway, ModelError
from model.inputs import Input
from model.qwen.vision import sample_frames
from model.ranking_profile import RankingProfile
from model.remote import wire

if TYPE_CHECKING:
    import httpx

RECIPE = "o1"
"""Of the conversations below; part of the id of a model that an OpenAI-compatible server has."""

PATIENCE_S = 20.0
"""How long a busy server (429, 503) is asked again before the call is given up."""
LONGEST_PAUSE_S = 10.0
ANSWER_S = 300.0
"""A batch of windows on a slow machine; a server that is gone is noticed by its connection."""
ABREAST = 4
"""Requests of one `embed` on their way at a time, so that the next pictures travel while these are
embedded."""
ABREAST_CHAT = 16
"""Conversations at a time: the server forms its batches of them."""
REQUEST_BYTES = 8 << 20
REQUEST_INPUTS = 32

INSTRUCTION = "Represent the user's input."
"""What Qwen3-VL-Embedding takes where nothing else is said; its own default."""


def connect(
    address: str, *, token: str | None = None, dim: int | None = None, max_frames: int | None = None
) -> RemoteEmbedder:
    """The embedder of the server at `address`; `#name` at its end chooses among several models.

    Raises `ModelAway` when it does not answer, `ModelError` when it is no such server, refuses the token, or
    has several models and none was chosen.
    """
    asker = _Asker(address, token)
    found = asker.get("/v1/models").get("data")
    models = [m for m in found if isinstance(m, dict) and "id" in m] if isinstance(found, list) else []
    names = [str(m["id"]) for m in models]
    if asker.chosen and asker.chosen not in names:
        raise ModelError(f"{asker.base} has no model {asker.chosen}; it has {', '.join(names) or 'none'}.")
    if not names:
        raise ModelError(f"{asker.base} is no model server: it lists no models under /v1/models.")
    if len(names) > 1 and not asker.chosen:
        raise ModelError(
            f"{asker.base} has several models; choose one: " + ", ".join(f"{asker.base}#{n}" for n in names)
        )
    told = models[names.index(asker.chosen) if asker.chosen else 0]
    if isinstance(told.get("sightline"), dict):
        if dim is not None:
            raise ModelError(f"{asker.base} decides how long its vectors are: start `serve-model` there with --dim.")
        return SightlineServer(asker, told["sightline"], max_frames)
    from model.remote.parts_servers import STYLES

    style = STYLES.get(str(told.get("owned_by")), ChatServer)
    return style(asker, str(told["id"]), dim, max_frames)


class RemoteEmbedder:
    """`Embedder` over a connection. Safe to call from several threads.

    `canary`: float32 [6, dim], what the server made of `canary.inputs()` at connection.
    `named`: whether the server itself says which weights it has; else `id` is what the canary gave.
    """

    id: str
    dim: int
    max_frames: int
    named: bool
    canary: np.ndarray
    profile: RankingProfile | None = None

    def __init__(self, asker: _Asker, abreast: int) -> None:
        self.asker, self.address = asker, asker.base
        self._pool = ThreadPoolExecutor(abreast, thread_name_prefix="model-server")

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given. Raises `ModelAway` while the
        server does not answer, `InputRejected` for an input that it cannot embed, `ModelError` for the
        rest."""
        if not inputs:
            return np.zeros((0, self.dim), np.float32)
        pieces = self._pieces(inputs)
        made = list(self._pool.map(self._ask, pieces)) if len(pieces) > 1 else [self._ask(pieces[0])]
        vectors = np.concatenate(made)
        if vectors.shape != (len(inputs), self.dim):
            raise ModelError(
                f"{self.address} answered {len(inputs)} inputs with {vectors.shape[0]} vectors of"
                f" {vectors.shape[1]} values; {self.dim} were promised."
            )
        return vectors

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.asker.close()

    def _pieces(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        raise NotImplementedError

    def _ask(self, inputs: Sequence[Input]) -> np.ndarray:
        raise NotImplementedError

    def _is_mine(self, told: object, mine: str) -> None:
        if told != mine:
            raise ModelError(
                f"{self.address} has another model now ({told!s:.80}) than at the start ({mine}): nothing"
                " more is"
                " embedded with it. Start Sightline again to change the library to it."
            )


class SightlineServer(RemoteEmbedder):
    """A `sightline serve-model`: whole batches, exact pixels, and the model's own id."""

    named = True

    def __init__(self, asker: _Asker, told: dict[str, Any], max_frames: int | None) -> None:
        super().__init__(asker, ABREAST)
        try:
            self.id, self.dim = str(told["id"]), int(told["dim"])
            self.max_frames = min(int(told["max_frames"]), max_frames or 10**6)
            self._largest = int(told.get("most_bytes", REQUEST_BYTES))
            profile = told.get("profile")  # None: the model is untuned, or the server is older
            self.profile = None if profile is None else RankingProfile(**profile)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{asker.base} speaks another version of `serve-model`; update one of the two.") from error
        self._compact = not asker.loopback
        self.canary = self.embed(self_check.inputs())

    def _pieces(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        """In order, of bounded size; an input that is larger alone goes alone."""
        pieces: list[list[Input]] = [[]]
        size = 0
        for item in inputs:
            own = sum(p.nbytes for p in item.images) + (0 if item.video is None else item.video.nbytes)
            if pieces[-1] and (size + own > REQUEST_BYTES or len(pieces[-1]) == REQUEST_INPUTS):
                pieces.append([])
                size = 0
            pieces[-1].append(item)
            size += own
        return list(pieces)

    def _ask(self, inputs: Sequence[Input]) -> np.ndarray:
        body = wire.pack(inputs, compact=self._compact)
        if len(body) > self._largest:
            raise InputRejected(f"it is {len(body) >> 20} MB, and {self.address} takes {self._largest >> 20}")
        answer = self.asker.post("/v1/embed", content=body, kind=wire.CONTENT_TYPE)
        try:
            vectors, model_id = wire.unpack_vectors(answer.content)
        except wire.WireError as error:
            raise ModelError(f"{self.address} gave no vectors ({error}).") from error
        self._is_mine(model_id, self.id)
        return vectors


class ChatServer(RemoteEmbedder):
    """An OpenAI-compatible server with chat embeddings: a conversation an input."""

    named = False
    recipe = RECIPE

    def __init__(self, asker: _Asker, name: str, dim: int | None, max_frames: int | None) -> None:
        super().__init__(asker, ABREAST_CHAT)
        self.name, self._cut = name, dim
        self._style = vlm2vec_messages if "vlm2vec" in name.lower() else qwen_messages
        if is_gemma(name):
            self._style = gemma_messages
        self.max_frames = max_frames or (8 if self._style is vlm2vec_messages else 16)
        asked = self_check.inputs()
        self.canary = np.stack([row for item in asked for row in self._ask([item])])
        self.dim = self.canary.shape[1]
        if dim is not None and dim > self.dim:
            raise ModelError(f"{name} gives vectors of {self.dim} values; --dim {dim} is more.")
        self.id = self.id_of(hashlib.sha256(np.round(self.canary, 2).tobytes()).hexdigest()[:8])

    def id_of(self, mark: str) -> str:
        """The id under a canary's mark; who remembers an earlier canary that agrees gives its mark back."""
        return f"{self.name}@canary-{mark}-{self.recipe}" + (f"-d{self._cut}" if self._cut else "")

    def _pieces(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        return [[item] for item in inputs]

    def _ask(self, inputs: Sequence[Input]) -> np.ndarray:
        (item,) = inputs
        if item.video is not None:
            item = replace(item, video=sample_frames(item.video, self.max_frames))
        row = self._one(item)[:, : self._cut]
        return row / np.maximum(np.linalg.norm(row, axis=1, keepdims=True), 1e-12)

    def _one(self, item: Input) -> np.ndarray:
        """float32 [1, values], of any length."""
        return self._vector("/v1/embeddings", {"encoding_format": "base64", **self._style(item)})

    def _vector(self, path: str, body: dict[str, Any]) -> np.ndarray:
        """float32 [1, values]: the first vector of an answer, OpenAI's or Ollama's."""
        answer = json_of(self.asker.post(path, json={"model": self.name, **body}), self.address)
        self._is_mine(answer.get("model", self.name), self.name)
        try:
            given = answer["embeddings"][0] if "embeddings" in answer else answer["data"][0]["embedding"]
            vector = np.frombuffer(base64.b64decode(given), "<f4") if isinstance(given, str) else given
            return np.asarray(vector, np.float32).reshape(1, -1)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(f"{self.address} gave no vectors: is {self.name} an embedding model?") from error


def vlm2vec_messages(item: Input) -> dict[str, Any]:
    """VLM2Vec's conversation: pictures first, then the instruction and the text in one line, as it was
    trained."""
    from model.prompts import vlm2vec

    prompt = vlm2vec(item)
    said = f"{prompt.head}{prompt.text}{prompt.tail}"
    for pad in ("<|image_pad|>", "<|video_pad|>"):
        said = said.replace(pad, "")
    content = [*visuals(item), {"type": "text", "text": said.strip()}]
    return {"messages": [{"role": "user", "content": content}]}


def qwen_messages(item: Input) -> dict[str, Any]:
    """Qwen3-VL-Embedding's conversation: the instruction as system, then what is to be embedded; the vector
    is read where the model's turn begins."""
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
    """Whether a server's model is EmbeddingGemma 2 by its name."""
    return re.search(r"embedding[-_]?gemma[-_]?2", name.lower()) is not None


def gemma_messages(item: Input) -> dict[str, Any]:
    """EmbeddingGemma 2's conversation: the prompt as system, then text before pictures, as it is read."""
    from model.gemma.wording import words
    from model.prompts import plain

    prompt, text = words(item)
    content = [*([{"type": "text", "text": plain(text)}] if text else []), *visuals(item)]
    system = [{"role": "system", "content": [{"type": "text", "text": prompt}]}] if prompt else []
    return {"messages": [*system, {"role": "user", "content": content or [{"type": "text", "text": ""}]}]}


def visuals(item: Input) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png(picture)}"}} for picture in item.images
    ]
    if item.video is not None:
        # vLLM splits this at its commas and opens each as a picture, by its content: PNG loses nothing.
        frames = ",".join(png(frame) for frame in item.video)
        parts.append({"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{frames}"}})
    return parts


def png(picture: np.ndarray) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(out, "PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode()


class _Asker:
    """HTTP to one server: the token, patience with a busy one, and a sentence for everything that goes
    wrong."""

    def __init__(self, address: str, token: str | None) -> None:
        try:
            parts = urlsplit(address)
            port = f":{parts.port}" if parts.port else ""
        except ValueError as error:
            raise ModelError(f"{address} is no address of a server: write https://host:8000") from error
        if not parts.hostname:
            raise ModelError(f"{address} is no address of a server: write https://host:8000")
        if parts.username or parts.password:
            raise ModelError("A model server's token does not go into its address: set SIGHTLINE_MODEL_TOKEN.")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        path = parts.path.rstrip("/").removesuffix("/v1")
        self.base, self.chosen = f"{parts.scheme}://{host}{port}{path}", unquote(parts.fragment)
        self.loopback = _is_loopback(parts.hostname)
        self._token, self._lock = token, threading.Lock()
        self._made: httpx.Client | None = None

    def get(self, path: str) -> dict[str, Any]:
        return json_of(self._patiently(lambda client: client.get(self.base + path)), self.base)

    def post(
        self, path: str, *, content: bytes | None = None, kind: str | None = None, json: Any = None
    ) -> httpx.Response:
        headers = {"content-type": kind} if kind else {}
        return self._patiently(
            lambda client: client.post(self.base + path, content=content, json=json, headers=headers)
        )

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._made is None:
                import httpx

                headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
                timeout = httpx.Timeout(ANSWER_S, connect=5.0, pool=None)
                limits = httpx.Limits(max_connections=ABREAST_CHAT)
                # A proxy of the environment is for the internet, not for this machine's own ports.
                self._made = httpx.Client(headers=headers, timeout=timeout, limits=limits, trust_env=not self.loopback)
            return self._made

    def _patiently(self, call: Callable[[httpx.Client], httpx.Response]) -> httpx.Response:
        import httpx

        client = self._client()
        until, tries = time.monotonic() + PATIENCE_S, 0
        while True:
            tries += 1
            try:
                answer = call(client)
            except httpx.UnsupportedProtocol as error:
                raise ModelError(f"{self.base} is no address of a server: write https://host:8000") from error
            except httpx.TransportError as error:
                if tries == 1:  # an idle connection that the server had closed meanwhile
                    continue
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ModelAway(f"The model server {self.base} does not answer ({reason}).") from error
            if answer.status_code in (429, 503):
                pause = _pause(answer.headers.get("retry-after"), tries)
                if time.monotonic() + pause > until:
                    raise ModelAway(f"The model server {self.base} is busy ({_reason(answer)}).")
                time.sleep(pause)
                continue
            self._refuse(answer)
            return answer

    def _refuse(self, answer: httpx.Response) -> None:
        code = answer.status_code
        if code < 300:
            return
        if code in (401, 403):
            raise ModelError(f"{self.base} refuses the token ({code}): set SIGHTLINE_MODEL_TOKEN to one of its own.")
        if code in (400, 413, 415, 422):
            raise InputRejected(f"{self.base}: {_reason(answer)}")
        if code in (502, 504):
            raise ModelAway(f"The model server {self.base} is not reached through its proxy ({code}).")
        raise ModelError(f"{self.base} is no model server that can be used ({code}: {_reason(answer)}).")


def _pause(told: str | None, tries: int) -> float:
    """Seconds until the next attempt: what the server asks for, else doubling, spread so that clients part
    ways."""
    try:
        asked = float(told) if told else 0.0
    except ValueError:  # a date: the server's clock is not ours
        asked = 1.0
    grown = 0.1 * 2.0 ** min(tries, 6) * random.uniform(0.5, 1.5)
    return min(asked * random.uniform(1.0, 1.3) if asked > 0 else grown, LONGEST_PAUSE_S)


def _reason(answer: httpx.Response) -> str:
    """The sentence in an error answer: ours (`error`), OpenAI's (`error.message`), or its first line."""
    try:
        said = answer.json()
    except ValueError:
        lines = answer.text.strip().splitlines()
        return (lines[0] if lines else answer.reason_phrase)[:200]
    error = said.get("error", said.get("detail", said.get("message"))) if isinstance(said, dict) else None
    return str(error.get("message") if isinstance(error, dict) else error or answer.reason_phrase)[:200]


def json_of(answer: httpx.Response, base: str) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError as error:
        raise ModelError(f"{base} is no model server: its answer is not JSON.") from error
    if not isinstance(said, dict):
        raise ModelError(f"{base} is no model server: its answer is not what one gives.")
    return said


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
