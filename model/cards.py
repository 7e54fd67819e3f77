"""The models that Sightline lists by name, one `ModelCard` each.

It knows nothing of this machine; model/registry.py adds what the machine has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HUB = {"vlm2vec-v2": "VLM2Vec/VLM2Vec-V2.0", "gme-2b": "Alibaba-NLP/gme-Qwen2-VL-2B-Instruct"}
VLM2VEC_BASE = "Qwen/Qwen2-VL-2B-Instruct"


@dataclass(frozen=True)
class ModelCard:
    """One line of `sightline models`. `scores`: MMEB-V2 in percent, keys overall, image, video, visdoc.

    `chunks_per_hour`: 30-second video windows, estimated for this machine from `gflop_a_window`.
    """

    name: str
    title: str
    source: str
    dim: int
    licence: str
    memory_gb: float
    scores: dict[str, float]
    on_disk: bool
    about: str
    recommended: bool = False
    chunks_per_hour: float | None = None
    get: str | None = None
    """The command that downloads the files; None: they are downloaded at first use."""
    download_gb: float | None = None
    """The approximate size of that download."""
    gflop_a_window: float = field(default=0.0, repr=False)


# The models that load without code of their own.
RECOMMENDABLE = (
    "lite",
    "embeddinggemma-2",
    "vlm2vec-v2",
    "gme-2b",
    "Qwen/Qwen3-VL-Embedding-2B",
    "Qwen/Qwen3-VL-Embedding-8B",
)

# Scores: the official leaderboard as of August 2026; for Ovis and EmbeddingGemma 2 their authors' pages. GFLOP: one
# 30-second window of 1280 x 720 frames: 2 x parameters x tokens, plus attention.
CARDS = (
    ModelCard(
        name="lite",
        title="Sightline lite (MiniLM and USE text, EfficientNet images)",
        source="included",
        dim=1152,
        licence="Apache-2.0",
        memory_gb=0.3,
        scores={},
        on_disk=True,
        about=(
            "The default: small, quick, nothing to download; a preview of what a big model does. Good at "
            "words in PDFs, at the same or a nearly identical image, and at finding the video of a frame. "
            "Mediocre at photos described in words (the right one first in about a quarter of queries, among "
            "the first five in half), and only for things with everyday names. Poor at people, actions, "
            "colours, counts, pages in languages other than English, and at videos described in words."
        ),
        gflop_a_window=8.0,
    ),
    ModelCard(
        name="embeddinggemma-2",
        title="EmbeddingGemma 2 (text and vision, 0.44 billion parameters)",
        source="onnx-community/embeddinggemma-2-ONNX",
        dim=768,
        licence="Apache-2.0",
        memory_gb=2.5,
        scores={"overall": 59.0, "image": 57.3, "video": 50.7, "visdoc": 67.8},
        on_disk=False,
        about=(
            "For a machine without a GPU: no torch; get it with `sightline models get embeddinggemma-2`: 1.5 GB of its "
            "authors' weights, of which 0.5 GB of graphs are built; or 0.3 GB with --precision q4, which is slower. "
            "Scenes, actions and what happens in videos, over 100 languages; pages as images. Weaker on images "
            "than VLM2Vec-V2, stronger on video, at a sixth of its work. --detail sets its tokens per image."
        ),
        get="sightline models get embeddinggemma-2",
        download_gb=1.5,
        gflop_a_window=8_600.0,
    ),
    ModelCard(
        name="siglip2",
        title="SigLIP 2 base (224 pixels)",
        source="onnx-community/siglip2-base-patch16-224-ONNX",
        dim=768,
        licence="Apache-2.0",
        memory_gb=2.0,
        scores={},
        on_disk=False,
        about=(
            "Photos described in words, in many languages: no torch; download it with `sightline models get siglip2`. "
            "A window is the mean of 8 frames. Its input is too small to read pages, and a text has at most 64 tokens."
        ),
        get="sightline models get siglip2",
        download_gb=1.5,
        gflop_a_window=280.0,
    ),
    ModelCard(
        name="vlm2vec-v2",
        title="VLM2Vec-V2.0 (LoRA adapter on Qwen2-VL-2B)",
        source=HUB["vlm2vec-v2"],
        dim=1536,
        licence="Apache-2.0",
        memory_gb=6.0,
        scores={"overall": 59.1, "image": 64.9, "video": 34.7, "visdoc": 68.6},
        on_disk=False,
        about=("The model that this repository trains and scores; vectors equal to the original's. 8 frames a window."),
        gflop_a_window=55_000.0,
    ),
    ModelCard(
        name="gme-2b",
        title="GME-Qwen2-VL-2B",
        source=HUB["gme-2b"],
        dim=1536,
        licence="Apache-2.0",
        memory_gb=6.0,
        scores={"overall": 55.4, "image": 51.9, "video": 33.6, "visdoc": 77.0},
        on_disk=False,
        about="Strong on pages. Of a video window it sees the middle frame only, as in the benchmark.",
        gflop_a_window=13_000.0,
    ),
    ModelCard(
        name="Qwen/Qwen3-VL-Embedding-2B",
        title="Qwen3-VL-Embedding-2B",
        source="Qwen/Qwen3-VL-Embedding-2B",
        dim=2048,
        licence="Apache-2.0",
        memory_gb=6.0,
        scores={"overall": 73.2, "image": 75.0, "video": 61.9, "visdoc": 79.2},
        on_disk=False,
        about=("Far stronger on video than VLM2Vec-V2 at its size; shorter vectors with --dim. Needs torchvision."),
        gflop_a_window=55_000.0,
    ),
    ModelCard(
        name="tencent/WeMM-Embedding-2B",
        title="WeMM-Embedding-2B",
        source="tencent/WeMM-Embedding-2B",
        dim=2048,
        licence="Apache-2.0",
        memory_gb=6.0,
        scores={"overall": 77.9, "image": 79.6, "video": 70.8, "visdoc": 80.7},
        on_disk=False,
        about=(
            "The best of its size on the leaderboard; --dim 256 keeps 98.7 % of its image and video score. "
            "Its hub page carries code of its own, which Sightline does not run: it loads only where "
            "sentence-transformers knows the model by itself."
        ),
        gflop_a_window=55_000.0,
    ),
    ModelCard(
        name="ATH-MaaS/Ovis-VL-Embedding-2B",
        title="Ovis-VL-Embedding-2B",
        source="ATH-MaaS/Ovis-VL-Embedding-2B",
        dim=2048,
        licence="Apache-2.0",
        memory_gb=6.0,
        scores={"overall": 77.5, "image": 80.6, "video": 67.1, "visdoc": 80.5},
        on_disk=False,
        about="Scores are its authors' own. The same remark on code as for WeMM-Embedding-2B.",
        gflop_a_window=55_000.0,
    ),
    ModelCard(
        name="Qwen/Qwen3-VL-Embedding-8B",
        title="Qwen3-VL-Embedding-8B",
        source="Qwen/Qwen3-VL-Embedding-8B",
        dim=4096,
        licence="Apache-2.0",
        memory_gb=18.0,
        scores={"overall": 77.8, "image": 80.1, "video": 67.1, "visdoc": 82.4},
        on_disk=False,
        about="For a card of 24 GB. The best on pages of those listed; shorter vectors with --dim.",
        gflop_a_window=160_000.0,
    ),
)
