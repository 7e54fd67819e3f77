"""An answer as JSON, the same from the server and from its second process. Knows nothing of HTTP."""

from __future__ import annotations

import json
from typing import Any

import orjson


def json_text(content: Any) -> bytes:
    """JSON in UTF-8; in ASCII where a file's name is not UTF-8: the lone surrogates for it have no other encoding."""
    try:
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
