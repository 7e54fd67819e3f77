"""EmbeddingGemma 2 in the benchmark: the prompts of its authors' wrapper, from the command to the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.mmeb.task_data import TaskItem, TaskVisual
from eval.__main__ import main
from eval.gemma_protocol import DETAIL, INSTRUCTIONS, WITHOUT_PROMPT_ON_IMAGES, prompt_of
from eval.task_list import all_tasks, select
from model.gemma.embedder import Budget
from tests.model.gemma import tiny

DOCUMENT = "title: none | text: "


def _item(role: str, visual: str | None = None, text: str = "") -> TaskItem:
    return TaskItem("prompt", text, "its instruction", TaskVisual(visual, ()) if visual else None, role=role)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name, query, document",
    [
        ("MSCOCO_t2i", "task: search result | query: ", DOCUMENT),
        ("DiDeMo", "task: search result | query: ", DOCUMENT),
        ("RefCOCO", "task: search result | query: ", DOCUMENT),
        ("OVEN", "task: question answering | query: ", DOCUMENT),
        ("ViDoRe_docvqa", "task: question answering | query: ", DOCUMENT),
        ("ViDoRe_infovqa", "task: search result | query: ", DOCUMENT),
        ("SUN397", "task: classification | query: ", "task: classification | query: "),
        ("K700", "task: classification | query: ", "task: classification | query: "),
        ("Video-MME", "task: question answering | query: ", "task: question answering | query: "),
    ],
)
def test_a_task_has_the_prompts_of_its_kind(name: str, query: str, document: str) -> None:
    (task,) = select([name])
    for visual in (None, "image", "video"):
        assert prompt_of(task, _item("query", visual)) == query
        assert prompt_of(task, _item("document", visual)) == document


@pytest.mark.parametrize("name", WITHOUT_PROMPT_ON_IMAGES)
def test_images_of_some_tasks_have_no_prompt_and_texts_beside_them_do(name: str) -> None:
    (task,) = select([name])
    assert prompt_of(task, _item("query", "image", "words")) == prompt_of(task, _item("document", "image")) == ""
    assert prompt_of(task, _item("query", None, "words")).startswith("task: ")


def test_every_name_is_a_task_and_the_budget_is_one_of_the_model() -> None:
    assert {*INSTRUCTIONS, *WITHOUT_PROMPT_ON_IMAGES} <= {task.name for task in all_tasks()}
    assert Budget.read(DETAIL) == Budget(image=280, page=280, frame=140, frames=32)


@pytest.mark.slow
def test_the_command_scores_a_folder_with_these_prompts(
    mmeb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.gemma import embedder
    from model.gemma.prompts import prompt_and_text

    folder = tmp_path / "tiny"
    folder.mkdir()
    tiny.tokenizer(folder)
    tiny.export(tiny.model(), folder)
    given: list[tuple[str, str]] = []

    def seen(item):  # type: ignore[no-untyped-def]
        given.append(prompt_and_text(item))
        return given[-1]

    monkeypatch.setattr(embedder.prompts, "prompt_and_text", seen)
    common = ["--model_path", str(folder), "--data", str(mmeb), "--cache_dir", str(tmp_path / "cache")]
    assert main([*common, "--datasets", "MSVD", "ViDoRe_docvqa", "NIGHTS", "--output_dir", str(tmp_path / "a")]) == 0
    prompts = {prompt for prompt, _ in given}
    assert prompts == {
        "task: search result | query: ", "task: question answering | query: ", DOCUMENT, "",
    }  # fmt: skip
    assert all("Find" not in prompt for prompt in prompts)
    assert np.any([text for _, text in given])
