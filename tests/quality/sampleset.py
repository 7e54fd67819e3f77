"""The sample set as documents and questions, whatever system answers them.

Built around `sample_set.json` (what is asked, which items are right) and a folder that
`samples.py` filled. Documents are read by `data.reader`, as the indexer reads them. Every
question belongs to a row of the quality table; `Question.half` splits each row into a tune
and a test half, so that a recipe is never chosen on the questions that judge it. Knows
nothing of models: `ranking.py` measures.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from data import reader
from data.media import image as images
from data.media import pdf
from data.span import Span
from model.inputs import Input
from tests.quality.samples import SET

PAGES_BESIDE = 34  # pages that answer nothing, beside those that do: about 68 in all, as measured before


@dataclass(frozen=True)
class Document:
    """A chunk of the sample set: `item` is what labels name ("sk_coffee", "faq_13", "bikes")."""

    item: str
    kind: Literal["image", "video", "pdf"]
    family: Literal["photo", "stamp", "video", "page"]
    path: Path
    spec: reader.ChunkSpec

    def read(self) -> Input:
        return reader.to_input(reader.decode(self.path, self.kind, [self.spec])[0], self.kind)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked and which items are right.

    `not_counted` names items that are the question itself.
    """

    row: str
    asked: Input
    right: frozenset[str]
    not_counted: frozenset[str] = frozenset()

    @property
    def half(self) -> Literal["tune", "test"]:
        key = f"{self.row}{self.asked.text or sorted(self.right)}".encode()
        return "tune" if hashlib.sha256(key).digest()[0] % 2 else "test"


ROWS: dict[str, str] = {
    "text→photo": "photo",
    "text→stamp": "stamp",
    "text→video": "video",
    "text→page": "page",
    "image→same image": "photo",
    "image→near-duplicate": "photo",
    "frame→video": "video",
    "page image→page": "page",
}
"""Row -> the family that is searched when it is searched alone."""


class SampleSet:
    """Documents and questions of a folder that `make samples` filled."""

    def __init__(self, folder: Path, every_page: bool = False) -> None:
        self.folder = folder
        self._every_page = every_page
        self.labels = json.loads(SET.read_text("utf-8"))
        self.names: dict[str, str] = json.loads((folder / "names.json").read_text("utf-8"))
        self.documents = [*self._pictures(), *self._clips(), *self._pages()]
        self._by_item = {document.item: document for document in self.documents}

    def _pictures(self) -> list[Document]:
        whole = reader.ChunkSpec(0)
        photos = [Document(p.stem, "image", "photo", p, whole) for p in _files(self.folder / "images")]
        stamps = [Document(p.stem, "image", "stamp", p, whole) for p in _files(self.folder / "stamps")]
        return photos + stamps

    def _clips(self) -> list[Document]:
        return [
            Document(path.stem, "video", "video", path, spec)
            for path in _files(self.folder / "videos")
            for spec in reader.outline(path, "video").chunks
        ]

    def _pages(self) -> list[Document]:
        """Those that answer a question, and others evenly spread over the documents."""
        right = {item for items in self.labels["text_to_page"].values() for item in items}
        pages = [
            Document(f"{path.stem}_{number}", "pdf", "page", path, reader.ChunkSpec(number - 1, Span(page=number)))
            for path in _files(self.folder / "pdfs")
            for number in range(1, pdf.page_count(path) + 1)
        ]
        if self._every_page:
            return pages
        others = [page for page in pages if page.item not in right]
        step = max(1, len(others) // PAGES_BESIDE)
        kept = {page.item for page in others[::step][:PAGES_BESIDE]} | right
        return [page for page in pages if page.item in kept]

    def questions(self) -> list[Question]:
        """All questions whose right items are in the folder."""
        here = set(self._by_item)
        asked = [*self._words(), *self._pictures_that_ask(), *self._frames(), *self._degraded_pages()]
        return [question for question in asked if question.right & here]

    def _words(self) -> list[Question]:
        asked = [
            Question(row, Input(text=text, role="query"), frozenset(items))
            for row, key in (
                ("text→photo", "text_to_image"),
                ("text→video", "text_to_video"),
                ("text→page", "text_to_page"),
            )
            for text, items in self.labels[key].items()
        ]
        stamps = self.folder / "stamps.json"
        if stamps.exists():
            named: dict[str, set[str]] = {}
            for item, text in json.loads(stamps.read_text("utf-8")).items():
                named.setdefault(text, set()).add(item)
            asked += [
                Question("text→stamp", Input(text=text, role="query"), frozenset(items))
                for text, items in named.items()
            ]
        return asked

    def _pictures_that_ask(self) -> list[Question]:
        asked = []
        for document in self.documents:
            if document.family == "photo":
                picture = _crop_and_flip(images.read_image(document.path, 1280))
                asked.append(Question("image→same image", _shown(picture), frozenset([document.item])))
        for pair in self.labels["image_to_near_duplicate"]:
            for item, other in (pair, pair[::-1]):
                if item in self._by_item:
                    picture = images.read_image(self._by_item[item].path, 1280)
                    asked.append(
                        Question("image→near-duplicate", _shown(picture), frozenset([other]), frozenset([item]))
                    )
        return asked

    def _frames(self) -> list[Question]:
        """Four frames of every window, none of them among the eight that a model sees of it."""
        asked = []
        for document in self.documents:
            if document.kind == "video":
                # Sixteen midpoints and eight midpoints of a window have no moment in common.
                between = reader.decode(document.path, "video", [document.spec], max_frames=16)[0].frames
                asked += [Question("frame→video", _shown(frame), frozenset([document.item])) for frame in between[1::4]]
        return asked

    def _degraded_pages(self) -> list[Question]:
        """A page as somebody photographs it: smaller, its edge cut, darker, through a poor JPEG; no words."""
        asked = []
        for document in self.documents:
            if document.kind == "pdf":
                assert document.spec.span.page is not None
                picture = _degrade(pdf.page_image(document.path, document.spec.span.page, 640))
                shown = Input(images=(picture,), kind="pdf", role="query")
                asked.append(Question("page image→page", shown, frozenset([document.item])))
        return asked

    def file_name(self, document: Document) -> str:
        """The file's own name, as its folder would show it."""
        if document.kind == "pdf":
            return f"{document.path.stem}.pdf"
        return self.names.get(document.item, document.path.name)


def _files(folder: Path) -> Sequence[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _shown(picture: np.ndarray) -> Input:
    return Input(images=(picture,), kind="image", role="query")


def _crop_and_flip(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return np.ascontiguousarray(
        picture[height // 10 : height - height // 10, width // 10 : width - width // 10][:, ::-1]
    )


def _degrade(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    image = Image.fromarray(picture[height // 40 :, : width - width // 40])
    image = image.point(lambda level: int(level * 0.85))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return np.asarray(Image.open(stream).convert("RGB"))
