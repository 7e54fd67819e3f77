"""Model servers that take parts: egemma2 itself on a tiny checkpoint, and the forms of SGLang, Ollama and vLLM."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import Input, load
from model.embedder import InputRejected, ModelError
from tests.model.gemma import egemma as egemma_program
from tests.model.gemma import tiny

PHOTO = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
CLIP = np.random.default_rng(2).integers(0, 255, (3, 64, 96, 3), dtype=np.uint8)
QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "


@pytest.fixture(scope="module")
def egemma(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """(address of egemma2, its checkpoint); egemma2 is a program of another author: `pip install egemma2`."""
    if egemma_program.program() is None:
        pytest.skip("egemma2 is not installed")
    folder = tmp_path_factory.mktemp("egemma2") / "tiny"
    tiny.model().save_pretrained(folder)
    tiny.tokenizer(folder)
    tiny.processor(folder)
    with egemma_program.serve(folder) as (address, _):
        yield address, folder


def test_egemma2_gives_the_vectors_of_the_model_here(egemma):
    address, folder = egemma
    inputs = [
        Input("a dog in snow", role="query"), Input("a dog in snow"), Input(images=(PHOTO,), kind="image"),
        Input("but at night", images=(PHOTO,), role="query"), Input("words", images=(PHOTO,), kind="pdf"),
        Input("cats", instruction="classification", role="query"), Input("<|image|> <eos>", role="query"),
    ]  # fmt: skip
    here = load(str(folder), device="cpu", detail="page=280")
    there = load(address)
    assert there.dim == 768 and there.id.startswith("tiny@canary-")
    cosines = (there.embed(inputs) * here.embed(inputs)).sum(1)
    assert cosines[:6].min() > 1 - 1e-3  # its resize differs from Pillow's by a level here and there
    assert np.abs(there.embed(inputs[:2]) - here.embed(inputs[:2])).max() < 1e-5
    clip = Input(video=CLIP, kind="video")
    assert float((there.embed([clip]) * here.embed([clip])).sum()) > 1 - 1e-3


def test_egemma2_is_known_again_by_its_canary_and_cut_by_dim(egemma):
    address, _ = egemma
    assert load(address).id == load(address).id
    assert load(address, dim=256).embed([Input("x")]).shape == (1, 256)


class Server:
    """What a server of the name `owner` answers, from its documents: vectors made of what came."""

    def __init__(self, owner: str, name: str) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.tell({"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.seen.append((self.path, body))
                seed = abs(hash(json.dumps(body, sort_keys=True))) % 2**32
                vector = np.random.default_rng(seed).standard_normal(16).tolist()
                ollama = {"model": name, "embeddings": [vector]}
                openai = {"model": name, "data": [{"index": 0, "embedding": vector}]}
                self.tell(ollama if self.path == "/api/embed" else openai)

            def tell(self, said: Any) -> None:
                out = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def asked(self, item: Input, embedder: Any) -> list[tuple[str, dict[str, Any]]]:
        before = len(self.seen)
        embedder.embed([item])
        return self.seen[before:]


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Server] = []

    def start(owner: str, name: str) -> Server:
        servers.append(Server(owner, name))
        return servers[-1]

    yield start
    for server in servers:
        server.server.shutdown()


def _pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2]))))


@pytest.mark.parametrize("owner, path", [("sglang", "/v1/embeddings"), ("library", "/api/embed")])
def test_sglang_and_ollama_are_asked_in_their_own_form(owner, path, serve):
    server = serve(owner, "embeddinggemma-2:latest")
    there = load(server.url)
    ((where, body),) = server.asked(Input("a dog", role="query"), there)
    assert where == path and body["model"] == "embeddinggemma-2:latest"
    assert body["input"] == [QUERY + "a dog" if owner == "library" else {"text": QUERY + "a dog"}]
    ((_, body),) = server.asked(Input("at night", images=(PHOTO,), role="query"), there)
    assert body["input"][0]["text"] == QUERY + "at night"
    assert np.array_equal(_pixels(body["input"][0]["image"]), PHOTO)
    assert body["input"][0]["image"].startswith("data:") == (owner == "sglang")
    ((_, body),) = server.asked(Input(images=(PHOTO,), kind="image"), there)
    assert "text" not in body["input"][0]


@pytest.mark.parametrize("owner", ["sglang", "library"])
def test_a_clip_goes_to_them_as_pictures_and_more_than_one_picture_is_refused(owner, serve):
    server = serve(owner, "embeddinggemma-2")
    there = load(server.url)
    sent = server.asked(Input(video=CLIP, kind="video"), there)
    assert [np.array_equal(_pixels(b["input"][0]["image"]), f) for (_, b), f in zip(sent, CLIP, strict=True)] == [
        True
    ] * 3
    with pytest.raises(InputRejected, match="takes one image at a time"):
        there.embed([Input(images=(PHOTO, PHOTO), role="query")])
    with pytest.raises(InputRejected, match="no clip together with images"):
        there.embed([Input(images=(PHOTO,), video=CLIP, role="query")])


def test_vllm_is_told_gemmas_prompt_as_system_and_the_words_first(serve):
    server = serve("vllm", "google/embeddinggemma-2")
    there = load(server.url)
    ((_, body),) = server.asked(Input("at night", images=(PHOTO,), role="query"), there)
    system, user = body["messages"]
    assert system == {"role": "system", "content": [{"type": "text", "text": QUERY}]}
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    ((_, body),) = server.asked(Input(images=(PHOTO,), kind="image"), there)
    assert [message["role"] for message in body["messages"]] == ["user"]
    ((_, body),) = server.asked(Input(images=(PHOTO,), kind="pdf"), there)
    assert body["messages"][0]["content"][0]["text"] == DOCUMENT


def test_a_server_that_answers_with_another_model_is_refused(serve):
    server = serve("library", "embeddinggemma-2")
    there = load(server.url)
    there.name = "another"
    with pytest.raises(ModelError, match="has another model now"):
        there.embed([Input("x")])
