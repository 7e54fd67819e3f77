"""How a model is scored: what its authors tell and show it, by family of models.

Built around `ScoringProtocol`: the options that a model is loaded with, the declarations that differ from the
benchmark's, what a `TaskItem` becomes, and `figures`, the published figures that were made by the same rules. It knows
nothing of how a model works or of how scores are computed.

Sources: VLM2Vec-V2's own code is the benchmark's; GME `gme_inference.py` (default system text for documents), and for
the benchmark's figures of it `process_input_text` and `MMEBModel.encode_input` of TIGER-AI-Lab/VLM2Vec 6e1e1d4;
Qwen3-VL-Embedding's `src/evaluation/mmeb_v2` at 8ce3aab with qwen-vl-utils 0.0.14; EmbeddingGemma 2's wrapper in mteb
2.26.24, which its authors point to, for their settings for MMEB-V2 itself are not published.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.mmeb.task import Task
from data.mmeb.task_data import TaskItem
from model.inputs import Input
from model.prompts import GME_DEFAULT, IMAGE_PAD, VIDEO_PAD
from model.qwen.vision import resize, smart_resize

AUTHORS, BENCHMARK = "authors", "benchmark"
"""The rules of a figure: each model as its authors score it, or each by the benchmark's own code and prompts."""


def _as_it_is(_task: Task, item: TaskItem) -> TaskItem:
    return item


def _unchanged(item: Input) -> Input:
    return item


@dataclass(frozen=True)
class ScoringProtocol:
    """`figures`: the rules by which published figures must be made to stand beside a run; none: nothing stands there.

    `exact`: the model receives prompts to the byte, not their parts. `middle_frame`: and of a clip one frame.
    `load`: options of `model.load`. `declarations`: modality, group or task -> keys that replace the declared ones.
    `item`: what the model is told of an item. `prepare`: the same for its pictures; it sets their sizes.
    `clip_rate`: frames per second that a clip is said to have; None: the model's own rule.
    """

    name: str
    figures: frozenset[str] = frozenset({AUTHORS})
    exact: bool = False
    middle_frame: bool = False
    load: Mapping[str, Any] = field(default_factory=dict)
    declarations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    item: Callable[[Task, TaskItem], TaskItem] = _as_it_is
    prepare: Callable[[Input], Input] = _unchanged
    clip_rate: float | None = None

    @property
    def sets_sizes(self) -> bool:
        """Whether pictures have sizes of the protocol, whatever limits a model is loaded with."""
        return self.prepare is not _unchanged


def _own(_task: Task, item: TaskItem) -> TaskItem:
    """The instruction and the text as parts; the model words them."""
    return replace(item, instruction=(item.instruction or "").strip() or None)


def _gme(task: Task, item: TaskItem) -> TaskItem:
    """A query's instruction is the system text; a document has GME's default there."""
    return _own(task, item) if item.role == "query" else replace(item, instruction=None)


def _gme_of_benchmark(task: Task, item: TaskItem) -> TaskItem:
    """GME's default system text, and in the user's turn the picture and the words that the benchmark's code leaves
    there: no image token of its own, a space in place of an absent text, and before a clip's question a video token."""
    words = item.prompt
    if item.visual is None:
        words = words.replace(f"{IMAGE_PAD}\n", "")
    else:
        words = words.removeprefix(IMAGE_PAD).removeprefix(VIDEO_PAD).removeprefix(" ")
        if not item.text or item.role == "document":
            words = words.removesuffix("\n") + " " + "\n" * words.endswith("\n")
        if task.reader == "video_question_answering":
            words = f"{VIDEO_PAD} {words}"
        words = f"<|vision_start|>{IMAGE_PAD}<|vision_end|>{words}"
    head = f"<|im_start|>system\n{GME_DEFAULT}<|im_end|>\n<|im_start|>user\n"
    return replace(item, prompt=f"{head}{words}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>")


# Qwen3-VL-Embedding. A token is 32 x 32 pixels.
_TOKEN = 32
_DEFAULT_INSTRUCTION = "Represent the user's input."
_QWEN3_PIXELS = (4 * _TOKEN**2, 1800 * _TOKEN**2)
_CLIP_PIXELS = 10 * 768 * _TOKEN**2
_FRAME_PIXELS = (128 * _TOKEN**2, 768 * _TOKEN**2)
_QWEN3_DECLARATIONS: Mapping[str, Mapping[str, Any]] = {
    "video": {"frames": 64},
    "QVHighlight": {"target_frames": 8},
    "Charades-STA": {"target_frames": 8},
    "NExTQA": {"options": {"candidate": "lettered"}},
    "EgoSchema": {"options": {"before": " "}},
    "Video-MME": {"options": {"candidate": "letter_cut_or_whole"}},
}


def _qwen3(task: Task, item: TaskItem) -> TaskItem:
    """A query has its instruction, in the authors' wording, and a document the model's default.

    The wording of video and document tasks ends in a full stop in place of a colon and has no "Question:".
    """
    instruction, text = "", item.text
    if item.role == "query":
        instruction = (item.instruction or "").strip()
        if task.modality != "image":
            instruction = instruction.removesuffix("Question:").strip()
            instruction = f"{instruction[:-1]}." if instruction.endswith(":") else instruction
        if instruction and not unicodedata.category(instruction[-1]).startswith("P"):
            instruction += "."
    elif task.reader == "text_to_image":
        text = text.strip()
    visual = replace(item.visual, on_white=True) if item.visual is not None else None
    return replace(item, instruction=instruction or _DEFAULT_INSTRUCTION, text=text, visual=visual)


def _qwen3_pixels(item: Input) -> Input:
    """The sizes of qwen-vl-utils: images within 4 to 1800 tokens; of a clip each frame within 128 to 768 tokens and
    all within 7,680, two frames a token."""
    images = tuple(
        resize(image, *smart_resize(image.shape[0], image.shape[1], _TOKEN, *_QWEN3_PIXELS)) for image in item.images
    )
    if item.video is None:
        return replace(item, images=images)
    frames = [
        resize(frame, *smart_resize(frame.shape[0], frame.shape[1], _TOKEN, _QWEN3_PIXELS[0], 16384 * _TOKEN**2))
        for frame in item.video
    ]
    frames += frames[-1:] * (len(frames) % 2)
    low, high = _FRAME_PIXELS
    high = math.floor(max(min(high, _CLIP_PIXELS / len(frames) * 2), int(low * 1.05)))
    size = smart_resize(frames[0].shape[0], frames[0].shape[1], _TOKEN, low, high)
    return replace(item, images=images, video=np.stack([resize(frame, *size) for frame in frames]))


# EmbeddingGemma 2. Task or group -> the name of the kind of task in the prompt; for kinds that are not in the
# authors' recipe, the recipe's own rule by type of task.
_GEMMA_TASKS: Mapping[str, str] = {
    "I-CLS": "classification",
    "V-CLS": "classification",
    "I-QA": "question answering",
    "V-QA": "question answering",
    "OVEN": "question answering",
    "ViDoRe_docvqa": "question answering",
    "ViDoRe_tabfquad": "question answering",
}
_GEMMA_BARE_IMAGES = frozenset({"CIRR", "NIGHTS", "VisualNews_i2t", "Country211", "ViDoRe_tatdqa"})
"""The tasks of the recipe whose inputs with an image have no prompt."""


def _gemma(task: Task, item: TaskItem) -> TaskItem:
    """The prompt of a query or a label names the kind of task; documents have "title: none | text: "."""
    kind = _GEMMA_TASKS.get(task.name) or _GEMMA_TASKS.get(task.group, "search result")
    prompt = f"task: {kind} | query: "
    if item.role == "document" and kind != "classification":
        prompt = "title: none | text: "
    if task.name in _GEMMA_BARE_IMAGES and item.visual is not None:
        prompt = ""
    return replace(item, instruction=prompt)


VLM2VEC = ScoringProtocol("vlm2vec-v2", frozenset({AUTHORS, BENCHMARK}), exact=True)
GME = ScoringProtocol("gme", item=_gme)
GME_OF_BENCHMARK = ScoringProtocol(
    "gme-benchmark", frozenset({BENCHMARK}), exact=True, middle_frame=True, item=_gme_of_benchmark
)
QWEN3_VL = ScoringProtocol(
    "qwen3-vl-embedding",
    load={"min_pixels": _QWEN3_PIXELS[0], "max_pixels": _QWEN3_PIXELS[1], "max_frames": 64},
    declarations=_QWEN3_DECLARATIONS,
    item=_qwen3,
    prepare=_qwen3_pixels,
    clip_rate=2.0,
)
EMBEDDING_GEMMA = ScoringProtocol(
    "embeddinggemma-2",
    load={"min_pixels": None, "max_pixels": None, "detail": "image=280,page=280,frame=140,frames=56"},
    declarations={"video": {"frames": 56}, "QVHighlight": {"target_frames": 8}, "Charades-STA": {"target_frames": 8}},
    item=_gemma,
)
OWN = ScoringProtocol("own", item=_own)
LATE = ScoringProtocol("late-interaction", frozenset({BENCHMARK}), exact=True)
PROTOCOLS: Mapping[str, ScoringProtocol] = {
    protocol.name: protocol for protocol in (VLM2VEC, GME, GME_OF_BENCHMARK, QWEN3_VL, EMBEDDING_GEMMA, OWN, LATE)
}
_NAMES = {r"qwen3-?vl-?embedding": QWEN3_VL, r"embedding-?gemma-?2": EMBEDDING_GEMMA}
"""Part of a model's name -> its protocol, where the model itself does not tell."""


def of_name(name_or_path: str) -> ScoringProtocol | None:
    """Returns the protocol of a model before it is loaded: by what its folder holds, else by its own name; None if
    neither tells."""
    from model.registry import is_embeddinggemma, own_name

    if is_embeddinggemma(name_or_path):
        return EMBEDDING_GEMMA
    folder = Path(name_or_path).expanduser()
    protocol = _of_words(own_name(folder))
    return None if protocol is EMBEDDING_GEMMA and folder.is_dir() else protocol


def _of_words(name: str) -> ScoringProtocol | None:
    return next((protocol for pattern, protocol in _NAMES.items() if re.search(pattern, name.lower())), None)


def of_model(embedder: Any) -> ScoringProtocol:
    """Returns the protocol of a loaded model: by its prompts, else by its id, else `OWN`."""
    from model.late_interaction import LateInteractionModel
    from model.prompts import gme, vlm2vec

    if isinstance(embedder, LateInteractionModel):
        return LATE
    family = getattr(embedder, "family", None)
    if family in (gme, vlm2vec) and hasattr(embedder, "embed_prompts"):
        return VLM2VEC if family is vlm2vec else GME
    return _of_words(str(embedder.id).split("@")[0].split(":")[0]) or OWN


def misfit(protocol: ScoringProtocol, embedder: Any) -> str | None:
    """Returns why a model cannot be scored by a protocol, in one line; None if it can."""
    natural = of_model(embedder)
    takes = natural is GME if protocol.middle_frame else natural.exact or not protocol.exact
    if not takes or (protocol is LATE) != (natural is LATE):
        return (
            f"{embedder.id} cannot be scored by the protocol {protocol.name}: it takes other inputs; leave --protocol "
            f"out (it would be {natural.name})"
        )
    return None
