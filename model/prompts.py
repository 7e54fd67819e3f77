"""The prompts of an `Input`: instructions and separators, one function per model family.

Built around `Prompt`, text in three parts, so that a long `text` can be truncated without its frame. It knows nothing
of tokens or weights.

VLM2Vec-V2 is trained without a chat template; its prompts are those of the published evaluation (MMEB-V2), separators
included: image tasks have a newline after the pad token and at the end, video and document tasks a space and nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.inputs import Input

IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"


@dataclass(frozen=True, eq=False)
class Prompt:
    """`head + text + tail`, and the visual of each pad token of `head`, in order.

    A visual is one image, uint8 [H, W, 3], or the frames of a clip, [T, H, W, 3].
    """

    head: str
    text: str
    tail: str
    visuals: tuple[np.ndarray, ...] = ()


Family = Callable[[Input], Prompt]

# Documents: the target instructions of the benchmark. Queries with an image: those of its
# image-to-image tasks (NIGHTS, CIRR, MomentSeeker).
IMAGE_DOCUMENT = "Represent the given image."
CAPTIONED_DOCUMENT = "Represent the given image with related text information:"
VIDEO_DOCUMENT = "Understand the content of the provided video."
PAGE_DOCUMENT = "Understand the content of the provided document image."
IMAGE_QUERY = "Find a day-to-day image that looks similar to the provided image."
CHANGED_IMAGE_QUERY = "Given an image, find a similar everyday image with the described changes:"
VIDEO_TEXT_QUERY = "Find the clip that corresponds to the given sentence and video segment:"
# Text queries, by the kind of the target. "text" is any kind: the benchmark has no mixed pool, so this is the same
# sentence with all kinds as its object.
TEXT_QUERY = {
    "text": "Find an image, a video or a document image that matches the given query:",
    "image": "Find me an everyday image that matches the given caption:",
    "video": "Find a video that contains the following visual content:",
    "pdf": "Find a document image that matches the given query:",
}


def vlm2vec(item: Input) -> Prompt:
    """Returns VLM2Vec-V2's prompt for an input's role and kind; `item.instruction` replaces the default."""
    text = plain(item.text or "")
    kind = _visual_kind(item)
    if kind == "text":
        if item.role == "document":
            return Prompt(f"{item.instruction} " if item.instruction else "", text, "")
        end = "" if item.kind in ("video", "pdf") else "\n"
        return Prompt(_instruction_text(item.instruction or TEXT_QUERY[item.kind], text), text, end)
    pads = IMAGE_PAD * len(item.images) + (VIDEO_PAD if item.video is not None else "")
    visuals = (*item.images, *(() if item.video is None else (item.video,)))
    if kind == "pdf" and item.role == "document" and item.instruction is None:
        text = ""  # as in the benchmark; text search finds the words
    instruction = item.instruction or _default_instruction(item.role, kind, bool(text))
    if kind == "image":
        return Prompt(f"{pads}\n{_instruction_text(instruction, text)}", text, "\n", visuals)
    return Prompt(f"{pads} {_instruction_text(instruction, text)}", text, "", visuals)


GME_DEFAULT = "You are a helpful assistant."
GME_TEXT_QUERY = "Find an image that matches the given text."


def gme(item: Input) -> Prompt:
    """Returns GME's chat prompt. GME supports only images: a clip is its middle frame, as in the benchmark."""
    text = plain(item.text or "")
    visuals = item.images
    if item.video is not None:
        visuals = (*visuals, item.video[len(item.video) // 2])
    if item.role == "document":
        instruction = item.instruction or GME_DEFAULT
        text = "" if item.kind == "pdf" and visuals else text
    else:
        instruction = item.instruction or (GME_DEFAULT if visuals else GME_TEXT_QUERY)
    pads = f"<|vision_start|>{IMAGE_PAD}<|vision_end|>" * len(visuals)
    head = f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{pads}"
    return Prompt(head, text, "<|im_end|>\n<|im_start|>assistant\n<|endoftext|>", visuals)


def plain(text: str) -> str:
    """Returns `text` without control tokens of a tokenizer."""
    return re.sub(r"<\|(\w+)\|>", r"< \1 >", text)


def _visual_kind(item: Input) -> str:
    if item.video is not None:
        return "video"
    if item.images:
        return "pdf" if item.kind == "pdf" else "image"
    return "text"


def _default_instruction(role: str, kind: str, has_text: bool) -> str:
    if kind == "image":
        if role == "document":
            return CAPTIONED_DOCUMENT if has_text else IMAGE_DOCUMENT
        return CHANGED_IMAGE_QUERY if has_text else IMAGE_QUERY
    if kind == "video":
        return VIDEO_TEXT_QUERY if role == "query" and has_text else VIDEO_DOCUMENT
    # A page without text is a query for similar pages and has the prompt of a page.
    return TEXT_QUERY["pdf"] if role == "query" and has_text else PAGE_DOCUMENT


def _instruction_text(instruction: Any, text: str) -> str:
    return f"{instruction} " if text else str(instruction)
