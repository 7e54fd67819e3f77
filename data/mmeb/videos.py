"""Readers of the 18 video tasks: classification, questions, retrieval, moments.

Built around a clip as a folder of saved frames (data/mmeb/frames.py). The task declares what differs between
datasets: column names, the format of options and of answers. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data.mmeb.frames import natural, saved_clip
from data.mmeb.tables import media_folder, need, rows_of, table_files
from data.mmeb.task import Task, Wording
from data.mmeb.task_data import ImageFile, TaskData, TaskItem, TaskVisual


def video_classification(task: Task, root: Path) -> TaskData:
    """From a clip to its label, among all labels or among the row's own list."""
    data, media = _open(task, root)
    for label in task.labels:
        data.candidate(label, TaskItem(prompt=label, text=label))
    for number, row in enumerate(_rows(task, root)):
        label = str(need(row, task.columns["label"], task.name))
        columns = None
        if task.scope == "local":
            names = [str(name) for name in need(row, task.columns["candidates"], task.name)]
            if label not in names:
                names.insert(0, label)
            columns = [data.candidate(name, TaskItem(prompt=name, text=name)) for name in names]
        column = data.candidate(label, TaskItem(prompt=label, text=label))
        clip = saved_clip(media / str(need(row, task.columns["video"], task.name)), task.frames)
        data.query(str(number), _query_item(task.query, "", clip), {column: 1.0}, columns)
    return data


def video_question_answering(task: Task, root: Path) -> TaskData:
    """From a clip and a question to one of the row's options. A row without its answer among them is a miss."""
    data, media = _open(task, root)
    misses = []
    for number, row in enumerate(_rows(task, root)):
        question = str(need(row, task.columns["question"], task.name))
        options = _options(task, row)
        rule = task.options
        lettered = [
            rule["lettered"].replace("{letter}", chr(ord("A") + i)).replace("{option}", option)
            if "lettered" in rule
            else option
            for i, option in enumerate(options)
        ]
        option_text = rule.get("shown") or rule["before"] + rule["between"].join(lettered)
        if "lettered" in rule:
            option_text = option_text.rstrip()
        columns = []
        for i, option in enumerate(options):
            name, text = option, option
            if rule["candidate"] == "lettered":
                name = text = lettered[i]
            elif rule["candidate"] == "letter_cut" or (rule["candidate"] == "letter_cut_or_whole" and ". " in option):
                # The text after the first ". "; without one the last character, as in the original, or, with
                # "letter_cut_or_whole", the whole option.
                text = option[option.find(". ") :].strip(". ")
            columns.append(data.candidate(name, TaskItem(prompt=text, text=text)))
        answer = _answer(task, row, options)
        if answer is None:
            misses.append(f"{row[task.columns['answer']]!r} in row {number + 1}")
        video = str(need(row, task.columns["video"], task.name))
        folder = (task.frame_folder or "{video}").replace("{video}", video).replace("{subset}", row.get("subset", ""))
        query = _query_item(task.query, question, saved_clip(media / folder, task.frames), option_text)
        relevant = {} if answer is None else {columns[answer]: 1.0}
        data.query(str(number), query, relevant, columns, missing=answer is None)
    if misses:
        data.notes.append(
            f"{len(misses)} answers are none of their row's options and count as missed, first: {misses[0]}"
        )
    return data


def video_retrieval(task: Task, root: Path) -> TaskData:
    """From a caption to its clip, among all clips of the split."""
    data, media = _open(task, root)
    for number, row in enumerate(_rows(task, root)):
        key = str(need(row, task.columns["key"], task.name))
        if task.key_is_path:
            key = PurePosixPath(key).stem
        caption = need(row, task.columns["text"], task.name)
        if not isinstance(caption, str):
            caption = str(caption[0]) if len(caption) else ""
        target = TaskItem(
            prompt=task.target.fill(),
            instruction=task.target.instruction,
            visual=saved_clip(media / key, task.target_frames),
            kind="video",
        )
        column = data.candidate(key, target)
        query = TaskItem(task.query.fill(caption), caption, task.query.instruction, role="query", kind="video")
        data.query(str(number), query, {column: 1.0})
    return data


def moment_folders(task: Task, root: Path) -> TaskData:
    """From a clip and a description to a window of the clip: folders `positive*` and others beside `query`."""
    data, media = _open(task, root)
    misses = []
    for number, row in enumerate(_rows(task, root)):
        text = str(need(row, task.columns["text"], task.name))
        name = PurePosixPath(str(need(row, task.columns["video"], task.name))).stem
        folder = media / name
        clips = []
        if folder.is_dir():
            clips = sorted((p.name for p in folder.iterdir() if p.is_dir() and p.name != "query"), key=natural)
        columns, relevant = [], {}
        for clip in clips:
            target = _target_clip(task, saved_clip(folder / clip, task.target_frames))
            column = data.candidate(f"{name}/{clip}", target)
            columns.append(column)
            if clip.startswith("positive"):
                relevant[column] = 1.0
        if not relevant:
            misses.append(name)
        query = _query_item(task.query, text, saved_clip(folder / "query", task.frames))
        data.query(str(number), query, relevant, columns, missing=0 if relevant else 1)
    if misses:
        data.notes.append(f"{len(misses)} videos have no positive clip and count as missed, first: {misses[0]}")
    return data


def moment_rows(task: Task, root: Path) -> TaskData:
    """From words, alone or with an image or a clip, to clips that the row lists (MomentSeeker)."""
    data, media = _open(task, root)
    assert task.image_query is not None and task.video_query is not None
    for number, row in enumerate(_rows(task, root)):
        text, query_media = str(need(row, "query", task.name)), str(row.get("input_frames") or "")
        if query_media.endswith(".mp4"):
            query = _query_item(
                task.video_query, text, saved_clip(media / "video_frames" / _clip_name(query_media), task.frames)
            )
        elif query_media.endswith(".jpg"):
            query = _query_item(
                task.image_query, text, TaskVisual("image", (ImageFile(media / f"query_{query_media}"),))
            )
        else:
            query = TaskItem(task.query.fill(text), text, task.query.instruction, role="query", kind="video")
        columns, relevant = [], {}
        for side in ("positive_frames", "negative_frames"):
            for entry in need(row, side, task.name):
                name = _clip_name(entry["output_path"])
                target = _target_clip(task, saved_clip(media / "video_frames" / name, task.target_frames))
                column = data.candidate(name, target)
                columns.append(column)
                if side == "positive_frames":
                    relevant[column] = 1.0
        data.query(str(number), query, relevant, columns)
    return data


def _open(task: Task, root: Path) -> tuple[TaskData, Path]:
    assert task.media is not None
    tables = [path for path, _ in _tables(task, root)]
    return TaskData(tables=tables), media_folder(root, task.media)


def _tables(task: Task, root: Path) -> Iterator[tuple[Path, str | None]]:
    for config in task.source.configs or (None,):
        for path in table_files(root, task.source.repo, config, task.source.split):
            yield path, config


def _rows(task: Task, root: Path) -> Iterator[dict[str, Any]]:
    for path, config in _tables(task, root):
        for row in rows_of(path):
            if len(task.source.configs) > 1:
                row.setdefault("subset", config)
            yield row


def _query_item(wording: Wording, text: str, visual: TaskVisual, options: str = "") -> TaskItem:
    return TaskItem(
        prompt=wording.fill(text, options),
        text=(text + options),
        instruction=wording.instruction,
        visual=visual,
        role="query",
        kind="video" if visual.kind == "video" else "image",
    )


def _target_clip(task: Task, visual: TaskVisual) -> TaskItem:
    return TaskItem(task.target.fill(), "", task.target.instruction, visual, kind="video")


def _clip_name(path: str) -> str:
    return path.replace("/", "_").split(".mp4")[0]


def _options(task: Task, row: dict[str, Any]) -> list[str]:
    if "fixed" in task.options:
        return list(task.options["fixed"])
    columns = task.columns["options"]
    if isinstance(columns, str):
        return [str(option) for option in need(row, columns, task.name)]
    return [str(need(row, column, task.name)) for column in columns]


def _answer(task: Task, row: dict[str, Any], options: list[str]) -> int | None:
    """Returns the index of the answer, of equal options the last, as in the original; None if no option matches."""
    answer = need(row, task.columns["answer"], task.name)
    try:
        if task.answer_is == "index":
            index = int(answer)
        elif task.answer_is == "letter":
            index = [*"ABCDEFGH"].index(answer)
        else:
            index = len(options) - 1 - options[::-1].index(str(answer))
    except (ValueError, TypeError):
        return None
    return index if 0 <= index < len(options) else None
