"""EmbeddingGemma 2's prompts in the benchmark, as its authors set them for theirs.

Built around `GemmaPrompter`, the prompter of one task, with the rules of the authors' own wrapper (mteb 2.26.24,
google_embeddinggemma.py): a query has "task: … | query: ", a document of a retrieval task "title: none | text: ", both
sides of a classification or a question the prompt of a query, and in some tasks an input with an image has none. The
wrapper names no task of MMEB-V2: `INSTRUCTIONS` and `WITHOUT_PROMPT_ON_IMAGES` are its entries for the data sets that
both have; the others follow their group, as the wrapper's own fallback does. It knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.mmeb.task import Task
from data.mmeb.task_data import TaskItem
from eval.embedding import input_of
from model.embedder import Embedder
from model.gemma.prompts import DOCUMENT, NO_TITLE, TASK

DETAIL = "image=280,page=280,frame=140,frames=32"
"""`--detail` of the authors' runs: 280 tokens an image, pages too, and 140 a frame."""
SEARCH, CLASSIFICATION, QUESTION = "search result", "classification", "question answering"
GROUPS = {"I-CLS": CLASSIFICATION, "V-CLS": CLASSIFICATION, "I-QA": QUESTION, "V-QA": QUESTION}
"""The instruction of a group; that of all other groups, which are retrieval, is `SEARCH`."""
INSTRUCTIONS = {"OVEN": QUESTION, "ViDoRe_docvqa": QUESTION, "ViDoRe_tabfquad": QUESTION}
WITHOUT_PROMPT_ON_IMAGES = ("CIRR", "NIGHTS", "VisualNews_i2t", "Country211", "ViDoRe_tatdqa")


def prompt_of(task: Task, item: TaskItem) -> str:
    """Returns the prompt in front of an item's text and image; empty if it has none."""
    if task.name in WITHOUT_PROMPT_ON_IMAGES and item.visual is not None and item.visual.kind == "image":
        return ""
    if item.role == "document" and task.group not in GROUPS:
        return DOCUMENT.format(title=NO_TITLE)
    return TASK.format(task=INSTRUCTIONS.get(task.name, GROUPS.get(task.group, SEARCH)))


class GemmaPrompter:
    """The inputs of one task for EmbeddingGemma 2."""

    prompts = True

    def __init__(self, embedder: Embedder, task: Task) -> None:
        self.embedder, self._task = embedder, task

    def parts(self, item: TaskItem) -> tuple[str, ...]:
        """Returns all texts of the input; they are part of the cache's key."""
        return ("gemma", prompt_of(self._task, item), item.kind, item.text)

    def embed(self, items: Sequence[TaskItem], images: Sequence[list[np.ndarray]]) -> np.ndarray:
        """Returns float32 [n, dim]. `images`: uint8 [H, W, 3] per image or frame; an empty list for text."""
        inputs = [
            replace(input_of(item, frames), instruction=prompt_of(self._task, item))
            for item, frames in zip(items, images, strict=True)
        ]
        return self.embedder.embed(inputs)
