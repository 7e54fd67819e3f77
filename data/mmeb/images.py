"""Readers of the 36 image tasks: rows with stored instructions and a list of candidates each.

Built around three shapes: an image asks for a text, a text for an image, an image (with
words) for an image. The true candidate is the first of its row's list. It knows nothing of
how anything is embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.mmeb.tables import media_folder, need, read_rows, table_files
from data.mmeb.task import Task, Wording
from data.mmeb.task_data import FilePicture, TaskData, TaskItem, TaskVisual

PLACEHOLDER = "<|image_1|>"
PAD = "<|image_pad|>"

Key = Callable[[str, str], str]


def image_to_text(task: Task, root: Path) -> TaskData:
    """Classification, question answering, captions: the candidates are bare texts, named by themselves.

    `options: {own_line: true}` in a declaration: the stored instruction is stripped and put on its own line.
    """
    data, media = _start(task, root)
    for number, row in enumerate(_rows(task, root)):
        texts = _strings(need(row, "tgt_text", task.name))
        columns = [data.candidate(text, TaskItem(prompt=text, text=text)) for text in texts]
        stored = row.get("qry_inst")
        if stored is not None and task.options.get("own_line"):
            stored = _own_line(stored)
        query = _shown(task, task.query, stored, row.get("qry_text") or None, data, "query")
        query = _with(query, media / need(row, "qry_img_path", task.name), "query")
        data.query(str(number), query, {columns[0]: 1.0}, columns)
    return data


def text_to_image(task: Task, root: Path) -> TaskData:
    """Images named by their path: one image with two captions is one candidate, with the first caption."""
    data, media = _start(task, root)
    for number, row in enumerate(_rows(task, root)):
        columns = _image_candidates(task, data, media, row, lambda path, _caption: path, newline_alone=True)
        instruction, text = row.get("qry_inst"), row.get("qry_text") or ""
        if instruction is None:
            prompt = task.query.fill(text)
        else:
            # The placeholder is swapped for the token, not dropped, and nothing is tidied up: two tasks keep
            # a token that has no picture.
            prompt = f"{instruction.replace(PLACEHOLDER, PAD)} {text}" + _final_newlines(task.query.template)
            _compare(data, task.query.fill(text), prompt, "query")
        query = TaskItem(prompt=prompt, text=text, instruction=_bare(instruction, task.query), role="query")
        data.query(str(number), query, {columns[0]: 1.0}, columns)
    return data


def image_to_image(task: Task, root: Path) -> TaskData:
    """Images named by path and caption: several objects of one image are several candidates."""
    data, media = _start(task, root)
    for number, row in enumerate(_rows(task, root)):
        columns = _image_candidates(
            task, data, media, row, lambda path, caption: f"{path}:{caption.strip(chr(34))}", newline_alone=False
        )
        stored = row.get("qry_inst")
        if stored is not None:
            stored = _own_line(stored)
        query = _shown(task, task.query, stored, row.get("qry_text") or None, data, "query")
        query = _with(query, media / need(row, "qry_img_path", task.name), "query")
        data.query(str(number), query, {columns[0]: 1.0}, columns)
    return data


def _start(task: Task, root: Path) -> tuple[TaskData, Path]:
    assert task.media is not None
    tables = table_files(root, task.source.repo, task.source.configs[0], task.source.split)
    return TaskData(tables=tables), media_folder(root, task.media)


def _rows(task: Task, root: Path) -> Iterator[dict[str, Any]]:
    return read_rows(root, task.source.repo, task.source.configs[0], task.source.split)


def _image_candidates(
    task: Task, data: TaskData, media: Path, row: dict[str, Any], key: Key, *, newline_alone: bool
) -> list[int]:
    """`newline_alone`: an image without caption gets the final newline too."""
    paths = _strings(need(row, "tgt_img_path", task.name))
    captions = _strings(row.get("tgt_text") or [""] * len(paths))
    captioned = bool(captions[0].strip())
    columns = []
    for path, caption in zip(paths, captions, strict=True):
        name = key(path, caption)
        if (known := data.column(name)) is not None:
            columns.append(known)
            continue
        item = _shown(
            task,
            task.target,
            row.get("tgt_inst"),
            caption if captioned else None,
            data,
            "target",
            newline=captioned or newline_alone,
        )
        columns.append(data.candidate(name, _with(item, media / path, "document")))
    return columns


def _shown(
    task: Task, wording: Wording, stored: str | None, text: str | None, data: TaskData, side: str, newline: bool = True
) -> TaskItem:
    """An item whose prompt begins with an image.

    The rule of the data: token, a space, the stored instruction, a space and the text if there is
    one (an empty caption among others is one); every " \\n" in that becomes "\\n"; then one "\\n"
    (`newline`).
    """
    end = "\n" if newline else ""
    template = wording.template if text is not None else wording.template.replace(" {text}", "")
    prompt = declared = Wording(template, wording.instruction).fill(text or "")
    if stored is not None:
        said = stored.replace(PLACEHOLDER, "")
        prompt = f"{PAD} {said}{'' if text is None else ' ' + text}".replace(" \n", "\n") + end
        _compare(data, declared, prompt, side)
    return TaskItem(prompt=prompt, text=text or "", instruction=_bare(stored, wording))


def _own_line(stored: str) -> str:
    return "\n" + stored.replace(PLACEHOLDER, "").strip()


def _with(item: TaskItem, path: Path, role: Any) -> TaskItem:
    visual = TaskVisual("image", (FilePicture(path),))
    return TaskItem(item.prompt, item.text, item.instruction, visual, role=role, kind="image")


def _bare(stored: str | None, wording: Wording) -> str:
    return wording.instruction if stored is None else stored.replace(PLACEHOLDER, "").strip()


def _compare(data: TaskData, declared: str, prompt: str, side: str) -> None:
    """Name the first row whose stored wording is not the declared one; the stored one is used."""
    if declared.replace(" \n", "\n") == prompt.replace(" \n", "\n"):
        return
    if not any(note.startswith(f"{side} wording") for note in data.notes):
        data.notes.append(f"{side} wording in the data differs from the declared one: {prompt!r}, not {declared!r}")


def _final_newlines(template: str) -> str:
    return template[len(template.rstrip("\n")) :]


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [("" if v is None else str(v)) for v in value]
