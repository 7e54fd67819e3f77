"""What a training source is, and the registry that a config's `datasets:` names them by.

Built around `Source`: a length, a pair by number, and the sizes of the groups that are cheap to read
together. `VisDocDataset` is the base to write a class of one's own on: say which pages answer which
queries, the rest (rendering, skipping, shuffling) is done here. `registry.py` finds them by name.
It knows nothing of weights, batches or models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data.sources.pair import Media, Pair, Side, SourceError
from data.sources.rows import RowSequence
from data.span import Span


class Source(ABC):
    """Pairs by number, read from disk when they are asked for. Must survive pickling (loader processes)."""

    name: str = ""
    licence: str = ""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> Pair:
        """The pair of a row, media still on disk. `SourceError` for a row that makes no pair, `MissingMedia`
        for one that is skipped, counted and named."""

    @property
    def groups(self) -> np.ndarray:
        """int64: runs of rows that are cheap to read together, in order. Default: every row alone."""
        return np.ones(len(self), np.int64)

    @property
    def open_groups(self) -> int:
        """How many groups may be read alternately at no extra cost."""
        return max(1, len(self))


class StoredRows(Source):
    """A source whose rows lie in files: the base of those that only say what a row means."""

    _rows: RowSequence

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def groups(self) -> np.ndarray:
        return self._rows.groups

    @property
    def open_groups(self) -> int:
        return self._rows.open_groups


class VisDocDataset(Source):
    """Questions about pages of PDFs (or page images): the base for a collection of one's own.

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
    when they are needed, at 300 dpi and no more than the model's pixel limit.
    """

    query_instruction: str | None = None
    """None: the model's own wording for a query that looks for a page."""
    page_instruction: str | None = None

    def __init__(self, root: str | Path, name: str = "", **options: Any) -> None:
        self.root = Path(root).expanduser()
        self.name = name or type(self).__name__
        self.options = options
        self._rows: list[dict[str, Any]] | None = None

    def rows(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define rows()")

    def _all(self) -> list[dict[str, Any]]:
        if self._rows is None:
            self._rows = list(self.rows())
        return self._rows

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, row: int) -> Pair:
        fields = self._all()[row]
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
REGISTERED: dict[str, Factory] = {}
F = TypeVar("F", bound=Factory)


def register(name: str) -> Callable[[F], F]:
    """Make a class or function known as `type: name` in `datasets:`. It gets the entry's other keys."""

    def keep(factory: F) -> F:
        REGISTERED[name] = factory
        return factory

    return keep
