"""Requests that would make Gradio fetch something: an argument that stands for a file and names an address.

Built around the shape in which Gradio takes files, `{"path": …, "url": …, "meta": {"_type": "gradio.FileData"}}`,
anywhere in a JSON body. None of our endpoints takes such a file (they take base64 text), so any is refused before
Gradio sees it. Words to search for may hold addresses; they are text. It knows nothing of HTTP.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?//|\s*(data|file|ftp|https?):", re.IGNORECASE)


def stands_for_a_file(body: bytes) -> bool:
    """Whether a JSON body holds an argument that Gradio would open or fetch. A body that is no JSON holds none."""
    try:
        # As Gradio's framework reads it, with UTF-16 and UTF-32 told by their first bytes.
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            if str(item.get("_type", "")).startswith("gradio.") or _is_address(item):
                return True
            waiting.extend(item.values())
    return False


def _is_address(item: dict[str, Any]) -> bool:
    return any(isinstance(item.get(key), str) and _ADDRESS.match(item[key]) for key in ("path", "url"))
