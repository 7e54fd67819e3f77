"""Readers of MMEB-V3's text and tool tasks: queries, a corpus of texts, graded judgements.

Built around the fields under which the collections keep the same thing; ids are texts, for a corpus may have 5 where
its labels have "5". The order of the alternatives is the original's (TIGER-AI-Lab/VLM2Vec, `complex_text_retrieve.py`
and `toolde_dataset.py`). It knows nothing of models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.mmeb.tables import repository, rows_of
from data.mmeb.task import Task
from data.mmeb.task_data import DataMissing, TaskData, TaskItem

_QUERY_IDS = ("_id", "id", "qid", "query_id", "query-id")
_QUERY_TEXTS = ("text", "query", "query_content", "short_query")
_CORPUS_IDS = ("_id", "id", "doc_id", "document_id", "corpus-id")
_JUDGED_QUERIES = ("query_id", "query-id", "qid", "q_id", "id")
_JUDGED_TEXTS = ("corpus_id", "corpus-id", "doc_id", "document_id", "p_id")


def texts(task: Task, root: Path) -> TaskData:
    """From a text to texts of a corpus; relevance is in a table of its own, or in the query's row (`gold_ids`)."""
    data = TaskData(tables=[_file(task, root, part) for part in ("queries", "corpus", "qrels") if part in task.columns])
    for row in rows_of(data.tables[1]):
        id, body = _first(row, _CORPUS_IDS), _first(row, ("text", "content")) or ""
        if title := row.get("title"):
            body = f"{title}\n{body}" if body else ""
        if id is not None and body:
            data.candidate(str(id), TaskItem(prompt=body, text=body))
    grades = _grades(rows_of(data.tables[2])) if "qrels" in task.columns else None
    for row in rows_of(data.tables[0]):
        id, text = _first(row, _QUERY_IDS), str(_first(row, _QUERY_TEXTS) or "")
        if instruction := row.get(task.columns.get("instruction", "")):
            text = f"{instruction} {text}".strip()
        if id is not None and text:
            gold = dict.fromkeys(_gold(row), 1.0) if grades is None else grades.get(str(id), {})
            _add(data, str(id), text, gold)
    return data


def tools(task: Task, root: Path) -> TaskData:
    """From a request, after its instruction, to the documentation of tools, JSON as one text."""
    data = TaskData(tables=[_file(task, root, part) for part in ("queries", "corpus")])
    for row in rows_of(data.tables[1]):
        text = row.get("documentation") or ""
        try:
            parsed = json.loads(text) if isinstance(text, str) else text
            text = json.dumps(parsed, ensure_ascii=True) if isinstance(parsed, dict) else str(parsed)
        except ValueError:
            text = str(text)
        if text:
            data.candidate(str(row.get("id", "")), TaskItem(prompt=text, text=text))
    for row in rows_of(data.tables[0]):
        text = str(row.get("query") or "")
        if instruction := row.get("instruction"):
            text = f"{instruction} {text}".strip()
        if text:
            _add(data, str(row.get("id", "")), text, dict.fromkeys(_labels(row), 1.0))
    return data


def _file(task: Task, root: Path, part: str) -> Path:
    """Returns the file of a part. Raises `DataMissing`."""
    name = task.name.partition("-")[2]
    path = repository(root, task.source.repo) / str(task.columns[part]).replace("{name}", name)
    if not path.is_file():
        raise DataMissing(f"{path} is not there", task.repositories)
    return path


def _add(data: TaskData, id: str, text: str, grades: dict[str, float]) -> None:
    columns = {key: data.column(key) for key in grades}
    relevant = {column: grades[key] for key, column in columns.items() if column is not None}
    data.query(id, TaskItem(text, text, role="query"), relevant, missing=len(grades) - len(relevant))


def _first(row: dict[str, Any], names: Sequence[str]) -> Any:
    """Returns the first value that is not empty, as the original does it; None if there is none."""
    return next((row[name] for name in names if row.get(name)), None)


def _grades(rows: Iterator[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns query -> text -> grade of the relevant texts; the last judgement of a pair counts."""
    out: dict[str, dict[str, float]] = {}
    for row in rows:
        query, text = _first(row, _JUDGED_QUERIES), _first(row, _JUDGED_TEXTS)
        if query is None or text is None:
            continue
        try:
            grade = float(row.get("label", row.get("score", 1)))
        except (TypeError, ValueError):
            grade = 1.0
        if grade > 0:
            out.setdefault(str(query), {})[str(text)] = grade
    return out


def _gold(row: dict[str, Any]) -> list[str]:
    ids = row.get("gold_ids") or row.get("gold_ids_long") or []
    try:
        ids = json.loads(ids) if isinstance(ids, str) else ids
    except ValueError:
        ids = []
    return [str(id) for id in ids if id is not None]


def _labels(row: dict[str, Any]) -> list[str]:
    """Returns the ids of `label` or `labels`: a list, or the text of one, of ids or of objects with an `id`. A text
    that is no JSON is an id."""
    value = row["label"] if row.get("label") is not None else row.get("labels")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    members = value if isinstance(value, list) else [value]
    ids = [m.get("id") if isinstance(m, dict) else m for m in members]
    return [str(id) for id in ids if isinstance(id, str | int) and not isinstance(id, bool)]
