"""`sightline serve-model`: one model for many machines, over HTTP, in batches formed across its clients.

Built around `Batcher`: requests wait in a bounded queue; whenever the model is free, what waits goes to it
together, queries first. A full queue answers 429 with the seconds to wait. Two doors lead to it: `/v1/embed`
takes exact pixels and whole batches (`model/remote/wire.py`), `/v1/embeddings` is OpenAI's with chat messages
as vLLM understands them, for other programs. Every answer names the model whose vectors it holds.
`app.web.guard.Guard` stands in front. It knows nothing of libraries.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import logging
import math
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from app import __version__
from app.web.guard import MIB, BodyTooLarge, Guard, is_loopback
from app.web.tokens import make_token
from model.embedder import Embedder, InputRejected, ModelError
from model.inputs import Input
from model.remote import wire

log = logging.getLogger("sightline")

PROTOCOL = 1
BODY_LIMIT = 64 * MIB
QUEUE_INPUTS = 512
QUEUE_BYTES = 256 * MIB
BATCH_MOST = 64
BATCH_S = 0.25
"""A batch is sized to take about so long: what a query that comes now has to wait for."""
LINGER_S = 0.0
"""How long a free model waits for more before it begins. What comes while a batch is embedded forms the next
one, and waiting lengthens every call of a lone client. `make bench-serving` compares with 5 ms; its figures
so far come from a busy machine and do not decide it."""


class QueueFull(Exception):
    """More waits than may. `retry_s`: when to come back."""

    def __init__(self, retry_s: float) -> None:
        super().__init__("Too much waits for the model; come back later.")
        self.retry_s = retry_s


@dataclass(eq=False)
class _Waiting:
    inputs: Sequence[Input]
    bytes: int
    done: Future[np.ndarray] = field(default_factory=Future)

    @property
    def asks(self) -> bool:
        return any(item.role == "query" for item in self.inputs)


class Batcher:
    """Many callers, one model: `submit` from any thread, batches in one of its own.

    `most` bounds the inputs of a batch, `linger_s` is how long it waits to be filled when the model is free.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        most: int = BATCH_MOST,
        linger_s: float = LINGER_S,
        queue_inputs: int = QUEUE_INPUTS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.embedder, self.most, self.linger_s = embedder, most, linger_s
        self._queue_inputs, self._queue_bytes = queue_inputs, queue_bytes
        self._asking: deque[_Waiting] = deque()
        self._filling: deque[_Waiting] = deque()
        self._inputs = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._an_input_s = 0.02
        self._size = 8
        self.batches = self.embedded = 0
        self._thread = threading.Thread(target=self._run, name="model-batches", daemon=True)
        self._thread.start()

    def submit(self, inputs: Sequence[Input]) -> Future[np.ndarray]:
        """float32 [n, dim] when it is done. Raises `QueueFull`; an empty queue takes anything."""
        size = sum(
            sum(p.nbytes for p in i.images) + (0 if i.video is None else i.video.nbytes) for i in inputs
        )
        waiting = _Waiting(inputs, size)
        with self._changed:
            full = self._inputs + len(inputs) > self._queue_inputs or self._bytes + size > self._queue_bytes
            if self._closed or (full and self._inputs):
                raise self._full()
            (self._asking if waiting.asks else self._filling).append(waiting)
            self._inputs += len(inputs)
            self._bytes += size
            self._changed.notify_all()
        return waiting.done

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(30)

    def refuse_when_full(self) -> None:
        """Raises `QueueFull` where nothing more is taken: before a body is even read."""
        with self._changed:
            if self._closed or self._inputs >= self._queue_inputs or self._bytes >= self._queue_bytes:
                raise self._full()

    def _full(self) -> QueueFull:
        return QueueFull(max(1.0, self._inputs * self._an_input_s))

    def _run(self) -> None:
        while batch := self._take():
            begun = time.monotonic()
            self._embed(batch)
            self._count(batch, time.monotonic() - begun)

    def _take(self) -> list[_Waiting]:
        """What goes to the model together: queries first, in three quarters of a batch so that nobody
        starves, then in order of arrival; whole requests. Empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._asking or self._filling or self._closed)
                if self._closed:
                    for one in (*self._asking, *self._filling):
                        one.done.cancel()
                    return []
                if self.linger_s:
                    self._changed.wait_for(lambda: self._closed or self._inputs >= self._size, self.linger_s)
                taken: list[_Waiting] = []
                count = 0
                for queue, share in ((self._asking, 0.75), (self._filling, 1.0), (self._asking, 1.0)):
                    while queue and (not taken or count + len(queue[0].inputs) <= share * self._size):
                        one = queue.popleft()
                        if one.done.set_running_or_notify_cancel():
                            taken.append(one)
                            count += len(one.inputs)
                        else:  # its asker has gone
                            self._let_go(one)
                if taken:
                    return taken

    def _let_go(self, one: _Waiting) -> None:
        self._inputs -= len(one.inputs)
        self._bytes -= one.bytes

    def _embed(self, batch: Sequence[_Waiting]) -> None:
        inputs = [item for one in batch for item in one.inputs]
        try:
            vectors = np.asarray(self.embedder.embed(inputs), np.float32)
            if vectors.shape != (len(inputs), self.embedder.dim):
                raise ModelError(f"the model gave an array {vectors.shape} for {len(inputs)} inputs")
        except Exception as error:  # noqa: BLE001 – the boundary to any model; the asker is told
            if len(batch) == 1:
                log.warning("a request could not be embedded: %s: %s", type(error).__name__, error)
                batch[0].done.set_exception(error)
            for one in batch if len(batch) > 1 else ():  # one client's input must not cost the others theirs
                self._embed([one])
            return
        at = 0
        for one in batch:
            one.done.set_result(vectors[at : at + len(one.inputs)])
            at += len(one.inputs)

    def _count(self, batch: Sequence[_Waiting], took_s: float) -> None:
        inputs = sum(len(one.inputs) for one in batch)
        with self._changed:
            for one in batch:
                self._let_go(one)
            self.batches += 1
            self.embedded += inputs
            self._an_input_s += 0.3 * (took_s / inputs - self._an_input_s)
            self._size = int(min(self.most, 2 * self._size, max(1, BATCH_S / max(self._an_input_s, 1e-5))))


def create_model_app(
    embedder: Embedder,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    names: Iterable[str] = (),
    **batching: Any,
) -> FastAPI:
    """The application over a loaded model. `names`: further host names it is reached by; `batching`:
    `Batcher`'s."""
    batcher = Batcher(embedder, **batching)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="Sightline model server", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.batcher = batcher

    async def embed(inputs: Sequence[Input]) -> np.ndarray:
        if not inputs:
            return np.zeros((0, embedder.dim), np.float32)
        return await asyncio.wrap_future(batcher.submit(inputs))

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        return JSONResponse({"ok": True, "model": embedder.id})

    @app.get("/v1/models")
    def models() -> JSONResponse:
        """What is served, as OpenAI lists it, with what Sightline wants to know beside it."""
        about = {
            "protocol": PROTOCOL,
            "id": embedder.id,
            "dim": embedder.dim,
            "max_frames": embedder.max_frames,
            "most_bytes": BODY_LIMIT,
            "profile": asdict(profile) if (profile := getattr(embedder, "profile", None)) else None,
        }
        model = {
            "id": embedder.id,
            "object": "model",
            "created": 0,
            "owned_by": "sightline",
            "sightline": about,
        }
        return JSONResponse({"object": "list", "data": [model]})

    @app.post("/v1/embed")
    async def exact(request: Request) -> Response:
        """Inputs and vectors as frames of `model/remote/wire.py`."""
        batcher.refuse_when_full()
        if request.headers.get("content-type", "") != wire.CONTENT_TYPE:
            raise _Unread(f"the body is of type {wire.CONTENT_TYPE}; other programs take /v1/embeddings")
        inputs = await asyncio.to_thread(wire.unpack, await request.body())
        body = wire.pack_vectors(await embed(inputs), embedder.id)
        return Response(body, media_type=wire.VECTORS_TYPE)

    @app.post("/v1/embeddings")
    async def openai(request: Request) -> JSONResponse:
        """OpenAI's embeddings: `input` (a text or several), or `messages` with text, pictures and frames."""
        batcher.refuse_when_full()
        try:
            asked = await request.json()
        except (ValueError, RecursionError) as error:
            raise _Unread("the body is not JSON") from error
        inputs = await asyncio.to_thread(_inputs_of, asked, embedder.id)
        vectors = await embed(inputs)
        packed = asked.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": n,
                "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
                if packed
                else row.tolist(),
            }
            for n, row in enumerate(vectors)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return JSONResponse({"object": "list", "model": embedder.id, "data": data, "usage": usage})

    _error_answers(app)

    @app.middleware("http")
    async def named(request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        answer.headers["x-sightline-model"] = embedder.id.encode("ascii", "replace").decode()
        return answer

    app.add_middleware(Guard, token=token, host=host, port=port, names=tuple(names), body_limit=BODY_LIMIT)
    return app


class _Unread(Exception):
    """A request that cannot be understood. One sentence."""


def _error_answers(app: FastAPI) -> None:
    """One sentence of JSON each, where OpenAI's clients look for it."""

    def answer(sentence: str, code: int, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": {"message": sentence, "code": code}}, code, headers)

    app.add_exception_handler(_Unread, lambda _, error: answer(str(error), 400))
    app.add_exception_handler(wire.WireError, lambda _, error: answer(str(error), 400))
    app.add_exception_handler(BodyTooLarge, lambda _, error: answer(str(error), 413))
    app.add_exception_handler(InputRejected, lambda _, error: answer(str(error), 422))
    app.add_exception_handler(ModelError, lambda _, error: answer(str(error), 500))

    def full(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, QueueFull)
        return answer(str(error), 429, {"retry-after": str(math.ceil(error.retry_s))})

    app.add_exception_handler(QueueFull, full)

    def other(_: Request, error: Exception) -> JSONResponse:
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        return answer(f"the model could not embed it ({problem[:200]})", 422)

    app.add_exception_handler(ValueError, other)
    app.add_exception_handler(RuntimeError, other)


# -- OpenAI's requests ---------------------------------------------------------------------------


def _inputs_of(asked: Any, model_id: str) -> list[Input]:
    """The inputs that an OpenAI request holds: one a text of `input`, or one of all the `messages`."""
    if not isinstance(asked, dict):
        raise _Unread("the body is a JSON object")
    if asked.get("model") not in (None, "", model_id, model_id.split("@")[0]):
        raise _Unread(f"this server has {model_id}, not {asked['model']!r:.80}")
    if "dimensions" in asked:
        raise _Unread("vectors are given at their full length; start serve-model with --dim for shorter ones")
    role = asked.get("input_type", "query")
    if role not in ("query", "document"):
        raise _Unread("input_type is query or document")
    if "messages" in asked:
        return [_conversation(asked["messages"], asked.get("input_type"))]
    texts = asked.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise _Unread("input is a text or a list of texts; pictures go into messages")
    if len(texts) > wire.MOST_INPUTS or any(len(t) > wire.MOST_TEXT for t in texts):
        raise _Unread(f"at most {wire.MOST_INPUTS} texts of {wire.MOST_TEXT:,} characters")
    return [Input(text=text, role=role) for text in texts]


def _conversation(messages: Any, input_type: str | None) -> Input:
    """The system's words are the instruction; a picture or clip makes a document unless `input_type` says
    query."""
    instruction, texts, images, frames = None, [], [], None
    if not isinstance(messages, list):
        raise _Unread("messages is a list")
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            raise _Unread("a message has a role and a content")
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str) and len(part["text"]) <= wire.MOST_TEXT:
                if message.get("role") == "system":
                    instruction = part["text"] or None
                elif part["text"]:
                    texts.append(part["text"])
            elif kind in ("image_url", "video_url") and isinstance(part.get(kind), dict):
                pictures = [_picture(one) for one in _data_uri(part[kind].get("url"))]
                if kind == "image_url":
                    images += pictures
                elif len({p.shape for p in pictures}) == 1:
                    frames = np.stack(pictures)
                else:
                    raise _Unread("the frames of a clip are of one size")
            else:
                raise _Unread("a part of a message is text, image_url or video_url")
    if not (texts or images or frames is not None):
        raise _Unread("there is nothing in the messages to embed")
    shown = "video" if frames is not None else "image" if images else "text"
    return Input(
        text="\n".join(texts) or None,
        images=tuple(images),
        video=frames,
        instruction=instruction,
        role="query"
        if (input_type or ("document" if shown != "text" else "query")) == "query"
        else "document",
        kind=shown,  # type: ignore[arg-type]
    )


def _data_uri(url: Any) -> list[str]:
    """The base64 pieces of a data: URI. Addresses are not fetched: whoever asks would see through this
    machine."""
    if not isinstance(url, str) or not url.startswith("data:") or ";base64," not in url[:80]:
        raise _Unread("pictures come as data: URIs in base64; addresses are not fetched")
    return url.split(",")[1:]


def _picture(text: str) -> np.ndarray:
    """uint8 [H, W, 3] of a PNG, JPEG or WebP in base64."""
    from PIL import Image

    try:
        data = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
            if image.width * image.height > wire.MOST_PIXELS:
                raise _Unread(f"a picture has more than {wire.MOST_PIXELS >> 20} million pixels")
            return np.asarray(image.convert("RGB"))
    except (binascii.Error, OSError, ValueError, SyntaxError, struct.error) as error:
        raise _Unread("a picture is not PNG, JPEG or WebP in base64") from error


def serve_model(
    embedder: Embedder,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    names: Iterable[str] = (),
) -> None:
    """Serve a model until interrupted. On a host other than loopback a token is made when none is given.

    Raises AddressInUse before anything is started when the port is taken.
    """
    import uvicorn

    from app.web.server import listen

    made = token is None and (not is_loopback(host) or bool(tuple(names)))
    token = make_token() if made else token
    listener = listen(host, port)
    port = listener.getsockname()[1]
    app = create_model_app(embedder, token=token, host=host, port=port, names=names)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    print(f"{embedder.id} is at http://{shown}:{port}", file=sys.stderr, flush=True)
    if made:
        print(f"Its token: SIGHTLINE_MODEL_TOKEN={token}", file=sys.stderr, flush=True)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])
