"""Reader of the 24 visual-document tasks: queries, a corpus of page images, graded judgements (BEIR format).

Built around the three tables of a repository. Page images stay inside the Parquet file until they are embedded.
It knows nothing of models.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from data.mmeb.tables import need, rows_of, table_files
from data.mmeb.task import Task
from data.mmeb.task_data import EncodedImage, ImageFile, TableImage, TaskData, TaskItem, TaskVisual


def documents(task: Task, root: Path) -> TaskData:
    """Returns queries that rank the whole corpus. Ids keep their type in `raw_keys` (integers or strings)."""
    files = {
        part: table_files(root, task.source.repo, part, task.source.split) for part in ("queries", "corpus", "qrels")
    }
    data = TaskData(tables=[path for part in files.values() for path in part])
    for path in files["corpus"]:
        pages = rows_of(path, ["corpus-id"] if path.suffix == ".parquet" else None)
        for row, page in enumerate(pages):
            target = TaskItem(
                prompt=task.target.fill(),
                instruction=task.target.instruction,
                visual=TaskVisual("image", (_image(path, row, page),)),
                kind="pdf",
            )
            data.candidate(need(page, "corpus-id", path), target)

    grades: dict[Any, dict[Any, float]] = defaultdict(dict)
    for path in files["qrels"]:
        for judgement in rows_of(path):
            query, page = need(judgement, "query-id", path), need(judgement, "corpus-id", path)
            grade = float(need(judgement, "score", path))
            if grade > 0:
                grades[query][page] = max(grade, grades[query].get(page, 0.0))
    n_incomplete = n_without_page = 0
    for path in files["queries"]:
        for row_of_query in rows_of(path):
            id, text = need(row_of_query, "query-id", path), str(need(row_of_query, "query", path))
            query = TaskItem(task.query.fill(text), text, task.query.instruction, role="query", kind="pdf")
            page_grades = grades.get(id, {})
            columns = {page: data.column(page) for page in page_grades}
            relevant = {c: page_grades[page] for page, c in columns.items() if c is not None}
            missing = len(page_grades) - len(relevant)
            n_incomplete += bool(missing)
            n_without_page += not page_grades
            data.query(str(id), query, relevant, missing=missing)
    if n_without_page:
        data.notes.append(f"{n_without_page} queries have no relevant page and count as missed")
    if n_incomplete:
        data.notes.append(f"{n_incomplete} queries have relevant pages that the corpus does not hold")
    return data


def _image(path: Path, row: int, page: dict[str, Any]) -> EncodedImage:
    if path.suffix == ".parquet":
        return TableImage(path, "image", row)
    image = need(page, "image", path)
    return ImageFile(path.parent / (image["path"] if isinstance(image, dict) else image))
