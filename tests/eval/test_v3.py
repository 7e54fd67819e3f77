"""MMEB-V3's text and tool tasks: their files, what is told, and where their scores go; audio is said to be missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.mmeb.readers import read_task
from data.mmeb.task import Task
from eval import leaderboard
from eval.__main__ import main
from eval.embedding import Rank
from eval.protocols import OWN
from eval.runner import run
from eval.task_list import MISSING_V3, UnknownDataset, all_tasks, select, v3_tasks
from tests.eval.embedders import HashEmbedder


def _write(root: Path, task: Task, part: str, rows: list[dict[str, Any]]) -> None:
    path = root / task.source.repo / str(task.columns[part]).replace("{name}", task.name.partition("-")[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _task(name: str) -> Task:
    (task,) = select([name])
    return task


def _beir(root: Path, name: str, **more: Any) -> Task:
    """Two queries, three texts and judgements, as most of the collections have them."""
    task = _task(name)
    _write(root, task, "queries", [{"_id": "q1", "text": "one?", **more}, {"_id": "q2", "text": "two?"}, {"_id": "q3"}])
    corpus = [
        {"_id": "a", "title": "A", "text": "first"},
        {"_id": "b", "text": "second"},
        {"_id": "c", "title": "no text"},
    ]
    _write(root, task, "corpus", corpus)
    judged = [("q1", "a", 2), ("q1", "b", 1), ("q2", "b", 1), ("q2", "a", 0), ("q2", "lost", 1)]
    _write(root, task, "qrels", [{"query-id": q, "corpus-id": c, "score": s} for q, c, s in judged])
    return task


def test_88_text_and_tool_tasks_are_declared_and_all_stays_the_78() -> None:
    assert (len(select(["text"])), len(select(["agent"])), len(select(["v3"]))) == (53, 35, 88)
    assert len(all_tasks()) == 78 == len(select(["all"]))
    names = [t.name for t in (*all_tasks(), *v3_tasks())]
    assert len(set(names)) == len(names) and not any("/" in name for name in names)
    assert {t.metric for t in select(["text"])} == {"ndcg_linear@5"} and {t.metric for t in select(["agent"])} == {
        "hit@1"
    }
    assert (
        _task("BRIGHT-aops").reported_as == "text/BRIGHT/aops"
        and _task("Tool-gta").reported_as == "toolde/customized/gta"
    )


@pytest.mark.parametrize("name", list(MISSING_V3))
def test_what_is_missing_of_v3_is_said_with_its_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownDataset, match="cannot be scored"):
        select([name])
    assert main(["--list"]) == 0
    assert MISSING_V3[name] in capsys.readouterr().out


def test_texts_are_read_with_their_titles_and_grades(tmp_path: Path) -> None:
    data = read_task(_beir(tmp_path, "NanoBEIR-NanoNQ"), tmp_path)
    assert [c.prompt for c in data.candidates] == ["A\nfirst", "second"]
    assert [q.prompt for q in data.queries] == ["one?", "two?"] and [q.role for q in data.queries] == ["query"] * 2
    assert data.relevant == [{0: 2.0, 1: 1.0}, {1: 1.0}] and data.missing == [0, 1]


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        (
            "FollowIR-news21-instructions",
            {"instruction_og": "Only reports.", "instruction_changed": "x"},
            "Only reports. one?",
        ),
        ("InfoSearch-Length-v1", {"instruction_changed": "Short ones.", "instruction_og": "x"}, "Short ones. one?"),
        ("LongEmbed-qmsum", {"instruction_og": "x"}, "one?"),
    ],
)
def test_an_instruction_stands_before_the_query_where_the_original_puts_it(
    name: str, fields: dict[str, str], expected: str, tmp_path: Path
) -> None:
    assert read_task(_beir(tmp_path, name, **fields), tmp_path).queries[0].prompt == expected


def test_bright_has_its_answers_in_the_rows_of_the_questions(tmp_path: Path) -> None:
    task = _task("BRIGHT-biology")
    _write(tmp_path, task, "queries", [{"id": "0", "query": "why?", "gold_ids": ["d1", "gone"], "reasoning": "…"}])
    _write(tmp_path, task, "corpus", [{"id": "d0", "content": "no"}, {"id": "d1", "content": "because"}])
    data = read_task(task, tmp_path)
    assert data.relevant == [{1: 1.0}] and data.missing == [1] and data.queries[0].text == "why?"


def test_tools_are_their_documentation_and_a_request_follows_its_instruction(tmp_path: Path) -> None:
    task = _task("Tool-apibank")
    labels = ['[{"id": "t1", "relevance": 1}]', '["t0", "t1"]']
    rows = [{"id": f"q{i}", "query": f"do {i}", "instruction": "Find a tool.", "labels": labels[i]} for i in range(2)]
    _write(tmp_path, task, "queries", rows)
    documents = ['{"name": "é"}', "plain words"]
    _write(tmp_path, task, "corpus", [{"id": f"t{i}", "documentation": text} for i, text in enumerate(documents)])
    data = read_task(task, tmp_path)
    assert [c.prompt for c in data.candidates] == ['{"name": "\\u00e9"}', "plain words"]
    assert [q.prompt for q in data.queries] == ["Find a tool. do 0", "Find a tool. do 1"]
    assert data.relevant == [{1: 1.0}, {0: 1.0, 1: 1.0}]


@pytest.mark.parametrize("label", [[5], '["5"]', '[{"id": 5}]', "5", [{"id": "5"}]], ids=str)
def test_an_id_is_the_same_as_a_number_and_as_a_text(label: Any, tmp_path: Path) -> None:
    """And a tool has one place among the candidates, whichever way its id is written."""
    task = _task("Tool-apibank")
    _write(tmp_path, task, "queries", [{"id": 1, "query": "do it", "labels": label}])
    if isinstance(label, list):
        corpus = [{"id": 4, "documentation": "four"}, {"id": 5, "documentation": "five"}]
    else:
        corpus = [{"id": "4", "documentation": "four"}, {"id": "5", "documentation": "five"}]
    _write(tmp_path, task, "corpus", corpus)
    data = read_task(task, tmp_path)
    assert data.relevant == [{1: 1.0}] and data.missing == [0] and data.keys == ["4", "5"] and data.ids == ["1"]


def test_v3_scores_stand_in_rows_of_their_own_and_change_no_average_of_the_78(mmeb: Path, tmp_path: Path) -> None:
    task = _beir(tmp_path / "v3", "R2MED-Biology")
    embedder = HashEmbedder()
    out = run(select(["GQA"]), embedder, mmeb, tmp_path, tmp_path / "c", name="m", rank=Rank())
    out += run([task], embedder, tmp_path / "v3", tmp_path, tmp_path / "c", name="m", rank=Rank())
    leaderboard.write(tmp_path, "m", out, {"data_version": "current"}, "current", OWN)
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == 94 + 2 + 10 + 88
    assert rows["R2MED-Biology"]["m"] == rows["T-R2MED"]["m"] == rows["text"]["m"] != ""
    assert rows["all"]["m"] == rows["GQA"]["m"] and rows["all"]["tasks"] == "1/78"
    assert json.loads((tmp_path / "scores.json").read_text("utf-8"))["metrics"]["text"].keys() == {"text/R2MED/Biology"}
    assert "1 of 78 tasks scored, and 1 of the 88" in (tmp_path / "leaderboard.md").read_text("utf-8")


def test_a_missing_file_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    (outcome,) = run(select(["Tool-gta"]), HashEmbedder(), tmp_path, tmp_path / "out", tmp_path / "c", rank=Rank())
    assert outcome.state == "missing" and "hf download VLM2Vec/MMEB-V3 --repo-type dataset" in outcome.reason
