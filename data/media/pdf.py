"""PDF pages to arrays, text and words: what a person sees on the page, what is written on it and beside it.

Built around an open `Document` over one of two engines (`data.media.pdf_engines`). Text is mended
(`data.media.letters`, `data.media.text`) to read as a person reads it; a text layer that is no text
(`data.media.legible`) counts as none. The text of a page also has what its fields hold, the notes on it, the
bookmarks that lead to it and, on the first page, the data of an XFA form and the files inside. Pages count
from 1; boxes are relative to the page as it is shown, 0..1 from its top left. Knows nothing of OCR.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.media import legible
from data.media.captions import caption_of_document
from data.media.dates import Taken
from data.media.kinds import MediaError, require, sniff
from data.media.letters import Box, Piece, need_places, rows_of, text_of, text_with, undivided, with_ligatures
from data.media.metadata import pdf_date
from data.media.pdf_engines import MAX_TEXT, Attached, Engine, engine_name, open_engine
from data.media.text import clean, decoded, unmisread

__all__ = ["engine_name"]

Word = tuple[float, float, float, float, str]

_SIGNS = bytes(code for code in range(0x80) if not chr(code).isalnum())
TEXTLESS = 16  # characters: a text layer of fewer leaves the words of a page in its picture
STAMPED = 150  # the same where pictures cover half of the page: a fax's line, "Scanned with …", a number on a scan
MAX_WORDS = 50_000
MAX_ATTACHED = 512 << 20  # bytes of a file inside a PDF
MAX_ATTACHED_PAGES = 200  # of all PDFs inside one whose text is read with its first page


def page_count(path: Path) -> int:
    """Number of pages. Raises `MediaError`: encrypted, damaged, no pages, too many."""
    with open_pdf(path) as document:
        return document.pages


def page_image(path: Path, page: int, max_side: int = 1280, max_dpi: float | None = None) -> np.ndarray:
    """The page on white, uint8 RGB [H, W, 3], its longest side `max_side` pixels, or less for `max_dpi`."""
    with open_pdf(path) as document:
        return document.image(require_page(document, page), max_side, max_dpi)


def page_text(path: Path, page: int) -> str:
    """The text in reading order; empty for a scanned page on which nothing is written."""
    with open_pdf(path) as document:
        return document.text(require_page(document, page))


def page_words(path: Path, page: int) -> list[Word]:
    """(x0, y0, x1, y1, word) in reading order, for a selectable text layer over the page image. A divided
    word is two."""
    with open_pdf(path) as document:
        return document.words(require_page(document, page))


def find_words(path: Path, page: int, words: Sequence[str]) -> list[Box]:
    """Boxes of the words on the page that match one of `words`, to be highlighted. A divided word has two.

    Case and accents do not count, nor do up to three letters of ending ("invoice" finds "Invoices"). Scripts
    without spaces are searched inside the line, and the box is that part of it.
    """
    wanted = [key for word in words if (key := _folded(word))]
    with open_pdf(path) as document:
        pieces = document.pieces(require_page(document, page))
    return [box for piece in pieces for box in _matches(piece, wanted)]


def unread_pages(path: Path) -> list[int]:
    """The pages whose words may stand in their picture alone, for OCR (`Document.is_unread`)."""
    found = []
    with open_pdf(path) as document:
        for page in range(1, document.pages + 1):
            with suppress(MediaError):
                if document.is_unread(page):
                    found.append(page)
    return found


def attachment_names(path: Path) -> list[str]:
    """The names of the files inside a PDF, in order: those of the document, as in a portfolio, then those
    pinned to its pages."""
    with open_pdf(path) as document:
        return [file.name for file in document.attached()]


def attachment(path: Path, number: int) -> bytes:
    """The file inside a PDF that stands at `number`, from 0, in `attachment_names`. Raises `MediaError`."""
    with open_pdf(path) as document:
        files = document.attached()
        if not 0 <= number < len(files):
            raise MediaError(f"there is no file {number}; the PDF holds {len(files):,}", "damaged")
        return _content(files[number])


def date_of(document: Document) -> Taken | None:
    """Returns the creation date that the PDF states."""
    return pdf_date(document.metadata("CreationDate"))


def caption_of(document: Document) -> str:
    """The title, the subject and the keywords that the PDF states, a line each, without what programs
    write."""
    return caption_of_document(*(_clean(document.metadata(key)) for key in ("Title", "Subject", "Keywords")))


def title_of(document: Document) -> str:
    """Returns the title that the PDF states, in one line; empty without one, or if a program wrote it."""
    return caption_of_document(_clean(document.metadata("Title")), "", "").partition("\n")[0]


@contextmanager
def open_pdf(path: Path) -> Iterator[Document]:
    """The document opened once for many pages. Raises `MediaError`: encrypted, damaged, no pages, too
    many."""
    require(path, "pdf")
    engine = open_engine(path)
    try:
        yield Document(engine)
    finally:
        engine.close()


def require_page(document: Document, page: int | None) -> int:
    """The page's number if the document has it, else `MediaError`."""
    if page is None or not 1 <= page <= document.pages:
        raise MediaError(f"there is no page {page}; the PDF has {document.pages:,}", "damaged")
    return page


class _Layer(NamedTuple):
    """The text layer of a page, mended; `unread` as in `Document.is_unread`."""

    text: str
    unread: bool
    rows: list[list[Piece]] | None


class Document:
    """An open PDF. Pages count from 1 and have been checked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.pages = engine.pages
        self._last: tuple[int, _Layer] | None = None

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        return self._engine.image(page, max_side, max_dpi)

    def metadata(self, key: str) -> str:
        return self._engine.metadata(key)

    def text(self, page: int) -> str:
        """What can be read on the page, then what is written about it, a thing a line, each once."""
        found = self._layer(page).text
        for addition in self._additions(page):
            if not _says(found, addition):
                found = f"{found}\n{addition}"
        return found[:MAX_TEXT].strip()

    def is_unread(self, page: int) -> bool:
        """Whether words of the page may stand in its picture alone: it has hardly a text layer, or one that is, in
        part, no text. What fields, notes and bookmarks say does not count."""
        return self._layer(page).unread

    def words(self, page: int) -> list[Word]:
        return [(*piece.box, piece.text) for piece in self.pieces(page)]

    def pieces(self, page: int) -> list[Piece]:
        """The words of the page, then each field and note that the text layer does not have, as one piece."""
        layer = self._layer(page)
        rows = layer.rows
        if rows is None:
            rows = rows_of(self._engine.lines(page)) if layer.text else []
        found = [piece for row in rows for piece in row]
        for note in self._engine.notes(page):
            text = _clean(note.text)
            if text and not _says(layer.text, text):
                found.append(Piece(note.box, text, text))
        width, height = self._engine.size(page)
        return [piece._replace(box=_relative(piece.box, width, height)) for piece in found[:MAX_WORDS]]

    def attached(self) -> list[Attached]:
        """The files inside: those of the document, then those of its pages."""
        pinned = [file for page in range(1, self.pages + 1) for file in self._engine.pinned(page)]
        return self._engine.attached() + pinned

    def _layer(self, page: int) -> _Layer:
        if self._last is None or self._last[0] != page:
            self._last = (page, self._read(page))
        return self._last[1]

    def _read(self, page: int) -> _Layer:
        plain, rows = self._engine.plain_text(page), None
        if plain is None:
            rows = rows_of(self._engine.lines(page))
            plain = text_of(rows)
        elif need_places(plain):
            plain = text_with(self._engine.mixed_lines(page, need_places))
        else:
            plain = undivided(plain)
        if not plain.isascii():
            plain = unmisread(plain)
        bits = legible.bits(plain)
        if bits < legible.SURELY_WORDS:
            if legible.is_no_text(plain) or (bits < legible.WORDS and self._engine.unmapped(page) > 0.7):
                return _Layer("", True, [])
            readable = legible.readable_lines(plain)
            if len(readable) < len(plain):
                return _Layer(_clean(readable), True, rows)
        text = _clean(with_ligatures(plain))
        return _Layer(text, len(text) < TEXTLESS or (len(text) < STAMPED and self._engine.pictured(page) > 0.5), rows)

    def _additions(self, page: int) -> Iterator[str]:
        for note in self._engine.notes(page):
            yield _clean(note.text)
        yield from self._bookmarks.get(page, ())
        if page == 1:
            yield _xml_text(self._engine.xfa())
        files = self._engine.pinned(page)
        yield from _texts([*files, *self._engine.attached()] if page == 1 else files)

    @cached_property
    def _bookmarks(self) -> dict[int, list[str]]:
        found = defaultdict(list)
        with suppress(MediaError):
            for page, title in self._engine.bookmarks():
                found[page].append(_clean(title))
        return found


def _texts(files: Sequence[Attached]) -> Iterator[str]:
    """The name and, of text and PDFs, the text of each file inside a PDF."""
    pages = 0
    for file in files:
        yield _clean(file.name)
        with suppress(MediaError):
            data = _content(file)
            kind = sniff(data[:4096])
            if kind == "text" and not file.name.lower().endswith((".xml", ".json")):
                yield _clean(decoded(data[: 4 * MAX_TEXT]))
            elif kind == "pdf":
                inner = open_engine(data)
                try:
                    document = Document(inner)
                    for page in range(1, inner.pages + 1):
                        pages += 1
                        if pages > MAX_ATTACHED_PAGES:
                            return
                        yield document._layer(page).text
                finally:
                    inner.close()


def _content(file: Attached) -> bytes:
    data = file.read()
    if len(data) > MAX_ATTACHED:
        raise MediaError(f"the file inside is larger than Sightline reads ({MAX_ATTACHED >> 20} MB)", "too large")
    return data


def _xml_text(data: bytes) -> str:
    """The words between the tags of what people filled in, a line each."""
    text = data.decode("utf-8", "ignore")
    filled = re.search(r"(?s)<(?:\w+:)?datasets\b.*?</(?:\w+:)?datasets\s*>", text)
    text = re.sub(r"(?s)<!--.*?-->|<[^>]*>", "\n", filled[0] if filled else "")
    return _clean("\n".join(line.strip() for line in html.unescape(text).splitlines() if line.strip()))


def _says(text: str, addition: str) -> bool:
    """Whether the words stand there already, whatever their case, signs and line ends."""
    return addition in text or _run_together(addition) in _run_together(text)


def _run_together(text: str) -> bytes:
    return text.casefold().encode().translate(None, _SIGNS)


def _relative(box: Box, width: float, height: float) -> Box:
    x0, y0, x1, y1 = (min(1.0, max(0.0, value / side)) for value, side in zip(box, (width, height) * 2, strict=True))
    return x0, y0, x1, y1


def _folded(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in plain if c.isalnum() and not unicodedata.combining(c))


def _matches(piece: Piece, wanted: Sequence[str]) -> Iterator[Box]:
    (x0, y0, x1, y1), text = piece.box, piece.whole
    parts = [_folded(part) for part in re.split(r"[\W_]+", text)]
    for key in wanted:
        if any(part == key or (len(key) >= 4 and part.startswith(key) and len(part) - len(key) <= 3) for part in parts):
            yield x0, y0, x1, y1
            return
        whole = _folded(text)
        if whole == key:
            yield x0, y0, x1, y1
            return
        if not key.isascii() and len(whole) > len(key) and _no_spaces(key) and key in whole:
            share = (x1 - x0) / len(whole)
            at = whole.index(key)
            yield x0 + at * share, y0, x0 + (at + len(key)) * share, y1
            return


def _no_spaces(key: str) -> bool:
    """Chinese, Japanese kana, Thai, Lao, Khmer: scripts that do not separate words."""
    return all("\u0e00" <= c <= "\u0eff" or "\u1780" <= c <= "\u17ff" or "\u3040" <= c <= "\u9fff" for c in key)


def _clean(text: str) -> str:
    return clean(text, MAX_TEXT)
