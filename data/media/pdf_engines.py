"""PyMuPDF and pypdfium2 behind one set of methods: what a PDF holds, as the engine has it.

Built around `Engine`, which `data.media.pdf` makes readable text, words and notes of. Pages count from 1 and
have been checked; boxes are in points on the page as it is shown, from its top left. Faults of a file are
raised as `MediaError`. Knows nothing of what is done with the text.
"""

from __future__ import annotations

import ctypes
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
from data.media.letters import Box, Letter, Line, across

MAX_TEXT = 200_000  # characters of one page; a page of print has 3,000
MAX_NOTES = 5_000  # of one page
MAX_BOOKMARKS = 50_000
MAX_PAGES = 20_000


class Note(NamedTuple):
    """What a field of a form holds or someone wrote on a page, and where."""

    box: Box
    text: str


class Attached(NamedTuple):
    """A file inside a PDF; `page` where it is pinned to one."""

    name: str
    read: Callable[[], bytes]
    page: int | None = None


class Engine(Protocol):
    """An open PDF."""

    pages: int

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray: ...
    def size(self, page: int) -> tuple[float, float]:
        """Width and height of the page as it is shown."""
        ...

    def plain_text(self, page: int) -> str | None:
        """The text layer in reading order, fast; None where only `lines` has it right."""
        ...

    def lines(self, page: int) -> list[Line]: ...
    def mixed_lines(self, page: int, need_places: Callable[[str], bool]) -> list[Line | str]:
        """The lines of the page, as text those that need no places."""
        ...

    def unmapped(self, page: int) -> float:
        """The share of the letters for which the fonts name no character."""
        ...

    def pictured(self, page: int) -> float:
        """The share of the page that pictures cover, each counted by itself."""
        ...

    def notes(self, page: int) -> list[Note]: ...
    def bookmarks(self) -> list[tuple[int, str]]:
        """Page and title, in order."""
        ...

    def attached(self) -> list[Attached]:
        """The files inside the document, not those pinned to a page."""
        ...

    def pinned(self, page: int) -> list[Attached]: ...
    def xfa(self) -> bytes:
        """The data of an XFA form, XML; empty for other PDFs."""
        ...

    def metadata(self, key: str) -> str:
        """An entry of the document's information: "Title", "CreationDate"."""
        ...

    def close(self) -> None: ...


def engine_name() -> str:
    """The engine in use: "pymupdf" or "pypdfium2"."""
    asked = os.environ.get("SIGHTLINE_PDF", "")
    for name in (asked,) if asked else ("pymupdf", "pypdfium2"):
        if importlib.util.find_spec(name) is not None:
            return name
    raise MediaError("no PDF reader is installed; pip install pymupdf (or pypdfium2)", "unsupported")


def open_engine(source: Path | bytes) -> Engine:
    """A PDF by its path or its bytes. Raises `MediaError`: encrypted, damaged, no pages, too many."""
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
# What a box that is ticked is called by itself; other names ("Vegetarian") say something.
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

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    return pymupdf


class _MuPDF:
    def __init__(self, source: Path | bytes) -> None:
        mupdf = _mupdf()
        self._last: tuple[int, Any] = (0, None)
        self._letters: tuple[int, Any] = (0, None)
        self._found: tuple[int, set[int]] = (0, set())
        with self._reasons():
            if isinstance(source, bytes):
                self.file = mupdf.open(stream=source, filetype="pdf")
            else:
                self.file = mupdf.open(os.fspath(source), filetype="pdf")
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
        """The page; the last one is kept, since its picture and its text are asked for in turn."""
        if self._last[0] != page:
            self._last = (page, self.file[page - 1])
        return self._last[1]

    def image(self, page: int, max_side: int, max_dpi: float | None = None) -> np.ndarray:
        mupdf = _mupdf()
        with self._reasons():
            sheet = self._sheet(page)
            zoom = _scale(sheet.rect.width, sheet.rect.height, max_side, max_dpi)
            pixels = sheet.get_pixmap(matrix=mupdf.Matrix(zoom, zoom), alpha=False, colorspace=mupdf.csRGB)
            array = np.frombuffer(pixels.samples, dtype=np.uint8).reshape(pixels.height, pixels.stride)
            return array[:, : pixels.width * 3].reshape(pixels.height, pixels.width, 3).copy()

    def size(self, page: int) -> tuple[float, float]:
        with self._reasons():
            shown = self._sheet(page).rect
            return shown.width, shown.height

    def plain_text(self, page: int) -> str | None:
        with self._reasons():
            text: str = self._text(page).extractText()
            return text

    def _text(self, page: int) -> Any:
        """The page's letters as MuPDF keeps them, the last page's for a second question."""
        if self._letters[0] != page:
            sheet, flags = self._sheet(page), _mupdf().TEXTFLAGS_TEXT
            fields = _mupdf().PDF_ANNOT_WIDGET in self._kinds(page)
            self._letters = (page, _without_fields(sheet, flags) if fields else sheet.get_textpage(flags=flags))
        return self._letters[1]

    def lines(self, page: int) -> list[Line]:
        with self._reasons():
            return self._lines(page, self._text(page))

    def _lines(self, page: int, letters: Any) -> list[Line]:
        mupdf, sheet = _mupdf(), self._sheet(page)
        turn, turned = sheet.rotation_matrix, sheet.rotation != 0
        found: list[Line] = []
        for line in (line for block in letters.extractRAWDICT()["blocks"] for line in block.get("lines", ())):
            dx, dy = line["dir"]
            ones = [Letter(one["c"], *one["bbox"]) for span in line["spans"] for one in span["chars"]]
            if turned:
                ones = [Letter(one.text, *(mupdf.Rect(one[1:]) * turn)) for one in ones]
            found.append(Line(ones, _angle(turn.a * dx + turn.c * dy, turn.b * dx + turn.d * dy)))
        return found

    def mixed_lines(self, page: int, need_places: Callable[[str], bool]) -> list[Line | str]:
        found: list[Line | str] = []
        with self._reasons():
            letters = self._text(page)
            for x0, y0, x1, y1, text, _, kind in letters.extractBLOCKS():
                if kind != 0:
                    continue
                texts = text.removesuffix("\n").split("\n")
                if not need_places(text):
                    found += texts
                    continue
                needing = list(map(need_places, texts))
                if not any(needing):
                    return [*self.lines(page)]  # only together
                lines: dict[str, Line] = {}
                height = (y1 - y0) / len(texts)
                for i, text in enumerate(texts):
                    top = y0 + i * height  # if its lines are evenly spaced; else the whole block has it
                    for box in ((x0, top - height / 2, x1, top + 1.5 * height), (x0, y0, x1, y1)):
                        if needing[i] and text.strip() not in lines:
                            with _within(letters, box):
                                lines |= {_joined(line): line for line in self._lines(page, letters)}
                    found.append(lines.get(text.strip(), text) if needing[i] else text)
        return found if any(isinstance(one, Line) for one in found) else [*self.lines(page)]

    def unmapped(self, page: int) -> float:
        mupdf = _mupdf()
        with self._reasons():
            flags = mupdf.TEXTFLAGS_TEXT & ~mupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
            letters = "".join(self._sheet(page).get_text("text", flags=flags).split())
            if "\ufffd" not in letters:
                return 0.0
            fonts = {font[0] for font in self.file.get_page_fonts(page - 1) if font[0]}
            return 0.0 if all(map(self._names_characters, fonts)) else letters.count("\ufffd") / len(letters)

    def pictured(self, page: int) -> float:
        with self._reasons():
            sheet = self._sheet(page)
            areas = [abs(_mupdf().Rect(one["bbox"]) & sheet.cropbox) for one in sheet.get_image_info()]
            return float(sum(areas)) / abs(sheet.rect)

    def _names_characters(self, font: int) -> bool:
        return self.file.xref_get_key(font, "ToUnicode")[0] == "xref"

    def notes(self, page: int) -> list[Note]:
        found: list[Note] = []
        with self._reasons():
            if not self._kinds(page):
                return found
            sheet = self._sheet(page)
            for annot in sheet.annots():
                if annot.type[1] not in _NO_NOTES and not annot.flags & _HIDDEN:
                    found.append(Note(tuple(annot.rect * sheet.rotation_matrix), annot.info["content"] or ""))
                if len(found) > MAX_NOTES:
                    break
            for field in sheet.widgets():
                flags = self.file.xref_get_key(field.xref, "F")
                hidden = flags[0] == "int" and int(flags[1]) & _HIDDEN
                if not hidden and len(found) <= MAX_NOTES:
                    found.append(Note(tuple(field.rect * sheet.rotation_matrix), _mu_value(field)))
        return [note for note in found if note.text.strip()]

    def bookmarks(self) -> list[tuple[int, str]]:
        with self._reasons():
            found: list[tuple[int, str]] = []
            rest = [self.file.outline]  # loaded with the document; `get_toc` would load it again
            while rest and len(found) < MAX_BOOKMARKS:
                mark = rest.pop()
                if mark is not None:
                    if mark.page >= 0:
                        found.append((mark.page + 1, mark.title or ""))
                    rest += [mark.next, mark.down]
            return found

    def attached(self) -> list[Attached]:
        with self._reasons():
            return [self._embedded(i) for i in range(self.file.embfile_count())]

    def _embedded(self, number: int) -> Attached:
        info = self.file.embfile_info(number)

        def read() -> bytes:
            with self._reasons():
                return bytes(self.file.embfile_get(number))

        return Attached(info.get("ufilename") or info.get("filename") or info.get("name") or "", read)

    def pinned(self, page: int) -> list[Attached]:
        with self._reasons():
            if _mupdf().PDF_ANNOT_FILE_ATTACHMENT not in self._kinds(page):
                return []
            return [self._pin(annot, page) for annot in self._sheet(page).annots() if annot.type[1] == "FileAttachment"]

    def _kinds(self, page: int) -> set[int]:
        """The kinds of what is on the page besides its content, links left out."""
        if self._found[0] != page:
            kinds = {kind for _, kind, *_ in self.file.page_annot_xrefs(page - 1)}
            self._found = (page, kinds - {_mupdf().PDF_ANNOT_LINK})
        return self._found[1]

    def _pin(self, annot: Any, page: int) -> Attached:
        def read() -> bytes:
            with self._reasons():
                return bytes(annot.get_file())

        return Attached(annot.file_info.get("filename") or "", read, page)

    def xfa(self) -> bytes:
        with self._reasons():
            kind, value = self.file.xref_get_key(self.file.pdf_catalog(), "AcroForm/XFA")
            if kind == "array":
                packets = re.findall(r"\(\s*(\w+)\s*\)\s*(\d+) 0 R", value)
                numbers = [int(number) for name, number in packets if name == "datasets"]
            else:
                numbers = [int(value.split()[0])] if kind == "xref" else []
            return b"".join(self.file.xref_stream(number) or b"" for number in numbers)

    def metadata(self, key: str) -> str:
        with self._reasons():
            return (self.file.metadata or {}).get(key[0].lower() + key[1:]) or ""

    def close(self) -> None:
        self._last = self._letters = (0, None)
        self.file.close()


@contextmanager
def _within(letters: Any, box: Box) -> Iterator[None]:
    """Only the letters in a box, so that their places cost no more than they: of a whole page, ten milliseconds."""
    whole = letters.this.m_internal.mediabox
    before = whole.x0, whole.y0, whole.x1, whole.y1
    whole.x0, whole.y0, whole.x1, whole.y1 = box
    try:
        yield
    finally:
        whole.x0, whole.y0, whole.x1, whole.y1 = before


def _without_fields(sheet: Any, flags: int) -> Any:
    """The letters of a page without its fields, in which MuPDF shows passwords, codes of choices and ticks as it
    draws them; `notes` has what they hold."""
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
    found = mupdf.TextPage(letters)
    found.parent = weakref.proxy(sheet)
    return found


def _joined(line: Line) -> str:
    return "".join(letter.text for letter in line.letters).strip()


def _mu_value(field: Any) -> str:
    """What a field of a form holds, as it is shown."""
    value, kind = field.field_value, field.field_type_string
    if kind in ("CheckBox", "RadioButton"):
        state = str(value or "")
        on = field.on_state() if callable(getattr(field, "on_state", None)) else state
        return state if state == on and not _TICKED.fullmatch(state) else ""
    if kind == "Text":
        return "" if field.field_flags & _PASSWORD else str(value or "")
    if kind in ("ComboBox", "ListBox"):
        labels = {one[0]: one[1] for one in field.choice_values or () if isinstance(one, (list, tuple))}
        chosen = [value] if value else _chosen(field)
        return "\n".join(str(labels.get(one, one)) for one in chosen)
    return ""


def _chosen(field: Any) -> list[str]:
    """The values of a list of which several are chosen: PyMuPDF hands out one alone."""
    fz = _mupdf().mupdf
    values = fz.pdf_dict_get_inheritable(fz.pdf_annot_obj(field._annot), fz.pdf_new_name("V"))
    return [fz.pdf_array_get_text_string(values, i) for i in range(fz.pdf_array_len(values))]


# -----------------------------------------------------------------------------------------------------------
# ---- pypdfium2

_NOTHING = (0, 2, 16)  # kinds of annotations: unknown, link, popup
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


class _PDFium:
    def __init__(self, source: Path | bytes) -> None:
        import pypdfium2

        logging.getLogger("pypdfium2").setLevel(logging.ERROR)  # it warns of XFA, whose data we read ourselves
        self.pdfium: Any = pypdfium2
        self._source = source
        self._last: tuple[int, Any] = (0, None)
        self._found: tuple[int, list[tuple[int, int]]] = (0, [])
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
    def _reasons(self, page: int | None = None) -> Iterator[None]:
        what = _DAMAGED if page is None else f"page {page} of the PDF is damaged"
        try:
            yield
        except MemoryError as error:
            raise MediaError(_NO_MEMORY, "memory") from error
        except (self.pdfium.PdfiumError, ValueError, OSError, LookupError, ctypes.ArgumentError) as error:
            raise MediaError(what, "damaged") from error

    @contextmanager
    def _sheet(self, page: int) -> Iterator[Any]:
        """The page; the last one is kept, since its picture, its text and its notes are asked for in turn."""
        with self._reasons(page):
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
        with self._reasons(page):
            width, height = self.file.get_page_size(page - 1)
            return float(width), float(height)

    def plain_text(self, page: int) -> str | None:
        if self._has_layers:
            return None
        with self._sheet(page) as sheet, self._text(sheet) as text:
            if sheet.get_rotation():
                return None  # lines of turned text would run together
            found: str = text.get_text_bounded(errors="ignore").replace("\r\n", "\n")
            return None if not found.isascii() and _RIGHT_TO_LEFT.search(found) else found

    def lines(self, page: int) -> list[Line]:
        with self._sheet(page) as sheet, self._text(sheet) as text:
            hidden = self._hidden(sheet) if self._has_layers else set()
            return self._lines(sheet, text, range(min(text.count_chars(), MAX_TEXT)), hidden)

    def mixed_lines(self, page: int, need_places: Callable[[str], bool]) -> list[Line | str]:
        raw = self.pdfium.raw
        found: list[Line | str] = []
        with self._sheet(page) as sheet, self._text(sheet) as text:
            every = "".join(map(chr, [raw.FPDFText_GetUnicode(text, i) for i in range(text.count_chars())]))
            at = 0
            for line in every[:MAX_TEXT].split("\r\n"):
                places = need_places(line)
                found += self._lines(sheet, text, range(at, at + len(line)), set()) if places else [line]
                at += len(line) + 2
        return found

    def _lines(self, sheet: Any, text: Any, numbers: range, hidden: set[int]) -> list[Line]:
        """The lines of the characters of these numbers, without those of hidden objects and off the page."""
        raw, place = self.pdfium.raw, _placer(self.pdfium.raw, sheet)
        (width, height), rotation = sheet.get_size(), sheet.get_rotation()
        found = [Line([])]
        for i in numbers:
            code = raw.FPDFText_GetUnicode(text, i)
            letter = chr(code) if code and not 0xD800 <= code < 0xE000 else "\ufffd" if code else " "
            if letter in "\r\n":
                found.append(Line([]))
                continue
            if hidden and _address(raw.FPDFText_GetTextObject(text, i)) in hidden:
                continue
            left, bottom, right, top = text.get_charbox(i, loose=True)
            box = _around(place(left, top), place(right, bottom))
            if not letter.isspace() and _outside(box, width, height):
                continue
            one = Letter("-" if letter in "\x02\ufffe" else letter, *box)
            angle = found[-1].angle
            if not letter.isspace():
                angle = _turned(raw.FPDFText_GetCharAngle(text, i), rotation)
                if found[-1].letters and _elsewhere(found[-1], one, angle):
                    found.append(Line([]))
            found[-1].letters.append(one)
            if angle != found[-1].angle:
                found[-1] = found[-1]._replace(angle=angle)
            if letter in "\x02\ufffe":
                found.append(Line([]))
        return [_from_the_right(line) for line in _from_the_top([line for line in found if line.letters])]

    def unmapped(self, page: int) -> float:
        with self._sheet(page) as sheet, self._text(sheet) as text:
            count = text.count_chars()
            some = range(0, count, max(1, count // 400))
            faults = [
                self.pdfium.raw.FPDFText_HasUnicodeMapError(text, i) == 1
                for i in some
                if not self.pdfium.raw.FPDFText_IsGenerated(text, i)
            ]
            return sum(faults) / len(faults) if faults else 0.0

    def pictured(self, page: int) -> float:
        with self._sheet(page) as sheet:
            width, height = sheet.get_size()
            boxes = [one.get_bounds() for one in sheet.get_objects(filter=[self.pdfium.raw.FPDF_PAGEOBJ_IMAGE])]
            return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) / (width * height)

    def notes(self, page: int) -> list[Note]:
        raw = self.pdfium.raw
        found: list[Note] = []
        with self._sheet(page) as sheet:
            place = _placer(raw, sheet)
            for annot, kind in self._annots(page, sheet):
                if raw.FPDFAnnot_GetFlags(annot) & _HIDDEN:
                    continue
                if kind == raw.FPDF_ANNOT_WIDGET:
                    text = self._value(annot)
                else:
                    text = _wide(raw.FPDFAnnot_GetStringValue, annot, b"Contents")
                rect = raw.FS_RECTF()
                if text.strip() and raw.FPDFAnnot_GetRect(annot, rect):
                    box = _around(place(rect.left, rect.top), place(rect.right, rect.bottom))
                    found.append(Note(box, text))
        return found

    def _annots(self, page: int, sheet: Any) -> Iterator[tuple[Any, int]]:
        """What is on the page besides links, with its kind."""
        raw = self.pdfium.raw
        if self._found[0] != page:
            kinds = []
            for i in range(min(raw.FPDFPage_GetAnnotCount(sheet), MAX_NOTES)):
                annot = raw.FPDFPage_GetAnnot(sheet, i)
                kinds.append((i, raw.FPDFAnnot_GetSubtype(annot)))
                raw.FPDFPage_CloseAnnot(annot)
            self._found = (page, [(i, kind) for i, kind in kinds if kind not in _NOTHING])
        for i, kind in self._found[1]:
            annot = raw.FPDFPage_GetAnnot(sheet, i)
            try:
                yield annot, kind
            finally:
                raw.FPDFPage_CloseAnnot(annot)

    def _value(self, annot: Any) -> str:
        """What a field of a form holds, as it is shown."""
        raw, forms = self.pdfium.raw, self.file.formenv
        if forms is None:
            return ""
        kind = raw.FPDFAnnot_GetFormFieldType(forms, annot)
        value = _wide(raw.FPDFAnnot_GetFormFieldValue, forms, annot)
        if kind == raw.FPDF_FORMFIELD_TEXTFIELD:
            return "" if raw.FPDFAnnot_GetFormFieldFlags(forms, annot) & _PASSWORD else value
        if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
            count = min(raw.FPDFAnnot_GetOptionCount(forms, annot), MAX_NOTES)
            chosen = [i for i in range(count) if raw.FPDFAnnot_IsOptionSelected(forms, annot, i)]
            labels = [_wide(raw.FPDFAnnot_GetOptionLabel, forms, annot, i) for i in chosen]
            return "\n".join(labels) or value
        if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
            state = _wide(raw.FPDFAnnot_GetFormFieldExportValue, forms, annot)
            ticked = raw.FPDFAnnot_IsChecked(forms, annot) and not _TICKED.fullmatch(state)
            return state if ticked else ""
        return ""

    def bookmarks(self) -> list[tuple[int, str]]:
        found = []
        with self._reasons():
            for mark, _ in zip(self.file.get_toc(), range(MAX_BOOKMARKS), strict=False):
                where = mark.get_dest()
                index = where.get_index() if where is not None else None
                if index is not None and index >= 0:
                    found.append((index + 1, mark.get_title()))
        return found

    def attached(self) -> list[Attached]:
        with self._reasons():
            return [self._attached(self.file.get_attachment(i)) for i in range(self.file.count_attachments())]

    def _attached(self, attachment: Any, page: int | None = None) -> Attached:
        def read() -> bytes:
            with self._reasons():
                return bytes(attachment.get_data())

        return Attached(attachment.get_name(), read, page)

    def pinned(self, page: int) -> list[Attached]:
        raw, found = self.pdfium.raw, []
        with self._sheet(page) as sheet:
            for annot, kind in self._annots(page, sheet):
                if kind == raw.FPDF_ANNOT_FILEATTACHMENT:
                    file = raw.FPDFAnnot_GetFileAttachment(annot)
                    if file:
                        found.append(self._attached(self.pdfium.PdfAttachment(file, self.file), page))
        return found

    def xfa(self) -> bytes:
        raw, found = self.pdfium.raw, b""
        count = raw.FPDF_GetXFAPacketCount(self.file)
        names = [_narrow(raw.FPDF_GetXFAPacketName, self.file, i) for i in range(max(0, count))]
        for i, name in enumerate(names):
            if count == 1 or name.rstrip(b"\0") == b"datasets":
                found += _narrow(raw.FPDF_GetXFAPacketContent, self.file, i)
        return found

    def metadata(self, key: str) -> str:
        with self._reasons():
            return self.file.get_metadata_value(key) or ""

    def close(self) -> None:
        self._forget()
        self.file.close()

    @cached_property
    def _has_layers(self) -> bool:
        """Whether the file may hold optional content, for which PDFium has no question: by its bytes."""
        try:
            if isinstance(self._source, bytes):
                return _names_layers(self._source)
            with self._source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _names_layers(data)
        except (OSError, ValueError):
            return False

    def _hidden(self, sheet: Any) -> set[int]:
        """The addresses of the text objects that are not drawn, because their layer is off.

        PDFium leaves them out of pictures and not out of text. The text of each layer is drawn by itself:
        nothing to be seen means that it is off.
        """
        raw = self.pdfium.raw
        groups: dict[tuple[Any, ...], list[Any]] = {}
        others = []
        for one in sheet.get_objects():
            marks = tuple(_marks(raw, one.raw))
            inside = _address(one.container.raw) if one.container is not None else 0
            if one.type == raw.FPDF_PAGEOBJ_TEXT and (marks or inside):
                groups.setdefault((inside, *marks), []).append(one)
            elif one.type != raw.FPDF_PAGEOBJ_FORM:
                others.append(one)
        hidden: set[int] = set()
        if not groups or len(groups) > 200:
            return hidden
        every = [*others, *(one for group in groups.values() for one in group)]
        for one in every:
            raw.FPDFPageObj_SetIsActive(one.raw, False)
        for group in groups.values():
            for one in group:
                raw.FPDFPageObj_SetIsActive(one.raw, True)
            drawn = sheet.render(
                scale=500 / max(sheet.get_size()),
                fill_color=(255, 255, 255, 0),
                may_draw_forms=False,
                draw_annots=False,
                force_bitmap_format=raw.FPDFBitmap_BGRA,
            ).to_numpy()
            if not drawn[:, :, 3].any():
                hidden.update(_address(one.raw) for one in group)
            for one in group:
                raw.FPDFPageObj_SetIsActive(one.raw, False)
        for one in every:
            raw.FPDFPageObj_SetIsActive(one.raw, True)
        return hidden


def _names_layers(data: bytes | mmap.mmap) -> bool:
    if re.search(rb"/OCProperties", data):
        return True
    for match in re.finditer(rb"/ObjStm\b", data):
        start = re.compile(rb"stream\r?\n").search(data, match.end())
        with suppress(zlib.error):
            if start and b"/OCProperties" in zlib.decompressobj().decompress(data[start.end() :][: 1 << 20], 1 << 24):
                return True
    return False


def _marks(raw: Any, one: Any) -> Iterator[str]:
    """The layers that an object of a page is marked for, by a name each."""
    for i in range(raw.FPDFPageObj_CountMarks(one)):
        mark = raw.FPDFPageObj_GetMark(one, i)
        if _wide(raw.FPDFPageObjMark_GetName, mark, out=True) == "OC":
            yield _wide(raw.FPDFPageObjMark_GetParamStringValue, mark, b"Name", out=True) or str(_address(mark))


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _wide(function: Any, *args: Any, out: bool = False) -> str:
    """A string that PDFium writes as UTF-16 into a buffer; `out`: it says its length in an argument."""
    size = ctypes.c_ulong()
    more = (ctypes.byref(size),) if out else ()
    length = function(*args, None, 0, *more)
    length = size.value if out else length
    if length <= 2:
        return ""
    room = ctypes.create_string_buffer(length)
    kind = function.argtypes[len(args)]
    function(*args, ctypes.cast(room, kind), length, *more)
    return room.raw[:length].decode("utf-16-le", "ignore").rstrip("\0")


def _narrow(function: Any, document: Any, number: int) -> bytes:
    """Bytes that PDFium writes into a buffer."""
    if function.__name__.endswith("Content"):
        size = ctypes.c_ulong()
        function(document, number, None, 0, size)
        room = ctypes.create_string_buffer(max(1, size.value))
        function(document, number, room, size.value, size)
        return room.raw[: size.value]
    length = function(document, number, None, 0)
    room = ctypes.create_string_buffer(max(1, length))
    function(document, number, room, length)
    return room.raw[:length]


def _placer(raw: Any, sheet: Any) -> Callable[[float, float], tuple[float, float]]:
    """From a point of the PDF to a point of the page as it is shown."""
    width, height = sheet.get_size()
    side = 1_000_000  # PDFium converts to whole pixels of a page this large
    far = 1000  # points between those from which the rest is reckoned

    def ask(px: float, py: float) -> tuple[float, float]:
        x, y = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(sheet, 0, 0, side, side, 0, px, py, x, y)
        return x.value / side * width, y.value / side * height

    (x0, y0), (x1, y1), (x2, y2) = ask(0, 0), ask(far, 0), ask(0, far)
    a, b, c, d = ((v - w) / far for v, w in ((x1, x0), (y1, y0), (x2, x0), (y2, y0)))

    def place(px: float, py: float) -> tuple[float, float]:
        return x0 + a * px + c * py, y0 + b * px + d * py

    return place


def _around(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])


def _turned(radians: float, rotation: int) -> int:
    degrees = round(math.degrees(radians)) + rotation
    nearest = round(degrees / 90) * 90
    return nearest % 360 if abs(degrees - nearest) < 3 else -1


def _outside(box: Box, width: float, height: float) -> bool:
    return not (0 <= (box[0] + box[2]) / 2 <= width and 0 <= (box[1] + box[3]) / 2 <= height)


def _elsewhere(line: Line, letter: Letter, angle: int) -> bool:
    """Whether a letter does not stand on a line, although PDFium goes on: it does so in turned text."""
    last = next((one for one in reversed(line.letters) if not one.text.isspace()), None)
    if last is None or angle < 0:
        return False
    if angle != line.angle:
        return True
    start, end = across(last, angle)
    its_start, its_end = across(letter, angle)
    return abs(start + end - its_start - its_end) / 2 > 0.7 * max(end - start, its_end - its_start)


def _from_the_top(lines: Sequence[Line]) -> list[Line]:
    """Lines that are read downwards, the first of them on the right: PDFium takes them from the left."""
    found: list[Line] = []
    run: list[Line] = []  # each further to the right
    for line in lines:
        if not (line.angle == 90 and run and run[-1].letters[0].x0 < line.letters[0].x0):
            found += reversed(run)
            run = []
        if line.angle == 90:
            run.append(line)
        else:
            found.append(line)
    return [*found, *reversed(run)]


def _from_the_right(line: Line) -> Line:
    """The line with words in order that are written from the right, of which PDFium gives the letters, or
    words and letters, as they stand from the left."""
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
        if _RIGHT_TO_LEFT.search("".join(one.text for one in word)) and _rises([one.x0 for one in word]):
            word.reverse()
    starts = [word[0].x0 for word in words if word and not word[0].text.isspace()]
    if len(starts) > 1 and _rises(starts):
        words.reverse()
    return line._replace(letters=[letter for word in words for letter in word])


def _rises(values: Sequence[float]) -> bool:
    return sum(a < b for a, b in pairwise(values)) * 2 > len(values) - 1
