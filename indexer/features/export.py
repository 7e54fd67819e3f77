"""Export for other programs: chunks with their metadata and vectors, and answers as CSV.

Built around one row a chunk, streamed, so that a library of any size can be written. Parquet needs pyarrow;
JSON lines and CSV need nothing. It knows nothing of how the rows are made.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.media.dates import unix
from indexer.errors import LibraryError
from indexer.features.csv_rows import row_of
from indexer.types import FAVOURITES, MARK, UNMARK, Answer

if TYPE_CHECKING:
    from indexer.search.searcher import Searcher

BATCH = 1000

Format = Literal["parquet", "jsonl", "csv"]
COLUMNS = (
    "chunk_id", "path", "kind", "ordinal", "start_s", "end_s", "page", "text", "taken_at", "taken",
    "taken_from", "duration_s", "pages", "width", "height", "favourite", "albums",
)  # fmt: skip

TEXTS = ("path", "kind", "text", "taken", "taken_from")


def export(searcher: Searcher, path: Path, format: Format = "jsonl", vectors: bool = True) -> int:
    """Write every chunk to `path`. Returns their number. Raises LibraryError if pyarrow is missing.

    JSON lines: one object a chunk, `vector` a list of numbers. Parquet: `vector` a list of float32, the model's
    id in the file's metadata. CSV has no vectors.
    """
    rows = _rows(searcher, vectors and format != "csv")
    if format == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            return sum(1 for row in rows if file.write(json.dumps(row, ensure_ascii=False) + "\n"))
    if format == "csv":
        rows = ({**row, "albums": "; ".join(row["albums"])} for row in rows)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            return sum(1 for row in rows if writer.writerow(row_of(row)))
    return _write_parquet(searcher, rows, path, vectors)


def answer_csv(answer: Answer) -> str:
    """An answer as CSV text: one line a hit."""
    out = io.StringIO()
    columns = ("rank", "score", "relevant", "kind", "path", "start_s", "end_s", "page", "title", "snippet")
    writer = csv.DictWriter(out, columns, extrasaction="ignore")
    writer.writeheader()
    for hit in answer.hits:
        row = hit.to_json()
        row["snippet"] = hit.snippet.replace(MARK, "").replace(UNMARK, "")
        writer.writerow(row_of(row))
    return out.getvalue()


def _rows(searcher: Searcher, vectors: bool) -> Iterator[dict[str, Any]]:
    with searcher.catalogue.database.reader() as c:
        for _, ids, batch in searcher.all_vectors():
            facts = searcher.facts(ids.tolist())
            marks = ", ".join("?" * len(ids))
            rows = c.exec_driver_sql(f"SELECT id, text FROM chunk WHERE id IN ({marks})", tuple(ids.tolist()))
            texts = {row[0]: row[1] for row in rows}
            albums = searcher.catalogue.albums.of_contents(list({fact.content for fact in facts.values()}))
            for number, vector in zip(ids.tolist(), batch, strict=True):
                fact = facts.get(number)
                if fact is None:
                    continue
                row: dict[str, Any] = {
                    "chunk_id": number,
                    "path": fact.files[0].path.encode("utf-8", "replace").decode(),
                    "kind": fact.kind,
                    "ordinal": fact.ordinal,
                    "start_s": fact.span.start_s,
                    "end_s": fact.span.end_s,
                    "page": fact.span.page,
                    "text": texts.get(number, ""),
                    "taken_at": unix(fact.newest.taken),
                    "taken": fact.newest.taken,
                    "taken_from": fact.newest.taken_from,
                    "duration_s": fact.duration_s,
                    "pages": fact.pages,
                    "width": fact.width,
                    "height": fact.height,
                    "favourite": FAVOURITES in albums.get(fact.content, ()),
                    "albums": [name for name in albums.get(fact.content, ()) if name != FAVOURITES],
                }
                if vectors:
                    row["vector"] = [round(float(v), 6) for v in vector]
                yield row


def _write_parquet(searcher: Searcher, rows: Iterator[dict[str, Any]], path: Path, vectors: bool) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise LibraryError("Parquet needs pyarrow: pip install pyarrow, or export as jsonl.") from error
    kinds = {"chunk_id": pa.int64(), "ordinal": pa.int32(), "page": pa.int32(), "pages": pa.int32()}
    kinds |= {"width": pa.int32(), "height": pa.int32(), **dict.fromkeys(TEXTS, pa.string())}
    kinds |= {"favourite": pa.bool_(), "albums": pa.list_(pa.string())}
    fields = [(name, kinds.get(name, pa.float64())) for name in COLUMNS]
    if vectors:
        fields.append(("vector", pa.list_(pa.float32(), searcher.embedder.dim)))
    schema = pa.schema(fields, metadata={"model": searcher.embedder.id})
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            count += 1
            if len(batch) == BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, schema))
    return count
