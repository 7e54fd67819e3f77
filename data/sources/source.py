"""A training source, and the registry of the types in a config's `datasets:`.

Built around `Source`: a length, a pair by number, and the sizes of the groups that are cheap to read together.
`VisDocDataset` is the base of your own class: `rows` names the pages that answer each query, the base reads them.
It knows nothing of weights, batches or models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data.sources.pair import Media, Pair, Side, SourceError
from data.sources.rows import RowTable
from data.span import Span


class Source(ABC):
    """Pairs by number, read from disk on access. A source must be picklable (loader processes)."""

    name: str = ""
    licence: str = ""
    advice: str = ""
    """What would make it faster, for the start of a run's log."""
    order: str = ""
    """A digest of the order of the rows, where it was computed (mined); a resumed run must find the same."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> Pair:
        """Returns the pair of a row; media stay on disk. Raises `SourceError` if the row is no pair, `MissingMedia`
        to skip the row."""

    @property
    def groups(self) -> np.ndarray:
        """int64: sizes of the groups of rows that are cheap to read together, in order. Default: single rows."""
        return np.ones(len(self), np.int64)

    @property
    def open_groups(self) -> int:
        """The number of groups that can be read alternately at no extra cost."""
        return max(1, len(self))


class StoredRows(Source):
    """A source with its rows in files; a subclass defines `__getitem__`."""

    _rows: RowTable

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def groups(self) -> np.ndarray:
        return self._rows.groups

    @property
    def open_groups(self) -> int:
        return self._rows.open_groups


class VisDocDataset(Source):
    """Questions about pages of PDFs (or page images): the base class of your own collection.

    Write a subclass, register it, and name it in the config:

        @register("board-minutes")
        class BoardMinutes(VisDocDataset):
            def rows(self):
                for line in (self.root / "questions.csv").open():
                    question, pdf, page = line.rstrip().split(";")
                    yield {"query": question, "pdf": pdf, "page": int(page)}

        # config:  imports: [my_sources]     datasets: [{type: board-minutes, root: /data/minutes, weight: 2}]

    `rows` yields dictionaries with `query` and either `pdf` + `page` (from 1) or `image`; optionally
    `negatives`, a list of {"pdf", "page"} or {"image"}. Paths are relative to `root`. Pages are rendered
    on access, at 300 dpi and no more than the model's pixel limit.
    """

    query_instruction: str | None = None
    """None: the model's own prompt for a query that looks for a page."""
    page_instruction: str | None = None

    def __init__(self, root: str | Path, name: str = "", **options: Any) -> None:
        self.root = Path(root).expanduser()
        self.name = name or type(self).__name__
        self.options = options

    def rows(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define rows()")

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return list(self.rows())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        fields = self._rows[row]
        if not fields.get("query"):
            raise SourceError(f"{self.name}, row {row}: a row needs a `query`")
        return Pair(
            query=Side(str(fields["query"]), instruction=self.query_instruction, role="query", looks_for="pdf"),
            positive=self._page(fields, row),
            negatives=tuple(self._page(negative, row) for negative in fields.get("negatives") or ()),
            source=self.name,
            row=row,
        )

    def _page(self, fields: Mapping[str, Any], row: int) -> Side:
        if fields.get("pdf"):
            media = Media("page", str(self.root / str(fields["pdf"])), span=Span(page=int(fields.get("page") or 1)))
        elif fields.get("image"):
            media = Media("image", str(self.root / str(fields["image"])))
        else:
            raise SourceError(f"{self.name}, row {row}: a page is a `pdf` with its `page`, or an `image`")
        return Side(media=media, instruction=self.page_instruction, looks_for="pdf")


Factory = Callable[..., Source]
SOURCE_TYPES: dict[str, Factory] = {}
F = TypeVar("F", bound=Factory)


def register(name: str) -> Callable[[F], F]:
    """Register a class or function as `type: name` of `datasets:`. It receives the entry's other keys."""

    def add(factory: F) -> F:
        SOURCE_TYPES[name] = factory
        return factory

    return add
