"""A small OpenAI-compatible embeddings server that behaves as vLLM's does, over the lite model.

What it keeps of the original (vLLM: `entrypoints/pooling/base/protocol.py`, commit 020638a6; `VideoMediaIO`):
`/v1/models` without a word on weights; one conversation a request and one vector an answer; content parts of
type text, image_url and video_url; a clip as base64 pictures between commas; the answer's `model`;
`encoding_format`; 400 with `error.message` for what it refuses. `trouble` is a list of answers that are given
first.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from model.embedder import Embedder
from model.inputs import Input


class ChatEmbeddings:
    """Serves on a port of this machine until `close`. `seen` holds the bodies that came."""

    def __init__(self, embedder: Embedder, name: str = "Qwen/Qwen3-VL-Embedding-2B", port: int = 0) -> None:
        self.embedder, self.name, self.token = embedder, name, ""
        self.change: Callable[[np.ndarray], np.ndarray] = lambda vector: vector
        self.trouble: list[tuple[int, dict[str, str], str]] = []
        self.seen: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                names = outer.name.split(",")
                models = [{"id": n, "object": "model", "created": 1, "owned_by": "vllm", "root": n} for n in names]
                self.tell(200, {"object": "list", "data": models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if outer.token and self.headers.get("authorization") != f"Bearer {outer.token}":
                    return self.tell(401, {"error": "Unauthorized"})
                if outer.trouble:
                    code, headers, text = outer.trouble.pop(0)
                    return self.tell(code, {"error": {"message": text, "code": code}}, headers)
                if (wrong := refused(body)) is not None:
                    return self.tell(400, {"error": {"message": wrong, "type": "BadRequestError", "code": 400}})
                outer.seen.append(body)
                vector = outer.change(outer.embedder.embed([as_input(body["messages"])])[0])
                packed = base64.b64encode(vector.astype("<f4").tobytes()).decode()
                given = packed if body.get("encoding_format") == "base64" else vector.tolist()
                data = [{"index": 0, "object": "embedding", "embedding": given}]
                return self.tell(200, {"id": "embd-1", "object": "list", "model": outer.name, "data": data})

            def tell(self, code: int, told: Any, headers: dict[str, str] | None = None) -> None:
                out = json.dumps(told).encode()
                self.send_response(code)
                for key, value in {"content-length": str(len(out)), **(headers or {})}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(out)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


CONTENT = {"text": "text", "image_url": "image_url", "video_url": "video_url"}
MOST_FRAMES = 32
"""What `VideoMediaIO` keeps of a clip, unless the server was started with --media-io-kwargs."""


def refused(body: dict[str, Any]) -> str | None:
    """Why vLLM would answer 400; it takes fields that it does not know, and drops them."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: Field required"
    if "normalize" in body:
        return "Parameter `normalize` was removed; use `use_activation` instead."
    if body.get("continue_final_message") and body.get("add_generation_prompt"):
        return "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
    if body.get("encoding_format", "float") not in ("float", "base64", "bytes", "bytes_only"):
        return "encoding_format: Input should be 'float', 'base64', 'bytes' or 'bytes_only'"
    for message in messages:
        if message.get("role") not in ("system", "user", "assistant"):
            return "messages: no such role"
        for part in message["content"]:
            if part.get("type") not in CONTENT or CONTENT[part["type"]] not in part:
                return f"Unknown part type: {part.get('type')}"
            if part["type"] == "video_url" and part["video_url"]["url"].count(",") > MOST_FRAMES:
                return "the original would leave frames out"
    if body.get("continue_final_message") and messages[-1]["role"] != "assistant":
        return "continue_final_message is set but the final message is not the model's"
    return None


def as_input(messages: list[dict[str, Any]]) -> Input:
    """What the lite model is given for a conversation: the user's words, pictures and clip."""
    texts, pictures, video = [], [], None
    for message in messages:
        for part in message["content"] if message["role"] == "user" else ():
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                head, *pieces = part[part["type"]]["url"].split(",")
                assert head in ("data:image/png;base64", "data:video/jpeg;base64")
                shown = [opened(piece) for piece in pieces]
                if part["type"] == "image_url":
                    pictures += shown
                else:
                    video = np.stack(shown)
    kind: Any = "video" if video is not None else "image" if pictures else "text"
    role: Any = "query" if kind == "text" else "document"
    return Input(text=" ".join(texts) or None, images=tuple(pictures), video=video, kind=kind, role=role)


def opened(text: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text, validate=True))).convert("RGB"))
