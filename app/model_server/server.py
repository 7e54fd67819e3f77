"""`sightline serve-model`: one model for many machines, over HTTP, in batches across its clients.

Built around `RequestBatcher`; when its queue is full, the answer is 429 with the seconds to wait. `/v1/embed` takes
exact pixels and whole batches (`model/remote/wire.py`); `/v1/embeddings` is OpenAI's (`openai.py`), for other
programs. Every answer names its model. `app.web.guard.Guard` checks each request. It knows nothing of libraries.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from app import __version__
from app.model_server.batching import QueueFull, RequestBatcher
from app.model_server.openai import UnreadableRequest, inputs_of
from app.model_server.pixel_budget import PixelBudget
from app.web import listener
from app.web.bodies import MAX_VALUES, MIB, BodyTooLarge, has_too_many_values
from app.web.guard import Guard, is_loopback
from app.web.tokens import make_token
from model.embedder import SIDE, Embedder, InputRejected, ModelError, side_for
from model.inputs import Input
from model.remote import wire

log = logging.getLogger("sightline")

PROTOCOL = 1
BODY_LIMIT = 64 * MIB


def create_model_app(
    embedder: Embedder,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    names: Iterable[str] = (),
    **batching: Any,
) -> FastAPI:
    """The application over a loaded model. `names`: further host names of this server; `batching`: options of
    `RequestBatcher`."""
    batcher = RequestBatcher(embedder, **batching)
    pixels = PixelBudget(wire.MAX_PIXELS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(title="Sightline model server", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.batcher = batcher
    sides = {kind: side_for(embedder, kind) for kind in SIDE} | {"query": side_for(embedder, "image", "query")}

    def embed(inputs: Sequence[Input]) -> Awaitable[np.ndarray]:
        return asyncio.wrap_future(batcher.submit(inputs))

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        return JSONResponse({"ok": True, "model": embedder.id})

    @app.get("/v1/models")
    def models() -> JSONResponse:
        """The model, as OpenAI lists it, with Sightline's own fields beside it."""
        about = {
            "protocol": PROTOCOL,
            "id": embedder.id,
            "dim": embedder.dim,
            "max_frames": embedder.max_frames,
            "sides": sides,
            "most_bytes": BODY_LIMIT,
            "profile": asdict(profile) if (profile := getattr(embedder, "profile", None)) else None,
        }
        model = {"id": embedder.id, "object": "model", "created": 0, "owned_by": "sightline", "sightline": about}
        return JSONResponse({"object": "list", "data": [model]})

    @app.post("/v1/embed")
    async def exact(request: Request) -> Response:
        """Inputs and vectors as frames of `model/remote/wire.py`."""
        batcher.refuse_when_full()
        if request.headers.get("content-type", "") != wire.CONTENT_TYPE:
            raise UnreadableRequest(f"the body is of type {wire.CONTENT_TYPE}; other programs take /v1/embeddings")
        body = await request.body()
        async with pixels.of(wire.pixels_of(body)):
            inputs = await asyncio.to_thread(wire.unpack, body)
            vectors = embed(inputs)
        return Response(wire.pack_vectors(await vectors, embedder.id), media_type=wire.VECTORS_TYPE)

    @app.post("/v1/embeddings")
    async def openai(request: Request) -> JSONResponse:
        """OpenAI's embeddings: `input` (a text or several), or `messages` with text, images and frames."""
        batcher.refuse_when_full()
        if has_too_many_values(await request.body()):
            raise UnreadableRequest(f"the body has more than {MAX_VALUES:,} values")
        try:
            document = await request.json()
        except (ValueError, RecursionError) as error:
            raise UnreadableRequest("the body is not JSON") from error
        async with pixels.of(wire.MAX_PIXELS):  # alone: how many there are shows only as they are decoded
            inputs = await asyncio.to_thread(inputs_of, document, embedder.id, sides["image"])
            submitted = embed(inputs)
        vectors = await submitted
        packed = document.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": n,
                "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode() if packed else row.tolist(),
            }
            for n, row in enumerate(vectors)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return JSONResponse({"object": "list", "model": embedder.id, "data": data, "usage": usage})

    _error_answers(app)

    @app.middleware("http")
    async def add_model_header(request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        answer.headers["x-sightline-model"] = embedder.id.encode("ascii", "replace").decode()
        return answer

    app.add_middleware(Guard, token=token, host=host, port=port, names=tuple(names), body_limit=BODY_LIMIT)
    return app


def _error_answers(app: FastAPI) -> None:
    """Answer errors with one sentence, in the JSON field where OpenAI's clients look for it."""

    def answer(sentence: str, code: int, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": {"message": sentence, "code": code}}, code, headers)

    app.add_exception_handler(UnreadableRequest, lambda _, error: answer(str(error), 400))
    app.add_exception_handler(wire.WireError, lambda _, error: answer(str(error), 400))
    app.add_exception_handler(BodyTooLarge, lambda _, error: answer(str(error), 413))
    app.add_exception_handler(InputRejected, lambda _, error: answer(str(error), 422))
    app.add_exception_handler(ModelError, lambda _, error: answer(str(error), 500))

    @app.exception_handler(QueueFull)
    def queue_full(_: Request, error: QueueFull) -> JSONResponse:
        return answer(str(error), 429, {"retry-after": str(math.ceil(error.retry_s))})

    @app.exception_handler(ValueError)
    @app.exception_handler(RuntimeError)
    def embedding_failed(_: Request, error: Exception) -> JSONResponse:
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        return answer(f"the model could not embed it ({problem[:200]})", 422)


def serve_model(
    embedder: Embedder, host: str = "127.0.0.1", port: int = 8000, token: str | None = None, names: Iterable[str] = ()
) -> None:
    """Serve a model until interrupted. If other machines can reach it and there is no `token`, one is made.

    Raises AddressInUse if the port is taken.
    """
    is_new = token is None and (not is_loopback(host) or bool(tuple(names)))
    token = make_token() if is_new else token
    socket = listener.listen(host, port)
    port = socket.getsockname()[1]
    app = create_model_app(embedder, token=token, host=host, port=port, names=names)
    print(f"{embedder.id} is at {listener.origin(host, port)}", file=sys.stderr, flush=True)
    if is_new:
        print(f"Its token: SIGHTLINE_MODEL_TOKEN={token}", file=sys.stderr, flush=True)
    listener.run(app, socket, graceful_s=5)
