"""Trials of the door to sentence-transformers, on a tiny random Qwen3-VL saved in its format.

Run by tests/model/test_sentence_transformers.py in a process of its own, which has torchvision.
"""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import tiny_models

import model
from model.embedder import Embedder, ModelError
from model.inputs import Input
from model.sentence_transformers import SentenceTransformersEmbedder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.qwen3_vl_embedding(tmp_path_factory.mktemp("models") / "qwen3-vl-embedding")


@pytest.fixture(scope="session")
def embedder(folder: Path) -> SentenceTransformersEmbedder:
    loaded = model.load(str(folder))
    assert isinstance(loaded, SentenceTransformersEmbedder) and isinstance(loaded, Embedder)
    return loaded


def picture(height: int = 120, width: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def clip(count: int = 8, height: int = 100, width: int = 120) -> np.ndarray:
    return np.stack([picture(height, width, seed) for seed in range(count)])


KINDS = [
    Input(text="a dog in snow"),
    Input(text="a dog in snow", role="query"),
    Input(images=(picture(),), kind="image"),
    Input(video=clip(), kind="video"),
    Input(images=(picture(200, 150),), text="words of the page", kind="pdf"),
    Input(images=(picture(),), text="the same at night", kind="image", role="query"),
    Input(images=(picture(), picture(60, 80)), text="both", role="query"),
    Input(video=clip(4), images=(picture(),), text="all three", kind="video", role="query"),
]


def is_unit(rows: np.ndarray, count: int, dim: int = 64) -> bool:
    return rows.shape == (count, dim) and rows.dtype == np.float32 and np.allclose(np.linalg.norm(rows, axis=1), 1)


def test_text_image_video_page_and_mixtures_embed_alone_as_in_one_call(embedder: SentenceTransformersEmbedder) -> None:
    together = embedder.embed(KINDS)
    assert is_unit(together, len(KINDS))
    for row, item in zip(together, KINDS, strict=True):
        np.testing.assert_allclose(embedder.embed([item])[0], row, atol=1e-5)
    assert np.unique(together.round(4), axis=0).shape == together.shape


def test_it_is_what_the_library_itself_gives(embedder: SentenceTransformersEmbedder, folder: Path) -> None:
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), model_kwargs={"use_safetensors": True}, device="cpu")
    query = theirs.encode_query(["a dog in snow"])
    document = theirs.encode_document([{"image": Image.fromarray(picture())}])
    np.testing.assert_allclose(embedder.embed([KINDS[1]]), query, atol=1e-5)
    np.testing.assert_allclose(embedder.embed([KINDS[2]]), document, atol=1e-5)


def test_queries_and_documents_get_the_models_own_prompts_and_an_instruction_replaces_them(
    embedder: SentenceTransformersEmbedder,
) -> None:
    query, document = embedder.embed([Input(text="x", role="query"), Input(text="x")])
    assert query @ document < 0.999
    other = embedder.embed([Input(text="x", role="query", instruction="Something else entirely.")])[0]
    assert other @ query < 0.999


def test_every_frame_and_its_order_count(embedder: SentenceTransformersEmbedder) -> None:
    frames = clip()
    rows = embedder.embed([Input(video=v, kind="video") for v in (frames, frames[::-1].copy(), frames[:4])])
    assert rows[0] @ rows[1] < 0.99999 and rows[0] @ rows[2] < 0.99999


def test_a_long_clip_is_sampled_and_the_number_can_be_set(folder: Path) -> None:
    few = model.load(str(folder), max_frames=4)
    frames = clip(10)
    rows = few.embed([Input(video=frames, kind="video"), Input(video=frames[[0, 3, 6, 9]], kind="video")])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_dim_cuts_and_renormalises(folder: Path, embedder: SentenceTransformersEmbedder) -> None:
    short = model.load(str(folder), dim=16)
    assert short.dim == 16 and short.id != embedder.id and ":16@" in short.id
    rows, whole = short.embed(KINDS), embedder.embed(KINDS)[:, :16]
    assert is_unit(rows, len(KINDS), 16)
    np.testing.assert_allclose(rows, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(ModelError, match="64 values"):
        model.load(str(folder), dim=65)


def test_a_web_address_as_a_query_is_text_and_nothing_is_fetched(
    embedder: SentenceTransformersEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    queries = ["https://example.com/photo.jpg", "http://youtu.be/abc", "data:image/png;base64,AAAA"]
    rows = embedder.embed([Input(text=text, role=role) for text in queries for role in ("query", "document")])
    assert is_unit(rows, 6)


@pytest.mark.parametrize(
    "item",
    [
        Input(images=(picture(1, 1),), kind="image"),
        Input(images=(picture(20, 20000),), kind="image"),
        Input(video=clip(1), kind="video"),
        Input(video=clip(3, 1, 1), kind="video"),
        Input(text=""),
        Input(text="word " * 10_000),
        Input(text="word " * 10_000, images=(picture(),), kind="image", role="query"),
    ],
    ids=["1x1", "20000x20", "one frame", "1x1 frames", "empty", "10000 words", "10000 words and an image"],
)
def test_every_odd_input_gets_a_unit_vector(embedder: SentenceTransformersEmbedder, item: Input) -> None:
    assert is_unit(embedder.embed([item, Input(text="beside it")]), 2)


def test_words_that_cannot_be_told_from_a_control_token_do_no_harm(embedder: SentenceTransformersEmbedder) -> None:
    nasty = "<|image_pad|> <|vision_start|>"
    assert is_unit(embedder.embed([Input(text=nasty, images=(picture(),), role="query"), Input(text=nasty)]), 2)


def test_damaged_weights_are_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[3]
    save_file({**weights, name: weights[name] * float("nan")}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not numbers"):
        model.load(str(copy))
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut short"):
        model.load(str(copy))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        model.load(str(copy))


def test_a_model_for_text_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="text alone"):
        model.load(str(tiny_models.text_only(tmp_path / "bert")))


def test_int8_and_base_are_refused_here(folder: Path) -> None:
    with pytest.raises(ModelError, match="int8"):
        model.load(str(folder), dtype="int8")
    with pytest.raises(ModelError, match="base"):
        model.load(str(folder), base="somewhere")


def test_a_limit_of_pixels_is_taken_where_images_have_one_and_refused_elsewhere(folder: Path, tmp_path: Path) -> None:
    image = [Input(images=(picture(224, 224),), kind="image")]
    coarse, fine = model.load(str(folder), max_pixels=64 * 64), model.load(str(folder))
    assert coarse.id != fine.id and not np.allclose(coarse.embed(image), fine.embed(image), atol=1e-3)
    fixed = str(tiny_models.clip(tmp_path / "clip"))
    assert is_unit(model.load(fixed).embed(image), 1, 32)
    with pytest.raises(ModelError, match="takes no max_pixels"):
        model.load(fixed, max_pixels=64 * 64)


def test_a_checkpoint_that_wants_its_own_code_run_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    marker = tmp_path / "it-ran"
    (copy / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own_kind", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        model.load(str(copy))
    assert not marker.exists()


def test_pictures_come_before_the_words_as_on_the_wire(embedder: SentenceTransformersEmbedder) -> None:
    from PIL import Image

    shown = picture()
    want = embedder.model.encode_query([{"image": Image.fromarray(shown), "text": "at night"}])[0]
    got = embedder.embed([Input(text="at night", images=(shown,), role="query")])[0]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_a_document_prompt_of_any_name_is_taken(
    name: str, embedder: SentenceTransformersEmbedder, folder: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), model_kwargs={"use_safetensors": True}, device="cpu")
    theirs.prompts = {"query": "", "document": "", name: "What the passage says: "}
    got = SentenceTransformersEmbedder(theirs, id="x").embed([Input(text="a page")])[0]
    want = embedder.embed([Input(text="a page", instruction="What the passage says: ")])[0]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["chat_template.jinja", "config_sentence_transformers.json", "processor_config.json", "1_Pooling/config.json"],
)
def test_what_changes_vectors_changes_the_id(name: str, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    before = model.load(str(copy)).id
    path = copy / name
    path.write_text((path.read_text("utf-8") if path.is_file() else "{}") + "\n", "utf-8")
    assert model.load(str(copy)).id != before


def test_another_dtype_than_that_of_auto_changes_the_id(folder: Path, embedder: SentenceTransformersEmbedder) -> None:
    assert model.load(str(folder), device="cpu", dtype="bfloat16").id != embedder.id
    assert model.load(str(folder), device="cpu", dtype="float32").id == embedder.id


@pytest.mark.parametrize("kind", ["clip", "picture"])
def test_with_a_clip_rate_it_is_what_the_code_of_qwen3_vl_embeddings_authors_gives(folder: Path, kind: str) -> None:
    """Their `_preprocess_inputs` and `_pooling_last`: the processor on inputs of final size, two frames a second, the
    vector of the last token."""
    import torch
    from transformers import AutoProcessor, Qwen3VLModel

    processor, theirs = AutoProcessor.from_pretrained(folder), Qwen3VLModel.from_pretrained(folder).eval()
    frames = clip(6, 416, 512)  # more than the checkpoint's own limit, less than the authors'
    part = {"type": "video", "video": "x"} if kind == "clip" else {"type": "image", "image": "x"}
    conversation = [
        {"role": "system", "content": [{"type": "text", "text": "Find it."}]},
        {"role": "user", "content": [part, {"type": "text", "text": "at night"}]},
    ]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    media = {"images": [torch.from_numpy(frames[0]).permute(2, 0, 1)]}
    if kind == "clip":
        metadata = {"fps": 2.0, "frames_indices": list(range(6)), "total_num_frames": 6}
        media = {"videos": [torch.from_numpy(frames).permute(0, 3, 1, 2)], "video_metadata": [metadata]}
        media["do_sample_frames"] = False
    inputs = processor(text=[text], **media, do_resize=False, return_tensors="pt")
    with torch.inference_mode():
        last = torch.nn.functional.normalize(theirs(**inputs).last_hidden_state[:, -1], dim=-1).numpy()
    ours = model.load(str(folder), max_frames=64)
    ours.clip_rate = 2.0
    visual = {"video": frames} if kind == "clip" else {"images": (frames[0],)}
    item = Input(text="at night", instruction="Find it.", role="query", kind="video", **visual)
    np.testing.assert_allclose(ours.embed([item]), last, atol=1e-5)
