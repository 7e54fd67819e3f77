"""Readers of the 36 image tasks: rows with stored instructions and a list of candidates each.

Built around three kinds of task: from image to text, from text to image, from image (with text) to image. The
relevant candidate is the first of its row's list. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.mmeb.tables import media_folder, need, read_rows, table_files
from data.mmeb.task import Task, Wording
from data.mmeb.task_data import ImageFile, TaskData, TaskItem, TaskVisual

PLACEHOLDER = "<|image_1|>"
PAD = "<|image_pad|>"

Key = Callable[[str, str], str]


def image_to_text(task: Task, root: Path) -> TaskData:
    """Reads classification, question answering and captions: the candidates are texts, and a text is its own key.

    `options: {own_line: true}` in a declaration puts the stripped instruction on a line of its own.
    """
    data, media = _open(task, root)
    for number, row in enumerate(_rows(task, root)):
        texts = _strings(need(row, "tgt_text", task.name))
        columns = [data.candidate(text, TaskItem(prompt=text, text=text)) for text in texts]
        stored = row.get("qry_inst")
        if stored is not None and task.options.get("own_line"):
            stored = _own_line(stored)
        query = _image_item(task, task.query, stored, row.get("qry_text") or None, data, "query")
        query = _add_image(query, media / need(row, "qry_img_path", task.name), "query")
        data.query(str(number), query, {columns[0]: 1.0}, columns)
    return data


def text_to_image(task: Task, root: Path) -> TaskData:
    """The key of an image is its path: one image with two captions is one candidate, with the first caption."""
    data, media = _open(task, root)
    for number, row in enumerate(_rows(task, root)):
        columns = _image_candidates(task, data, media, row, lambda path, _caption: path, newline_alone=True)
        instruction, text = row.get("qry_inst"), row.get("qry_text") or ""
        if instruction is None:
            prompt = task.query.fill(text)
        else:
            # The token replaces the placeholder, and whitespace stays as it is: two tasks keep a token that
            # has no image.
            prompt = f"{instruction.replace(PLACEHOLDER, PAD)} {text}" + _final_newlines(task.query.template)
            _compare(data, task.query.fill(text), prompt, "query")
        query = TaskItem(prompt=prompt, text=text, instruction=_instruction(instruction, task.query), role="query")
        data.query(str(number), query, {columns[0]: 1.0}, columns)
    return data


def image_to_image(task: Task, root: Path) -> TaskData:
    """The key of an image is its path and caption: several objects of one image are several candidates."""
    data, media = _open(task, root)
    for number, row in enumerate(_rows(task, root)):
        columns = _image_candidates(
            task, data, media, row, lambda path, caption: f"{path}:{caption.strip(chr(34))}", newline_alone=False
        )
        stored = row.get("qry_inst")
        if stored is not None:
            stored = _own_line(stored)
        query = _image_item(task, task.query, stored, row.get("qry_text") or None, data, "query")
        query = _add_image(query, media / need(row, "qry_img_path", task.name), "query")
        data.query(str(number), query, {columns[0]: 1.0}, columns)
    return data


def _open(task: Task, root: Path) -> tuple[TaskData, Path]:
    assert task.media is not None
    tables = table_files(root, task.source.repo, task.source.configs[0], task.source.split)
    return TaskData(tables=tables), media_folder(root, task.media)


def _rows(task: Task, root: Path) -> Iterator[dict[str, Any]]:
    return read_rows(root, task.source.repo, task.source.configs[0], task.source.split)


def _image_candidates(
    task: Task, data: TaskData, media: Path, row: dict[str, Any], key: Key, *, newline_alone: bool
) -> list[int]:
    """Add the images of a row. Returns their columns. `newline_alone`: a final newline also without a caption."""
    paths = _strings(need(row, "tgt_img_path", task.name))
    captions = _strings(row.get("tgt_text") or [""] * len(paths))
    has_captions = bool(captions[0].strip())
    columns = []
    for path, caption in zip(paths, captions, strict=True):
        name = key(path, caption)
        if (column := data.column(name)) is not None:
            columns.append(column)
            continue
        item = _image_item(
            task,
            task.target,
            row.get("tgt_inst"),
            caption if has_captions else None,
            data,
            "target",
            newline=has_captions or newline_alone,
        )
        columns.append(data.candidate(name, _add_image(item, media / path, "document")))
    return columns


def _image_item(
    task: Task, wording: Wording, stored: str | None, text: str | None, data: TaskData, side: str, newline: bool = True
) -> TaskItem:
    """Returns an item whose prompt begins with an image.

    The rule of the data: token, space, stored instruction, then space and text unless `text` is None; every
    " \\n" becomes "\\n"; one final "\\n" with `newline`.
    """
    end = "\n" if newline else ""
    template = wording.template if text is not None else wording.template.replace(" {text}", "")
    prompt = declared = Wording(template, wording.instruction).fill(text or "")
    if stored is not None:
        instruction = stored.replace(PLACEHOLDER, "")
        prompt = f"{PAD} {instruction}{'' if text is None else ' ' + text}".replace(" \n", "\n") + end
        _compare(data, declared, prompt, side)
    return TaskItem(prompt=prompt, text=text or "", instruction=_instruction(stored, wording))


def _own_line(stored: str) -> str:
    return "\n" + stored.replace(PLACEHOLDER, "").strip()


def _add_image(item: TaskItem, path: Path, role: Any) -> TaskItem:
    visual = TaskVisual("image", (ImageFile(path),))
    return TaskItem(item.prompt, item.text, item.instruction, visual, role=role, kind="image")


def _instruction(stored: str | None, wording: Wording) -> str:
    return wording.instruction if stored is None else stored.replace(PLACEHOLDER, "").strip()


def _compare(data: TaskData, declared: str, prompt: str, side: str) -> None:
    """Note the first row whose stored wording differs from the declared one; the stored wording is used."""
    if declared.replace(" \n", "\n") == prompt.replace(" \n", "\n"):
        return
    if not any(note.startswith(f"{side} wording") for note in data.notes):
        data.notes.append(f"{side} wording in the data differs from the declared one: {prompt!r}, not {declared!r}")


def _final_newlines(template: str) -> str:
    return template[len(template.rstrip("\n")) :]


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [("" if v is None else str(v)) for v in value]
