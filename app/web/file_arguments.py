"""Requests to Gradio with an argument that names a file or an address, which Gradio would open or fetch.

Built around the form of Gradio's files, `{"path": …, "url": …, "meta": {"_type": "gradio.FileData"}}`, which may stand
anywhere in a JSON body. No endpoint of ours takes such a file; a search takes base64 text. Words to search for may
hold an address: they are text. It knows nothing of HTTP.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?//|\s*(data|file|ftp|https?):", re.IGNORECASE)


def names_a_file(body: bytes) -> bool:
    """Whether a JSON body holds an argument that Gradio would open or fetch. A body that is not JSON holds none; one
    that is nested too deep to be read counts as holding one."""
    is_file = False

    def check(pairs: list[tuple[str, Any]]) -> None:  # all pairs: parsers differ on a key that stands twice
        nonlocal is_file
        is_file = is_file or any(map(_is_of_a_file, pairs))

    try:
        json.loads(body, object_pairs_hook=check)  # detects UTF-16 and UTF-32, as Gradio's framework does
    except RecursionError:
        return True
    except ValueError:
        return False
    return is_file


def _is_of_a_file(pair: tuple[str, Any]) -> bool:
    key, value = pair
    if not isinstance(value, str):
        return False
    return value.startswith("gradio.") if key == "_type" else key in ("path", "url") and bool(_ADDRESS.match(value))
