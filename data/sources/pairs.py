"""`type: pairs`: your own collection as JSONL or Parquet, without code.

Built around one row format. `query` and `positive` are each a text or an object; `negatives` is a list of
such sides:

    {"query": "the blue bicycle", "positive": {"image": "photos/17.jpg"}}
    {"query": {"image": "a.jpg", "text": "the same in red"}, "positive": {"image": "b.jpg"},
     "negatives": [{"image": "c.jpg"}]}
    {"query": "notice period", "positive": {"pdf": "contract.pdf", "page": 4}}
    {"query": "she opens the door", "positive": {"video": "film.mp4", "start_s": 30, "end_s": 60}}

`scores`, a reranker's numbers for the positive and then each of the negatives, teach their order (`rerank_weight`).
A row for distillation may have only a `positive`. `sightline export --pairs` writes such a file of a library. A flat
table is also accepted: `query`, `query_image`, `positive_pdf`, `positive_page`, … Paths are relative to `media_root`,
by default the folder of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.sources.pair import Media, MediaKind, Pair, Side, SourceError
from data.sources.rows import open_rows
from data.sources.source import StoredRows, register
from data.span import Span
from model.inputs import InputKind, Role

MEDIA_KEYS: dict[str, MediaKind] = {"image": "image", "video": "video", "pdf": "page", "frames": "frames"}
SIDE_KEYS = {*MEDIA_KEYS, "text", "page", "start_s", "end_s", "instruction"}
_KIND_OF: dict[MediaKind, InputKind] = {"image": "image", "video": "video", "frames": "video", "page": "pdf"}


@register("pairs")
class Pairs(StoredRows):
    """The rows of `path`, a .jsonl or .parquet file or a folder of such files, as pairs."""

    def __init__(
        self, path: str | Path, media_root: str | Path | None = None, name: str = "", limit: int | None = None
    ) -> None:
        self._path = Path(path).expanduser()
        folder, files = self._path.parent, [self._path]
        if self._path.is_dir():
            folder = self._path
            files = sorted(f for f in folder.iterdir() if f.suffix in (".jsonl", ".parquet"))
        self.name = name or self._path.stem
        self._media_root = Path(media_root).expanduser() if media_root else folder
        self._rows = open_rows(files, limit=limit)

    def __getitem__(self, row: int) -> Pair:
        fields = self._rows[row]
        positive = self._side(fields, "positive", "document", row)
        has_query = any(key.startswith("query") for key in fields)
        looks_for = _KIND_OF[positive.media.kind] if positive.media else "text"
        return Pair(
            query=self._side(fields, "query", "query", row, looks_for) if has_query else positive,
            positive=positive,
            negatives=tuple(
                self._side({"negative": negative}, "negative", "document", row)
                for negative in fields.get("negatives") or ()
            ),
            source=self.name,
            row=row,
            scores=self._scores(fields, row),
        )

    def _scores(self, fields: Mapping[str, Any], row: int) -> tuple[float, ...]:
        try:
            scores = tuple(float(score) for score in fields.get("scores") or ())
        except (TypeError, ValueError) as error:
            raise SourceError(f"{self._path}, row {row + 1}: scores are a list of numbers ({error})") from error
        if scores and len(scores) != 1 + len(fields.get("negatives") or ()):
            raise SourceError(f"{self._path}, row {row + 1}: scores are one for the positive and one for each negative")
        return scores

    def _side(self, fields: Mapping[str, Any], name: str, role: Role, row: int, looks_for: InputKind = "text") -> Side:
        value = fields.get(name)
        side: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"text": value}
        side |= {k[len(name) + 1 :]: v for k, v in fields.items() if k.startswith(name + "_")}
        side = {key: value for key, value in side.items() if value is not None}
        if unknown := sorted(set(side) - SIDE_KEYS):
            keys = ", ".join(sorted(SIDE_KEYS))
            raise SourceError(f"{self._path}, row {row + 1}: {name} has {', '.join(unknown)}; known are {keys}")
        kinds = [key for key in MEDIA_KEYS if key in side]
        if len(kinds) > 1 or not (kinds or side.get("text")):
            raise SourceError(f"{self._path}, row {row + 1}: {name} needs a text, or one of {', '.join(MEDIA_KEYS)}")
        media = None
        if kinds:
            page = int(side.get("page", 1)) if kinds[0] == "pdf" else None
            span = Span(side.get("start_s"), side.get("end_s"), page)
            media = Media(MEDIA_KEYS[kinds[0]], str(self._media_root / str(side[kinds[0]])), span=span)
        return Side(str(side.get("text", "")), media, False, side.get("instruction"), role, looks_for)
