"""What is said to EmbeddingGemma 2 around an input: the prompts of its authors.

Built around `Input` and the order in which the model reads: prompt, text, pictures, clip. It knows nothing of tokens.

The authors' benchmark gives text a prompt by role, leaves pictures and clips bare, and puts the document prompt
before most pages; a page that asks is worded like the pages that it looks for.
"""

from __future__ import annotations

import re

from model.inputs import Input

QUERY = "task: search result | query: "
DOCUMENT = "title: {title} | text: "
TASK = "task: {task} | query: "
NO_TITLE = "none"
_TITLE_MOST = 200  # characters


def words(item: Input) -> tuple[str, str]:
    """(prompt, text) of an input, read one after the other; both empty for pictures and clips alone."""
    text = item.text or ""
    shown_page = item.kind == "pdf" and bool(item.images)
    if shown_page and item.role == "document":
        text = ""  # the page is its picture; its words are searched as words
    if item.instruction is not None:
        ready = item.instruction.startswith(("task: ", "title: "))
        return item.instruction if ready else TASK.format(task=item.instruction.strip()), text
    if not text and (item.images or item.video is not None) and not shown_page:
        return "", ""
    if item.role == "query" and (text or not shown_page):
        return QUERY, text
    return DOCUMENT.format(title=_title(item)), text


def _title(item: Input) -> str:
    """A title in one line, without the mark that ends it in the prompt."""
    return re.sub(r"[\s|]+", " ", item.title or "").strip()[:_TITLE_MOST] or NO_TITLE
