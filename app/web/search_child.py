"""The second process's side of `app.web.search_process`: read a search, answer it in JSON, until the pipe closes.

Built around the library, opened for reading, and `ScopedLibrary`, so that a visitor sees here what it sees there. It
writes nothing, loads no model but the built-in one and decodes no file. A search that fails, for whatever reason, is
the server's, which then says why.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from app.web.json_text import json_text
from app.web.scoped_library import ScopedLibrary
from app.web.tokens import Tokens, visitor
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import LibraryOptions

SIZE = struct.Struct("<Q")
"""Before a request: its bytes."""
ANSWER = struct.Struct("<?Q")
"""Before an answer: whether it is one, and its bytes."""


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # what a library prints is no answer
    opening = _read(requests)
    if opening is None:
        return
    data_dir, options = pickle.loads(opening)
    _serve(requests, answers, data_dir, options)


def _serve(requests: BinaryIO, answers: BinaryIO, data_dir: Path, options: LibraryOptions) -> None:
    with Library(data_dir, options, read_only=True) as library:
        scoped = ScopedLibrary(library, Tokens(data_dir))
        library.searcher()
        _write(answers, b"")
        while (request := _read(requests)) is not None:
            query, k, offset, caller = pickle.loads(request)
            visitor.set(caller)
            try:
                answer = json_text(scoped.search(query, k=k, offset=offset).to_json())
            except Exception:  # noqa: BLE001 – a process boundary: the server finds the same error and says it
                if not _is_ours(library):
                    return
                answer = None
            _write(answers, answer)


def _is_ours(library: Library) -> bool:
    """Whether a second process still is for this library: it is there, and the built-in model answers."""
    try:
        return library.options_of_a_reader() is not None
    except (LibraryError, OSError):
        return False


def _write(answers: BinaryIO, answer: bytes | None) -> None:
    answers.write(ANSWER.pack(answer is not None, len(answer or b"")) + (answer or b""))
    answers.flush()


def _read(requests: BinaryIO) -> bytes | None:
    """The next request; None if the server has gone."""
    head = requests.read(SIZE.size)
    if len(head) < SIZE.size:
        return None
    (size,) = SIZE.unpack(head)
    body = requests.read(size)
    return body if len(body) == size else None


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError, LibraryError):
        sys.exit(1)
