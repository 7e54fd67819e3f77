"""Reader of the 24 visual-document tasks: queries, a corpus of page images, graded judgements (BEIR shape).

Built around the three tables of such a repository. Page images stay inside the Parquet file
until they are embedded. It knows nothing of how anything is embedded.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from data.mmeb.tables import need, rows_of, table_files
from data.mmeb.task import Task
from data.mmeb.task_data import FilePicture, Picture, TablePicture, TaskData, TaskItem, TaskVisual


def documents(task: Task, root: Path) -> TaskData:
    """Every query ranks the whole corpus. Ids keep their type in `raw_keys` (integers or strings)."""
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
                visual=TaskVisual("image", (_picture(path, row, page),)),
                kind="pdf",
            )
            data.candidate(need(page, "corpus-id", path), target)

    grades: dict[Any, dict[Any, float]] = defaultdict(dict)
    for path in files["qrels"]:
        for judged in rows_of(path):
            query, page = need(judged, "query-id", path), need(judged, "corpus-id", path)
            grade = float(need(judged, "score", path))
            if grade > 0:
                grades[query][page] = max(grade, grades[query].get(page, 0.0))
    lost = unjudged = 0
    for path in files["queries"]:
        for asked in rows_of(path):
            id, text = need(asked, "query-id", path), str(need(asked, "query", path))
            query = TaskItem(task.query.fill(text), text, task.query.instruction, role="query", kind="pdf")
            judged_pages = grades.get(id, {})
            columns = {page: data.column(page) for page in judged_pages}
            relevant = {c: judged_pages[page] for page, c in columns.items() if c is not None}
            unfound = len(judged_pages) - len(relevant)
            lost += bool(unfound)
            unjudged += not judged_pages
            data.query(str(id), query, relevant, unfound=unfound)
    if unjudged:
        data.notes.append(f"{unjudged} queries have no relevant page and count as missed")
    if lost:
        data.notes.append(f"{lost} queries have relevant pages that the corpus does not hold")
    return data


def _picture(path: Path, row: int, page: dict[str, Any]) -> Picture:
    if path.suffix == ".parquet":
        return TablePicture(path, "image", row)
    image = need(page, "image", path)
    return FilePicture(path.parent / (image["path"] if isinstance(image, dict) else image))
