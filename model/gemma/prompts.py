"""EmbeddingGemma 2's prompts: the strings in front of an input's text, as its authors set them.

Built around `Input` and the model's order: prompt, text, images, clip. It knows nothing of tokens.

In the authors' benchmark the prompt of a text depends on its role, images and clips have none, and most pages have
the document prompt; a page that is a query has the same prompt as the pages that it is to find. An empty instruction
is no prompt at all.
"""

from __future__ import annotations

import re

from model.inputs import Input

QUERY = "task: search result | query: "
DOCUMENT = "title: {title} | text: "
TASK = "task: {task} | query: "
NO_TITLE = "none"
MAX_TITLE = 200
"""Characters."""


def prompt_and_text(item: Input) -> tuple[str, str]:
    """Returns the prompt and the text of an input; the model reads them as one string. Both are empty for images
    and clips alone."""
    text = item.text or ""
    has_page_image = item.kind == "pdf" and bool(item.images)
    if has_page_image and item.role == "document":
        text = ""  # text search finds the text of a page; the vector is that of its image
    if item.instruction is not None:
        is_prompt = item.instruction.startswith(("task: ", "title: ")) or not item.instruction
        return item.instruction if is_prompt else TASK.format(task=item.instruction.strip()), text
    if not text and (item.images or item.video is not None) and not has_page_image:
        return "", ""
    if item.role == "query" and (text or not has_page_image):
        return QUERY, text
    return DOCUMENT.format(title=_title(item)), text


def _title(item: Input) -> str:
    """Returns a title in one line, without `|`, which ends it in the prompt."""
    return re.sub(r"[\s|]+", " ", item.title or "").strip()[:MAX_TITLE] or NO_TITLE
