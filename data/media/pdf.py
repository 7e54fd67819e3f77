"""PDF pages to images, text and word boxes.

Built around an open `Document` over one of two engines (`data.media.pdf_engines`). Text is repaired
(`data.media.letters`, `data.media.text`) to read as a person reads it; a garbled text layer
(`data.media.legible`) counts as none. The text of a page includes its form fields, its notes, the bookmarks
that lead to it and, on the first page, the data of an XFA form and the attached files. PDFs inside a PDF are
documents of their own, whose pages follow those of the PDF itself. Pages count from 1; boxes are relative to the
page as displayed, 0..1 from its top left. Knows nothing of OCR.
"""

from __future__ import annotations

import hashlib
import html
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.media import legible
from data.media.captions import caption_of_document
from data.media.dates import Taken
from data.media.kinds import HEAD_BYTES, TEXTLESS, MediaError, from_os_error, require, sniff
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
from data.media.pdf_engines import MAX_PAGES, MAX_TEXT, Attachment, Engine, engine_name, open_engine
from data.media.text import clean, decode_text, repair_mojibake
from data.span import PdfPart

Word = tuple[float, float, float, float, str]

_ASCII_SIGNS = bytes(code for code in range(0x80) if not chr(code).isalnum())
STAMPED = 150  # the same where images cover half of the page: a fax's line, "Scanned with …", a number on a scan
MAX_WORDS = 50_000
MAX_ATTACHMENT_BYTES = 512 << 20  # bytes of a file inside a PDF
MAX_INSIDE = 500  # PDFs and images inside a PDF
MAX_INSIDE_BYTES = 1 << 30  # of all of them
IMAGE_SIDE = 2048  # pixels of an attached image that is shown as a page
ICON_SIDE = 64  # attached images up to this are the decoration of a portfolio or a letter
MAX_INSIDE_DEPTH = 3  # a PDF inside a PDF inside a PDF inside a PDF


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


def part_of(path: Path, page: int) -> bytes:
    """Returns the PDF inside a PDF that `page` is of, as a file of its own. Raises `MediaError`."""
    with open_pdf(path) as document:
        return document.part(require_page(document, page))


def date_of(document: Document) -> Taken | None:
    """Returns the creation date that the PDF states."""
    return pdf_date(document.metadata("CreationDate"))


def caption_of(document: Document) -> str:
    """Returns title, subject and keywords of the PDF, one per line, without texts that programs write."""
    return caption_of_document(*(_clean(document.metadata(key)) for key in ("Title", "Subject", "Keywords")))


def title_of(document: Document, page: int) -> str:
    """Returns the title that the PDF of the page states, in one line; empty without one, or if a program wrote it."""
    return caption_of_document(_clean(document.metadata("Title", page)), "", "").partition("\n")[0]


@contextmanager
def open_pdf(path: Path) -> Iterator[Document]:
    """Opens a document for many pages. Raises `MediaError`: encrypted, damaged, no pages, too many."""
    require(path, "pdf")
    try:
        stat = path.stat()
    except OSError as error:
        raise from_os_error(error) from error
    document = Document(open_engine(path), _memory(os.fspath(path), stat.st_size, stat.st_mtime_ns, engine_name()))
    try:
        yield document
    finally:
        document.close()


class _Memory:
    """What is read once of a file that is opened again and again for its next pages: reading the bookmarks of the
    sample set anew for every eight pages took half of the time of its text."""

    bookmarks: dict[int, list[str]] | None = None
    contents: _Contents | None = None


@lru_cache(maxsize=8)
def _memory(path: str, size: int, mtime_ns: int, engine: str) -> _Memory:
    """Returns the memory of a file, which is empty at first, or after a change of the file."""
    return _Memory()


def require_page(document: Document, page: int | None) -> int:
    """Returns `page` if the document has it. Raises `MediaError` otherwise."""
    if page is None or page < 1 or (page > document.own_pages and page > document.pages):
        raise MediaError(f"there is no page {page}; the PDF has {document.pages:,}", "damaged")
    return page


class _Layer(NamedTuple):
    """The repaired text layer of a page; `rows` is None if the text was read without the positions of its letters."""

    text: str
    needs_ocr: bool
    rows: list[list[WordBox]] | None


class _Inside(NamedTuple):
    """A PDF inside a PDF. `indexes`: of the attachment that it is, at each depth."""

    part: PdfPart
    pages: int
    indexes: tuple[int, ...]


class _Contents(NamedTuple):
    """The PDFs inside a PDF, each before those inside it, and why others are not shown."""

    inside: list[_Inside]
    faults: list[str]


class Document:
    """An open PDF: its own pages, then those of each PDF and image inside it, which are opened one at a time. Pages
    count from 1 and must exist (`require_page`)."""

    def __init__(self, engine: Engine, memory: _Memory) -> None:
        self._own, self._memory = _Pdf(engine, memory), memory
        self.own_pages = engine.pages
        self._open: tuple[_Inside, _Pdf] | None = None

    @property
    def pages(self) -> int:
        return self.own_pages + sum(inside.pages for inside in self._contents.inside)

    @property
    def parts(self) -> tuple[PdfPart, ...]:
        """The PDFs inside, each before those inside it; of equal ones the first."""
        return tuple(inside.part for inside in self._contents.inside)

    @property
    def note(self) -> str | None:
        """Why a PDF inside is not shown; None if all are."""
        faults = self._contents.faults
        more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
        return f"{faults[0]}{more}" if faults else None

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        pdf, number = self._of(page)
        return pdf.engine.image(number, max_side, max_dpi)

    def metadata(self, key: str, page: int = 1) -> str:
        return self._of(page)[0].engine.metadata(key)

    def text(self, page: int) -> str:
        """The text layer, then fields, notes, bookmarks and attachments, one per line, without repetitions. The first
        page of a PDF inside begins with its name."""
        pdf, number = self._of(page)
        text = pdf.text(number)
        if number > 1 or self._open is None or pdf is not self._open[1]:
            return text
        return f"{self._open[0].part.name}\n{text}".strip()

    def needs_ocr(self, page: int) -> bool:
        """Whether words of the page may exist only in its image: the text layer is short or partly garbled.
        Fields, notes and bookmarks are ignored."""
        pdf, number = self._of(page)
        return pdf.needs_ocr(number)

    def words(self, page: int) -> list[Word]:
        return [(*box.box, box.text) for box in self.word_boxes(page)]

    def word_boxes(self, page: int) -> list[WordBox]:
        """The words of the page, then one box for each field and note that the text layer does not contain."""
        pdf, number = self._of(page)
        return pdf.word_boxes(number)

    def attachments(self) -> list[Attachment]:
        """The attached files of the PDF itself, then those of its pages."""
        return self._own.attachments

    def part(self, page: int) -> bytes:
        """The PDF that a page is of, as a file. Raises `MediaError` for a page of the PDF itself."""
        if page <= self.own_pages:
            raise MediaError(f"page {page} is not of a PDF inside this one", "damaged")
        return self._bytes_of(self._inside(page))

    def close(self) -> None:
        if self._open is not None:
            self._open[1].engine.close()
        self._own.engine.close()

    def _inside(self, page: int) -> _Inside:
        return next(inside for inside in reversed(self._contents.inside) if inside.part.page <= page)

    def _of(self, page: int) -> tuple[_Pdf, int]:
        """The PDF that a page is of, and the page's number in it."""
        if page <= self.own_pages:
            return self._own, page
        inside = self._inside(page)
        if self._open is None or self._open[0] != inside:
            if self._open is not None:
                self._open[1].engine.close()
                self._open = None
            self._open = inside, _Pdf(open_engine(self._bytes_of(inside)))
        return self._open[1], page - inside.part.page + 1

    def _bytes_of(self, inside: _Inside) -> bytes:
        *outer, last = inside.indexes
        pdf = self._own
        try:
            for index in outer:
                inner = _Pdf(open_engine(_content(pdf.attachments[index])))
                if pdf is not self._own:
                    pdf.engine.close()
                pdf = inner
            data = _content(pdf.attachments[last])
            return data if sniff(data[:HEAD_BYTES]) == "pdf" else _pages_of_image(data)
        finally:
            if pdf is not self._own:
                pdf.engine.close()

    @property
    def _contents(self) -> _Contents:
        if self._memory.contents is None:
            contents = _Contents([], [])
            self._look_into(self._own, "", (), contents, {})
            self._memory.contents = contents
        return self._memory.contents

    def _look_into(
        self, pdf: _Pdf, names: str, indexes: tuple[int, ...], contents: _Contents, sizes: dict[bytes, int]
    ) -> None:
        """Adds the PDFs and images inside `pdf` to `contents`. `sizes`: the bytes of those so far, by their digest."""
        inside, faults = contents
        for index, file in enumerate(pdf.attachments):
            name = names + (_clean(file.name).replace("\n", " ") or "a file without a name")
            try:
                data = _content(file)
                digest = hashlib.blake2b(data, digest_size=16).digest()
                kind = sniff(data[:HEAD_BYTES])
                image_pages = _image_page_count(data) if kind == "image" else 0
                if (kind != "pdf" and not image_pages) or digest in sizes:
                    continue
                sizes[digest] = len(data)
                if len(indexes) >= MAX_INSIDE_DEPTH:
                    raise MediaError(f"it lies more than {MAX_INSIDE_DEPTH} PDFs deep", "too large")
                if len(inside) >= MAX_INSIDE or sum(sizes.values()) > MAX_INSIDE_BYTES:
                    faults.append(f"{name}, inside, and what follows is not shown: it is more than Sightline opens")
                    return
                first = inside[-1].part.page + inside[-1].pages if inside else self.own_pages + 1
                if image_pages:
                    inside.append(_Inside(PdfPart(name, first), image_pages, (*indexes, index)))
                    continue
                inner = _Pdf(open_engine(data))
                try:
                    if first + inner.engine.pages > MAX_PAGES:
                        raise MediaError(f"the PDF and those inside it have more than {MAX_PAGES:,} pages", "too large")
                    inside.append(_Inside(PdfPart(name, first), inner.engine.pages, (*indexes, index)))
                    self._look_into(inner, f"{name} › ", (*indexes, index), contents, sizes)
                finally:
                    inner.engine.close()
            except MediaError as error:
                faults.append(f"{name}, inside, is not shown: {error}")


class _Pdf:
    """One PDF, without those inside."""

    def __init__(self, engine: Engine, memory: _Memory | None = None) -> None:
        self.engine = engine
        self._memory = memory or _Memory()
        self._last: tuple[int, _Layer] | None = None

    def text(self, page: int) -> str:
        found = self._layer(page).text
        for addition in self._additions(page):
            if not _contains(found, addition):
                found = f"{found}\n{addition}"
        return found[:MAX_TEXT].strip()

    def needs_ocr(self, page: int) -> bool:
        return self._layer(page).needs_ocr

    def word_boxes(self, page: int) -> list[WordBox]:
        layer = self._layer(page)
        rows = layer.rows
        if rows is None:
            rows = rows_of(self.engine.lines(page)) if layer.text else []
        boxes = [box for row in rows for box in row]
        for note in self.engine.notes(page):
            text = _clean(note.text)
            if text and not _contains(layer.text, text):
                boxes.append(WordBox(note.box, text, text))
        width, height = self.engine.size(page)
        return [box._replace(box=_relative(box.box, width, height)) for box in boxes[:MAX_WORDS]]

    @cached_property
    def attachments(self) -> list[Attachment]:
        files = []
        with suppress(MediaError):
            files += self.engine.attachments()
        for page in range(1, self.engine.pages + 1):
            with suppress(MediaError):
                files += self.engine.page_attachments(page)
        return files

    def _layer(self, page: int) -> _Layer:
        if self._last is None or self._last[0] != page:
            self._last = (page, self._read(page))
        return self._last[1]

    def _read(self, page: int) -> _Layer:
        plain, rows = self.engine.plain_text(page), None
        if plain is None:
            rows = rows_of(self.engine.lines(page))
            plain = text_of(rows)
        elif needs_positions(plain):
            plain = text_of_parts(self.engine.mixed_lines(page, needs_positions))
        else:
            plain = join_divided_words(plain)
        if not plain.isascii():
            plain = repair_mojibake(plain)
        bits = legible.bits(plain)
        if bits < legible.SURELY_WORDS:
            if legible.is_garbled(plain) or (bits < legible.WORDS and self.engine.unmapped_share(page) > 0.7):
                return _Layer("", True, [])
            readable = legible.readable_lines(plain)
            if len(readable) < len(plain):
                return _Layer(_clean(readable), True, rows)
        text = _clean(spell_ligatures(plain))
        return _Layer(text, len(text) < TEXTLESS or (len(text) < STAMPED and self.engine.image_share(page) > 0.5), rows)

    def _additions(self, page: int) -> Iterator[str]:
        for note in self.engine.notes(page):
            yield _clean(note.text)
        yield from self._bookmarks.get(page, ())
        if page == 1:
            yield _xml_text(self.engine.xfa())
        files = self.engine.page_attachments(page)
        yield from _attachment_texts([*files, *self.engine.attachments()] if page == 1 else files)

    @property
    def _bookmarks(self) -> dict[int, list[str]]:
        if self._memory.bookmarks is None:
            titles: dict[int, list[str]] = defaultdict(list)
            with suppress(MediaError):
                for page, title in self.engine.bookmarks():
                    titles[page].append(_clean(title))
            self._memory.bookmarks = titles
        return self._memory.bookmarks


def _image_page_count(data: bytes) -> int:
    """Returns the number of pages of an attached image; 0 for an icon. Raises `MediaError`."""
    from data.media import image

    info = image.inspect(data)
    return info.pages if max(info.width, info.height) > ICON_SIDE else 0


def _pages_of_image(data: bytes) -> bytes:
    """Returns an image as a PDF of a page for each of its pages. Raises `MediaError`."""
    from PIL import Image

    from data.media import image

    pages = image.inspect(data).pages
    numbers = range(1, pages + 1) if pages > 1 else [None]
    first, *others = [Image.fromarray(image.read_image(data, IMAGE_SIDE, number)) for number in numbers]
    out = io.BytesIO()
    first.save(out, "PDF", save_all=True, append_images=others, quality=90)
    return out.getvalue()


def _attachment_texts(files: Sequence[Attachment]) -> Iterator[str]:
    """The name of each attached file and the text of text files. PDFs have pages of their own."""
    for file in files:
        yield _clean(file.name)
        if file.name.lower().endswith((".pdf", ".xml", ".json")):
            continue
        with suppress(MediaError):
            data = _content(file)
            if sniff(data[:HEAD_BYTES]) == "text":
                yield _clean(decode_text(data[: 4 * MAX_TEXT]))


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
