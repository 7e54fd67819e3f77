"""Readers of the 18 video tasks: classification, questions, retrieval, moments.

Built around a clip as a folder of saved frames (data/mmeb/frames.py). What differs between
datasets (column names, how options are written, how the answer is given) is declared with
the task. It knows nothing of how anything is embedded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data.mmeb.frames import natural, saved_clip
from data.mmeb.tables import media_folder, need, rows_of, table_files
from data.mmeb.task import Task, Wording
from data.mmeb.task_data import FilePicture, TaskData, TaskItem, TaskVisual


def video_classification(task: Task, root: Path) -> TaskData:
    """A clip asks for its label, among all labels or among the row's own list."""
    data, media = _start(task, root)
    for label in task.labels:
        data.candidate(label, TaskItem(prompt=label, text=label))
    for number, row in enumerate(_rows(task, root)):
        label = str(need(row, task.columns["label"], task.name))
        offered = None
        if task.scope == "local":
            names = [str(name) for name in need(row, task.columns["candidates"], task.name)]
            if label not in names:
                names.insert(0, label)
            offered = [data.candidate(name, TaskItem(prompt=name, text=name)) for name in names]
        column = data.candidate(label, TaskItem(prompt=label, text=label))
        clip = saved_clip(media / str(need(row, task.columns["video"], task.name)), task.frames)
        data.query(str(number), _asking(task.query, "", clip), {column: 1.0}, offered)
    return data


def video_question_answering(task: Task, root: Path) -> TaskData:
    """A clip and a question ask for one of the row's options. An answer that is none of them is a miss."""
    data, media = _start(task, root)
    lost = []
    for number, row in enumerate(_rows(task, root)):
        question = str(need(row, task.columns["question"], task.name))
        plain = _options(task, row)
        rule = task.options
        lettered = [
            rule["lettered"].replace("{letter}", chr(ord("A") + i)).replace("{option}", option)
            if "lettered" in rule
            else option
            for i, option in enumerate(plain)
        ]
        shown = rule.get("shown") or rule["before"] + rule["between"].join(lettered)
        if "lettered" in rule:
            shown = shown.rstrip()
        columns = []
        for i, option in enumerate(plain):
            name, text = option, option
            if rule["candidate"] == "lettered":
                name = text = lettered[i]
            elif rule["candidate"] == "letter_cut":
                # Cut at the first ". "; without one only the last character is left, as in the original.
                text = option[option.find(". ") :].strip(". ")
            columns.append(data.candidate(name, TaskItem(prompt=text, text=text)))
        right = _answer(task, row, plain)
        if right is None:
            lost.append(f"{row[task.columns['answer']]!r} in row {number + 1}")
        place = str(need(row, task.columns["video"], task.name))
        folder = (task.frame_folder or "{video}").replace("{video}", place).replace("{subset}", row.get("subset", ""))
        query = _asking(task.query, question, saved_clip(media / folder, task.frames), shown)
        relevant = {} if right is None else {columns[right]: 1.0}
        data.query(str(number), query, relevant, columns, unfound=right is None)
    if lost:
        data.notes.append(f"{len(lost)} answers are none of their row's options and count as missed, first: {lost[0]}")
    return data


def video_retrieval(task: Task, root: Path) -> TaskData:
    """A caption asks for its clip among all clips of the split."""
    data, media = _start(task, root)
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
            visual=saved_clip(media / key, task.frames),
            kind="video",
        )
        column = data.candidate(key, target)
        query = TaskItem(task.query.fill(caption), caption, task.query.instruction, role="query", kind="video")
        data.query(str(number), query, {column: 1.0})
    return data


def moment_folders(task: Task, root: Path) -> TaskData:
    """A clip and a description ask for a window of it: folders `positive*` and others beside `query`."""
    data, media = _start(task, root)
    lost = []
    for number, row in enumerate(_rows(task, root)):
        text = str(need(row, task.columns["text"], task.name))
        name = PurePosixPath(str(need(row, task.columns["video"], task.name))).stem
        folder = media / name
        clips = []
        if folder.is_dir():
            clips = sorted((p.name for p in folder.iterdir() if p.is_dir() and p.name != "query"), key=natural)
        offered, relevant = [], {}
        for clip in clips:
            target = _target_clip(task, saved_clip(folder / clip, task.frames))
            column = data.candidate(f"{name}/{clip}", target)
            offered.append(column)
            if clip.startswith("positive"):
                relevant[column] = 1.0
        if not relevant:
            lost.append(name)
        query = _asking(task.query, text, saved_clip(folder / "query", task.frames))
        data.query(str(number), query, relevant, offered, unfound=0 if relevant else 1)
    if lost:
        data.notes.append(f"{len(lost)} videos have no positive clip and count as missed, first: {lost[0]}")
    return data


def moment_rows(task: Task, root: Path) -> TaskData:
    """Words, with an image or a clip or alone, ask for clips that the row lists (MomentSeeker)."""
    data, media = _start(task, root)
    assert task.image_query is not None and task.video_query is not None
    for number, row in enumerate(_rows(task, root)):
        text, brought = str(need(row, "query", task.name)), str(row.get("input_frames") or "")
        if brought.endswith(".mp4"):
            query = _asking(
                task.video_query, text, saved_clip(media / "video_frames" / _clip_name(brought), task.frames)
            )
        elif brought.endswith(".jpg"):
            query = _asking(task.image_query, text, TaskVisual("image", (FilePicture(media / f"query_{brought}"),)))
        else:
            query = TaskItem(task.query.fill(text), text, task.query.instruction, role="query", kind="video")
        offered, relevant = [], {}
        for side in ("positive_frames", "negative_frames"):
            for entry in need(row, side, task.name):
                name = _clip_name(entry["output_path"])
                target = _target_clip(task, saved_clip(media / "video_frames" / name, task.frames))
                column = data.candidate(name, target)
                offered.append(column)
                if side == "positive_frames":
                    relevant[column] = 1.0
        data.query(str(number), query, relevant, offered)
    return data


def _start(task: Task, root: Path) -> tuple[TaskData, Path]:
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


def _asking(wording: Wording, text: str, visual: TaskVisual, options: str = "") -> TaskItem:
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
    """Which option is right; of equal ones the last, as in the original. None: none of them."""
    answer = need(row, task.columns["answer"], task.name)
    try:
        if task.answer_is == "index":
            right = int(answer)
        elif task.answer_is == "letter":
            right = [*"ABCDEFGH"].index(answer)
        else:
            right = len(options) - 1 - options[::-1].index(str(answer))
    except (ValueError, TypeError):
        return None
    return right if 0 <= right < len(options) else None
