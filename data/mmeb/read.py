"""From a task to its data: the one door to the readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from data.mmeb import documents, images, videos
from data.mmeb.records import DataBroken, TaskData
from data.mmeb.task import Task

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
}


def read_task(task: Task, root: Path) -> TaskData:
    """The queries and candidates of a task out of `root`, laid out as `python -m data.download` does.

    Pictures are not opened. Raises `DataMissing` (what to fetch) or `DataBroken` (which file).
    """
    data = READERS[task.reader](task, root)
    if not data.queries:
        raise DataBroken(f"{task.name}: its tables hold no rows ({', '.join(str(p) for p in data.tables)})")
    return data
