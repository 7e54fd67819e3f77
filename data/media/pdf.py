"""PDF pages to images, text and word boxes.

Built around an open `Document` over one of two engines (`data.media.pdf_engines`). Text is repaired
(`data.media.letters`, `data.media.text`) to read as a person reads it; a garbled text layer
(`data.media.legible`) counts as none. The text of a page includes its form fields, its notes, the bookmarks
that lead to it and, on the first page, the data of an XFA form and the attached files. Pages count from 1;
boxes are relative to the page as displayed, 0..1 from its top left. Knows nothing of OCR.
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
from data.media.kinds import HEAD_BYTES, MediaError, require, sniff
from data.media.letters import (
    Box,
    WordBox,
    join_divided_words,
    needs_positions,
    rows_of,
    spell_ligatures,
    text_of,
    text_of_parts,
)
from data.media.metadata import pdf_date
from data.media.pdf_engines import MAX_TEXT, Attachment, Engine, open_engine
from data.media.text import clean, decode_text, repair_mojibake

Word = tuple[float, float, float, float, str]

_ASCII_SIGNS = bytes(code for code in range(0x80) if not chr(code).isalnum())
TEXTLESS = 16  # a page with fewer characters in its text layer needs OCR
STAMPED = 150  # the same where images cover half of the page: a fax's line, "Scanned with …", a number on a scan
MAX_WORDS = 50_000
MAX_ATTACHMENT_BYTES = 512 << 20  # bytes of a file inside a PDF
MAX_ATTACHMENT_PAGES = 200  # pages of attached PDFs whose text is added to the first page


def page_count(path: Path) -> int:
    """Returns the number of pages. Raises `MediaError`: encrypted, damaged, no pages, too many."""
    with open_pdf(path) as document:
        return document.pages


def page_image(path: Path, page: int, max_side: int = 1280, max_dpi: float | None = None) -> np.ndarray:
    """Returns the page on white, uint8 RGB [H, W, 3], its longest side `max_side` pixels, or less for `max_dpi`.
    Raises `MediaError`."""
    with open_pdf(path) as document:
        return document.image(require_page(document, page), max_side, max_dpi)


def page_text(path: Path, page: int) -> str:
    """Returns the text in reading order; empty for a scanned page without notes. Raises `MediaError`."""
    with open_pdf(path) as document:
        return document.text(require_page(document, page))


def page_words(path: Path, page: int) -> list[Word]:
    """Returns (x0, y0, x1, y1, word) in reading order, for a selectable text layer over the page image. A
    divided word gives two entries. Raises `MediaError`."""
    with open_pdf(path) as document:
        return document.words(require_page(document, page))


def find_words(path: Path, page: int, words: Sequence[str]) -> list[Box]:
    """Returns the boxes of words on the page that match one of `words`, for highlights. A divided word has two.

    Case, accents and up to three final letters are ignored ("invoice" matches "Invoices"). Scripts without
    spaces are searched inside the line, and the box is the matching part of it. Raises `MediaError`.
    """
    keys = [key for word in words if (key := _folded(word))]
    with open_pdf(path) as document:
        word_boxes = document.word_boxes(require_page(document, page))
    return [box for word_box in word_boxes for box in _matches(word_box, keys)]


def unread_pages(path: Path) -> list[int]:
    """Returns the pages that need OCR (`Document.needs_ocr`). Raises `MediaError` if the file cannot be opened."""
    pages = []
    with open_pdf(path) as document:
        for page in range(1, document.pages + 1):
            with suppress(MediaError):
                if document.needs_ocr(page):
                    pages.append(page)
    return pages


def attachment_names(path: Path) -> list[str]:
    """Returns the names of the files inside a PDF: those of the document, as in a portfolio, then those
    attached to its pages. Raises `MediaError`."""
    with open_pdf(path) as document:
        return [file.name for file in document.attachments()]


def attachment(path: Path, number: int) -> bytes:
    """Returns the attached file at index `number` (from 0) of `attachment_names`. Raises `MediaError`."""
    with open_pdf(path) as document:
        files = document.attachments()
        if not 0 <= number < len(files):
            raise MediaError(f"there is no file {number}; the PDF holds {len(files):,}", "damaged")
        return _content(files[number])


def date_of(document: Document) -> Taken | None:
    """Returns the creation date that the PDF states."""
    return pdf_date(document.metadata("CreationDate"))


def caption_of(document: Document) -> str:
    """Returns title, subject and keywords of the PDF, one per line, without texts that programs write."""
    return caption_of_document(*(_clean(document.metadata(key)) for key in ("Title", "Subject", "Keywords")))


def title_of(document: Document) -> str:
    """Returns the title that the PDF states, in one line; empty without one, or if a program wrote it."""
    return caption_of_document(_clean(document.metadata("Title")), "", "").partition("\n")[0]


@contextmanager
def open_pdf(path: Path) -> Iterator[Document]:
    """Opens a document for many pages. Raises `MediaError`: encrypted, damaged, no pages, too many."""
    require(path, "pdf")
    engine = open_engine(path)
    try:
        yield Document(engine)
    finally:
        engine.close()


def require_page(document: Document, page: int | None) -> int:
    """Returns `page` if the document has it. Raises `MediaError` otherwise."""
    if page is None or not 1 <= page <= document.pages:
        raise MediaError(f"there is no page {page}; the PDF has {document.pages:,}", "damaged")
    return page


class _Layer(NamedTuple):
    """The repaired text layer of a page; `rows` is None if the text was read without the positions of its letters."""

    text: str
    needs_ocr: bool
    rows: list[list[WordBox]] | None


class Document:
    """An open PDF. Pages count from 1 and must exist (`require_page`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.pages = engine.pages
        self._last: tuple[int, _Layer] | None = None

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        return self._engine.image(page, max_side, max_dpi)

    def metadata(self, key: str) -> str:
        return self._engine.metadata(key)

    def text(self, page: int) -> str:
        """The text layer, then fields, notes, bookmarks and attachments, one per line, without repetitions."""
        found = self._layer(page).text
        for addition in self._additions(page):
            if not _contains(found, addition):
                found = f"{found}\n{addition}"
        return found[:MAX_TEXT].strip()

    def needs_ocr(self, page: int) -> bool:
        """Whether words of the page may exist only in its image: the text layer is short or partly garbled.
        Fields, notes and bookmarks are ignored."""
        return self._layer(page).needs_ocr

    def words(self, page: int) -> list[Word]:
        return [(*box.box, box.text) for box in self.word_boxes(page)]

    def word_boxes(self, page: int) -> list[WordBox]:
        """The words of the page, then one box for each field and note that the text layer does not contain."""
        layer = self._layer(page)
        rows = layer.rows
        if rows is None:
            rows = rows_of(self._engine.lines(page)) if layer.text else []
        boxes = [box for row in rows for box in row]
        for note in self._engine.notes(page):
            text = _clean(note.text)
            if text and not _contains(layer.text, text):
                boxes.append(WordBox(note.box, text, text))
        width, height = self._engine.size(page)
        return [box._replace(box=_relative(box.box, width, height)) for box in boxes[:MAX_WORDS]]

    def attachments(self) -> list[Attachment]:
        """The attached files of the document, then those of its pages."""
        of_pages = [file for page in range(1, self.pages + 1) for file in self._engine.page_attachments(page)]
        return self._engine.attachments() + of_pages

    def _layer(self, page: int) -> _Layer:
        if self._last is None or self._last[0] != page:
            self._last = (page, self._read(page))
        return self._last[1]

    def _read(self, page: int) -> _Layer:
        plain, rows = self._engine.plain_text(page), None
        if plain is None:
            rows = rows_of(self._engine.lines(page))
            plain = text_of(rows)
        elif needs_positions(plain):
            plain = text_of_parts(self._engine.mixed_lines(page, needs_positions))
        else:
            plain = join_divided_words(plain)
        if not plain.isascii():
            plain = repair_mojibake(plain)
        bits = legible.bits(plain)
        if bits < legible.SURELY_WORDS:
            if legible.is_garbled(plain) or (bits < legible.WORDS and self._engine.unmapped_share(page) > 0.7):
                return _Layer("", True, [])
            readable = legible.readable_lines(plain)
            if len(readable) < len(plain):
                return _Layer(_clean(readable), True, rows)
        text = _clean(spell_ligatures(plain))
        return _Layer(
            text, len(text) < TEXTLESS or (len(text) < STAMPED and self._engine.image_share(page) > 0.5), rows
        )

    def _additions(self, page: int) -> Iterator[str]:
        for note in self._engine.notes(page):
            yield _clean(note.text)
        yield from self._bookmarks.get(page, ())
        if page == 1:
            yield _xml_text(self._engine.xfa())
        files = self._engine.page_attachments(page)
        yield from _attachment_texts([*files, *self._engine.attachments()] if page == 1 else files)

    @cached_property
    def _bookmarks(self) -> dict[int, list[str]]:
        titles = defaultdict(list)
        with suppress(MediaError):
            for page, title in self._engine.bookmarks():
                titles[page].append(_clean(title))
        return titles


def _attachment_texts(files: Sequence[Attachment]) -> Iterator[str]:
    """The name of each attached file and, for text files and PDFs, its text."""
    pages = 0
    for file in files:
        yield _clean(file.name)
        with suppress(MediaError):
            data = _content(file)
            kind = sniff(data[:HEAD_BYTES])
            if kind == "text" and not file.name.lower().endswith((".xml", ".json")):
                yield _clean(decode_text(data[: 4 * MAX_TEXT]))
            elif kind == "pdf":
                inner = open_engine(data)
                try:
                    document = Document(inner)
                    for page in range(1, inner.pages + 1):
                        pages += 1
                        if pages > MAX_ATTACHMENT_PAGES:
                            return
                        yield document._layer(page).text
                finally:
                    inner.close()


def _content(file: Attachment) -> bytes:
    data = file.read()
    if len(data) > MAX_ATTACHMENT_BYTES:
        raise MediaError(
            f"the file inside is larger than Sightline reads ({MAX_ATTACHMENT_BYTES >> 20} MB)", "too large"
        )
    return data


def _xml_text(data: bytes) -> str:
    """The values that people entered into an XFA form, one per line."""
    text = data.decode("utf-8", "ignore")
    data_sets = re.search(r"(?s)<(?:\w+:)?datasets\b.*?</(?:\w+:)?datasets\s*>", text)
    text = re.sub(r"(?s)<!--.*?-->|<[^>]*>", "\n", data_sets[0] if data_sets else "")
    return _clean("\n".join(line.strip() for line in html.unescape(text).splitlines() if line.strip()))


def _contains(text: str, addition: str) -> bool:
    """Whether `text` contains `addition`, ignoring case, signs and line ends."""
    return addition in text or _letters_only(addition) in _letters_only(text)


def _letters_only(text: str) -> bytes:
    return text.casefold().encode().translate(None, _ASCII_SIGNS)


def _relative(box: Box, width: float, height: float) -> Box:
    x0, y0, x1, y1 = (min(1.0, max(0.0, value / side)) for value, side in zip(box, (width, height) * 2, strict=True))
    return x0, y0, x1, y1


def _folded(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in plain if c.isalnum() and not unicodedata.combining(c))


def _matches(word_box: WordBox, keys: Sequence[str]) -> Iterator[Box]:
    (x0, y0, x1, y1), text = word_box.box, word_box.whole
    parts = [_folded(part) for part in re.split(r"[\W_]+", text)]
    for key in keys:
        if any(part == key or (len(key) >= 4 and part.startswith(key) and len(part) - len(key) <= 3) for part in parts):
            yield x0, y0, x1, y1
            return
        folded = _folded(text)
        if folded == key:
            yield x0, y0, x1, y1
            return
        if not key.isascii() and len(folded) > len(key) and _no_spaces(key) and key in folded:
            share = (x1 - x0) / len(folded)
            position = folded.index(key)
            yield x0 + position * share, y0, x0 + (position + len(key)) * share, y1
            return


def _no_spaces(key: str) -> bool:
    """Chinese, Japanese kana, Thai, Lao, Khmer: scripts that do not separate words."""
    return all("\u0e00" <= c <= "\u0eff" or "\u1780" <= c <= "\u17ff" or "\u3040" <= c <= "\u9fff" for c in key)


def _clean(text: str) -> str:
    return clean(text, MAX_TEXT)
