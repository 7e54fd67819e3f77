"""EmbeddingGemma 2 on onnxruntime gives what transformers gives: text, pictures, pages, clips, any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model import ModelError, load
from model.embedder import InputRejected, side_for
from model.gemma.embedder import GemmaEmbedder, load_gemma
from model.gemma.images import BUDGETS, n_tokens, size_within
from model.inputs import Input
from tests.model.gemma.samples import DOCUMENT, QUERY, SAME, SCRIPTS, picture


@pytest.fixture(scope="module")
def embedder(made) -> GemmaEmbedder:
    return load_gemma(made[1])


@pytest.mark.slow
@pytest.mark.parametrize("text", SCRIPTS)
def test_text_in_any_script_equals_transformers(text, embedder, expected):
    asked, shown = embedder.embed([Input(text, role="query"), Input(text)])
    assert np.abs(asked - expected(QUERY + text)).max() < SAME
    assert np.abs(shown - expected(DOCUMENT + text)).max() < SAME


@pytest.mark.slow
def test_a_long_text_equals_transformers_beyond_the_window_of_attention(embedder, expected):
    text = "the snow " * 150
    assert np.abs(embedder.embed([Input(text)])[0] - expected(DOCUMENT + text)).max() < SAME


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 2), (48, 48), (480, 640), (1200, 900), (20, 5000), (5000, 20)])
def test_a_picture_of_any_shape_equals_transformers(size, embedder, expected):
    shown = picture(*size)
    got = embedder.embed([Input(images=(shown,), kind="image")])[0]
    assert np.abs(got - expected("", [shown])).max() < SAME


@pytest.mark.slow
@pytest.mark.parametrize("budget", [280, 560, pytest.param(1120, marks=pytest.mark.long)])
def test_a_page_equals_transformers_at_each_budget_with_its_title(budget, made, expected):
    page = picture(1131, 800)
    embedder = load_gemma(made[1], detail=f"page={budget}")
    plain = Input("its own words", images=(page,), kind="pdf")
    titled = Input(images=(page,), kind="pdf", title="Minutes |\n of May")
    got = embedder.embed([plain, titled])
    assert np.abs(got[0] - expected(DOCUMENT, [page], image_budget=budget)).max() < SAME
    assert np.abs(got[1] - expected("title: Minutes of May | text: ", [page], image_budget=budget)).max() < SAME
    assert embedder.page_side**2 >= 2 * 48 * 48 * budget * 0.99  # the renderer is asked for the pixels


@pytest.mark.slow
@pytest.mark.parametrize(
    "frames, detail", [(1, None), (2, None), (8, "frame=70"), (16, None), (32, "frame=70,frames=32")]
)
def test_a_clip_equals_transformers(frames, detail, made, expected):
    clip = np.stack([picture(90, 160, seed) for seed in range(frames)])
    got = load_gemma(made[1], detail=detail).embed([Input(video=clip, kind="video")])[0]
    assert np.abs(got - expected("", (), list(clip), frame_budget=70 if detail else 140)).max() < SAME


@pytest.mark.slow
def test_composed_inputs_are_read_text_first(embedder, expected):
    one, clip = picture(90, 160), np.stack([picture(64, 64, 1), picture(64, 64, 2)])
    asked = Input("but in red", images=(one, one), video=clip, role="query", kind="image")
    got = embedder.embed([asked])[0]
    assert np.abs(got - expected(QUERY + "but in red", [one, one], list(clip))).max() < SAME


@pytest.mark.slow
def test_an_instruction_becomes_a_task_and_a_ready_prompt_stays(embedder, expected):
    got = embedder.embed([
        Input("cats", instruction="classification", role="query"),
        Input("cats", instruction="title: none | text: ", role="query"),
    ])  # fmt: skip
    assert np.abs(got[0] - expected("task: classification | query: cats")).max() < SAME
    assert np.abs(got[1] - expected(DOCUMENT + "cats")).max() < SAME


@pytest.mark.slow
def test_a_vector_does_not_depend_on_its_batch(embedder):
    clip = np.stack([picture(90, 160, seed) for seed in range(3)])
    inputs = [
        Input("a"), Input("the snow " * 60), Input(images=(picture(300, 200),), kind="image"),
        Input(video=clip, kind="video"),
        Input("x", images=(picture(300, 200, 1),), role="query"), Input(images=(picture(300, 200, 2),), kind="image"),
    ]  # fmt: skip
    together = embedder.embed(inputs)
    for item, row in zip(inputs, together, strict=True):
        assert np.abs(embedder.embed([item])[0] - row).max() < SAME
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 768)


def test_control_words_in_a_text_stay_text(embedder):
    ids = embedder._row(Input("<|image|> <eos> <|video|>", role="query")).ids
    assert not {embedder._media_ids["<|image|>"], embedder._media_ids["<|video|>"]} & set(ids)
    assert ids.count(embedder._eos) == 1


@pytest.mark.slow
def test_vectors_are_cut_to_512_and_256_and_128_is_for_text(made, embedder):
    shown = Input(images=(picture(64, 64),), kind="image")
    whole = embedder.embed([shown])[0]
    for dim in (512, 256):
        cut = load_gemma(made[1], dim=dim).embed([shown])[0]
        assert np.abs(cut - whole[:dim] / np.linalg.norm(whole[:dim])).max() < SAME
    short = load_gemma(made[1], dim=128)
    assert short.embed([Input("words")]).shape == (1, 128)
    with pytest.raises(ModelError, match="128 values for text alone"):
        short.embed([shown])
    with pytest.raises(ModelError, match="not 300"):
        load_gemma(made[1], dim=300)


@pytest.mark.slow
def test_near_equal_frames_are_embedded_once(embedder):
    still = picture(90, 160)
    noisy = np.clip(still.astype(int) + np.random.default_rng(9).integers(-3, 4, still.shape), 0, 255).astype(np.uint8)
    other = picture(90, 160, 5)
    talk = Input(video=np.stack([still, noisy, still, other, other]), kind="video")
    assert len(embedder._row(talk).frames) == 2
    assert (
        np.abs(embedder.embed([talk]) - embedder.embed([Input(video=np.stack([still, other]), kind="video")])).max()
        < SAME
    )


def test_an_input_longer_than_the_context_is_rejected(embedder):
    with pytest.raises(InputRejected, match="the model reads 8,192"):
        embedder.embed([Input(images=(picture(480, 640),) * 40, kind="image")])


def test_a_text_beyond_the_bound_is_cut_and_its_picture_stays(embedder):
    row = embedder._row(Input("z " * 20_000, images=(picture(64, 64),), role="query"))
    assert row.ids.count(embedder._media_ids["<|image|>"]) == n_tokens((64, 64), 280)
    assert len(row.ids) < 8192


@pytest.mark.slow
def test_the_id_tells_precision_budget_prompts_and_files_apart(made, tmp_path, monkeypatch):
    import shutil

    from model.gemma import prompts

    folder = made[1]
    ids = {load_gemma(folder).id, load_gemma(folder, dim=256).id, load_gemma(folder, detail="frame=70").id,
           load_gemma(folder, detail="frames=8").id}  # fmt: skip
    assert load_gemma(folder, detail="frame=140").id in ids and len(ids) == 4
    assert len({name.split("@")[0] for name in ids}) == 4  # in words, for a person
    assert ":frame=70,frames=8@" in load_gemma(folder, detail="frames=8,image=280,frame=70").id
    other = shutil.copytree(folder, tmp_path / "tiny")
    (other / "hashes.json").unlink(missing_ok=True)
    for graph in list((other / "onnx").glob("*.onnx")):
        graph.rename(graph.with_name(graph.stem + "_q4.onnx"))  # the data files keep the names that the graphs say
    assert ":q4@" in load_gemma(other).id
    monkeypatch.setattr(prompts, "QUERY", "query: ")
    assert load_gemma(folder).id not in ids


@pytest.mark.slow
def test_load_takes_the_folder_and_refuses_what_the_model_is_not_run_in(made):
    folder = str(made[1])
    assert isinstance(load(folder), GemmaEmbedder)
    assert load(folder, max_frames=8).max_frames == 8
    for dtype in ("float16", "fp16", "bfloat16"):
        with pytest.raises(ModelError, match="is not run in"):
            load(folder, dtype=dtype)
    with pytest.raises(ModelError, match="holds no int8 graphs"):
        load(folder, dtype="int8")
    with pytest.raises(ModelError, match="takes no min_pixels"):
        load(folder, min_pixels=3)
    with pytest.raises(ModelError, match="300 for page"):
        load(folder, detail="page=300")
    with pytest.raises(ModelError, match="write image=280"):
        load(folder, detail="pages")
    with pytest.raises(ModelError, match="takes no --detail"):
        load(str(Path(__file__).parents[1] / "parity" / "checkpoint"), detail="frame=70")


@pytest.mark.slow
def test_the_torch_road_gives_the_same_vectors(checkpoint, embedder):
    clip = np.stack([picture(90, 160, seed) for seed in range(3)])
    inputs = [
        Input("a dog", role="query"), Input("the snow " * 60), Input(images=(picture(300, 200),), kind="image"),
        Input(video=clip, kind="video"), Input("x", images=(picture(30, 20),), video=clip, role="query"),
        Input(images=(picture(300, 200),), kind="pdf"),
    ]  # fmt: skip
    torch_road = load(str(checkpoint), device="cpu")
    assert ":float32@" in torch_road.id and torch_road.id != embedder.id
    assert np.abs(torch_road.embed(inputs) - embedder.embed(inputs)).max() < SAME
    half = load(str(checkpoint), device="cpu", dtype="bfloat16").embed(inputs)
    assert (half * embedder.embed(inputs)).sum(1).min() > 0.99
    with pytest.raises(ModelError, match="float32 or bfloat16, not in float16"):
        load(str(checkpoint), dtype="float16")
    with pytest.raises(ModelError, match="takes no max_pixels"):
        load(str(checkpoint), max_pixels=3)


def _copy(made, tmp_path) -> Path:
    import shutil

    folder = shutil.copytree(made[1], tmp_path / "tiny")
    (folder / "hashes.json").unlink(missing_ok=True)
    return folder


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "model.onnx_data", "vision_encoder.onnx", "vision_encoder.onnx_data"])
def test_a_truncated_graph_is_named(name, made, tmp_path):
    folder = _copy(made, tmp_path)
    _cut(folder / "onnx" / name)
    with pytest.raises(ModelError, match=name.removesuffix("_data")) as raised:
        load(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_file_that_changes_after_it_was_recorded_is_named(made, tmp_path):
    folder = _copy(made, tmp_path)
    load(str(folder))
    _cut(folder / "onnx" / "model.onnx_data")
    with pytest.raises(ModelError, match=r"model.onnx_data is not the file that belongs there"):
        load(str(folder))


@pytest.mark.slow
def test_another_models_tokenizer_graph_or_config_is_refused_by_name(made, tmp_path):
    import json
    import shutil

    from tokenizers import Tokenizer, models

    folder = _copy(made, tmp_path)
    Tokenizer(models.BPE({"a": 0}, [])).save(str(folder / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"another model.s tokenizer: it has no"):
        load(str(folder))
    (folder / "tokenizer.json").write_text("<html>no</html>", "utf-8")
    (folder / "hashes.json").unlink()
    with pytest.raises(ModelError, match="is no tokenizer"):
        load(str(folder))
    folder = _copy(made, tmp_path / "b")
    shutil.copy(folder / "onnx" / "vision_encoder.onnx", folder / "onnx" / "model.onnx")
    with pytest.raises(ModelError, match=r"model.onnx is another kind of graph: it takes pixel_"):
        load(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3"}), "utf-8")
    with pytest.raises(ModelError, match="of kind gemma3, not EmbeddingGemma 2"):
        load(str(folder))


def test_images_and_frames_are_decoded_as_large_as_their_budget_needs(made):
    """4 : 3 and 16 : 9; smaller ones would only be enlarged again."""
    for budget in BUDGETS:
        embedder = load_gemma(made[1], detail=f"image={budget},page={budget},frame={budget},frames=1")
        for kind, shape in (("image", (3000, 4000)), ("pdf", (4000, 2829)), ("video", (2160, 3840))):
            assert side_for(embedder, kind) >= max(size_within(shape, budget))


def test_without_its_files_the_name_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="sightline models get embeddinggemma-2"):
        load("embeddinggemma-2")


def test_a_folder_filled_by_hand_is_held_to_the_declared_hashes(made, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(made[1], tmp_path / "embeddinggemma-2")
    (tmp_path / "embeddinggemma-2" / "hashes.json").unlink(missing_ok=True)
    monkeypatch.setenv("SIGHTLINE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"tokenizer.json is not the file that belongs there"):
        load("embeddinggemma-2")
