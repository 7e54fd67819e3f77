"""The named Gradio endpoints, for gradio_client; agents have the tools of `mcp_server.py`.

Built around the same `build_query` as the REST routes. Each returns JSON text (a client would get a dict as
Python's repr) and takes a file as base64 text, so that no file is uploaded to a folder first.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.web import captions
from app.web.api import MAX_MOMENTS
from app.web.requests import (
    MAX_HITS,
    MAX_ID,
    MAX_OFFSET,
    BadRequest,
    Upload,
    build_query,
    number,
    place_for,
    upload_folder,
    whole,
)
from data.media.kinds import HEAD_BYTES, MediaError, kind_of, sniff
from indexer.errors import LibraryError
from indexer.types import Query, SearchLibrary
from model.embedder import InputRejected, ModelError

SUFFIX = {"image": ".jpg", "video": ".mp4", "pdf": ".pdf"}
"""Suffixes by kind, for files without a name: readers go by the suffix first."""
KNOWN_ERRORS = (LibraryError, MediaError, ModelError, InputRejected, BadRequest)
"""Errors whose text is a sentence for a person."""


def tools(library: SearchLibrary, origin: str) -> tuple[Callable[..., str], ...]:
    """The functions that Gradio offers. `origin` is put before the links in answers."""

    def search(
        text: str = "",
        file_base64: str = "",
        avoid: str = "",
        kinds: list[str] | None = None,
        under: str = "",
        after: str = "",
        before: str = "",
        labels: list[str] | None = None,
        k: int = 10,
        offset: int = 0,
    ) -> str:
        """Search the person's own images, videos and PDFs by meaning.

        Returns JSON with ranked hits: path, kind, page or start_s and end_s, snippet, open_url.

        Args:
            text: What to look for, in plain words. "Quoted words" must be there, -word must not; filters can
                be typed too: taken:2023-07 near:Lisbon camera:pixel person:Anna type:pdf in:Invoices label:dog
                longer:5m.
            file_base64: An image, video clip or PDF to look for, as base64 or as a data: URI.
            avoid: Words for what hits should not show.
            kinds: Any of image, video, pdf; empty means all.
            under: Only files below this folder.
            after: Only files taken on or after this date: 2024, 2024-06 or 2024-06-01.
            before: Only files taken before this date.
            labels: Only chunks with all of these labels; the facets of an answer list the labels.
            k: How many hits, 1 to 200.
            offset: How many hits to skip, for further pages.
        """

        def call() -> dict[str, Any]:
            with upload_folder() as folder:
                query = search_query(folder, text, file_base64, avoid, kinds, under, after, before, labels)
                first = whole(offset, "offset", 0, MAX_OFFSET)
                return library.search(query, k=whole(k, "k", 1, MAX_HITS), offset=first).to_json()

        return answer_text(call, origin)

    def similar(chunk_id: int, k: int = 10) -> str:
        """Find chunks that resemble a hit of an earlier search. Returns JSON like search.

        Args:
            chunk_id: The chunk_id of a hit.
            k: How many hits, 1 to 200.
        """

        def call() -> dict[str, Any]:
            chunk = whole(chunk_id, "chunk_id", 0, MAX_ID)
            if library.chunk(chunk) is None:
                raise BadRequest(f"The library has no chunk {chunk}.")
            return library.similar(chunk, k=whole(k, "k", 1, MAX_HITS)).to_json()

        return answer_text(call, origin)

    def moments(text: str, file_id: int = 0, k: int = 5) -> str:
        """Find where in the person's videos something happens, to the second.

        Returns JSON: moments with path, start_s, end_s, at_s (where to look), open_url.

        Args:
            text: What happens there, in plain words.
            file_id: The file_id of a hit, to look in that video only; 0 means all videos.
            k: How many moments, 1 to 50.
        """
        values = {"q": [text], "kind": ["video"], "file_id": [str(file_id)] if file_id else []}

        def call() -> dict[str, Any]:
            results = library.moments(build_query(values), k=whole(k, "k", 1, MAX_MOMENTS))
            return {"moments": [moment.to_json() for moment in results]}

        return answer_text(call, origin)

    def transcript(file_id: int, start_s: float = 0.0, end_s: float = 0.0) -> str:
        """What is said in one of the person's videos, line by line with its seconds. Returns JSON: cues with
        start_s, end_s, text, and state: "transcribed", or why there may be none ("pending": not yet).

        Args:
            file_id: The file_id of a hit.
            start_s: From this second on.
            end_s: Up to this second; 0 means to the end.
        """

        def call() -> dict[str, Any]:
            file = whole(file_id, "file_id", 0, MAX_ID)
            if library.file(file) is None:
                raise BadRequest(f"The library has no file {file}.")
            first, last = number(start_s, "start_s", 0, 1e9), number(end_s, "end_s", 0, 1e9)
            cues = [c for c in library.transcript(file) if c.end_s > first and (c.start_s < last or last == 0)]
            return {"cues": captions.as_json(cues), "state": library.speech_state(file)}

        return answer_text(call, origin)

    def status() -> str:
        """What the library holds: counts of files by kind, its folders, what is pending. Returns JSON."""
        return text_of(asdict(library.status()))

    return search, similar, moments, transcript, status


def search_query(
    folder: Path,
    text: str = "",
    file_base64: str = "",
    avoid: str = "",
    kinds: Sequence[str] | None = None,
    under: str = "",
    after: str = "",
    before: str = "",
    labels: Sequence[str] | None = None,
    sort: str = "relevance",
    one_per_file: bool = False,
) -> Query:
    """The query of a search; a file in it is written to `folder`. Raises BadRequest."""
    values = {
        "q": [text], "avoid": [avoid], "kind": list(kinds or ()), "under": [under], "after": [after],
        "before": [before], "label": list(labels or ()), "sort": [sort], "fold": ["max"] if one_per_file else [],
    }  # fmt: skip
    uploads = []
    if file_base64:
        data, suffix = decode_file(file_base64)
        uploads.append(Upload(place_for(folder, f"query{suffix}", 0)))
        uploads[0].path.write_bytes(data)
    return build_query(values, uploads)


def answer_text(call: Callable[[], dict[str, Any]], origin: str) -> str:
    """The answer as JSON text with complete links; a known error as `{"error": sentence}`."""
    try:
        answer = call()
    except KNOWN_ERRORS as error:
        return text_of({"error": str(error)})
    for hit in (*answer.get("hits", ()), *answer.get("moments", ())):
        for link in {"thumb_url", "open_url"} & set(hit):
            hit[link] = origin + hit[link]
    return text_of(answer)


def text_of(value: Any) -> str:
    """JSON as text; characters that UTF-8 cannot hold (file names of any bytes) become question marks."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def decode_file(text: str) -> tuple[bytes, str]:
    """(bytes, extension) of base64 text or a data: URI. Raises BadRequest."""
    if not text.isascii():  # before it is copied: wide characters take four bytes each
        raise BadRequest("file_base64 is not base64 text; send the file's bytes, encoded.")
    suffix = ""
    body = text.strip()
    if body.startswith("data:"):
        head, _, body = body.partition(",")
        suffix = mimetypes.guess_extension(head[5:].split(";")[0]) or ""
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("file_base64 is not base64 text; send the file's bytes, encoded.") from None
    kind = sniff(data[:HEAD_BYTES])
    if kind not in SUFFIX:
        raise BadRequest("file_base64 is not an image, a video or a PDF that can be recognised.")
    return data, suffix if kind_of(f"x{suffix}") == kind else SUFFIX[kind]
