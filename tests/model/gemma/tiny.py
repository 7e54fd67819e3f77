"""A tiny random EmbeddingGemma 2 made with transformers itself: a checkpoint, its tokenizer, and its two graphs.

The graphs have the signature of the published ones. Built around `torch.onnx`; it knows nothing of ours.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<|image>", "<|image|>", "<image|>", "<|video|>", "<|audio>",
           "<|audio|>", "<audio|>")  # fmt: skip
DIM, HIDDEN = 768, 48


def tokenizer(folder: Path) -> Any:
    """A tokenizer.json in the layout of Gemma's: BPE with byte fallback, "▁" for a space, `<bos>`, `<eos>` around."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = [chr(c) for c in range(33, 127)] + ["▁"]
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "th", "the", "▁s", "re"]
    merges = [("t", "h"), ("th", "e"), ("▁", "s"), ("r", "e")]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", vocabulary["<bos>"]), ("<eos>", vocabulary["<eos>"])]
    )
    made.save(str(folder / "tokenizer.json"))
    return made


def token_ids() -> dict[str, int]:
    """The ids of the media tokens in the tokenizer here, as fields of the configuration."""
    tokens = {
        "image_token_id": "<|image|>", "video_token_id": "<|video|>", "audio_token_id": "<|audio|>",
        "boi_token_id": "<|image>", "eoi_token_id": "<image|>", "boa_token_id": "<|audio>", "eoa_token_id": "<audio|>",
    }  # fmt: skip
    return {name: SPECIAL.index(token) for name, token in tokens.items()}


def model(seed: int = 0, vision: dict[str, Any] | None = None) -> Any:
    """`EmbeddingGemma2Model` with random weights: 3 text layers (one with full attention), 2 of vision, no audio.

    `vision`: further fields of the vision tower's configuration.
    """
    import torch
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model, Gemma4VisionConfig

    torch.manual_seed(seed)
    text: dict[str, Any] = {
        "vocab_size": 400, "hidden_size": HIDDEN, "intermediate_size": 96, "num_hidden_layers": 3, "embedding_dim": DIM,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "hidden_size_per_layer_input": 24,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "sliding_window": 64,
        "per_layer_config": {"02": {"head_dim": 32, "num_key_value_heads": 1}}, "max_position_embeddings": 16384,
    }  # fmt: skip
    vision_config = Gemma4VisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        head_dim=16, position_embedding_size=4096, **(vision or {}),
    )  # fmt: skip
    config = EmbeddingGemma2Config(
        text_config=text, vision_config=vision_config.to_dict(), audio_config=None, **token_ids()
    )
    made = EmbeddingGemma2Model(config).eval()
    for name, weight in made.named_parameters():
        if weight.ndim > 1:  # at 0.02 all inputs of a shallow net look alike
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5 if "table" not in name else 0.5)
    return made


def export(made: Any, folder: Path, suffix: str = "") -> None:
    """`onnx/model{suffix}.onnx` and `onnx/vision_encoder{suffix}.onnx`, each with its weights in a `_data` file."""
    import onnx
    import torch

    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    config = made.config
    made.set_attn_implementation("eager")

    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = made.language_model

        def forward(
            self, input_ids: Any, attention_mask: Any, image_features: Any, video_features: Any, audio: Any
        ) -> Any:
            media = {
                config.image_token_id: image_features, config.video_token_id: video_features,
                config.audio_token_id: audio,
            }  # fmt: skip
            ids = input_ids
            for token in media:
                ids = torch.where(ids == token, config.text_config.pad_token_id, ids)
            embeds = self.inner.embed_tokens(ids)
            for token, features in media.items():
                mask = input_ids == token
                place = (torch.cumsum(mask.reshape(-1).long(), 0) - 1).clamp(min=0).reshape(mask.shape)
                rows = torch.cat([features, torch.zeros(1, features.shape[1])])
                embeds = torch.where(
                    mask[..., None], rows[torch.minimum(place, torch.tensor(rows.shape[0] - 1))], embeds
                )
            length = input_ids.shape[1]
            at = torch.arange(length)
            seen = attention_mask[:, None, None, :] > 0
            near = (at[:, None] - at[None, :]).abs() <= config.text_config.sliding_window
            low = torch.finfo(torch.float32).min
            masks = {
                "full_attention": torch.where(seen.expand(-1, 1, length, -1), 0.0, low),
                "sliding_attention": torch.where(seen & near[None, None], 0.0, low),
            }
            hidden = self.inner(inputs_embeds=embeds, attention_mask=masks).last_hidden_state
            weights = attention_mask[..., None].float()
            return (hidden * weights).sum(1) / weights.sum(1), hidden

    class Vision(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower, self.embed = made.vision_tower, made.embed_vision

        def forward(self, pixel_values: Any, pixel_position_ids: Any) -> Any:
            return self.embed(self.tower(pixel_values, pixel_position_ids).last_hidden_state)

    ids = torch.tensor([[2, *[config.image_token_id] * 4, 300, config.video_token_id, 1, 0]])
    features = torch.randn(4, HIDDEN), torch.randn(1, HIDDEN), torch.zeros(0, HIDDEN)
    grid = torch.stack(torch.meshgrid(torch.arange(6), torch.arange(6), indexing="xy"), -1).reshape(1, 36, 2)
    for name, module, given, names, outputs in (
        (f"model{suffix}", Text(), (ids, (ids > 0).long(), *features),
         ["input_ids", "attention_mask", "image_features", "video_features", "audio_features"],
         ["sentence_embedding", "last_hidden_state"]),
        (f"vision_encoder{suffix}", Vision(), (torch.rand(2, 36, 768), grid.repeat(2, 1, 1)),
         ["pixel_values", "pixel_position_ids"], ["image_features"]),
    ):  # fmt: skip
        axes = {
            n: {0: n + "_0", 1: n + "_1"}
            if n not in ("image_features", "video_features", "audio_features")
            else {0: n + "_0"}
            for n in names + outputs
        }
        axes["sentence_embedding"] = {0: "batch"}
        place = folder / "onnx" / f"{name}.onnx"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, given, str(place), input_names=names, output_names=outputs, opset_version=18, dynamo=False,
                dynamic_axes={n: a for n, a in axes.items() if n in (*names, *outputs)},
            )  # fmt: skip
        graph = onnx.load(str(place))
        place.unlink()
        onnx.save(graph, str(place), save_as_external_data=True, location=f"{name}.onnx_data", size_threshold=0)
    made.set_attn_implementation("sdpa")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")


def soft_tokens(picture: np.ndarray, budget: int) -> int:
    """Tokens of a picture, as transformers' image processor counts them."""
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    got = Gemma4ImageProcessorPil()([picture], max_soft_tokens=budget, input_data_format="channels_last")
    return int(got["num_soft_tokens_per_image"][0])


def reference(
    made: Any, ids: list[int], pictures: list[np.ndarray], frames: list[np.ndarray], budgets: tuple[int, int]
) -> np.ndarray:
    """float32 [768], unit length: transformers' own forward pass over prepared `ids`, mean over all tokens.

    Pictures and frames go through transformers' own image processor (its Pillow backend).
    """
    import torch
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    given: dict[str, Any] = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
    }
    for group, budget, keys in (
        (pictures, budgets[0], ("pixel_values", "image_position_ids")),
        (frames, budgets[1], ("pixel_values_videos", "video_position_ids")),
    ):
        if group:
            got = Gemma4ImageProcessorPil()(
                group, max_soft_tokens=budget, return_tensors="pt", input_data_format="channels_last"
            )
            given[keys[0]], given[keys[1]] = got["pixel_values"], got["image_position_ids"]
    if frames:
        given["num_frames_per_video"] = torch.tensor([len(frames)])
    with torch.no_grad():
        mean = made(**given).last_hidden_state[0].mean(0).numpy()
    return mean / np.linalg.norm(mean)


def processor(folder: Path) -> None:
    """The processor_config.json and modules.json that programs outside transformers read."""
    picture = {
        "patch_size": 16, "max_soft_tokens": 280, "pooling_kernel_size": 3, "do_resize": True, "do_rescale": True,
        "do_normalize": False, "rescale_factor": 1 / 255, "resample": 3,
        "image_mean": [0, 0, 0], "image_std": [1, 1, 1],
    }  # fmt: skip
    clip = {"max_soft_tokens": 140, "fps": 1, "max_frames": 32, "overflow_strategy": "uniform", "add_timestamps": False}
    sound = {
        "feature_extractor_type": "Gemma4AudioFeatureExtractor", "sampling_rate": 16000, "frame_length": 320,
        "hop_length": 160, "feature_size": 128, "fft_length": 512, "mel_floor": 0.001, "min_frequency": 0.0,
        "max_frequency": 8000.0, "dither": 0.0, "input_scale_factor": 1.0, "preemphasis": 0.0,
        "preemphasis_htk_flavor": True, "fft_overdrive": False, "padding_value": 0.0,
    }  # fmt: skip
    said = {
        "image_processor": picture | {"image_processor_type": "Gemma4ImageProcessor"},
        "video_processor": picture | clip | {"video_processor_type": "EmbeddingGemma2VideoProcessor"},
        "feature_extractor": sound, "audio_seq_length": 750, "processor_class": "EmbeddingGemma2Processor",
    }  # fmt: skip
    (folder / "processor_config.json").write_text(json.dumps(said), "utf-8")
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {}}', "utf-8")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
