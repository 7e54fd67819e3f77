"""PDF pages to arrays and words: one set of functions in front of PyMuPDF and pypdfium2.

Built around what is installed: PyMuPDF (AGPL) where it is there, else pypdfium2 (Apache/BSD), or the one that
the environment variable SIGHTLINE_PDF names ("pymupdf", "pypdfium2"). Pages count from 1; boxes are relative
to the page as it is shown, 0..1 from its top left. Knows nothing of OCR.
"""

from __future__ import annotations

import importlib.util
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from data.media.captions import caption_of_document
from data.media.kinds import MediaError, require
from data.media.metadata import pdf_date
from data.media.text import clean

Box = tuple[float, float, float, float]
Word = tuple[float, float, float, float, str]

MAX_PAGES = 20_000
MAX_TEXT = 200_000  # characters of one page; a page of print has 3,000
MAX_WORDS = 50_000


def page_count(path: Path) -> int:
    """Number of pages. Raises `MediaError`: encrypted, damaged, no pages, too many."""
    with _open(path) as document:
        return document.pages


def page_image(path: Path, page: int, max_side: int = 1280, max_dpi: float | None = None) -> np.ndarray:
    """The page on white, uint8 RGB [H, W, 3], its longest side `max_side` pixels, or less for `max_dpi`."""
    with _open(path, page) as document:
        return document.image(page, max_side, max_dpi)


def page_text(path: Path, page: int) -> str:
    """The text layer in reading order; empty for a scanned page."""
    with _open(path, page) as document:
        return document.text(page)


def page_words(path: Path, page: int) -> list[Word]:
    """(x0, y0, x1, y1, word) in reading order, for a selectable text layer over the page image."""
    with _open(path, page) as document:
        return document.words(page)


def find_words(path: Path, page: int, words: Sequence[str]) -> list[Box]:
    """Boxes of the words on the page that match one of `words`, to be highlighted.

    Case and accents do not count, nor do up to three letters of ending ("invoice" finds "Invoices"). Scripts
    without spaces are searched inside the line, and the box is that part of it.
    """
    wanted = [key for word in words if (key := _folded(word))]
    return [box for word in page_words(path, page) for box in _matches(word, wanted)]


def date_of(document: Document) -> float | None:
    """The creation date that the PDF states, in UNIX seconds."""
    return pdf_date(document.creation_date())


def caption_of(document: Document) -> str:
    """The title, the subject and the keywords that the PDF states, a line each, without what programs
    write."""
    return caption_of_document(*map(_clean, document.headings()))


def title_of(document: Document) -> str:
    """The title that the PDF states, in one line; empty without one, or where a program wrote it."""
    return caption_of_document(_clean(document.headings()[0]), "", "").partition("\n")[0]


@contextmanager
def open_pdf(path: Path) -> Iterator[Document]:
    """The document opened once for many pages."""
    with _open(path) as document:
        yield document


def _folded(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in plain if c.isalnum() and not unicodedata.combining(c))


def _matches(word: Word, wanted: Sequence[str]) -> Iterator[Box]:
    x0, y0, x1, y1, text = word
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


# -----------------------------------------------------------------------------------------------------------
# ---- The two engines


class Document(Protocol):
    """An open PDF. Pages count from 1 and have been checked."""

    pages: int

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray: ...
    def text(self, page: int) -> str: ...
    def words(self, page: int) -> list[Word]: ...
    def creation_date(self) -> str | None: ...
    def headings(self) -> tuple[str, str, str]: ...
    def close(self) -> None: ...


def engine_name() -> str:
    """The engine in use: "pymupdf" or "pypdfium2"."""
    asked = os.environ.get("SIGHTLINE_PDF", "")
    for name in (asked,) if asked else ("pymupdf", "pypdfium2"):
        if importlib.util.find_spec(name) is not None:
            return name
    raise MediaError("no PDF reader is installed; pip install pymupdf (or pypdfium2)", "unsupported")


@contextmanager
def _open(path: Path, page: int | None = None) -> Iterator[Document]:
    require(path, "pdf")
    document = _MuPDF(path) if engine_name() == "pymupdf" else _PDFium(path)
    try:
        _require_pages(document)
        if page is not None:
            require_page(document, page)
        yield document
    finally:
        document.close()


def require_page(document: Document, page: int | None) -> int:
    """The page's number if the document has it, else `MediaError`."""
    if page is None or not 1 <= page <= document.pages:
        raise MediaError(f"there is no page {page}; the PDF has {document.pages:,}", "damaged")
    return page


def _require_pages(document: Document) -> None:
    if document.pages < 1:
        raise MediaError("no pages can be found in the PDF", "nothing to see")
    if document.pages > MAX_PAGES:
        raise MediaError(
            f"the PDF claims {document.pages:,} pages, more than Sightline reads ({MAX_PAGES:,}); split it", "too large"
        )


_ENCRYPTED = "the PDF is encrypted; save a copy without password"
_DAMAGED = "the PDF is damaged and cannot be opened"


POINTS_PER_INCH = 72


def _scale(width: float, height: float, max_side: int, max_dpi: float | None = None) -> float:
    if not (0 < width < 1e7 and 0 < height < 1e7):
        raise MediaError("the page is damaged; it has no sensible size", "damaged")
    scale = max_side / max(width, height)
    return scale if max_dpi is None else min(scale, max_dpi / POINTS_PER_INCH)


@lru_cache(maxsize=1)
def _mupdf() -> ModuleType:
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    return pymupdf


class _MuPDF:
    def __init__(self, path: Path) -> None:
        mupdf = _mupdf()
        with self._reasons():
            self.file = mupdf.open(os.fspath(path), filetype="pdf")
            if self.file.needs_pass:
                raise MediaError(_ENCRYPTED, "encrypted")
            self.pages = int(self.file.page_count)

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        mupdf = _mupdf()
        try:
            yield
        except MediaError:
            raise
        except MemoryError as error:
            raise MediaError("drawing it needs more memory than allowed", "memory") from error
        except (
            mupdf.mupdf.FzErrorBase,
            OSError,
            RuntimeError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            AssertionError,
            ArithmeticError,
        ) as error:
            if "number of pages" in str(error):
                raise MediaError("the PDF claims an impossible number of pages", "too large") from error
            if "malloc" in str(error):
                raise MediaError("drawing it needs more memory than allowed", "memory") from error
            raise MediaError(_DAMAGED, "damaged") from error

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        mupdf = _mupdf()
        with self._reasons():
            sheet = self.file[page - 1]
            zoom = _scale(sheet.rect.width, sheet.rect.height, max_side, max_dpi)
            pixels = sheet.get_pixmap(matrix=mupdf.Matrix(zoom, zoom), alpha=False, colorspace=mupdf.csRGB)
            array = np.frombuffer(pixels.samples, dtype=np.uint8).reshape(pixels.height, pixels.stride)
            return array[:, : pixels.width * 3].reshape(pixels.height, pixels.width, 3).copy()

    def text(self, page: int) -> str:
        with self._reasons():
            return _clean(self.file[page - 1].get_text("text", sort=False))

    def words(self, page: int) -> list[Word]:
        mupdf = _mupdf()
        with self._reasons():
            sheet = self.file[page - 1]
            turn, shown = sheet.rotation_matrix, sheet.rect
            found = []
            for x0, y0, x1, y1, text, *_ in sheet.get_text("words")[:MAX_WORDS]:
                box = mupdf.Rect(x0, y0, x1, y1) * turn
                found.append(_relative((box.x0, box.y0, box.x1, box.y1), shown.width, shown.height, _clean(text)))
            return [word for word in found if word[4]]

    def creation_date(self) -> str | None:
        with self._reasons():
            return (self.file.metadata or {}).get("creationDate")

    def headings(self) -> tuple[str, str, str]:
        with self._reasons():
            told = self.file.metadata or {}
            return told.get("title") or "", told.get("subject") or "", told.get("keywords") or ""

    def close(self) -> None:
        self.file.close()


def _relative(box: Box, width: float, height: float, text: str) -> Word:
    x0, y0, x1, y1 = (min(1.0, max(0.0, value / side)) for value, side in zip(box, (width, height) * 2, strict=True))
    return (x0, y0, x1, y1, text)


class _PDFium:
    def __init__(self, path: Path) -> None:
        import pypdfium2

        self.pdfium: Any = pypdfium2
        try:
            self.file = pypdfium2.PdfDocument(path)
            self.pages = len(self.file)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower() or "security" in str(error).lower():
                raise MediaError(_ENCRYPTED, "encrypted") from error
            raise MediaError(_DAMAGED, "damaged") from error

    @contextmanager
    def _page(self, page: int) -> Iterator[Any]:
        try:
            sheet = self.file[page - 1]
        except self.pdfium.PdfiumError as error:
            raise MediaError(f"page {page} of the PDF is damaged", "damaged") from error
        try:
            yield sheet
        except MemoryError as error:
            raise MediaError("drawing it needs more memory than allowed", "memory") from error
        except (self.pdfium.PdfiumError, ValueError, OSError, LookupError) as error:
            raise MediaError(f"page {page} of the PDF is damaged", "damaged") from error
        finally:
            sheet.close()

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        with self._page(page) as sheet:
            width, height = sheet.get_size()
            bitmap = sheet.render(
                scale=_scale(width, height, max_side, max_dpi), rev_byteorder=True, may_draw_forms=False
            )
            array = bitmap.to_numpy()[:max_side, :max_side]  # PDFium rounds up
            return np.ascontiguousarray(array[:, :, :3] if array.ndim == 3 else np.stack([array] * 3, axis=-1))

    def text(self, page: int) -> str:
        with self._page(page) as sheet:
            text = sheet.get_textpage()
            try:
                return _clean(text.get_text_bounded(errors="ignore"))
            finally:
                text.close()

    def words(self, page: int) -> list[Word]:
        import ctypes

        raw = self.pdfium.raw
        found: list[Word] = []
        with self._page(page) as sheet:
            text = sheet.get_textpage()
            x, y = ctypes.c_int(), ctypes.c_int()
            side = 1_000_000  # PDFium converts to whole pixels of a page this large

            def place(px: float, py: float) -> tuple[float, float]:
                raw.FPDF_PageToDevice(sheet, 0, 0, side, side, 0, px, py, x, y)
                return x.value / side, y.value / side

            def finish() -> None:
                word = _clean("".join(letters))
                if word and boxes:
                    xs = [p for box in boxes for p in (box[0][0], box[1][0])]
                    ys = [p for box in boxes for p in (box[0][1], box[1][1])]
                    found.append(_relative((min(xs), min(ys), max(xs), max(ys)), 1, 1, word))
                letters.clear()
                boxes.clear()

            letters: list[str] = []
            boxes: list[tuple[tuple[float, float], tuple[float, float]]] = []
            try:
                for i in range(min(text.count_chars(), MAX_TEXT)):
                    letter = chr(raw.FPDFText_GetUnicode(text, i) or 32)
                    if letter.isspace() or letter in "\x02\ufffe":
                        finish()
                        continue
                    left, bottom, right, top = text.get_charbox(i, loose=True)
                    letters.append(letter)
                    boxes.append((place(left, top), place(right, bottom)))
                finish()
            finally:
                text.close()
        return found[:MAX_WORDS]

    def creation_date(self) -> str | None:
        return self.file.get_metadata_value("CreationDate") or None

    def headings(self) -> tuple[str, str, str]:
        title, subject, keywords = map(self.file.get_metadata_value, ("Title", "Subject", "Keywords"))
        return title or "", subject or "", keywords or ""

    def close(self) -> None:
        self.file.close()
