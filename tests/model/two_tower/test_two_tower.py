"""Two-tower ONNX folders give what transformers' own models give; a folder that does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from model import ModelError, load
from model.inputs import Input
from model.registry import has_pixel_limits
from model.two_tower.recipes import RECIPES, prepare

SAME = 1e-5
SPECIAL = {"siglip": ["<pad>", "<eos>", "<bos>", "<unk>"], "clip": ["<unk>", "<|startoftext|>", "<|endoftext|>"]}
TEXTS = ("a dog in the snow", "Ein HUND", "雪中的狗", "", "word " * 200)


def _tokenizer(folder: Path, family: str) -> Any:
    """A tokenizer.json over single letters and bytes; SigLIP 2 adds its end, CLIP start and end."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = [*SPECIAL[family], *(f"<0x{byte:02X}>" for byte in range(256)), *map(chr, range(33, 127)), "▁"]
    places = {piece: place for place, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(places, [], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL[family]])
    around = "$A <eos>" if family == "siglip" else "<|startoftext|> $A <|endoftext|>"
    ends = [token for token in SPECIAL[family] if token in around]
    made.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, places[token]) for token in ends]
    )
    made.save(str(folder / "tokenizer.json"))
    return places


def _model(family: str, places: dict[str, int]) -> Any:
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": len(places), "max_position_embeddings": 64 if family == "siglip" else 77}
    vision = tower | {"image_size": 48, "patch_size": 16}
    if family == "siglip":
        text |= {"projection_size": 32}
        return SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    text |= {"eos_token_id": places["<|endoftext|>"], "pad_token_id": places["<|endoftext|>"]}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()


def _save(folder: Path, family: str, made: Any) -> None:
    import torch

    class Part(torch.nn.Module):
        def __init__(self, what: str) -> None:
            super().__init__()
            self.made, self.what = made, what

        def forward(self, given: Any, mask: Any = None) -> Any:
            if self.what == "vision_model":
                return _pooled(self.made.get_image_features(pixel_values=given))
            return _pooled(self.made.get_text_features(input_ids=given, attention_mask=mask))

    ids = torch.tensor([[5, 6, 7, 2], [5, 2, 2, 2]])
    if family == "siglip":
        ids = torch.nn.functional.pad(ids, (0, 60))
    masks = (torch.ones_like(ids),) if family == "clip" else ()
    out = "pooler_output" if family == "siglip" else "text_embeds"
    seen = out if family == "siglip" else "image_embeds"
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names = ["input_ids", "attention_mask"][: 1 + len(masks)]
        torch.onnx.export(
            Part("text_model"), (ids, *masks), str(folder / "onnx" / "text_model.onnx"), input_names=names,
            output_names=[out], dynamo=False, opset_version=18,
            dynamic_axes={n: {0: "b", 1: "s"} for n in names} | {out: {0: "b"}},
        )  # fmt: skip
        torch.onnx.export(
            Part("vision_model"), (torch.rand(2, 3, 48, 48),), str(folder / "onnx" / "vision_model.onnx"),
            input_names=["pixel_values"], output_names=[seen], dynamo=False, opset_version=18,
            dynamic_axes={"pixel_values": {0: "b"}, seen: {0: "b"}},
        )  # fmt: skip


def _pooled(found: Any) -> Any:
    return getattr(found, "pooler_output", found)


def _processor(family: str) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    if family == "siglip":
        half = [0.5] * 3
        return SiglipImageProcessorPil(size={"height": 48, "width": 48}, resample=2, image_mean=half, image_std=half)
    return CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})


@pytest.fixture(scope="module", params=["siglip", "clip"])
def made(request, tmp_path_factory):
    """(family, transformers' model, folder, its tokenizer's vocabulary)"""
    family = request.param
    folder = tmp_path_factory.mktemp("two") / family
    folder.mkdir()
    places = _tokenizer(folder, family)
    model = _model(family, places)
    _save(folder, family, model)
    config = model.config.to_dict()
    if family == "siglip":
        config["text_config"]["vocab_size"] = 256_000  # what makes it a SigLIP 2
    (folder / "config.json").write_text(json.dumps(config, default=str), "utf-8")
    _processor(family).save_pretrained(folder)
    return family, model, folder, places


@pytest.fixture(scope="module")
def embedder(made):
    return load(str(made[2]))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


@pytest.mark.parametrize("text", TEXTS)
def test_text_equals_transformers(text, made, embedder):
    import torch
    from transformers import PreTrainedTokenizerFast

    family, model, folder, _ = made
    pad = "<pad>" if family == "siglip" else "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token=pad, padding_side="right"
    )
    how = {"padding": "max_length", "max_length": 64} if family == "siglip" else {"max_length": 77}
    got = tokenizer([text], truncation=True, return_tensors="pt", **how)
    given = {"input_ids": got["input_ids"]} | ({"attention_mask": got["attention_mask"]} if family == "clip" else {})
    with torch.no_grad():
        want = _pooled(model.get_text_features(**given))[0].numpy()
    found = embedder.embed([Input("other words", role="query"), Input(text, role="query")])
    assert np.abs(found[1] - unit(want)).max() < SAME


def test_text_from_a_mac_means_what_it_means_elsewhere(embedder):
    found = embedder.embed([Input(normalize(form, "개와 ệ"), role="query") for form in ("NFC", "NFD")])
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("size", [(48, 48), (1, 1), (300, 451), (451, 300), (20, 5000), (97, 50)])
def test_a_picture_equals_transformers(size, made, embedder):
    import torch

    family, model, _, _ = made
    shown = picture(*size)
    values = _processor(family)([shown], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    with torch.no_grad():
        want = _pooled(model.get_image_features(pixel_values=values))[0].numpy()
    found = embedder.embed([Input(images=(picture(9, 9, 1),), kind="image"), Input(images=(shown,), kind="image")])
    assert np.abs(found[1] - unit(want)).max() < SAME


def test_a_clip_is_the_mean_of_its_frames_and_a_composed_query_a_sum(embedder):
    frames = [picture(60, 80, seed) for seed in range(3)]
    one, two, three, clip, words, both = embedder.embed([
        *(Input(images=(frame,), kind="image") for frame in frames), Input(video=np.stack(frames), kind="video"),
        Input("red", role="query"), Input("red", images=(frames[0],), role="query"),
    ])  # fmt: skip
    assert np.abs(clip - unit(one + two + three)).max() < SAME
    assert np.abs(both - unit(one + words)).max() < SAME


def test_a_crop_of_open_clip_is_cut_as_torchvision_cuts_it():
    """open_clip's MobileCLIP2: shorter side to 256 (bilinear), centre crop with a rounded corner, values 0..1."""
    from PIL import Image

    shown = picture(257, 300)
    wide = int(256 * 300 / 257)
    image = Image.fromarray(shown).resize((wide, 256), Image.Resampling.BILINEAR)
    left = round((wide - 256) / 2.0)
    want = np.asarray(image.crop((left, 0, left + 256, 256))) / 255
    assert np.abs(prepare(shown, RECIPES["mobileclip2"]) - want.transpose(2, 0, 1)).max() < 1e-6


def _copy(made, tmp_path) -> Path:
    folder = shutil.copytree(made[2], tmp_path / "copy")
    (folder / "hashes.json").unlink(missing_ok=True)
    return folder


def _changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), "utf-8")


def test_a_folder_that_does_not_fit_is_refused_by_name(made, tmp_path):
    folder = _copy(made, tmp_path)
    side = {"height": 64, "width": 64}
    _changed(folder / "preprocessor_config.json", size=side, crop_size=side)
    with pytest.raises(ModelError, match=r"vision_model.onnx takes images of shape .* makes 64 pixels"):
        load(str(folder))
    shutil.copy(made[2] / "preprocessor_config.json", folder)
    shutil.copy(folder / "onnx" / "vision_model.onnx", folder / "onnx" / "text_model.onnx")
    (folder / "hashes.json").unlink()
    with pytest.raises(ModelError, match=r"text_model.onnx is another kind of graph: it takes pixel_values"):
        load(str(folder))
    _changed(folder / "config.json", model_type="blip")
    with pytest.raises(ModelError, match="does not say how its images are prepared"):
        load(str(folder))


def test_a_folder_of_another_family_brings_its_recipe(made, tmp_path):
    folder = _copy(made, tmp_path)
    before = load(str(folder))
    family = "siglip2" if made[0] == "siglip" else "clip"
    (folder / "two_tower.json").write_text(json.dumps({"family": family, "size": 48, "mean": [0, 0, 0]}), "utf-8")
    after = load(str(folder))
    assert before.id != after.id
    (folder / "two_tower.json").write_text(json.dumps({"family": family, "sise": 48}), "utf-8")
    with pytest.raises(ModelError, match="has sise, which is no field"):
        load(str(folder))
    (folder / "two_tower.json").write_text(json.dumps({"size": 48}), "utf-8")
    with pytest.raises(ModelError, match="is no whole recipe"):
        load(str(folder))


def test_float16_and_shortened_vectors_are_refused(made):
    with pytest.raises(ModelError, match="is not run in float16"):
        load(str(made[2]), dtype="float16")
    with pytest.raises(ModelError, match="was not trained to be cut short"):
        load(str(made[2]), dim=16)
    with pytest.raises(ModelError, match="takes no --detail"):
        load(str(made[2]), detail="frame=70")


def test_its_images_have_one_size_so_that_limits_of_pixels_are_no_setting(made):
    assert not has_pixel_limits(str(made[2])) and has_pixel_limits("vlm2vec-v2")
    with pytest.raises(ModelError, match="takes no max_pixels"):
        load(str(made[2]), max_pixels=1000)


def test_without_its_files_the_name_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="sightline models get siglip2"):
        load("siglip2")
