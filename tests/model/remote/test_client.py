"""A model on another machine: an OpenAI-compatible server with chat embeddings, as vLLM is one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from chat_server import ChatEmbeddings

import model
from model import Input, self_check
from model.embedder import InputRejected, ModelAway, ModelError
from model.remote import connection


@pytest.fixture(scope="module")
def lite() -> model.Embedder:
    return model.load("lite")


@pytest.fixture
def server(lite: model.Embedder) -> Iterator[ChatEmbeddings]:
    server = ChatEmbeddings(lite)
    yield server
    server.close()


PHOTO = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
CLIP = np.random.default_rng(2).integers(0, 255, (5, 60, 80, 3), dtype=np.uint8)


def test_words_pictures_and_clips_arrive_without_a_bit_lost(server: ChatEmbeddings, lite: model.Embedder) -> None:
    """The server's vectors are those that the same model gives here."""
    inputs = [
        Input(text="a dog in snow", role="query"),
        Input(images=(PHOTO,), kind="image"),
        Input(video=CLIP, kind="video"),
    ]
    there = model.load(server.url)
    assert there.dim == lite.dim
    np.testing.assert_allclose(there.embed(inputs), lite.embed(inputs), atol=1e-6)


def test_the_id_is_the_server_s_name_and_what_its_canary_gave(server: ChatEmbeddings) -> None:
    first = model.load(server.url)
    assert first.id.startswith("Qwen/Qwen3-VL-Embedding-2B@canary-")
    assert model.load(server.url).id == first.id
    server.change = lambda vector: np.roll(vector, 1)
    assert model.load(server.url).id != first.id


def test_qwen_is_told_the_instruction_as_system_and_read_at_its_turn(server: ChatEmbeddings) -> None:
    there = model.load(server.url)
    there.embed([Input(text="snow", instruction="Find the place.", images=(PHOTO,), kind="image")])
    body = server.seen[-1]
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant"]
    assert body["messages"][0]["content"][0]["text"] == "Find the place."
    assert [p["type"] for p in body["messages"][1]["content"]] == ["image_url", "text"]
    assert body["continue_final_message"] is True and body["model"] == server.name


def test_vlm2vec_is_told_the_instruction_and_the_words_after_the_picture(server: ChatEmbeddings) -> None:
    server.name = "VLM2Vec/VLM2Vec-V2.0"
    model.load(server.url).embed([Input(images=(PHOTO,), kind="image")])
    (message,) = server.seen[-1]["messages"]
    assert message["role"] == "user"
    assert message["content"][0]["type"] == "image_url"
    assert message["content"][1] == {"type": "text", "text": "Represent the given image."}


def test_a_long_clip_is_sent_as_the_frames_that_the_model_wants(server: ChatEmbeddings) -> None:
    there = model.load(server.url, max_frames=3)
    there.embed([Input(video=CLIP, kind="video")])
    part = server.seen[-1]["messages"][1]["content"][0]
    assert part["type"] == "video_url" and part["video_url"]["url"].count(",") == 3


def test_dim_keeps_the_leading_values_at_unit_length(server: ChatEmbeddings) -> None:
    short = model.load(server.url, dim=64)
    vectors = short.embed([Input(text="dog", role="query")])
    assert vectors.shape == (1, 64) and short.id.endswith("-d64")
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


def test_among_several_models_one_has_to_be_chosen(server: ChatEmbeddings) -> None:
    server.name = "first,second"
    with pytest.raises(ModelError, match=r"choose one: .*#first, .*#second"):
        model.load(server.url)
    with pytest.raises(ModelError, match="has no model third; it has first, second"):
        model.load(server.url + "#third")


def test_another_model_in_mid_run_is_refused_in_one_line(server: ChatEmbeddings) -> None:
    there = model.load(server.url)
    server.name = "somebody/else"
    with pytest.raises(ModelError, match=r"has another model now \(somebody/else\)") as caught:
        there.embed([Input(text="dog", role="query")])
    assert "\n" not in str(caught.value) and not isinstance(caught.value, ModelAway)


def test_a_busy_server_is_asked_again_when_it_said(server: ChatEmbeddings) -> None:
    there = model.load(server.url)
    server.trouble = [(429, {"retry-after": "1"}, "too many"), (503, {}, "loading")]
    begun = time.monotonic()
    assert there.embed([Input(text="dog", role="query")]).shape == (1, there.dim)
    assert time.monotonic() - begun >= 1.0
    assert not server.trouble


def test_a_server_that_stays_busy_is_given_up_with_its_reason(
    server: ChatEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = model.load(server.url)
    monkeypatch.setattr(connection, "RETRY_S", 0.5)
    server.trouble = [(503, {"retry-after": "30"}, "the queue is full")]
    with pytest.raises(ModelAway, match=r"busy .the queue is full"):
        there.embed([Input(text="dog", role="query")])


def test_a_server_that_goes_away_and_comes_back_on_its_port(lite: model.Embedder) -> None:
    server = ChatEmbeddings(lite)
    there = model.load(server.url)
    server.close()
    there.connection.close()  # type: ignore[attr-defined]  # the kept connection of a daemon thread lives on
    there.connection._http = None  # type: ignore[attr-defined]
    with pytest.raises(ModelAway, match=f"{server.url} does not answer"):
        there.embed([Input(text="dog", role="query")])
    again = ChatEmbeddings(lite, port=server.port)
    try:
        assert there.embed([Input(text="dog", role="query")]).shape == (1, there.dim)
    finally:
        again.close()


def test_an_input_that_the_server_will_not_have_is_not_a_broken_model(server: ChatEmbeddings) -> None:
    there = model.load(server.url)
    server.trouble = [(400, {}, "the prompt is longer than max_model_len")]
    with pytest.raises(InputRejected, match="longer than max_model_len"):
        there.embed([Input(text="dog", role="query")])


def test_the_token_is_sent_and_a_wrong_one_is_told_with_what_to_do(server: ChatEmbeddings) -> None:
    server.token = "sesame"
    assert model.load(server.url, token="sesame").dim
    with pytest.raises(ModelError, match=r"refuses the token .401.: set SIGHTLINE_MODEL_TOKEN"):
        model.load(server.url, token="wrong")


@pytest.mark.parametrize(
    "address, said",
    [
        ("http://user:secret@127.0.0.1:9", "does not go into its address"),
        ("http://:8000", "no address of a server"),
        ("http://127.0.0.1:99999", "no address of a server"),
        ("http://127.0.0.1:9", "does not answer"),
    ],
)
def test_an_address_that_cannot_be_is_told_in_one_line(address: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        model.load(address)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_server_s_model_passes_and_fails_the_self_check_like_any_other(server: ChatEmbeddings) -> None:
    self_check.check(model.load(server.url))
    server.change = lambda vector: np.eye(1, len(vector))[0]
    with pytest.raises(ModelError, match="fails its self-check"):
        self_check.check(model.load(server.url))
