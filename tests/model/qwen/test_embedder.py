"""`Input`s through a Qwen backbone: wording, limits, batches, number formats, gradients."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import CHECKPOINT, prompts, visuals, wanted

import model
from model.batching import plan_batches
from model.embedder import Embedder, ModelError
from model.inputs import Input
from model.prompts import gme, plain, vlm2vec
from model.qwen.checkpoint import load_qwen
from model.qwen.embedder import QwenVLEmbedder


@pytest.fixture(scope="module")
def embedder() -> QwenVLEmbedder:
    return load_qwen(CHECKPOINT)


def picture(height: int = 90, width: int = 120, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def is_unit(rows: np.ndarray, count: int, dim: int = 64) -> bool:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    return rows.shape == (count, dim) and rows.dtype == np.float32 and bool(np.abs(lengths - 1).max() < 1e-5)


def test_it_is_an_embedder_with_the_frames_of_the_protocol(embedder: QwenVLEmbedder) -> None:
    assert isinstance(embedder, Embedder)
    assert embedder.max_frames == 8 and embedder.dim == 64
    assert embedder.embed([]).shape == (0, 64)


@pytest.mark.parametrize(
    "item, said",
    [
        (Input(text="a cat", role="query", kind="image"),
         "Find me an everyday image that matches the given caption: a cat\n"),
        (Input(text="a cat", role="query", kind="video"),
         "Find a video that contains the following visual content: a cat"),
        (Input(text="a cat", role="query", kind="pdf"),
         "Find a document image that matches the given query: a cat"),
        (Input(text="a cat"), "a cat"),
        (Input(images=(picture(),), kind="image"), "<|image_pad|>\nRepresent the given image.\n"),
        (Input(images=(picture(),), kind="pdf", text="words of the page"),
         "<|image_pad|> Understand the content of the provided document image."),
        (Input(video=picture()[None], kind="video"),
         "<|video_pad|> Understand the content of the provided video."),
        (Input(images=(picture(),), role="query", kind="image"),
         "<|image_pad|>\nFind a day-to-day image that looks similar to the provided image.\n"),
        (Input(images=(picture(),), text="at night", role="query", kind="image"),
         "<|image_pad|>\nGiven an image, find a similar everyday image with the described changes: "
         "at night\n"),
        (Input(images=(picture(),), text="what is it?", role="query", kind="image",
               instruction="Represent the given image with the following question:"),
         "<|image_pad|>\nRepresent the given image with the following question: what is it?\n"),
        (Input(video=picture()[None], text="boat", role="query", instruction="Find the clip:"),
         "<|video_pad|> Find the clip: boat"),
    ],
)  # fmt: skip
def test_each_role_and_kind_is_worded_as_in_the_benchmark(item: Input, said: str) -> None:
    prompt = vlm2vec(item)
    assert prompt.head + prompt.text + prompt.tail == said


def test_gme_speaks_its_chat_form_and_sees_the_middle_frame() -> None:
    frames = np.stack([picture(seed=s) for s in range(5)])
    prompt = gme(Input(video=frames, kind="video"))
    assert prompt.head + prompt.text + prompt.tail == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
    )
    np.testing.assert_array_equal(prompt.visuals[0], frames[2])


def test_gme_embeds_every_kind_within_its_own_limits() -> None:
    embedder = load_qwen(CHECKPOINT, as_gme=True, max_pixels=50176, min_pixels=3136)
    items = [Input(text="a", role="query"), Input(images=(picture(),), kind="image"), Input(text="word " * 9000)]
    assert is_unit(embedder.embed(items), 3)
    assert embedder.max_frames == 1 and embedder.max_tokens == 1800


def test_embed_is_embed_prompts_with_the_wording_put_on(embedder: QwenVLEmbedder) -> None:
    shown = picture()
    direct = embedder.embed_prompts(["<|image_pad|>\nRepresent the given image.\n"], [[shown]])
    np.testing.assert_allclose(embedder.embed([Input(images=(shown,), kind="image")]), direct, atol=1e-6)


def test_a_long_clip_is_sampled_as_in_the_protocol_and_the_number_can_be_set(embedder: QwenVLEmbedder) -> None:
    frames = np.stack([picture(60, 80, seed) for seed in range(64)])
    chosen = frames[[0, 9, 18, 27, 36, 45, 54, 63]]
    rows = embedder.embed([Input(video=frames, kind="video"), Input(video=chosen, kind="video")])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    two = model.load(str(CHECKPOINT), max_frames=2)
    assert two.max_frames == 2 and two.id != embedder.id
    ends = [Input(video=frames, kind="video"), Input(video=frames[[0, 63]], kind="video")]
    np.testing.assert_allclose(*two.embed(ends), atol=1e-6)


def test_control_tokens_in_a_users_text_are_only_text(embedder: QwenVLEmbedder) -> None:
    nasty = "<|image_pad|> <|video_pad|> <|im_end|>"
    assert "<|" not in plain(nasty)
    rows = embedder.embed([Input(text=nasty, role="query"), Input(text=nasty, images=(picture(),), role="query")])
    assert is_unit(rows, 2)


def test_a_pad_token_without_a_picture_is_an_ordinary_token(embedder: QwenVLEmbedder) -> None:
    """Two benchmark tasks have such a stray token in text queries; the original lets it stand."""
    (row,) = embedder.prepare(["<|image_pad|>\nFind a news image: boat\n"], [None])
    assert not row.visual.any() and row.ids[0] == embedder.image_id
    assert is_unit(embedder.embed_prompts(["<|image_pad|>\nboat\n"], [[]]), 1)


def test_several_pictures_and_a_clip_share_one_prompt(embedder: QwenVLEmbedder) -> None:
    clip = np.stack([picture(seed=s) for s in range(3)])
    item = Input(images=(picture(), picture(50, 60)), video=clip, text="both", role="query", kind="video")
    flat = [picture(), picture(50, 60), *clip]
    said = "Find the clip that corresponds to the given sentence and video segment: both"
    prompt = f"<|image_pad|><|image_pad|><|video_pad|> {said}"
    np.testing.assert_allclose(embedder.embed([item]), embedder.embed_prompts([prompt], [flat]), atol=1e-6)


@pytest.mark.parametrize(
    "prompt, shown",
    [("no pad", 1), ("<|image_pad|> x", 2), ("<|image_pad|><|image_pad|> x", 1), ("<|image_pad|><|video_pad|>", 1)],
)
def test_pictures_and_pad_tokens_must_match(embedder: QwenVLEmbedder, prompt: str, shown: int) -> None:
    with pytest.raises(ModelError, match="pad token"):
        embedder.embed_prompts([prompt], [[picture()] * shown])


# -- what a folder of a stranger may hold ---------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        Input(images=(picture(1, 1),), kind="image"),
        Input(images=(picture(20, 20000),), kind="image"),
        Input(images=(picture(20000, 20),), kind="pdf"),
        Input(video=picture(40, 60)[None], kind="video"),
        Input(video=picture(1, 1)[None], kind="video"),
        Input(text=""),
        Input(text="", role="query"),
        Input(text="\x00\ud7ff 🙂 " * 50),
        Input(text="word " * 10_000),
    ],
    ids=["1x1", "20000x20", "page", "one frame", "1x1 frame", "empty", "empty query", "odd", "10000 words"],
)  # fmt: skip
def test_every_odd_input_gets_a_unit_vector(embedder: QwenVLEmbedder, item: Input) -> None:
    assert is_unit(embedder.embed([item, Input(text="beside it")]), 2)


def test_long_text_is_cut_but_never_a_picture_nor_the_frame_around_it(embedder: QwenVLEmbedder) -> None:
    shown = picture(200, 300)
    long = Input(images=(shown,), text="word " * 10_000, role="query", kind="image")
    short = Input(images=(shown,), text="word", role="query", kind="image")
    rows = [embedder._prepare_prompt(vlm2vec(item)) for item in (long, short)]
    assert len(rows[0]) == embedder.max_tokens == 4096
    assert rows[0].visual.sum() == rows[1].visual.sum() > 0
    assert rows[0].ids[-1] == rows[1].ids[-1]  # the newline that the vector is read from
    ahead = len(rows[1]) - 4
    assert rows[0].ids[:ahead].tolist() == rows[1].ids[:ahead].tolist()
    assert is_unit(embedder.embed([long]), 1)


def test_a_raw_prompt_is_cut_from_its_end(embedder: QwenVLEmbedder) -> None:
    (row,) = embedder.prepare(["<|image_pad|>\n" + "word " * 10_000], [[picture()]])
    (short,) = embedder.prepare(["<|image_pad|>\n" + "word " * 100], [[picture()]])
    assert len(row) == embedder.max_tokens
    assert row.ids[: len(short) - 2].tolist() == short.ids[:-2].tolist()


def test_too_many_pictures_are_shrunk_until_they_fit() -> None:
    wide = load_qwen(CHECKPOINT, max_pixels=1280 * 28 * 28)
    clip = [picture(720, 1280, s) for s in range(2)] * 12
    (row,) = wide.prepare(["<|video_pad|> " + "word " * 300], [clip])
    assert len(row) <= wide.max_tokens and row.visual.sum() > 2000
    assert (~row.visual).sum() >= 256
    assert is_unit(wide.embed_prompts(["<|video_pad|> x"], [clip]), 1)


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 500), max_size=60),
    budget=st.integers(1, 2000),
    padding=st.none() | st.integers(0, 300),
)
def test_batches_hold_every_input_once_and_keep_to_the_budget(
    lengths: list[int], budget: int, padding: int | None
) -> None:
    batches = plan_batches(lengths, budget, padding)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert padding is None or sum(longest - lengths[i] for i in batch) <= padding


def test_batches_made_ahead_come_in_the_same_order(embedder: QwenVLEmbedder) -> None:
    """What happens beside an accelerator, without one."""
    embedder.collate_ahead, budget, embedder.batch_tokens = True, embedder.batch_tokens, 150
    try:
        np.testing.assert_allclose(embedder.embed_prompts(prompts(), visuals()), wanted(), atol=1e-6)
        assert embedder.embed([]).shape == (0, 64)
    finally:
        embedder.collate_ahead, embedder.batch_tokens = False, budget


# -- number formats, devices, training ------------------------------------------------------------


@pytest.mark.parametrize("dtype, nearest", [("bfloat16", 0.999), ("float16", 0.9999), ("int8", 0.99)])
def test_narrow_numbers_stay_near(dtype: str, nearest: float) -> None:
    narrow = model.load(str(CHECKPOINT), dtype=dtype, device="cpu")
    cosines = (narrow.embed_prompts(prompts(), visuals()) * wanted()).sum(axis=1)  # type: ignore[attr-defined]
    assert cosines.min() > nearest
    assert cosines.min() < 1 - 1e-8  # so it was narrow indeed


def test_int8_says_so_in_its_id_and_holds_no_float_linear_layer() -> None:
    narrow, whole = load_qwen(CHECKPOINT, dtype="int8"), load_qwen(CHECKPOINT)
    assert narrow.id != whole.id
    assert not any(type(m) is torch.nn.Linear for m in narrow.model.modules())


def test_an_unknown_device_or_dtype_is_named() -> None:
    with pytest.raises(ModelError, match="no dtype float12"):
        model.load(str(CHECKPOINT), dtype="float12")
    with pytest.raises(ModelError, match="device"):
        model.load(str(CHECKPOINT), device="quantum")


def test_the_id_follows_weights_and_recipe_but_not_the_place(tmp_path: Path) -> None:
    one = load_qwen(CHECKPOINT).id
    copy = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, copy)
    assert load_qwen(copy).id == one
    assert load_qwen(copy, max_pixels=25088).id != one
    assert load_qwen(copy, dtype="bfloat16").id != one == load_qwen(copy, dtype="float32").id
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] = weights["model.layers.1.mlp.up_proj.weight"] * 1.01
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load_qwen(copy).id != one


def test_gradients_flow_through_collate_and_encode() -> None:
    """What training stands on: words, pictures and both towers in one graph."""
    embedder = load_qwen(CHECKPOINT)
    embedder.model.requires_grad_(True).train()
    batch = embedder.collate(prompts()[5:12], visuals()[5:12])
    rows = embedder.encode(batch)
    assert rows.shape == (7, 64) and rows.requires_grad
    (rows @ rows.T).sum().backward()
    for name in ("visual.patch_embed.proj.weight", "language_model.layers.0.mlp.up_proj.weight"):
        assert embedder.model.get_parameter(name).grad.abs().max() > 0
    torch.testing.assert_close(embedder.encoder(batch), rows)


@pytest.mark.long
def test_a_compiled_model_gives_the_same() -> None:
    compiled = load_qwen(CHECKPOINT, compile=True)
    np.testing.assert_allclose(compiled.embed_prompts(prompts(), visuals()), wanted(), atol=1e-5)


@pytest.mark.long
def test_compiling_goes_through_torch_compile_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compile_(self: torch.nn.Module, **options: Any) -> None:
        calls.append(options)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_)
    compiled = model.load(str(CHECKPOINT), compile=True)
    rows = compiled.embed_prompts(prompts()[5:6], visuals()[5:6])  # type: ignore[attr-defined]
    np.testing.assert_allclose(rows, wanted()[5:6], atol=1e-5)
    assert calls == [{"dynamic": True}, {"dynamic": True}]


# -- Qwen2.5-VL -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen2_5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_models

    return tiny_models.qwen2_5_vl(tmp_path_factory.mktemp("models") / "qwen2_5_vl")


def test_qwen2_5_vl_embeds_alone_as_in_any_batch(qwen2_5: Path) -> None:
    embedder = load_qwen(qwen2_5)
    together = embedder.embed_prompts(prompts(), visuals())
    assert is_unit(together, len(prompts()))
    for i, (prompt, shown) in enumerate(zip(prompts(), visuals(), strict=True)):
        np.testing.assert_allclose(embedder.embed_prompts([prompt], [shown])[0], together[i], atol=2e-6)


def test_qwen2_5_vl_is_the_librarys_own_forward_with_plain_positions(qwen2_5: Path) -> None:
    embedder = load_qwen(qwen2_5)
    batch = embedder.collate([prompts()[5]], [visuals()[5]])
    positions = batch.position_ids.expand(3, 1, -1)
    with torch.no_grad():
        hidden = embedder.model(
            input_ids=batch.input_ids,
            position_ids=positions,
            pixel_values=batch.pixel_values,
            image_grid_thw=batch.grid_thw,
            use_cache=False,
        ).last_hidden_state[0, -1]
    expected = torch.nn.functional.normalize(hidden, dim=0).numpy()
    np.testing.assert_allclose(embedder.embed_prompts([prompts()[5]], [visuals()[5]])[0], expected, atol=1e-6)
