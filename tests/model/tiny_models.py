"""Tiny random checkpoints in the formats of the hub, made on the spot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from parity_cases import CHECKPOINT

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IMAGES = {
    "patch_size": 16, "merge_size": 2, "temporal_patch_size": 2,
    "size": {"shortest_edge": 4096, "longest_edge": 65536},
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip


def copy_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"):
        shutil.copy(CHECKPOINT / name, folder / name)


def qwen3_vl_embedding(folder: Path) -> Path:
    """A Qwen3-VL as sentence-transformers saves one: last-token pooling, unit length, a query prompt."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import Qwen3VLConfig, Qwen3VLModel

    torch.manual_seed(0)
    raw = folder.with_name(folder.name + "-raw")
    copy_tokenizer(raw)
    text: dict[str, Any] = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512, "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 64,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1], "patch_size": 16,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    config = Qwen3VLConfig(
        text_config=text, vision_config=vision, image_token_id=391, video_token_id=392,
        vision_start_token_id=388, vision_end_token_id=389,
    )  # fmt: skip
    Qwen3VLModel(config).save_pretrained(raw)
    (raw / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")
    image = IMAGES | {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen3VLProcessor"}
    (raw / "preprocessor_config.json").write_text(json.dumps(image), "utf-8")
    video = IMAGES | {"video_processor_type": "Qwen3VLVideoProcessor", "processor_class": "Qwen3VLProcessor"}
    (raw / "video_preprocessor_config.json").write_text(json.dumps(video), "utf-8")
    transformer = Transformer(str(raw), model_kwargs={"use_safetensors": True})
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    whole = SentenceTransformer(
        modules=[transformer, pooling, Normalize()],
        prompts={"query": "Retrieve what the query describes.", "document": "Represent the input."},
    )
    whole.save_pretrained(str(folder))
    return folder


def qwen2_5_vl(folder: Path) -> Path:
    """A Qwen2.5-VL of the parity checkpoint's size and tokenizer, window attention included."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    torch.manual_seed(0)
    copy_tokenizer(folder)
    shutil.copy(CHECKPOINT / "preprocessor_config.json", folder / "preprocessor_config.json")
    text: dict[str, Any] = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 4096, "pad_token_id": 380,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 3, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4, "out_hidden_size": 64,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=391, video_token_id=392,
        vision_start_token_id=388, vision_end_token_id=389,
    )  # fmt: skip
    Qwen2_5_VLModel(config).save_pretrained(folder)
    return folder


def text_only(folder: Path) -> Path:
    """A sentence-transformers model that reads and does not see."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(0)
    raw = folder.with_name(folder.name + "-raw")
    copy_tokenizer(raw)
    config = Qwen2Config(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256,
    )  # fmt: skip
    Qwen2Model(config).save_pretrained(raw)
    transformer = Transformer(str(raw))
    SentenceTransformer(modules=[transformer, Pooling(32)]).save_pretrained(str(folder))
    return folder


def clip(folder: Path) -> Path:
    """A sentence-transformers model whose images all have one size; its tokenizer knows single letters."""
    import json

    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    torch.manual_seed(0)
    raw = folder.with_name(folder.name + "-raw")
    raw.mkdir()
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters]
    (raw / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), "utf-8")
    (raw / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    tokenizer = CLIPTokenizerFast(str(raw / "vocab.json"), str(raw / "merges.txt"))
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={"vocab_size": len(pieces), **ends, **shape},
        vision_config={"image_size": 32, "patch_size": 16, **shape},
        projection_dim=32,
    )
    CLIPModel(config).save_pretrained(raw)
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32), tokenizer).save_pretrained(raw)
    SentenceTransformer(str(raw)).save_pretrained(str(folder))
    return folder


def colpali(folder: Path) -> Path:
    """A ColPali in the format of transformers: pages of 56 x 56 pixels are 16 patches."""
    import torch
    from transformers import (
        AutoTokenizer,
        ColPaliConfig,
        ColPaliForRetrieval,
        ColPaliProcessor,
        PaliGemmaConfig,
        SiglipImageProcessor,
    )

    torch.manual_seed(0)
    images = SiglipImageProcessor(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT, bos_token="<bos>")
    processor = ColPaliProcessor(images, tokenizer)
    size = len(processor.tokenizer)
    text: dict[str, Any] = {
        "model_type": "gemma", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": size,
    }  # fmt: skip
    vision: dict[str, Any] = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "patch_size": 14, "image_size": 56, "vision_use_head": False,
    }  # fmt: skip
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_index=processor.image_token_id, vocab_size=size,
        projection_dim=64, hidden_size=64,
    )  # fmt: skip
    ColPaliForRetrieval(ColPaliConfig(vlm_config=config, embedding_dim=16)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def colqwen2(folder: Path) -> Path:
    """A ColQwen2 on the parity checkpoint's backbone: pages of several sizes have several numbers of patches."""
    import torch
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoTokenizer,
        ColQwen2Config,
        ColQwen2ForRetrieval,
        ColQwen2Processor,
    )

    torch.manual_seed(0)
    config = ColQwen2Config(vlm_config=AutoConfig.from_pretrained(CHECKPOINT), embedding_dim=16)
    ColQwen2ForRetrieval(config).save_pretrained(folder)
    images, tokenizer = AutoImageProcessor.from_pretrained(CHECKPOINT), AutoTokenizer.from_pretrained(CHECKPOINT)
    ColQwen2Processor(images, tokenizer).save_pretrained(folder)
    return folder
