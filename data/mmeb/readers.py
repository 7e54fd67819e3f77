"""From a task to its data: selects the reader of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from data.mmeb import documents, images, texts, videos
from data.mmeb.task import Task
from data.mmeb.task_data import DataBroken, DataMissing, TaskData

READERS: Mapping[str, Callable[[Task, Path], TaskData]] = {
    "image_to_text": images.image_to_text,
    "text_to_image": images.text_to_image,
    "image_to_image": images.image_to_image,
    "video_classification": videos.video_classification,
    "video_question_answering": videos.video_question_answering,
    "video_retrieval": videos.video_retrieval,
    "moment_folders": videos.moment_folders,
    "moment_rows": videos.moment_rows,
    "documents": documents.documents,
    "texts": texts.texts,
    "tools": texts.tools,
}


def read_task(task: Task, root: Path) -> TaskData:
    """Returns the queries and candidates of a task; `root` has the layout of `python -m data.download`.

    It opens no image. Raises `DataMissing` (what to fetch) or `DataBroken` (which file).
    """
    try:
        data = READERS[task.reader](task, root)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataBroken(f"{task.name}: a row of {task.source.repo} is not as declared ({reason})") from error
    if not data.queries:
        raise DataBroken(f"{task.name}: its tables hold no rows ({', '.join(str(p) for p in data.tables)})")
    if not data.candidates:
        raise DataMissing(f"{task.name}: it has no candidates", task.repositories)
    if not any(data.relevant):
        raise DataBroken(
            f"{task.name}: not one of its {len(data.queries)} queries has its right answer among the "
            f"candidates; the tables of {task.source.repo} do not fit together"
        )
    return data
