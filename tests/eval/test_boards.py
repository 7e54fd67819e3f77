"""Score files of other places: read into boards.csv, shown beside a run, written for the board."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from eval import boards, leaderboard, published
from eval.boards import BoardError, export, main, rows_of
from eval.embedding import Rank
from eval.mteb_model import results_file
from eval.protocols import OWN
from eval.runner import run
from eval.task_list import all_tasks, select
from tests.eval.embedders import HashEmbedder

SCORES = {"hit@1": 0.5, "ndcg_linear@5": 0.625, "num_pred": 1000, "num_data": 1000}


def _score_file(path: Path, **more: Any) -> Path:
    """A file of the official board: all 78 tasks, the page tasks under their newest names."""
    metrics: dict[str, dict[str, Any]] = {"image": {}, "video": {}, "visdoc": {}}
    for task in all_tasks():
        metrics[task.modality][task.reported_as or task.name] = SCORES
    content = {"metadata": {"model_name": "Theirs-2B"}, "metrics": metrics, **more}
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_a_score_file_of_the_board_becomes_a_column_with_every_task(mmeb: Path, tmp_path: Path) -> None:
    file = _score_file(tmp_path / "theirs.json")
    assert main(["import", str(file), "--output_dir", str(tmp_path), "--source", "board_2026-11-30"]) == 0
    out = run(select(["GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="m", rank=Rank())
    leaderboard.write(tmp_path, "m", out, {"data_version": "current"}, "current", OWN)
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8") as table:
        rows = {row["name"]: row for row in csv.DictReader(table)}
    column = "Theirs-2B (board_2026-11-30, authors' protocol, current data)"
    assert rows["GQA"][column] == "50.00" and rows["ViDoSeek-page"][column] == "62.50"
    assert rows["visdoc"][column] == "62.50" and rows["all"][column] == f"{(54 * 50 + 24 * 62.5) / 78:.2f}"


def test_the_published_score_files_of_the_benchmark_are_read_as_they_are(tmp_path: Path) -> None:
    """The start of experiments/public/all_scores/v2.0.1; page tasks have their first names."""
    content = {
        "metadata": {"model_name": "VLM2Vec-V2.0-Qwen2VL-2B", "report_generated_date": "2025-12-29T09:27:50.301732"},
        "metrics": {
            "image": {"ImageNet-1K": {"hit@1": 0.808, "num_pred": 1000, "num_data": 1000}, "N24News": "FILE_N/A"},
            "visdoc": {"ViDoSeek-page": {"ndcg_linear@5": 0.2194}, "ViDoRe_biomedical_lectures_v2": {"hit@1": 0.1}},
        },
    }
    (tmp_path / "v2.json").write_text(json.dumps(content), "utf-8")
    rows = rows_of(tmp_path / "v2.json", rules="benchmark")
    assert [(r.task_or_group, r.metric, r.score) for r in rows] == [
        ("ImageNet-1K", "hit@1", "80.8000"),
        ("ViDoSeek-page", "ndcg_linear@5", "21.9400"),
    ]
    assert {(r.data, r.rules, r.model) for r in rows} == {("paper", "benchmark", "VLM2Vec-V2.0-Qwen2VL-2B")}


def test_an_average_is_shown_only_where_all_of_its_tasks_have_a_score(tmp_path: Path) -> None:
    full = json.loads(_score_file(tmp_path / "full.json").read_text("utf-8"))
    del full["metrics"]["image"]["GQA"]
    (tmp_path / "part.json").write_text(json.dumps(full), "utf-8")
    boards.add(tmp_path / "boards.csv", rows_of(tmp_path / "part.json"))
    (column,) = [c for c in published.columns("current", tmp_path / "boards.csv") if c.model == "Theirs-2B"]
    assert len(column.tasks) == 77 and {"I-QA", "image", "all"}.isdisjoint(column.groups)
    assert {"I-CLS", "video", "visdoc"} < set(column.groups)


def test_our_own_scores_json_is_read_like_the_boards(mmeb: Path, tmp_path: Path) -> None:
    out = run(
        select(["I-VG", "MMLongBench-page"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="m", rank=Rank()
    )
    leaderboard.write(tmp_path, "m", out, {"data_version": "current"}, "current", OWN)
    rows = {r.task_or_group: r for r in rows_of(tmp_path / "scores.json")}
    assert set(rows) == {"MSCOCO", "RefCOCO", "RefCOCO-Matching", "Visual7W-Pointing", "MMLongBench-page"}
    scored = {o.task: o.scores for o in out}
    assert rows["MSCOCO"].score == f"{100 * scored['MSCOCO']['hit@1']:.4f}"
    assert {(r.model, r.data, r.rules) for r in rows.values()} == {("m", "current", "authors")}


def test_results_of_mteb_are_read_by_task_and_ours_come_back_as_they_went(mmeb: Path, tmp_path: Path) -> None:
    out = run(select(["MSVD", "GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="m", rank=Rank())
    folder = results_file(tmp_path, "m")[0].parent
    (folder / "model_meta.json").write_text(json.dumps({"name": "sightline/m"}), "utf-8")
    theirs = {
        "task_name": "VidoreArxivQARetrieval",
        "scores": {"test": [{"main_score": 0.5, "hf_subset": "a"}, {"main_score": 0.7, "hf_subset": "b"}]},
    }
    (folder / "VidoreArxivQARetrieval.json").write_text(json.dumps(theirs), "utf-8")
    rows = {r.task_or_group: r for r in rows_of(folder)}
    scored = {o.task: o.scores["hit@1"] for o in out}
    assert {name: rows[name].score for name in scored} == {n: f"{100 * s:.4f}" for n, s in scored.items()}
    theirs_row = rows["mteb/VidoreArxivQARetrieval"]
    assert (theirs_row.score, theirs_row.group, theirs_row.metric) == ("60.0000", "mteb", "main_score")
    boards.add(tmp_path / "boards.csv", list(rows.values()))
    (column,) = [c for c in published.columns("current", tmp_path / "boards.csv") if c.model == "sightline/m"]
    assert set(column.tasks) == {"MSVD", "GQA"}  # mteb's own task is no task of the benchmark


def test_an_import_replaces_the_rows_of_its_model_and_source_alone(tmp_path: Path) -> None:
    file, table = _score_file(tmp_path / "a.json"), tmp_path / "boards.csv"
    for source in ("one", "two", "one"):
        boards.add(table, rows_of(file, source=source))
    assert len(boards.read(table)) == 2 * 78


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", 'neither "metrics"'),
        ('{"metrics": {"image": {}}}', "does not name its model; give --model"),
        (
            '{"metadata": {"model_name": "x"}, "metrics": {"image": {"Dogs": {"hit@1": 1}}}}',
            "holds no task of the benchmark",
        ),
        ('{"metadata": {"model_name": "x"}, "metrics": {"image": {"GQA": {"hit@1": 55.1}}}}', "55.1, not a fraction"),
        ('{"metadata": {"model_name": "x"}, "metrics": {"image": {"GQA": {"acc": 0.5}}}}', "None, not a fraction"),
        ('{"task_name": "X", "scores": {"test": []}}', "do not name their model"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line_and_nothing_is_written(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text(content, "utf-8")
    good = _score_file(tmp_path / "good.json")
    assert main(["import", str(good), str(tmp_path / "bad.json"), "--output_dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert message in said and "bad.json" in said and said.count("\n") == 1
    assert not (tmp_path / "boards.csv").exists()


def test_the_export_is_what_the_benchmarks_own_code_leaves(mmeb: Path, tmp_path: Path) -> None:
    names = ["GQA", "MSVD", "ViDoSeek-page"]
    out = {o.task: o for o in run(select(names), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="m", rank=Rank())}
    *files, submission = export(tmp_path, "m", tmp_path / "board", {"url": "https://example.org"})
    written = {str(path.relative_to(tmp_path / "board")) for path in files}
    assert written == {"image/GQA_score.json", "video/MSVD_score.json", "visdoc/ViDoSeek-page_score.json"}
    one = json.loads((tmp_path / "board" / "video" / "MSVD_score.json").read_text("utf-8"))
    assert one == {**out["MSVD"].scores, "num_pred": 4, "num_data": 4}
    content = json.loads(submission.read_text("utf-8"))
    assert {m: len(part) for m, part in content["metrics"].items()} == {"image": 36, "video": 18, "visdoc": 24}
    assert (
        content["metrics"]["visdoc"]["ViDoSeek-page-fixed"]["ndcg_linear@5"]
        == out["ViDoSeek-page"].scores["ndcg_linear@5"]
    )
    assert content["metrics"]["image"]["OK-VQA"] == "FILE_N/A"
    assert content["metadata"]["url"] == "https://example.org" and content["metadata"]["embedding_dimension"] == 32
    assert {r.task_or_group for r in rows_of(submission)} == set(names)


def test_what_the_board_would_not_take_is_not_exported(mmeb: Path, tmp_path: Path) -> None:
    from eval.runner import ScoringSettings

    with pytest.raises(BoardError, match="holds no results of m"):
        export(tmp_path, "m", tmp_path / "board", {})
    old = ScoringSettings(data_version="paper")
    run(select(["GQA"], "paper"), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="m", settings=old, rank=Rank())
    with pytest.raises(BoardError, match="other data or by other metrics"):
        export(tmp_path, "m", tmp_path / "board", {})
    run(select(["GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="n", rank=Rank())
    with pytest.raises(BoardError, match="no field colour"):
        export(tmp_path, "n", tmp_path / "board", {"colour": "red"})
    assert not (tmp_path / "board").exists()
