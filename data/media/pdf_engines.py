"""PyMuPDF and pypdfium2 behind one interface: the raw content of a PDF.

Built around `Engine`, from which `data.media.pdf` makes readable text, words and notes. Pages count from 1 and
must exist; boxes are in points on the page as displayed, from its top left. Faults of a file raise
`MediaError`. Knows nothing of how the text is used.
"""

from __future__ import annotations

import ctypes
import html
import importlib.util
import logging
import math
import mmap
import os
import re
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from data.media.kinds import MediaError
from data.media.letters import Box, Letter, Line, extent_across

MAX_TEXT = 200_000  # characters per page; a printed page has 3,000
MAX_NOTES = 5_000  # per page
MAX_BOOKMARKS = 50_000
MAX_PAGES = 20_000


class Note(NamedTuple):
    """The value of a form field or an annotation's text, and its box."""

    box: Box
    text: str


class Attachment(NamedTuple):
    """A file inside a PDF."""

    name: str
    read: Callable[[], bytes]


class Engine(Protocol):
    """An open PDF."""

    pages: int

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray: ...
    def size(self, page: int) -> tuple[float, float]:
        """Width and height of the page as displayed, in points."""
        ...

    def plain_text(self, page: int) -> str | None:
        """The text layer in reading order, fast; None if only `lines` is correct."""
        ...

    def lines(self, page: int) -> list[Line]: ...
    def mixed_lines(self, page: int, needs_positions: Callable[[str], bool]) -> list[Line | str]:
        """The lines of the page; lines that need no positions are text."""
        ...

    def unmapped_share(self, page: int) -> float:
        """The share of letters without a character in the tables of the fonts."""
        ...

    def image_share(self, page: int) -> float:
        """The summed area of the images as a share of the page; overlaps count twice."""
        ...

    def notes(self, page: int) -> list[Note]: ...
    def bookmarks(self) -> list[tuple[int, str]]:
        """Page and title, in order."""
        ...

    def attachments(self) -> list[Attachment]:
        """The files of the whole document, without those attached to a page."""
        ...

    def page_attachments(self, page: int) -> list[Attachment]: ...
    def xfa(self) -> bytes:
        """The XML data of an XFA form; empty for other PDFs."""
        ...

    def metadata(self, key: str) -> str:
        """An entry of the information dictionary ("Title", "CreationDate"); empty if it is missing."""
        ...

    def close(self) -> None: ...


def engine_name() -> str:
    """Returns the engine in use: "pymupdf" or "pypdfium2". Raises `MediaError` if neither is installed."""
    requested = os.environ.get("SIGHTLINE_PDF", "")
    for name in (requested,) if requested else ("pymupdf", "pypdfium2"):
        if importlib.util.find_spec(name) is not None:
            return name
    raise MediaError("no PDF reader is installed; pip install pymupdf (or pypdfium2)", "unsupported")


def open_engine(source: Path | bytes) -> Engine:
    """Opens a PDF by its path or its bytes. Raises `MediaError`: encrypted, damaged, no pages, too many."""
    engine: Engine = _MuPDF(source) if engine_name() == "pymupdf" else _PDFium(source)
    if 1 <= engine.pages <= MAX_PAGES:
        return engine
    engine.close()
    if engine.pages < 1:
        raise MediaError("no pages can be found in the PDF", "nothing to see")
    raise MediaError(
        f"the PDF claims {engine.pages:,} pages, more than Sightline reads ({MAX_PAGES:,}); split it", "too large"
    )


_ENCRYPTED = "the PDF is encrypted; save a copy without password"
_DAMAGED = "the PDF is damaged and cannot be opened"
_NO_MEMORY = "drawing it needs more memory than allowed"
POINTS_PER_INCH = 72
_HIDDEN = 2 | 32  # flags of an annotation: Hidden, NoView
_PASSWORD = 1 << 13  # a flag of a text field
# Export values of a ticked box that carry no meaning; others do ("Vegetarian").
_TICKED = re.compile(r"off|on|yes|no|true|false|\d*|x|ja|oui|si|sí|checked?|choice\d*", re.IGNORECASE)
_NO_NOTES = ("Popup", "Widget", "Link")


def _scale(width: float, height: float, max_side: int, max_dpi: float | None = None) -> float:
    if not (0 < width < 1e7 and 0 < height < 1e7):
        raise MediaError("the page is damaged; it has no sensible size", "damaged")
    scale = max_side / max(width, height)
    return scale if max_dpi is None else min(scale, max_dpi / POINTS_PER_INCH)


def _angle(dx: float, dy: float) -> int:
    """A direction, downwards positive, as 0, 90, 180 or 270 degrees, or -1."""
    degrees = math.degrees(math.atan2(dy, dx)) % 360
    nearest = round(degrees / 90) * 90
    return nearest % 360 if abs(degrees - nearest) < 2 else -1


# -----------------------------------------------------------------------------------------------------------
# ---- PyMuPDF


@lru_cache(maxsize=1)
def _mupdf() -> ModuleType:
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)  # type: ignore[no-untyped-call]
    pymupdf.TOOLS.mupdf_display_warnings(False)  # type: ignore[no-untyped-call]
    return pymupdf


class _MuPDF:
    def __init__(self, source: Path | bytes) -> None:
        mupdf = _mupdf()
        self._last: tuple[int, Any] = (0, None)
        self._drawn: tuple[int, Any] = (0, None)
        self._letters: tuple[int, Any] = (0, None)
        self._annotation_kinds: tuple[int, set[int]] = (0, set())
        with self._media_errors():
            if isinstance(source, bytes):
                self.file = mupdf.open(stream=source, filetype="pdf")
            else:
                self.file = mupdf.open(os.fspath(source), filetype="pdf")
            if self.file.needs_pass:
                raise MediaError(_ENCRYPTED, "encrypted")
            self.pages = int(self.file.page_count)

    @contextmanager
    def _media_errors(self) -> Iterator[None]:
        mupdf = _mupdf()
        try:
            yield
        except MediaError:
            raise
        except MemoryError as error:
            raise MediaError(_NO_MEMORY, "memory") from error
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
                raise MediaError(_NO_MEMORY, "memory") from error
            raise MediaError(_DAMAGED, "damaged") from error

    def _sheet(self, page: int) -> Any:
        """The page object. The last one is cached: callers read a page's image and text in turn."""
        if self._last[0] != page:
            self._last = (page, self.file[page - 1])
        return self._last[1]

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        mupdf = _mupdf()
        with self._media_errors():
            sheet = self._sheet(page)
            zoom = _scale(sheet.rect.width, sheet.rect.height, max_side, max_dpi)
            self._drawn = (page, sheet.get_displaylist())
            pixels = self._drawn[1].get_pixmap(mupdf.Matrix(zoom, zoom), mupdf.csRGB, alpha=False)
            array = np.frombuffer(pixels.samples, dtype=np.uint8).reshape(pixels.height, pixels.stride)
            return array[:, : pixels.width * 3].reshape(pixels.height, pixels.width, 3).copy()

    def size(self, page: int) -> tuple[float, float]:
        with self._media_errors():
            rect = self._sheet(page).rect
            return rect.width, rect.height

    def plain_text(self, page: int) -> str | None:
        with self._media_errors():
            text: str = self._text(page).extractText()
            return text

    def _text(self, page: int) -> Any:
        """MuPDF's text page. The last one is cached. A page that was just drawn is not interpreted again, which takes
        half of the time of its image and text."""
        if self._letters[0] != page:
            sheet, flags = self._sheet(page), _mupdf().TEXTFLAGS_TEXT
            if _mupdf().PDF_ANNOT_WIDGET in self._kinds(page):
                letters = _without_fields(sheet, flags)
            elif self._drawn[0] == page and sheet.rotation == 0:
                letters = _mupdf().TextPage(self._drawn[1].get_textpage(flags))
                letters.parent = weakref.proxy(sheet)
            else:
                letters = sheet.get_textpage(flags=flags)
            self._letters = (page, letters)
        return self._letters[1]

    def lines(self, page: int) -> list[Line]:
        with self._media_errors():
            return self._lines(page, self._text(page))

    def _lines(self, page: int, letters: Any) -> list[Line]:
        mupdf, sheet = _mupdf(), self._sheet(page)
        rotation, rotated = sheet.rotation_matrix, sheet.rotation != 0
        lines: list[Line] = []
        for line in (line for block in letters.extractRAWDICT()["blocks"] for line in block.get("lines", ())):
            dx, dy = line["dir"]
            characters = [
                Letter(character["c"], *character["bbox"]) for span in line["spans"] for character in span["chars"]
            ]
            if rotated:
                characters = [
                    Letter(character.text, *(mupdf.Rect(character[1:]) * rotation)) for character in characters
                ]
            lines.append(Line(characters, _angle(rotation.a * dx + rotation.c * dy, rotation.b * dx + rotation.d * dy)))
        return lines

    def mixed_lines(self, page: int, needs_positions: Callable[[str], bool]) -> list[Line | str]:
        parts: list[Line | str] = []
        with self._media_errors():
            letters = self._text(page)
            for x0, y0, x1, y1, text, _, kind in letters.extractBLOCKS():
                if kind != 0:
                    continue
                texts = text.removesuffix("\n").split("\n")
                if not needs_positions(text):
                    parts += texts
                    continue
                flags = list(map(needs_positions, texts))
                if not any(flags):
                    return [*self.lines(page)]  # the lines need positions only as a block
                parts += self._lines_of_block(page, letters, (x0, y0, x1, y1), texts, flags)
        return parts if any(isinstance(part, Line) for part in parts) else [*self.lines(page)]

    def _lines_of_block(
        self, page: int, letters: Any, block: Box, texts: Sequence[str], flags: Sequence[bool]
    ) -> list[Line | str]:
        """The lines of a block: letters where the flag is set and they are found, else text."""
        x0, y0, x1, y1 = block
        height = (y1 - y0) / len(texts)
        parts: list[Line | str] = []
        lines: dict[str, Line] = {}
        for i, (text, flag) in enumerate(zip(texts, flags, strict=True)):
            if not flag:
                parts.append(text)
                continue
            top = y0 + i * height  # where the line is if lines are evenly spaced; else search the block
            for box in ((x0, top - height / 2, x1, top + 1.5 * height), block):
                if text.strip() not in lines:
                    with _within(letters, box):
                        lines |= {_line_text(line): line for line in self._lines(page, letters)}
            parts.append(lines.get(text.strip(), text))
        return parts

    def unmapped_share(self, page: int) -> float:
        mupdf = _mupdf()
        with self._media_errors():
            flags = mupdf.TEXTFLAGS_TEXT & ~mupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
            letters = "".join(self._sheet(page).get_text("text", flags=flags).split())
            if "\ufffd" not in letters:
                return 0.0
            fonts = {font[0] for font in self.file.get_page_fonts(page - 1) if font[0]}
            return 0.0 if all(map(self._has_character_map, fonts)) else letters.count("\ufffd") / len(letters)

    def image_share(self, page: int) -> float:
        with self._media_errors():
            sheet = self._sheet(page)
            areas = [abs(_mupdf().Rect(image["bbox"]) & sheet.cropbox) for image in sheet.get_image_info()]
            return float(sum(areas) / abs(sheet.rect))

    def _has_character_map(self, font: int) -> bool:
        return bool(self.file.xref_get_key(font, "ToUnicode")[0] == "xref")

    def notes(self, page: int) -> list[Note]:
        page_notes: list[Note] = []
        with self._media_errors():
            if not self._kinds(page):
                return page_notes
            sheet = self._sheet(page)
            for annot in sheet.annots():
                if annot.type[1] not in _NO_NOTES and not annot.flags & _HIDDEN and not self._is_off(annot):
                    text = annot.info["content"] or self._rich_text(annot.xref)
                    page_notes.append(Note(tuple(annot.rect * sheet.rotation_matrix), text))
                if len(page_notes) > MAX_NOTES:
                    break
            for field in sheet.widgets():
                flags = self.file.xref_get_key(field.xref, "F")
                hidden = flags[0] == "int" and int(flags[1]) & _HIDDEN
                if not hidden and len(page_notes) <= MAX_NOTES:
                    page_notes.append(Note(tuple(field.rect * sheet.rotation_matrix), _field_value(field)))
        return [note for note in page_notes if note.text.strip()]

    def _rich_text(self, xref: int) -> str:
        """The words of a note that has only formatted ones (RC), as a string or a stream."""
        kind, value = self.file.xref_get_key(xref, "RC")
        if kind == "xref":
            value = (self.file.xref_stream(int(value.split()[0])) or b"").decode("utf-8", "replace")
        return _unformatted(value) if kind in ("string", "xref") else ""

    def _is_off(self, annot: Any) -> bool:
        """Whether an annotation belongs to a layer that is off."""
        if not annot.get_oc():
            return False
        fz = _mupdf().mupdf
        layer = fz.pdf_dict_gets(fz.pdf_annot_obj(annot.this), "OC")
        document = fz.pdf_get_bound_document(layer)
        return bool(fz.ll_pdf_is_ocg_hidden(document.m_internal, None, "View", layer.m_internal))

    def bookmarks(self) -> list[tuple[int, str]]:
        with self._media_errors():
            titles: list[tuple[int, str]] = []
            stack = [self.file.outline]  # loaded with the document; `get_toc` would load it again
            while stack and len(titles) < MAX_BOOKMARKS:
                item = stack.pop()
                if item is not None:
                    if item.page >= 0:
                        titles.append((item.page + 1, item.title or ""))
                    stack += [item.next, item.down]
            return titles

    def attachments(self) -> list[Attachment]:
        fz = _mupdf().mupdf
        with self._media_errors():
            document = self.file.this
            if isinstance(document, fz.FzDocument):
                document = fz.pdf_document_from_fz_document(document)
            tree = fz.pdf_load_name_tree(document, fz.pdf_new_name("EmbeddedFiles"))
            return [self._attachment(fz.pdf_dict_get_val(tree, i)) for i in range(fz.pdf_dict_len(tree))]

    def _attachment(self, entry: Any) -> Attachment:
        """A file specification: PyMuPDF knows only those without a tree of names, and misreads names beyond ASCII."""
        fz = _mupdf().mupdf

        def read() -> bytes:
            with self._media_errors():
                return bytes(fz.pdf_load_embedded_file_contents(entry).fz_buffer_extract_copy())

        names = (fz.pdf_dict_get_text_string(entry, fz.pdf_new_name(key)) for key in ("UF", "F"))
        return Attachment(next(filter(None, names), ""), read)

    def page_attachments(self, page: int) -> list[Attachment]:
        with self._media_errors():
            if _mupdf().PDF_ANNOT_FILE_ATTACHMENT not in self._kinds(page):
                return []
            fz, pins = _mupdf().mupdf, self._sheet(page).annots()
            pins = (annot for annot in pins if annot.type[1] == "FileAttachment")
            return [
                self._attachment(fz.pdf_dict_get(fz.pdf_annot_obj(annot.this), fz.pdf_new_name("FS"))) for annot in pins
            ]

    def _kinds(self, page: int) -> set[int]:
        """The kinds of annotations on the page, without links."""
        if self._annotation_kinds[0] != page:
            kinds = {kind for _, kind, *_ in self.file.page_annot_xrefs(page - 1)}
            self._annotation_kinds = (page, kinds - {_mupdf().PDF_ANNOT_LINK})
        return self._annotation_kinds[1]

    def xfa(self) -> bytes:
        with self._media_errors():
            kind, value = self.file.xref_get_key(self.file.pdf_catalog(), "AcroForm/XFA")
            if kind == "array":
                packets = re.findall(r"\(\s*(\w+)\s*\)\s*(\d+) 0 R", value)
                numbers = [int(number) for name, number in packets if name == "datasets"]
            else:
                numbers = [int(value.split()[0])] if kind == "xref" else []
            return b"".join(self.file.xref_stream(number) or b"" for number in numbers)

    def metadata(self, key: str) -> str:
        with self._media_errors():
            return (self.file.metadata or {}).get(key[0].lower() + key[1:]) or ""

    def close(self) -> None:
        self._last = self._letters = self._drawn = (0, None)
        self.file.close()


@contextmanager
def _within(letters: Any, box: Box) -> Iterator[None]:
    """Restricts a text page to a box: the positions of a whole page's letters take ten milliseconds."""
    mediabox = letters.this.m_internal.mediabox
    before = mediabox.x0, mediabox.y0, mediabox.x1, mediabox.y1
    mediabox.x0, mediabox.y0, mediabox.x1, mediabox.y1 = box
    try:
        yield
    finally:
        mediabox.x0, mediabox.y0, mediabox.x1, mediabox.y1 = before


def _without_fields(sheet: Any, flags: int) -> Any:
    """The text page without form fields, for which MuPDF returns passwords, option codes and tick glyphs; `notes`
    returns their values."""
    mupdf, rotation = _mupdf(), sheet.rotation
    fz = mupdf.mupdf
    sheet.set_rotation(0)  # as `get_textpage` does
    try:
        inner = sheet.this.super() if isinstance(sheet.this, fz.PdfPage) else sheet.this
        letters = fz.FzStextPage(fz.fz_bound_page(inner))
        device = fz.fz_new_stext_device(letters, fz.FzStextOptions(flags))
        for draw in (fz.fz_run_page_contents, fz.fz_run_page_annots):
            draw(inner, device, fz.FzMatrix(), fz.FzCookie())
        fz.fz_close_device(device)
    finally:
        sheet.set_rotation(rotation)
    page_text = mupdf.TextPage(letters)
    page_text.parent = weakref.proxy(sheet)
    return page_text


def _line_text(line: Line) -> str:
    return "".join(letter.text for letter in line.letters).strip()


def _unformatted(rich: str) -> str:
    """The words of formatted text, which is XHTML."""
    words = html.unescape(re.sub(r"<[^>]*>", "\n", re.sub(r"</?(?:span|b|i|font)\b[^>]*>", "", rich)))
    return "\n".join(line for line in map(str.strip, words.splitlines()) if line)


def _field_value(field: Any) -> str:
    """The value of a form field as displayed."""
    value, kind = field.field_value, field.field_type_string
    if kind in ("CheckBox", "RadioButton"):
        state = str(value or "")
        on = field.on_state() if callable(getattr(field, "on_state", None)) else state
        name = _option(field, state) if state == on else ""
        return "" if _TICKED.fullmatch(name) else name
    if kind == "Text":
        return "" if field.field_flags & _PASSWORD else str(value or "")
    if kind in ("ComboBox", "ListBox"):
        labels = {option[0]: option[1] for option in field.choice_values or () if isinstance(option, (list, tuple))}
        selected = [value] if value else _selected(field)
        return "\n".join(str(labels.get(option, option)) for option in selected)
    return ""


def _option(field: Any, state: str) -> str:
    """The name of a ticked box, which is its state or the entry of a list of which the state is the number."""
    fz = _mupdf().mupdf
    names = fz.pdf_dict_get_inheritable(fz.pdf_annot_obj(field._annot), fz.pdf_new_name("Opt"))
    if state.isdecimal() and int(state) < fz.pdf_array_len(names):
        return str(fz.pdf_array_get_text_string(names, int(state)))
    return state


def _selected(field: Any) -> list[str]:
    """The selected values of a multiple-choice list: PyMuPDF returns only one."""
    fz = _mupdf().mupdf
    values = fz.pdf_dict_get_inheritable(fz.pdf_annot_obj(field._annot), fz.pdf_new_name("V"))
    return [fz.pdf_array_get_text_string(values, i) for i in range(fz.pdf_array_len(values))]


# -----------------------------------------------------------------------------------------------------------
# ---- pypdfium2

_MENTIONED = re.compile(rb"/OCProperties|/FileAttachment")  # optional content; files pinned to pages
_IGNORED_ANNOTATIONS = (0, 2, 16)  # kinds of annotations: unknown, link, popup
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


class _PDFium:
    def __init__(self, source: Path | bytes) -> None:
        import pypdfium2

        logging.getLogger("pypdfium2").setLevel(logging.ERROR)  # it warns of XFA, whose data we read ourselves
        self.pdfium: Any = pypdfium2
        self._source = source
        self._last: tuple[int, Any] = (0, None)
        self._annotations: tuple[int, list[tuple[int, int]]] = (0, [])
        try:
            self.file = pypdfium2.PdfDocument(source)
            self.pages = len(self.file)
            if self.file.get_formtype() != pypdfium2.raw.FORMTYPE_NONE:
                self.file.init_forms()
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower() or "security" in str(error).lower():
                raise MediaError(_ENCRYPTED, "encrypted") from error
            raise MediaError(_DAMAGED, "damaged") from error

    @contextmanager
    def _media_errors(self, page: int | None = None) -> Iterator[None]:
        reason = _DAMAGED if page is None else f"page {page} of the PDF is damaged"
        try:
            yield
        except MemoryError as error:
            raise MediaError(_NO_MEMORY, "memory") from error
        except (self.pdfium.PdfiumError, ValueError, OSError, LookupError, ctypes.ArgumentError) as error:
            raise MediaError(reason, "damaged") from error

    @contextmanager
    def _sheet(self, page: int) -> Iterator[Any]:
        """The page object. The last one is cached: callers read a page's image, text and notes in turn."""
        with self._media_errors(page):
            if self._last[0] != page:
                self._forget()
                self._last = (page, self.file[page - 1])
            yield self._last[1]

    def _forget(self) -> None:
        if self._last[1] is not None:
            self._last[1].close()
        self._last = (0, None)

    @contextmanager
    def _text(self, sheet: Any) -> Iterator[Any]:
        text = sheet.get_textpage()
        try:
            yield text
        finally:
            text.close()

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        with self._sheet(page) as sheet:
            width, height = sheet.get_size()
            bitmap = sheet.render(scale=_scale(width, height, max_side, max_dpi), rev_byteorder=True)
            array = bitmap.to_numpy()[:max_side, :max_side]  # PDFium rounds up
            return np.ascontiguousarray(array[:, :, :3] if array.ndim == 3 else np.stack([array] * 3, axis=-1))

    def size(self, page: int) -> tuple[float, float]:
        with self._media_errors(page):
            width, height = self.file.get_page_size(page - 1)
            return float(width), float(height)

    def plain_text(self, page: int) -> str | None:
        if self._has_layers:
            return None
        with self._sheet(page) as sheet, self._text(sheet) as text:
            if sheet.get_rotation():
                return None  # PDFium joins lines of rotated text
            content: str = text.get_text_bounded(errors="ignore").replace("\r\n", "\n")
            return None if not content.isascii() and _RIGHT_TO_LEFT.search(content) else content

    def lines(self, page: int) -> list[Line]:
        with self._sheet(page) as sheet, self._text(sheet) as text:
            hidden = self._hidden_objects(sheet) if self._has_layers else set()
            return self._lines(sheet, text, range(min(text.count_chars(), MAX_TEXT)), hidden)

    def mixed_lines(self, page: int, needs_positions: Callable[[str], bool]) -> list[Line | str]:
        raw = self.pdfium.raw
        parts: list[Line | str] = []
        with self._sheet(page) as sheet, self._text(sheet) as text:
            content = "".join(map(chr, [raw.FPDFText_GetUnicode(text, i) for i in range(text.count_chars())]))
            at = 0
            for line in content[:MAX_TEXT].split("\r\n"):
                positioned = needs_positions(line)
                parts += self._lines(sheet, text, range(at, at + len(line)), set()) if positioned else [line]
                at += len(line) + 2
        return parts

    def _lines(self, sheet: Any, text: Any, numbers: range, hidden: set[int]) -> list[Line]:
        """The lines of the characters `numbers`, without `hidden` objects and characters off the page."""
        raw, to_page = self.pdfium.raw, _page_transform(self.pdfium.raw, sheet)
        (width, height), rotation = sheet.get_size(), sheet.get_rotation()
        lines = [Line([])]
        for i in numbers:
            code = raw.FPDFText_GetUnicode(text, i)
            letter = chr(code) if code and not 0xD800 <= code < 0xE000 else "\ufffd" if code else " "
            if letter in "\r\n":
                lines.append(Line([]))
                continue
            if hidden and _address(raw.FPDFText_GetTextObject(text, i)) in hidden:
                continue
            left, bottom, right, top = text.get_charbox(i, loose=True)
            box = _box_around(to_page(left, top), to_page(right, bottom))
            if not letter.isspace() and _outside(box, width, height):
                continue
            character = Letter("-" if letter in "\x02\ufffe" else letter, *box)
            angle = lines[-1].angle
            if not letter.isspace():
                angle = _reading_angle(raw.FPDFText_GetCharAngle(text, i), rotation)
                if lines[-1].letters and _starts_new_line(lines[-1], character, angle):
                    lines.append(Line([]))
            lines[-1].letters.append(character)
            if angle != lines[-1].angle:
                lines[-1] = lines[-1]._replace(angle=angle)
            if letter in "\x02\ufffe":
                lines.append(Line([]))
        return [_order_right_to_left(line) for line in _order_vertical_lines([line for line in lines if line.letters])]

    def unmapped_share(self, page: int) -> float:
        with self._sheet(page) as sheet, self._text(sheet) as text:
            count = text.count_chars()
            sample = range(0, count, max(1, count // 400))
            faults = [
                self.pdfium.raw.FPDFText_HasUnicodeMapError(text, i) == 1
                for i in sample
                if not self.pdfium.raw.FPDFText_IsGenerated(text, i)
            ]
            return sum(faults) / len(faults) if faults else 0.0

    def image_share(self, page: int) -> float:
        with self._sheet(page) as sheet:
            width, height = sheet.get_size()
            boxes = [image.get_bounds() for image in sheet.get_objects(filter=[self.pdfium.raw.FPDF_PAGEOBJ_IMAGE])]
            return float(sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) / (width * height))

    def notes(self, page: int) -> list[Note]:
        raw = self.pdfium.raw
        page_notes: list[Note] = []
        with self._sheet(page) as sheet:
            to_page = _page_transform(raw, sheet)
            for annot, kind in self._annots(page, sheet):
                if raw.FPDFAnnot_GetFlags(annot) & _HIDDEN:
                    continue
                if kind == raw.FPDF_ANNOT_WIDGET:
                    text = self._value(annot)
                else:
                    text = _utf16_string(raw.FPDFAnnot_GetStringValue, annot, b"Contents")
                    text = text or _unformatted(_utf16_string(raw.FPDFAnnot_GetStringValue, annot, b"RC"))
                rect = raw.FS_RECTF()
                if text.strip() and raw.FPDFAnnot_GetRect(annot, rect):
                    box = _box_around(to_page(rect.left, rect.top), to_page(rect.right, rect.bottom))
                    page_notes.append(Note(box, text))
        return page_notes

    def _annots(self, page: int, sheet: Any) -> Iterator[tuple[Any, int]]:
        """The annotations on the page with their kinds, without links and popups."""
        raw = self.pdfium.raw
        if self._annotations[0] != page:
            kinds = []
            for i in range(min(raw.FPDFPage_GetAnnotCount(sheet), MAX_NOTES)):
                annot = raw.FPDFPage_GetAnnot(sheet, i)
                kinds.append((i, raw.FPDFAnnot_GetSubtype(annot)))
                raw.FPDFPage_CloseAnnot(annot)
            self._annotations = (page, [(i, kind) for i, kind in kinds if kind not in _IGNORED_ANNOTATIONS])
        for i, kind in self._annotations[1]:
            annot = raw.FPDFPage_GetAnnot(sheet, i)
            try:
                yield annot, kind
            finally:
                raw.FPDFPage_CloseAnnot(annot)

    def _value(self, annot: Any) -> str:
        """The value of a form field as displayed."""
        raw, forms = self.pdfium.raw, self.file.formenv
        if forms is None:
            return ""
        kind = raw.FPDFAnnot_GetFormFieldType(forms, annot)
        value = _utf16_string(raw.FPDFAnnot_GetFormFieldValue, forms, annot)
        if kind == raw.FPDF_FORMFIELD_TEXTFIELD:
            return "" if raw.FPDFAnnot_GetFormFieldFlags(forms, annot) & _PASSWORD else value
        if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
            count = min(raw.FPDFAnnot_GetOptionCount(forms, annot), MAX_NOTES)
            selected = [i for i in range(count) if raw.FPDFAnnot_IsOptionSelected(forms, annot, i)]
            labels = [_utf16_string(raw.FPDFAnnot_GetOptionLabel, forms, annot, i) for i in selected]
            return "\n".join(labels) or value
        if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
            state = _utf16_string(raw.FPDFAnnot_GetFormFieldExportValue, forms, annot)
            ticked = raw.FPDFAnnot_IsChecked(forms, annot) and not _TICKED.fullmatch(state)
            return state if ticked else ""
        return ""

    def bookmarks(self) -> list[tuple[int, str]]:
        titles = []
        with self._media_errors():
            for mark, _ in zip(self.file.get_toc(), range(MAX_BOOKMARKS), strict=False):
                destination = mark.get_dest()
                index = destination.get_index() if destination is not None else None
                if index is not None and index >= 0:
                    titles.append((index + 1, mark.get_title()))
        return titles

    def attachments(self) -> list[Attachment]:
        with self._media_errors():
            return [self._attachment(self.file.get_attachment(i)) for i in range(self.file.count_attachments())]

    def _attachment(self, attachment: Any) -> Attachment:
        def read() -> bytes:
            with self._media_errors():
                return bytes(attachment.get_data())

        return Attachment(attachment.get_name(), read)

    def page_attachments(self, page: int) -> list[Attachment]:
        raw, files = self.pdfium.raw, []
        if b"/FileAttachment" not in self._mentions:
            return []
        with self._sheet(page) as sheet:
            for annot, kind in self._annots(page, sheet):
                if kind == raw.FPDF_ANNOT_FILEATTACHMENT:
                    file = raw.FPDFAnnot_GetFileAttachment(annot)
                    if file:
                        files.append(self._attachment(self.pdfium.PdfAttachment(file, self.file)))
        return files

    def xfa(self) -> bytes:
        raw, data = self.pdfium.raw, b""
        count = raw.FPDF_GetXFAPacketCount(self.file)
        names = [_packet_bytes(raw.FPDF_GetXFAPacketName, self.file, i) for i in range(max(0, count))]
        for i, name in enumerate(names):
            if count == 1 or name.rstrip(b"\0") == b"datasets":
                data += _packet_bytes(raw.FPDF_GetXFAPacketContent, self.file, i)
        return data

    def metadata(self, key: str) -> str:
        with self._media_errors():
            return self.file.get_metadata_value(key) or ""

    def close(self) -> None:
        self._forget()
        self.file.close()

    @cached_property
    def _mentions(self) -> set[bytes]:
        """Which of `_MENTIONED` the bytes hold: asking PDFium takes a page object for each page, or cannot be done."""
        try:
            if isinstance(self._source, bytes):
                return _mentions(self._source)
            stat = self._source.stat()
            return _mentions_of(self._source, stat.st_size, stat.st_mtime_ns)
        except (OSError, ValueError):
            return set()

    @property
    def _has_layers(self) -> bool:
        return b"/OCProperties" in self._mentions

    def _hidden_objects(self, sheet: Any) -> set[int]:
        """The addresses of text objects whose layer is off.

        PDFium leaves such objects out of images but not out of text. Each layer's text is drawn alone: if no
        pixel is set, the layer is off.
        """
        raw = self.pdfium.raw
        groups: dict[tuple[Any, ...], list[Any]] = {}
        unlayered = []
        for item in sheet.get_objects():
            marks = tuple(_marks(raw, item.raw))
            container = _address(item.container.raw) if item.container is not None else 0
            if item.type == raw.FPDF_PAGEOBJ_TEXT and (marks or container):
                groups.setdefault((container, *marks), []).append(item)
            elif item.type != raw.FPDF_PAGEOBJ_FORM:
                unlayered.append(item)
        hidden: set[int] = set()
        if not groups or len(groups) > 200:
            return hidden
        objects = [*unlayered, *(item for group in groups.values() for item in group)]
        for item in objects:
            raw.FPDFPageObj_SetIsActive(item.raw, False)
        for group in groups.values():
            for item in group:
                raw.FPDFPageObj_SetIsActive(item.raw, True)
            pixels = sheet.render(
                scale=500 / max(sheet.get_size()),
                fill_color=(255, 255, 255, 0),
                may_draw_forms=False,
                draw_annots=False,
                force_bitmap_format=raw.FPDFBitmap_BGRA,
            ).to_numpy()
            if not pixels[:, :, 3].any():
                hidden.update(_address(item.raw) for item in group)
            for item in group:
                raw.FPDFPageObj_SetIsActive(item.raw, False)
        for item in objects:
            raw.FPDFPageObj_SetIsActive(item.raw, True)
        return hidden


@lru_cache(maxsize=8)  # a file is opened again for its next pages
def _mentions_of(path: Path, size: int, mtime_ns: int) -> set[bytes]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _mentions(data)


def _mentions(data: bytes | mmap.mmap) -> set[bytes]:
    found = set(_MENTIONED.findall(data))
    if re.search(rb"/Encrypt\b", data):
        found.add(b"/FileAttachment")  # it may be in a stream that only PDFium can read
    for match in re.finditer(rb"/ObjStm\b", data):
        start = re.compile(rb"stream\r?\n").search(data, match.end())
        with suppress(zlib.error):
            if start:
                packed = data[start.end() : start.end() + (1 << 20)]
                found.update(_MENTIONED.findall(zlib.decompressobj().decompress(packed, 1 << 24)))
    return found


def _marks(raw: Any, item: Any) -> Iterator[str]:
    """The names of the layers that a page object belongs to."""
    for i in range(raw.FPDFPageObj_CountMarks(item)):
        mark = raw.FPDFPageObj_GetMark(item, i)
        if _utf16_string(raw.FPDFPageObjMark_GetName, mark, out=True) == "OC":
            yield _utf16_string(raw.FPDFPageObjMark_GetParamStringValue, mark, b"Name", out=True) or str(_address(mark))


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _utf16_string(function: Any, *args: Any, out: bool = False) -> str:
    """A UTF-16 string that a PDFium function writes into a buffer; `out`: its length is an output argument."""
    size = ctypes.c_ulong()
    size_argument = (ctypes.byref(size),) if out else ()
    length = function(*args, None, 0, *size_argument)
    length = size.value if out else length
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    kind = function.argtypes[len(args)]
    function(*args, ctypes.cast(buffer, kind), length, *size_argument)
    return buffer.raw[:length].decode("utf-16-le", "ignore").rstrip("\0")


def _packet_bytes(function: Any, document: Any, number: int) -> bytes:
    """The name or content of an XFA packet, which PDFium writes into a buffer."""
    if function.__name__.endswith("Content"):
        size = ctypes.c_ulong()
        function(document, number, None, 0, size)
        buffer = ctypes.create_string_buffer(max(1, size.value))
        function(document, number, buffer, size.value, size)
        return buffer.raw[: size.value]
    length = function(document, number, None, 0)
    buffer = ctypes.create_string_buffer(max(1, length))
    function(document, number, buffer, length)
    return buffer.raw[:length]


def _page_transform(raw: Any, sheet: Any) -> Callable[[float, float], tuple[float, float]]:
    """Returns a function from a point of the PDF to a point of the page as displayed."""
    width, height = sheet.get_size()
    side = 1_000_000  # PDFium converts to whole pixels of a page this large
    step = 1000  # points between the three reference points of the affine transform

    def device_point(px: float, py: float) -> tuple[float, float]:
        x, y = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(sheet, 0, 0, side, side, 0, px, py, x, y)
        return x.value / side * width, y.value / side * height

    (x0, y0), (x1, y1), (x2, y2) = device_point(0, 0), device_point(step, 0), device_point(0, step)
    a, b, c, d = ((v - w) / step for v, w in ((x1, x0), (y1, y0), (x2, x0), (y2, y0)))

    def transform(px: float, py: float) -> tuple[float, float]:
        return x0 + a * px + c * py, y0 + b * px + d * py

    return transform


def _box_around(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])


def _reading_angle(radians: float, rotation: int) -> int:
    degrees = round(math.degrees(radians)) + rotation
    nearest = round(degrees / 90) * 90
    return nearest % 360 if abs(degrees - nearest) < 3 else -1


def _outside(box: Box, width: float, height: float) -> bool:
    return not (0 <= (box[0] + box[2]) / 2 <= width and 0 <= (box[1] + box[3]) / 2 <= height)


def _starts_new_line(line: Line, letter: Letter, angle: int) -> bool:
    """Whether a letter is off the line that PDFium appends it to, which happens in rotated text."""
    last = next((letter_before for letter_before in reversed(line.letters) if not letter_before.text.isspace()), None)
    if last is None or angle < 0:
        return False
    if angle != line.angle:
        return True
    start, end = extent_across(last, angle)
    letter_start, letter_end = extent_across(letter, angle)
    return abs(start + end - letter_start - letter_end) / 2 > 0.7 * max(end - start, letter_end - letter_start)


def _order_vertical_lines(lines: Sequence[Line]) -> list[Line]:
    """Orders lines of vertical text from the right; PDFium orders them from the left."""
    ordered: list[Line] = []
    run: list[Line] = []  # vertical lines, each to the right of the one before
    for line in lines:
        if not (line.angle == 90 and run and run[-1].letters[0].x0 < line.letters[0].x0):
            ordered += reversed(run)
            run = []
        if line.angle == 90:
            run.append(line)
        else:
            ordered.append(line)
    return [*ordered, *reversed(run)]


def _order_right_to_left(line: Line) -> Line:
    """Puts right-to-left words into reading order; PDFium orders their letters, or words and letters, from the
    left."""
    text = "".join(letter.text for letter in line.letters)
    if line.angle != 0 or _RIGHT_TO_LEFT.search(text) is None:
        return line
    words: list[list[Letter]] = [[]]
    for letter in line.letters:
        if letter.text.isspace():
            words += [[letter], []]
        else:
            words[-1].append(letter)
    for word in words:
        if _RIGHT_TO_LEFT.search("".join(char.text for char in word)) and _mostly_ascending([char.x0 for char in word]):
            word.reverse()
    starts = [word[0].x0 for word in words if word and not word[0].text.isspace()]
    if len(starts) > 1 and _mostly_ascending(starts):
        words.reverse()
    return line._replace(letters=[letter for word in words for letter in word])


def _mostly_ascending(values: Sequence[float]) -> bool:
    return sum(a < b for a, b in pairwise(values)) * 2 > len(values) - 1
