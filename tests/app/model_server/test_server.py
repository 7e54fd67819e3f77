"""`sightline serve-model` over a real socket: the same vectors as here, many clients, and everything that is
refused."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

import model
from app.model_server.batching import QueueFull, RequestBatcher
from app.model_server.openai import MAX_PIXELS
from app.model_server.server import BODY_LIMIT, create_model_app
from data.media.image import read_image
from indexer import active_models as indexer_models
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Part, Query
from model import Input, self_check
from model.embedder import SIDE, ModelAway, ModelError, side_for
from model.remote import wire
from model.remote.client import SightlineServer
from model.remote.connection import Connection
from tests.media import draw_image

PARITY = Path(__file__).parents[2] / "model" / "parity"


class Served:
    """A model server on a port of its own."""

    def __init__(self, embedder: Any, port: int = 0, **options: Any) -> None:
        from app.web.listener import listen

        self.socket = listen("127.0.0.1", port)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = create_model_app(embedder, port=self.port, **options)
        self.batcher: RequestBatcher = self.app.state.batcher
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


class Slow:
    """An embedder that takes its time and counts what it is given; a text "poison" makes it fail."""

    id, dim, max_frames = "slow@1-r1", 4, 2

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[int] = []
        self.hold = threading.Event()
        self.hold.set()

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        self.calls.append(len(inputs))
        self.hold.wait(60)
        time.sleep(self.seconds)
        if any(i.text == "poison" for i in inputs):
            raise ValueError("cannot be embedded")
        return np.stack([np.eye(4, dtype=np.float32)[len(i.text or "") % 4] for i in inputs])


@pytest.fixture(scope="module")
def lite() -> model.Embedder:
    return model.load("lite")


@pytest.fixture(scope="module")
def served(lite: model.Embedder) -> Iterator[Served]:
    served = Served(lite)
    yield served
    served.stop()


def mixture() -> list[Input]:
    noise = np.random.default_rng(3)
    return [
        Input(text="ein Hund im Schnee – 雪", role="query"),
        Input(images=(noise.integers(0, 255, (333, 517, 3), dtype=np.uint8),), kind="image"),
        Input(video=noise.integers(0, 255, (8, 90, 160, 3), dtype=np.uint8), kind="video"),
        Input(text="page text " * 40, images=(np.full((400, 300, 3), 250, np.uint8),), kind="pdf"),
        Input(text="what", instruction="Find it.", role="query", kind="pdf"),
    ]


def test_a_served_model_gives_the_very_vectors_that_it_gives_here(served: Served, lite: model.Embedder) -> None:
    there = model.load(served.url)
    assert (there.id, there.dim, there.max_frames) == (lite.id, lite.dim, lite.max_frames)
    assert there.profile == lite.profile  # type: ignore[attr-defined]
    np.testing.assert_array_equal(there.embed(mixture()), lite.embed(mixture()))


def test_a_served_model_is_shown_what_it_is_shown_here(served: Served, lite: model.Embedder) -> None:
    """The laptop decodes to the sides of the model on the server: lite's are smaller than the ordinary ones."""
    there = model.load(served.url)
    for kind in SIDE:
        assert side_for(there, kind) == side_for(lite, kind) < SIDE[kind]


@pytest.mark.parametrize("side", [0, 10**6, None, "large"])
def test_a_server_that_asks_for_impossible_images_is_refused(side: Any, lite: model.Embedder) -> None:
    fields = {"id": "a@1", "dim": 4, "max_frames": 8, "sides": {"image": 640, "pdf": side, "video": 640}}
    with pytest.raises(ModelError, match="another version"):
        SightlineServer(Connection("http://127.0.0.1:9", None), fields, None)


def test_a_qwen_checkpoint_gives_the_same_vectors_over_a_socket() -> None:
    """Tiny random weights in the format of the hub; batches differ, so the last digits may."""
    here = model.load(str(PARITY / "checkpoint"))
    served = Served(here)
    try:
        there = model.load(served.url)
        assert there.id == here.id
        few = [mixture()[0], mixture()[2]]
        np.testing.assert_allclose(there.embed(few), here.embed(few), atol=2e-6)
    finally:
        served.stop()


def test_packed_pictures_are_the_same_to_the_bit() -> None:
    for compact in (False, True):
        for before, after in zip(mixture(), wire.unpack(wire.pack(mixture(), compact=compact)), strict=True):
            assert (before.text, before.instruction, before.role, before.kind) == (
                after.text, after.instruction, after.role, after.kind,
            )  # fmt: skip
            for one, two in zip(before.images, after.images, strict=True):
                np.testing.assert_array_equal(one, two)
            if before.video is not None:
                np.testing.assert_array_equal(before.video, after.video)


def test_a_frame_that_lies_is_refused_before_memory_is_taken(served: Served) -> None:
    good = wire.pack(mixture()[1:2])
    length = int.from_bytes(good[:4], "little")
    head, tail = json.loads(good[4 : 4 + length]), good[4 + length :]

    def frame(change: Any) -> bytes:
        said = json.loads(json.dumps(head))
        change(said["inputs"][0])
        text = json.dumps(said).encode()
        return len(text).to_bytes(4, "little") + text + tail

    lies = [
        b"",
        good[:-1],
        good + b"x",
        b"\xff\xff\xff\xff" + good[4:],
        frame(lambda one: one["images"][0].update(shape=[2**31, 2**31, 3])),
        frame(lambda one: one["images"][0].update(shape=[-1, 5, 3])),
        frame(lambda one: one["images"][0].update(coding="pickle")),
        frame(lambda one: one["images"][0].update(coding="webp")),
        frame(lambda one: one.update(role="root")),
        frame(lambda one: one.update(text="x" * (wire.MAX_TEXT + 1))),
        frame(lambda one: one.update(images=[], text=None)),
    ]
    for body in lies:
        answer = httpx.post(
            f"{served.url}/v1/embed", content=body, headers={"content-type": wire.CONTENT_TYPE}, timeout=60
        )
        assert answer.status_code == 400, body[:200]
        assert answer.json()["error"]["message"]


def test_every_answer_names_the_model(served: Served, lite: model.Embedder) -> None:
    for path in ("/healthz", "/v1/models", "/nothing"):
        assert httpx.get(served.url + path, timeout=60).headers["x-sightline-model"] == lite.id
    assert httpx.get(f"{served.url}/healthz", timeout=60).json() == {"ok": True, "model": lite.id}


def test_requests_of_many_clients_go_to_the_model_together(
    lite: model.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.model_server.batching.BATCH_S", 1e9)  # or the wait for all twelve counts as a slow model's
    slow = Slow()
    served = Served(slow)
    try:
        slow.hold.clear()
        with ThreadPoolExecutor(12) as pool:
            waiting = [
                pool.submit(httpx.post, f"{served.url}/v1/embeddings", json={"input": "x" * (n + 1)}, timeout=60)
                for n in range(12)
            ]
            while served.batcher._inputs < 12:
                time.sleep(0.01)
            slow.hold.set()
            for n, one in enumerate(waiting):
                row = one.result().json()["data"][0]["embedding"]
                assert row == np.eye(4)[(n + 1) % 4].tolist()  # everybody got his own
        assert len(slow.calls) < 6 and sum(slow.calls) == 12
    finally:
        slow.hold.set()
        served.stop()


def test_one_client_s_bad_input_costs_the_others_nothing() -> None:
    slow = Slow()
    batcher = RequestBatcher(slow)
    slow.hold.clear()
    first = batcher.submit([Input(text="first")])
    others = [batcher.submit([Input(text=t)]) for t in ("good", "poison", "fine")]
    slow.hold.set()
    assert first.result(60).shape == (1, 4)
    assert others[0].result(60).shape == others[2].result(60).shape == (1, 4)
    with pytest.raises(ValueError, match="cannot be embedded"):
        others[1].result(60)
    batcher.close()


def test_a_query_does_not_wait_behind_what_is_indexed() -> None:
    slow = Slow()
    batcher = RequestBatcher(slow, most=4)
    order: list[str] = []
    slow.hold.clear()
    for n in range(20):
        batcher.submit([Input(text=f"page {n}", role="document")] * 2).add_done_callback(lambda _: order.append("page"))
    batcher.submit([Input(text="dog", role="query")]).add_done_callback(lambda _: order.append("query"))
    slow.hold.set()
    while len(order) < 21:
        time.sleep(0.01)
    batcher.close()
    assert order.index("query") <= 5


def test_a_full_queue_answers_429_with_the_seconds_to_wait_and_the_client_comes_back() -> None:
    slow = Slow(0.05)
    served = Served(slow, queue_inputs=2)
    try:
        client = model.load(served.url)
        slow.hold.clear()
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(client.embed, [Input(text="a")] * 2)
            while served.batcher._inputs < 2:
                time.sleep(0.01)
            refused = httpx.post(f"{served.url}/v1/embeddings", json={"input": ["b"]}, timeout=60)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["x-sightline-model"] == slow.id
            later = pool.submit(client.embed, [Input(text="bb")])
            time.sleep(0.2)
            slow.hold.set()
            assert first.result(60).shape == (2, 4)
            assert later.result(60).argmax() == 2
        with pytest.raises(QueueFull):
            served.batcher.close()
            served.batcher.submit([Input(text="late")])
    finally:
        slow.hold.set()
        served.stop()


def test_a_served_model_on_the_network_asks_for_its_token_and_knows_its_names(lite: model.Embedder) -> None:
    served = Served(lite, token="sesame", host="0.0.0.0", names=("gpu-box",))
    try:
        assert httpx.get(f"{served.url}/v1/models", timeout=60).status_code == 401
        assert httpx.get(f"{served.url}/healthz", timeout=60).status_code == 200
        with pytest.raises(ModelError, match="refuses the token"):
            model.load(served.url)
        assert model.load(served.url, token="sesame").id == lite.id
        bearer = {"authorization": "Bearer sesame"}
        for host, code in (("gpu-box:8000", 200), ("evil.example", 421)):
            assert (
                httpx.get(f"{served.url}/v1/models", headers={**bearer, "host": host}, timeout=60).status_code == code
            )
    finally:
        served.stop()


def test_a_body_over_the_limit_is_refused_by_its_length(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.putrequest("POST", "/v1/embed")
    connection.putheader("content-length", str(BODY_LIMIT + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def png(picture: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def test_other_programs_speak_openai_to_it(served: Served, lite: model.Embedder) -> None:
    said = httpx.post(
        f"{served.url}/v1/embeddings", json={"model": lite.id, "input": ["dog", "cat"]}, timeout=60
    ).json()
    assert said["model"] == lite.id and [d["index"] for d in said["data"]] == [0, 1]
    expected = lite.embed([Input(text="dog", role="query"), Input(text="cat", role="query")])
    np.testing.assert_allclose([d["embedding"] for d in said["data"]], expected, atol=1e-7)
    picture = mixture()[1].images[0]
    content = [{"type": "image_url", "image_url": {"url": png(picture)}}]
    body = {"messages": [{"role": "user", "content": content}], "encoding_format": "base64"}
    said = httpx.post(f"{served.url}/v1/embeddings", json=body, timeout=60).json()
    vector = np.frombuffer(base64.b64decode(said["data"][0]["embedding"]), "<f4")
    indexed = read_image(base64.b64decode(png(picture).partition(",")[2]), lite.max_side)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(vector, lite.embed([Input(images=(indexed,), kind="image")])[0])


@pytest.mark.parametrize(
    "body, said",
    [
        ({"input": [""]}, "text"),
        ({"input": "x", "model": "gpt-4"}, "this server has lite@"),
        ({"input": "x", "dimensions": 64}, "full length"),
        ({"messages": []}, "nothing in the messages"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "text, image_url or video_url"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}],
                    }
                ]
            },
            "addresses are not fetched",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
                    }
                ]
            },
            "not PNG, JPEG or WebP",
        ),
    ],
)
def test_what_openai_s_door_does_not_take_is_told(served: Served, body: Any, said: str) -> None:
    answer = httpx.post(f"{served.url}/v1/embeddings", json=body, timeout=60)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_pixels_are_counted_over_all_images_of_a_request(served: Served) -> None:
    """Each image is within the bound, and small as it travels; the second is refused before it is decoded."""
    side = int((MAX_PIXELS * 0.6) ** 0.5)
    part = {"type": "image_url", "image_url": {"url": png(np.zeros((side, side, 3), np.uint8))}}
    body = {"messages": [{"role": "user", "content": [part, part]}]}
    answer = httpx.post(f"{served.url}/v1/embeddings", json=body, timeout=60)
    assert answer.status_code == 400 and "million pixels in one request" in answer.json()["error"]["message"]


def test_a_library_indexed_here_goes_on_with_the_same_model_over_there(served: Served, tmp_path: Path) -> None:
    """Same id, same vectors: nothing is embedded again."""
    draw_image(tmp_path / "in" / "red.png", color=(200, 20, 20))
    dog = Query(parts=(Part(text="a red square"),))
    with Library.open(tmp_path / "lib", ocr="off") as library:
        library.index([tmp_path / "in"])
        before = library.search(dog)
    draw_image(tmp_path / "in" / "blue.png", color=(20, 20, 200))
    with Library.open(tmp_path / "lib", served.url, ocr="off") as library:
        report = library.index()
        after = library.search(dog)
        assert report.chunks == 1  # the new one
        assert after.model == before.model
        assert {h.title for h in after.hits} == {"red.png", "blue.png"}


def test_queries_are_told_that_the_server_is_away_and_no_other_model_answers(
    lite: model.Embedder, tmp_path: Path
) -> None:
    served = Served(lite)
    draw_image(tmp_path / "in" / "red.png", color=(200, 20, 20))
    with Library.open(tmp_path / "lib", served.url, ocr="off") as library:
        library.index([tmp_path / "in"])
        assert library.search(Query(parts=(Part(text="red"),))).hits
        served.stop()
        with pytest.raises((ModelAway, LibraryError), match=f"{served.url} does not answer"):
            library.search(Query(parts=(Part(text="something new"),)))
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "search", "red", "--data-dir", str(tmp_path / "lib"), "--model",
        served.url], capture_output=True, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "does not answer" in done.stderr


def test_indexing_waits_for_a_server_that_goes_away_and_goes_on_by_itself(lite: model.Embedder, tmp_path: Path) -> None:
    class Counting:
        id, dim, max_frames = lite.id, lite.dim, lite.max_frames
        seen = 0

        def embed(self, inputs: Sequence[Input]) -> np.ndarray:
            Counting.seen += len(inputs)
            time.sleep(0.4 * len(inputs))  # the server stops before all are done, however late that is seen
            return lite.embed(inputs)

    for n in range(24):
        draw_image(tmp_path / "in" / f"{n}.png", seed=n, color=(200, n * 10, 20))
    served = Served(Counting())
    with Library.open(tmp_path / "lib", served.url, ocr="off") as library:
        library.add_root(tmp_path / "in")
        library.start(watch=False)
        wait_until(lambda: library.status().chunks >= 3)
        served.stop()
        wait_until(lambda: any("goes on by itself" in n for n in library.status().notices))
        stood_at = library.status().chunks
        assert stood_at < 24 and library.status().failed == 0
        again = Served(Counting(), port=served.port)
        try:
            wait_until(lambda: library.status().pending == 0 and library.status().chunks == 24)
            assert library.status().failed == 0
            assert not any("model server" in n for n in library.status().notices)
            assert library.catalogue.models.answering().name == lite.id  # type: ignore[union-attr]
        finally:
            again.stop()


def test_indexing_that_begins_before_its_server_does_waits_in_the_background_and_fails_in_front(
    lite: model.Embedder, tmp_path: Path
) -> None:
    draw_image(tmp_path / "in" / "red.png", color=(200, 20, 20))
    probe = Served(lite)
    probe.stop()
    with Library.open(tmp_path / "lib", probe.url, ocr="off") as library:
        with pytest.raises((LibraryError, ModelError), match="does not answer"):
            library.index([tmp_path / "in"])
        library.start(watch=False)
        wait_until(lambda: any("model server" in n for n in library.status().notices))
        served = Served(lite, port=probe.port)
        try:
            wait_until(lambda: library.status().chunks == 1)
        finally:
            served.stop()


def wait_until(true: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


class Turned:
    """The lite model under its own id, with its vectors turned: other weights that do not say so."""

    def __init__(self, lite: Any, id: str) -> None:
        self._lite, self.id, self.dim, self.max_frames = lite, id, lite.dim, lite.max_frames

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        return np.roll(self._lite.embed(inputs), 1, axis=1)


def test_a_server_that_sees_otherwise_than_the_same_model_here_is_refused(lite: model.Embedder) -> None:
    served = Served(Turned(lite, lite.id))
    try:
        with pytest.raises(ModelError, match="gives other vectors than the same model here"):
            indexer_models.load_checked(served.url)
    finally:
        served.stop()


def test_a_server_that_sees_otherwise_than_when_the_library_first_used_it_is_refused(
    lite: model.Embedder, tmp_path: Path
) -> None:
    draw_image(tmp_path / "in" / "red.png", color=(200, 20, 20))

    class Named:
        id, dim, max_frames = "big@abc-r1", lite.dim, lite.max_frames
        embed = staticmethod(lite.embed)

    served = Served(Named())
    with Library.open(tmp_path / "lib", served.url, ocr="off") as library:
        library.index([tmp_path / "in"])
    served.stop()
    served = Served(Turned(lite, Named.id), port=served.port)
    try:
        with (
            Library.open(tmp_path / "lib", served.url, ocr="off") as library,
            pytest.raises(LibraryError, match="gives other vectors than when this library first used it"),
        ):
            library.search(Query(parts=(Part(text="red"),)))
    finally:
        served.stop()


def test_a_nameless_server_keeps_its_id_through_small_differences_and_loses_it_with_its_weights(
    lite: model.Embedder, tmp_path: Path, chat: Any
) -> None:
    draw_image(tmp_path / "in" / "red.png", color=(200, 20, 20))

    def used() -> str:
        with Library.open(tmp_path / "lib", chat.url, ocr="off") as library:
            library.index([tmp_path / "in"])
            return library.search(Query(parts=(Part(text="red"),))).model

    noise = np.random.default_rng(5).normal(0, 3e-3, lite.dim).astype(np.float32)
    first = used()
    chat.change = lambda vector: (vector + noise) / np.linalg.norm(vector + noise)
    assert used() == first  # as other kernels and other batches would
    chat.change = lambda vector: np.roll(vector, 1)
    assert used() != first


@pytest.fixture
def chat(lite: model.Embedder) -> Iterator[Any]:
    sys.path.insert(0, str(PARITY.parent))
    try:
        from chat_server import ChatEmbeddings
    finally:
        sys.path.pop(0)
    server = ChatEmbeddings(lite)
    yield server
    server.close()


def test_the_command_serves_and_prints_where_and_with_what_token(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve-model", "--host", "0.0.0.0", "--port", "0", "--data-dir",
        str(tmp_path)], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        env={**os.environ, "SIGHTLINE_DATA_DIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        where = re.search(r"is at (http://127.0.0.1:\d+)", process.stderr.readline())
        token = re.search(r"SIGHTLINE_MODEL_TOKEN=(\S+)", process.stderr.readline())
        assert where and token
        there = model.load(where[1], token=token[1])
        assert self_check.agreement(there.canary, model.load("lite").embed(self_check.inputs())) > 0.9999  # type: ignore[attr-defined]
    finally:
        process.terminate()
        process.wait(60)
