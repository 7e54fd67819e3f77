"""OpenAI's requests for embeddings, and vLLM's with chat messages, as inputs of a model.

Built around `inputs_of`. Images come as data: URIs; nothing is fetched. The library's own reader decodes them,
so that the same file has the same vector here and in a library. It knows neither routes nor batches.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import numpy as np

from data.media.image import inspect, read_image
from data.media.kinds import MediaError
from model.inputs import Input, InputKind
from model.remote import wire


class UnreadableRequest(Exception):
    """A request that cannot be understood. `str(error)` is one sentence."""


MAX_PIXELS = 32 << 20
"""The sum over one request, as the files have them: decoding one with transparency takes 7 bytes a pixel."""
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
"""The first bytes of a PNG, a JPEG and a WebP, the formats that the server accepts."""


def inputs_of(body: Any, model_id: str, max_side: int | None = None) -> list[Input]:
    """The inputs of an OpenAI request: one for each text of `input`, or one for all the `messages`. Images are
    scaled down to `max_side` (None: not scaled). Raises UnreadableRequest."""
    if not isinstance(body, dict):
        raise UnreadableRequest("the body is a JSON object")
    if body.get("model") not in (None, "", model_id, model_id.split("@")[0], re.split("[:@]", model_id)[0]):
        raise UnreadableRequest(f"this server has {model_id}, not {body['model']!r:.80}")
    if "dimensions" in body:
        raise UnreadableRequest("vectors have their full length; start serve-model with --dim for shorter ones")
    role = body.get("input_type", "query")
    if role not in ("query", "document"):
        raise UnreadableRequest("input_type is query or document")
    if "messages" in body:
        return [_conversation(body["messages"], body.get("input_type"), max_side)]
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise UnreadableRequest("input is a text or a list of texts; images go into messages")
    if len(texts) > wire.MAX_INPUTS or any(len(t) > wire.MAX_TEXT for t in texts):
        raise UnreadableRequest(f"at most {wire.MAX_INPUTS} texts of {wire.MAX_TEXT:,} characters")
    return [Input(text=text, role=role) for text in texts]


def _conversation(messages: Any, input_type: str | None, max_side: int | None) -> Input:
    """The system message is the instruction. A message with an image or a clip is a document, unless
    `input_type` is query."""
    instruction, texts, images, frames = None, [], [], None
    left = MAX_PIXELS
    if not isinstance(messages, list):
        raise UnreadableRequest("messages is a list")
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            raise UnreadableRequest("a message has a role and a content")
        for part in parts:
            form = part.get("type") if isinstance(part, dict) else None
            if form == "text" and isinstance(part.get("text"), str) and len(part["text"]) <= wire.MAX_TEXT:
                if message.get("role") == "system":
                    instruction = part["text"] or None
                elif part["text"]:
                    texts.append(part["text"])
            elif form in ("image_url", "video_url") and isinstance(part.get(form), dict):
                decoded = []
                for text in _data_uri(part[form].get("url")):
                    image, pixels = _image(text, max_side, left)
                    decoded.append(image)
                    left -= pixels
                if form == "image_url":
                    images += decoded
                elif len({image.shape for image in decoded}) == 1:
                    frames = np.stack(decoded)
                else:
                    raise UnreadableRequest("the frames of a clip have one size")
            else:
                raise UnreadableRequest("a part of a message is text, image_url or video_url")
    if not (texts or images or frames is not None):
        raise UnreadableRequest("there is nothing in the messages to embed")
    kind: InputKind = "video" if frames is not None else "image" if images else "text"
    return Input(
        text="\n".join(texts) or None,
        images=tuple(images),
        video=frames,
        instruction=instruction,
        role="query" if (input_type or ("query" if kind == "text" else "document")) == "query" else "document",
        kind=kind,
    )


def _data_uri(url: Any) -> list[str]:
    """The base64 texts of a data: URI. Addresses are not fetched: a client could reach this machine's network."""
    if not isinstance(url, str) or not url.startswith("data:") or ";base64," not in url[:80]:
        raise UnreadableRequest("images come as data: URIs in base64; addresses are not fetched")
    return url.split(",")[1:]


def _image(text: str, max_side: int | None, most_pixels: int) -> tuple[np.ndarray, int]:
    """A PNG, JPEG or WebP in base64: uint8 [H, W, 3], and how many pixels it has in the file. A larger one than
    `most_pixels` is refused before it is decoded."""
    try:
        data = base64.b64decode(text, validate=True)
        if not data.startswith(SIGNATURES):
            raise UnreadableRequest("an image is not PNG, JPEG or WebP in base64")
        header = inspect(data)
        pixels = header.width * header.height
        if pixels > most_pixels:
            raise UnreadableRequest(f"more than {MAX_PIXELS >> 20} million pixels in one request")
        return read_image(data, max_side), pixels
    except (binascii.Error, ValueError, MediaError) as error:
        raise UnreadableRequest("an image is not PNG, JPEG or WebP in base64") from error
