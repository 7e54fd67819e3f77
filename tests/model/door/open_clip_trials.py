"""Trials of the two-tower loader against open_clip: its own transforms, tokenizer and model, tiny and random.

Run by tests/model/test_sentence_transformers.py in a process of its own, which has torchvision and open_clip.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import model
from model.inputs import Input
from model.two_tower.recipes import RECIPES, prepare

open_clip = pytest.importorskip("open_clip")
from open_clip.tokenizer import SimpleTokenizer  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402

SIZES = ((256, 256), (1, 1), (257, 300), (300, 257), (301, 257), (20, 5000), (480, 640), (1000, 999))
TEXTS = ("a dog in the snow", "Ein HUND, größer!", "雪中的狗", "", "word " * 200, "it's 3 o'clock")
WAYS = {
    "mobileclip2": {"size": 256, "mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "bilinear"},
    "clip": {"size": 224, "interpolation": "bicubic"},
    "siglip": {"size": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash"},
}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", WAYS)
def test_images_are_prepared_as_open_clip_prepares_them(family: str) -> None:
    transform = image_transform_v2(PreprocessCfg(**WAYS[family]), is_train=False)
    for size in SIZES:
        want = transform(Image.fromarray(picture(*size))).numpy()
        np.testing.assert_allclose(prepare(picture(*size), RECIPES[family]), want, atol=1e-5)


def _tokenizer(path: Path) -> SimpleTokenizer:
    """open_clip's tokenizer, and the same as tokenizer.json."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    theirs = SimpleTokenizer()
    bpe = models.BPE(theirs.encoder, list(theirs.bpe_ranks), unk_token="<end_of_text>", end_of_word_suffix="</w>")
    made = Tokenizer(bpe)
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    ends = [(token, theirs.encoder[token]) for token in ("<start_of_text>", "<end_of_text>")]
    made.post_processor = processors.TemplateProcessing(single="<start_of_text> $A <end_of_text>", special_tokens=ends)
    made.save(str(path))
    return theirs


def test_a_model_of_open_clip_gives_the_same_vectors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # the fused operation has no form in ONNX
    tokenizer = _tokenizer(tmp_path / "tokenizer.json")
    theirs = open_clip.CLIP(
        embed_dim=24,
        vision_cfg=open_clip.CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=64),
        text_cfg=open_clip.CLIPTextCfg(context_length=77, vocab_size=tokenizer.vocab_size, width=32, heads=2, layers=2),
    ).eval()

    class Tower(torch.nn.Module):
        def __init__(self, encode: Any) -> None:
            super().__init__()
            self.inner, self.encode = theirs, encode

        def forward(self, given: Any) -> Any:
            return self.encode(given)

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for name, encode, given, source, out in (
            ("text_model", theirs.encode_text, tokenizer(["a", "b c"]), "input_ids", "text_embeds"),
            ("vision_model", theirs.encode_image, torch.rand(2, 3, 64, 64), "pixel_values", "image_embeds"),
        ):
            torch.onnx.export(
                Tower(encode), (given,), str(tmp_path / f"{name}.onnx"), input_names=[source], output_names=[out],
                dynamo=False, opset_version=18, dynamic_axes={source: {0: "b"}, out: {0: "b"}},
            )  # fmt: skip
    (tmp_path / "two_tower.json").write_text(json.dumps({"family": "mobileclip2", "size": 64}), "utf-8")
    ours = model.load(str(tmp_path))
    transform = image_transform_v2(PreprocessCfg(**(WAYS["mobileclip2"] | {"size": 64})), is_train=False)
    shown = [picture(*size) for size in SIZES]
    with torch.no_grad():
        texts = theirs.encode_text(tokenizer(list(TEXTS)), normalize=True).numpy()
        images = theirs.encode_image(
            torch.stack([transform(Image.fromarray(i)) for i in shown]), normalize=True
        ).numpy()
    np.testing.assert_allclose(ours.embed([Input(text, role="query") for text in TEXTS]), texts, atol=1e-5)
    np.testing.assert_allclose(ours.embed([Input(images=(i,), kind="image") for i in shown]), images, atol=1e-5)
