"""A small OpenAI-compatible embeddings server that behaves as vLLM's does, over the lite model.

What it keeps of the original: `/v1/models` without a word on weights; one conversation a request and one
vector an answer; content parts of type text, image_url and video_url; a clip as base64 pictures between
commas; the answer's `model`; `encoding_format`; 400 with `error.message`. `trouble` is a list of answers
that are given first.
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
                models = [
                    {"id": n, "object": "model", "created": 1, "owned_by": "vllm", "root": n} for n in names
                ]
                self.tell(200, {"object": "list", "data": models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if outer.token and self.headers.get("authorization") != f"Bearer {outer.token}":
                    return self.tell(401, {"error": "Unauthorized"})
                if outer.trouble:
                    code, headers, text = outer.trouble.pop(0)
                    return self.tell(code, {"error": {"message": text, "code": code}}, headers)
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
