"""`type: pairs`: a collection of one's own as JSONL or Parquet, no class to write.

Built around one row shape. `query` and `positive` are each a text or an object; `negatives` is a list of
such sides:

    {"query": "the blue bicycle", "positive": {"image": "photos/17.jpg"}}
    {"query": {"image": "a.jpg", "text": "the same in red"}, "positive": {"image": "b.jpg"},
     "negatives": [{"image": "c.jpg"}]}
    {"query": "notice period", "positive": {"pdf": "contract.pdf", "page": 4}}
    {"query": "she opens the door", "positive": {"video": "film.mp4", "start_s": 30, "end_s": 60}}

A row without a `query` is its positive alone, as distillation wants it. `sightline export --pairs` writes
such a file of a library. A flat table does as well: `query`, `query_image`, `positive_pdf`, `positive_page`,
… Paths are relative to `media_root`, by default the folder of the file.
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
    """Rows of `path` (a .jsonl or .parquet file, or a folder of one of them) as pairs."""

    def __init__(
        self, path: str | Path, media_root: str | Path | None = None, name: str = "", limit: int | None = None
    ) -> None:
        place = Path(path).expanduser()
        files = sorted(f for f in place.iterdir() if f.suffix in (".jsonl", ".parquet")) if place.is_dir() else [place]
        self.name = name or place.stem
        self._where = place
        self._media_root = Path(media_root).expanduser() if media_root else (place if place.is_dir() else place.parent)
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
        )

    def _side(self, fields: Mapping[str, Any], which: str, role: Role, row: int, looks_for: InputKind = "text") -> Side:
        value = fields.get(which)
        given: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"text": value}
        given |= {k[len(which) + 1 :]: v for k, v in fields.items() if k.startswith(which + "_")}
        given = {key: value for key, value in given.items() if value is not None}
        if unknown := sorted(set(given) - SIDE_KEYS):
            raise SourceError(
                f"{self._where}, row {row + 1}: {which} has {', '.join(unknown)}; "
                f"known are {', '.join(sorted(SIDE_KEYS))}"
            )
        kinds = [key for key in MEDIA_KEYS if key in given]
        if len(kinds) > 1 or not (kinds or given.get("text")):
            raise SourceError(f"{self._where}, row {row + 1}: {which} needs a text, or one of {', '.join(MEDIA_KEYS)}")
        media = None
        if kinds:
            media = Media(
                MEDIA_KEYS[kinds[0]],
                str(self._media_root / str(given[kinds[0]])),
                span=Span(
                    given.get("start_s"), given.get("end_s"), int(given.get("page", 1)) if kinds[0] == "pdf" else None
                ),
            )
        return Side(str(given.get("text", "")), media, False, given.get("instruction"), role, looks_for)
