"""Runs over the miniature benchmark: all 78 tasks, kills, bad data, caches, several processes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.mmeb.readers import read_task
from data.mmeb.tables import table_files
from data.mmeb.task_data import TaskItem, TaskVisual
from eval.__main__ import main
from eval.cache import CacheError, EmbeddingCache
from eval.embedding import Embedded, Rank
from eval.metrics import KS
from eval.product import _as_video
from eval.runner import RunError, ScoringSettings, TaskOutcome, run
from eval.scoring import score
from eval.task_list import all_tasks, select
from model.embedder import InputRejected, ModelAway
from model.inputs import Input
from model.loading import load
from tests.eval.embedders import CollapsedEmbedder, HashEmbedder
from tests.eval.fixtures import build, picture

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "model" / "parity" / "checkpoint"
GRADED = ("ViDoRe_esg_reports_human_labeled_v2", "ViDoSeek-doc", "MMLongBench-doc")


def _run(tasks: list[str], embedder: Any, data: Path, out: Path, **more: Any) -> dict[str, TaskOutcome]:
    cache = more.pop("cache", out / "cache")
    return {o.task: o for o in run(select(tasks), embedder, data, out, cache, rank=Rank(), **more)}


def _main(model: str, data: Path, out: Path, *more: str) -> int:
    at = ["--data", str(data), "--output_dir", str(out), "--cache_dir", str(out / "cache"), "--device", "cpu"]
    return main(["--model_path", model, *at, "--dtype", "float32", *more])


def test_a_tiny_random_vlm_goes_through_all_78_tasks(mmeb: Path, tmp_path: Path) -> None:
    assert _main(str(TINY), mmeb, tmp_path, "--name", "tiny") == 0
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [sum(r["level"] == level for r in rows) for level in ("task", "group", "modality", "overall")] == [
        78,
        12,
        3,
        1,
    ]
    scores = {r["name"]: float(r["tiny"]) for r in rows}  # every row has one
    assert all(r["failed"] == "0" for r in rows if r["level"] == "task")
    by_task = [scores[t.name] for t in all_tasks()]
    assert scores["all"] == pytest.approx(np.mean(by_task), abs=0.01)
    assert scores["V-MR"] == pytest.approx(
        np.mean([scores[t.name] for t in all_tasks() if t.group == "V-MR"]), abs=0.01
    )

    board = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert {m: len(t) for m, t in board["metrics"].items()} == {"image": 36, "video": 18, "visdoc": 24}
    assert board["metadata"]["model_name"] == "tiny" and board["metadata"]["embedding_dimension"] == 64
    assert {"ViDoSeek-page-fixed", "MMLongBench-page-fixed"} < set(board["metrics"]["visdoc"])
    one = board["metrics"]["video"]["MVBench"]
    assert {
        f"{m}@{k}"
        for m in ("hit", "ndcg_linear", "ndcg_exponential", "precision", "recall", "f1", "map", "mrr")
        for k in KS
    } < set(one)
    assert one["num_data"] == 20
    assert 100 * one["hit@1"] == pytest.approx(scores["MVBench"], abs=0.01)

    ranked = pq.read_table(tmp_path / "mmeb" / "tiny" / "K700.parquet").to_pylist()
    assert len(ranked) == 4 and all(len(r["ranking"]) == 10 == len(r["scores"]) for r in ranked)
    assert all(r["hit@1"] == float(r["ranking"][0] in r["relevant"]) for r in ranked)


def test_lite_goes_through_all_78_tasks_and_stands_beside_the_other(mmeb: Path, tmp_path: Path) -> None:
    assert _main(str(TINY), mmeb, tmp_path, "--datasets", "I-VG", "--name", "tiny") == 0
    assert _main("lite", mmeb, tmp_path) == 0
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = {r["name"]: r for r in csv.DictReader(file)}
    assert all(r["lite"] for r in rows.values())
    assert [n for n, r in rows.items() if r["tiny"]] == ["all", "image", "I-VG", *(t.name for t in select(["I-VG"]))]
    assert any(c.startswith("VLM2Vec-V2.0") for c in rows["all"]) and any(c.startswith("Qwen3") for c in rows["all"])
    page = (tmp_path / "leaderboard.html").read_text("utf-8")
    assert page.count("<circle") == 78 + 4 + 78 and "lite on MMEB-V2" in page
    assert not any(sign in page for sign in ("http:", "https:", "<script", "<link", "@import", "url("))


class _Perfect:
    """Vectors under which the right ranking is the only one: used to see that nothing is mixed up."""

    @staticmethod
    def vectors(data: Any) -> tuple[Embedded, Embedded]:
        rng = np.random.default_rng(5)
        m = len(data.candidates)
        candidates = np.linalg.qr(rng.standard_normal((m, m)))[0].astype(np.float32)
        queries = np.stack(
            [sum((g * candidates[c] for c, g in r.items()), np.zeros(m, np.float32)) for r in data.relevant]
        )
        return Embedded(queries.astype(np.float32), {}), Embedded(candidates, {})


@pytest.mark.parametrize("compatible", [False, True])
def test_a_model_that_knows_the_answers_gets_all_of_them(mmeb: Path, compatible: bool) -> None:
    for task in all_tasks():
        data = read_task(task, mmeb)
        got = score(task, data, *_Perfect.vectors(data), reference_compatible=compatible).metrics
        for name in ("hit@1", "mrr@10", "recall@10"):
            assert got[name].mean() == 1.0, (task.name, name)
        if not (compatible and task.name == "RefCOCO-Matching"):  # its repeats count each time there
            assert got["ndcg_linear@5"].mean() == pytest.approx(1.0), task.name


def test_repeats_in_a_list_count_once_or_as_in_the_original_each_time(mmeb: Path) -> None:
    (task,) = select(["RefCOCO-Matching"])
    data = read_task(task, mmeb)
    once = score(task, data, *_Perfect.vectors(data)).metrics
    each = score(task, data, *_Perfect.vectors(data), reference_compatible=True).metrics
    assert once["ndcg_linear@5"].max() == 1.0 < each["ndcg_linear@5"].min()
    assert once["recall@5"].tolist() == each["recall@5"].tolist() == [1.0] * 4


def test_a_collapsed_model_gets_chance_or_less_and_is_named(mmeb: Path, tmp_path: Path) -> None:
    got = _run(["all"], CollapsedEmbedder(), mmeb, tmp_path)
    for task in all_tasks():
        outcome = got[task.name]
        assert outcome.scores["hit@1"] == 0.0, task.name
        assert any("same embedding; the model has collapsed" in w for w in outcome.warnings), task.name
    compatible = _run(
        ["image"], CollapsedEmbedder(), mmeb, tmp_path / "2", settings=ScoringSettings(reference_compatible=True)
    )
    assert {o.scores["hit@1"] for o in compatible.values()} == {1.0}  # the original's answer


def test_the_originals_mixed_up_grades_can_be_had_where_ids_are_integers(tmp_path: Path) -> None:
    (task,) = select(["ViDoRe_esg_reports_human_labeled_v2"])
    build(tmp_path, [task])
    qrels = table_files(tmp_path, task.source.repo, "qrels", "test")[0]
    # Labels 6, 2, 1 with grades 3, 2, 1; a set of small integers comes out in ascending order.
    rows = [{"query-id": q, "corpus-id": c, "score": g} for q in range(4) for c, g in ((6, 3), (2, 2), (1, 1))]
    pq.write_table(pa.Table.from_pylist(rows), qrels)
    data = read_task(task, tmp_path)
    vectors = _Perfect.vectors(data)
    straight = score(task, data, *vectors).metrics["ndcg_linear@5"]
    mixed = score(task, data, *vectors, reference_compatible=True).metrics["ndcg_linear@5"]
    discount = 1 / np.log2([2, 3, 4])
    assert straight.tolist() == pytest.approx([1.0] * 4)
    assert mixed.tolist() == pytest.approx([(discount @ [1, 2, 3]) / (discount @ [3, 2, 1])] * 4)


def test_with_named_pages_grades_stay_where_they_belong_and_that_is_said(mmeb: Path) -> None:
    (task,) = select(["ViDoSeek-doc"])
    data = read_task(task, mmeb)
    got = score(task, data, *_Perfect.vectors(data), reference_compatible=True)
    assert got.metrics["ndcg_linear@5"].mean() == pytest.approx(1.0)
    assert any("ids are strings" in w for w in got.warnings)


def test_one_input_is_embedded_once_over_all_tasks_and_runs(tmp_path: Path) -> None:
    names = ["SUN397", "Place365"]  # the same instruction
    build(tmp_path, select(names))
    tasks = {t.name: t for t in select(names)}
    first = table_files(tmp_path, tasks["SUN397"].source.repo, "SUN397", "test")[0]
    shutil.copy(first, table_files(tmp_path, tasks["SUN397"].source.repo, "Place365", "test")[0])
    embedder = HashEmbedder()
    got = _run(names, embedder, tmp_path, tmp_path / "out")
    assert (got["SUN397"].embedded, got["Place365"].embedded, embedder.count) == (9, 0, 9)
    assert got["SUN397"].scores == got["Place365"].scores
    _run(names, embedder, tmp_path, tmp_path / "again", cache=tmp_path / "out" / "cache")
    assert embedder.count == 9
    _run(names, HashEmbedder(id="hash@2"), tmp_path, tmp_path / "third", cache=tmp_path / "out" / "cache")
    assert embedder.count == 9  # another model's vectors are its own


def test_a_picture_whose_bytes_changed_is_embedded_again(tmp_path: Path) -> None:
    build(tmp_path, select(["NIGHTS"]))
    embedder = HashEmbedder()
    before = _run(["NIGHTS"], embedder, tmp_path, tmp_path / "a", cache=tmp_path / "cache")
    picture = next((tmp_path / "TIGER-Lab").rglob("t0.png"))
    shutil.copy(picture.with_name("q1.png"), picture)
    after = _run(["NIGHTS"], embedder, tmp_path, tmp_path / "b", cache=tmp_path / "cache")
    assert (before["NIGHTS"].embedded, after["NIGHTS"].embedded) == (9, 1)


def test_models_without_prompts_are_given_the_parts(mmeb: Path, tmp_path: Path) -> None:
    embedder = HashEmbedder()
    _run(["OK-VQA", "MSVD", "ViDoRe_docvqa"], embedder, mmeb, tmp_path)
    asked = [i for i in embedder.seen if i.role == "query" and i.images]
    assert {i.instruction for i in asked} == {"Represent the given image with the following question:"}
    assert all(i.text and "<|" not in i.text for i in asked)
    clips = [i for i in embedder.seen if i.video is not None]
    assert {i.video.shape for i in clips} == {(8, 56, 56, 3), (5, 56, 56, 3)}  # type: ignore[union-attr]
    assert all(i.kind == "video" and i.role == "document" for i in clips)
    assert {i.kind for i in embedder.seen if i.role == "document" and i.images} == {"pdf"}


@pytest.mark.long
def test_a_run_that_was_killed_goes_on_to_the_same_scores(mmeb: Path, tmp_path: Path) -> None:
    tasks = ["V-CLS", "V-MR", "visdoc"]
    whole = tmp_path / "whole"
    assert _main(str(TINY), mmeb, whole, "--datasets", *tasks, "--name", "tiny") == 0

    out, held = tmp_path / "out", tmp_path / "held"
    waits_for_the_fourth = f"""
import sys, threading
from pathlib import Path
from eval import runner
from eval.__main__ import main
write, written = runner.write_result, []
def hold(folder, *what):
    if len(written) == 3:
        Path({str(held)!r}).touch()
        threading.Event().wait()
    written.append(write(folder, *what))
runner.write_result = hold
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", waits_for_the_fourth, "--model_path", str(TINY), "--data", str(mmeb)]
    command += ["--output_dir", str(out), "--cache_dir", str(out / "cache"), "--datasets", *tasks, "--name", "tiny"]
    command += ["--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not held.exists() and child.poll() is None:  # the test's own time limit ends the wait
        time.sleep(0.01)
    child.kill()
    child.wait()
    finished = len(list(out.glob("mmeb/tiny/*.parquet")))
    assert finished == 3 and not (out / "leaderboard.csv").exists()

    assert _main(str(TINY), mmeb, out, "--datasets", *tasks, "--name", "tiny") == 0
    for task in select(tasks):
        one, other = (json.loads((f / "mmeb" / "tiny" / f"{task.name}.json").read_text("utf-8")) for f in (whole, out))
        assert one["scores"] == other["scores"], task.name


@pytest.mark.long
def test_two_processes_share_the_work_and_get_the_same_scores(mmeb: Path, tmp_path: Path) -> None:
    names = ["OK-VQA", "MSVD", "ViDoRe_docvqa"]
    assert _main(str(TINY), mmeb, tmp_path / "one", "--datasets", *names, "--name", "tiny") == 0
    out = tmp_path / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "eval"]
    command += [
        "--model_path",
        str(TINY),
        "--data",
        str(mmeb),
        "--output_dir",
        str(out),
        "--cache_dir",
        str(out / "cache"),
    ]
    command += ["--datasets", *names, "--name", "tiny", "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        one, two = (
            json.loads((f / "mmeb" / "tiny" / f"{name}.json").read_text("utf-8")) for f in (tmp_path / "one", out)
        )
        assert two["scores"] == pytest.approx(one["scores"])
        assert 0 < two["embedded"] < one["embedded"]  # the first process' share


def test_a_clip_that_will_not_decode_is_a_miss_and_is_named(tmp_path: Path) -> None:
    build(tmp_path, select(["ActivityNetQA"]))
    frame = sorted((tmp_path / "TIGER-Lab").rglob("v_clip1/*.jpg"))[0]
    frame.write_bytes(b"\xff\xd8 not a picture")
    got = _run(["ActivityNetQA"], HashEmbedder(), tmp_path, tmp_path / "out")["ActivityNetQA"]
    assert got.missed == 1 and got.queries == 4
    (failed,) = got.failed
    assert (failed["side"], failed["name"]) == ("query", "1") and failed["source"] == str(frame)
    row = pq.read_table(tmp_path / "out" / "mmeb" / "hash@1" / "ActivityNetQA.parquet").to_pylist()[1]
    # Two candidates: whatever the ranking, both are in the top 5. It scores 0 all the same.
    assert all(row[f"{m}@{k}"] == 0.0 for m in ("hit", "recall", "mrr", "ndcg_linear") for k in KS)
    frame.unlink()  # repaired: three frames are left
    again = _run(["ActivityNetQA"], HashEmbedder(), tmp_path, tmp_path / "out")["ActivityNetQA"]
    assert again.missed == 0 and again.embedded == 1


def test_a_video_file_stands_in_for_saved_frames_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    build(tmp_path, select(["MSVD"]))
    folder = next((tmp_path / "TIGER-Lab").rglob("MSVD/video1"))
    frames = [np.asarray(picture(seed, 96)) for seed in range(6)]
    video = folder.with_name("video1.mp4")
    _as_video(frames, video)
    shutil.rmtree(folder)
    embedder = HashEmbedder()
    assert _run(["MSVD"], embedder, tmp_path, tmp_path / "a")["MSVD"].failed == []
    assert (8, 96, 96, 3) in {i.video.shape for i in embedder.seen if i.video is not None}
    video.write_bytes(video.read_bytes()[:400])
    (failed,) = _run(["MSVD"], embedder, tmp_path, tmp_path / "b")["MSVD"].failed
    assert (failed["name"], failed["source"]) == ("video1", str(video)) and failed["reason"]


def test_a_candidate_that_cannot_be_read_ranks_last(tmp_path: Path) -> None:
    build(tmp_path, select(["MSVD"]))
    shutil.rmtree(next((tmp_path / "TIGER-Lab").rglob("MSVD/video2")))
    got = _run(["MSVD"], HashEmbedder(), tmp_path, tmp_path / "out")["MSVD"]
    assert [f["side"] for f in got.failed] == ["candidate"] and got.missed == 0
    rows = pq.read_table(tmp_path / "out" / "mmeb" / "hash@1" / "MSVD.parquet").to_pylist()
    assert all(r["ranking"][-1] == "video2" for r in rows)


def test_missing_and_truncated_data_cost_their_task_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = ["GQA", "MSVD", "VisRAG_SlideVQA"]
    build(tmp_path / "data", select(names))
    table = next((tmp_path / "data" / "VLM2Vec" / "MSVD").rglob("*.parquet"))
    table.write_bytes(table.read_bytes()[:200])
    shutil.rmtree(tmp_path / "data" / "openbmb")
    assert _main("lite", tmp_path / "data", tmp_path / "out", "--datasets", *names) == 0
    said = capsys.readouterr().err
    assert f"broken: {table} cannot be read" in said
    assert "python -m data.download --root" in said and "--only eval/VisRAG_SlideVQA" in said
    report = (tmp_path / "out" / "leaderboard.md").read_text("utf-8")
    assert "- MSVD (broken)" in report and "- VisRAG_SlideVQA (missing)" in report
    assert "(1 of 78)" in report


def test_a_task_whose_pictures_are_all_gone_is_missing_and_not_zero(tmp_path: Path) -> None:
    build(tmp_path, select(["GQA", "MSVD"]))
    shutil.rmtree(tmp_path / "TIGER-Lab" / "MMEB-V2" / "image-tasks" / "GQA")
    got = _run(["GQA", "MSVD"], HashEmbedder(), tmp_path, tmp_path / "out")
    assert got["GQA"].state == "missing" and "none of its 4 images or clips can be read" in got["GQA"].reason
    assert got["MSVD"].state == "scored"
    assert not (tmp_path / "out" / "mmeb" / "hash@1" / "GQA.json").exists()


def test_nothing_scored_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert _main("lite", tmp_path / "data", tmp_path / "out", "--datasets", "GQA") == 1
    assert main(["--model_path", "lite", "--data", str(tmp_path / "nowhere")]) == 1


def test_unknown_names_and_no_model_are_wrong_usage(mmeb: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, said in ((["--model_path", "lite", "--datasets", "MSCOCO_t2"], "MSCOCO_t2i"), ([], "which model?")):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert said in capsys.readouterr().err


def test_one_output_folder_takes_one_run_at_a_time(mmeb: Path, tmp_path: Path) -> None:
    holder = f"""
import sys
from pathlib import Path
from eval.embedding import Rank
from eval.runner import own
with own(Path({str(tmp_path)!r}), Path(), Rank()):
    print("held", flush=True)
    sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", holder], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"Another run .process {child.pid}. is writing to"):
            _run(["GQA"], HashEmbedder(), mmeb, tmp_path)
        child.kill()
    assert _run(["GQA"], HashEmbedder(), mmeb, tmp_path)["GQA"].state == "scored"


def test_results_of_another_model_or_setting_are_never_mixed_in(mmeb: Path, tmp_path: Path) -> None:
    _run(["GQA"], HashEmbedder("m@1"), mmeb, tmp_path, name="mine")
    with pytest.raises(RunError, match="model_id was 'm@1' and is 'm@2'"):
        _run(["GQA"], HashEmbedder("m@2"), mmeb, tmp_path, name="mine")
    with pytest.raises(RunError, match="data_version was 'current' and is 'paper'"):
        _run(["GQA"], HashEmbedder("m@1"), mmeb, tmp_path, name="mine", settings=ScoringSettings(data_version="paper"))


def test_a_model_of_another_dimension_is_refused_by_the_cache(mmeb: Path, tmp_path: Path) -> None:
    _run(["GQA"], HashEmbedder(dim=32), mmeb, tmp_path / "a", cache=tmp_path / "cache")
    with pytest.raises(CacheError, match="vectors of 32 numbers for hash@1, but the model gives 16"):
        _run(["GQA"], HashEmbedder(dim=16), mmeb, tmp_path / "b", cache=tmp_path / "cache")


def test_a_cache_file_that_is_no_database_is_named(mmeb: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    _run(["GQA"], HashEmbedder(), mmeb, tmp_path / "a", cache=cache)
    for path in cache.glob("hash*"):
        path.write_bytes(b"not a database at all, " * 50)
    with pytest.raises(CacheError, match="cannot be used as an embedding cache"):
        _run(["GQA"], HashEmbedder(), mmeb, tmp_path / "b", cache=cache)


def test_a_full_disk_under_the_cache_is_one_sentence(mmeb: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "m", 1024)
    cache._vectors.execute("PRAGMA max_page_count = 8")
    with pytest.raises(CacheError, match=r"cannot be written \(database or disk is full\)\. Make room"):
        cache.put([bytes([i]) * 16 for i in range(50)], np.zeros((50, 1024), np.float32))


def test_a_finished_task_is_not_done_again_unless_its_table_changed(tmp_path: Path) -> None:
    build(tmp_path, select(["GQA"]))
    first = _run(["GQA"], HashEmbedder(), tmp_path, tmp_path / "out")["GQA"]
    second = _run(["GQA"], HashEmbedder(), tmp_path, tmp_path / "out")["GQA"]
    assert (first.reused, second.reused) == (False, True) and first.scores == second.scores
    table = table_files(tmp_path, "ziyjiang/MMEB_Test_Instruct", "GQA", "test")[0]
    rows = pq.read_table(table).to_pylist()
    pq.write_table(pa.Table.from_pylist(rows[:2]), table)
    third = _run(["GQA"], HashEmbedder(), tmp_path, tmp_path / "out")["GQA"]
    assert not third.reused and third.queries == 2


def test_a_clip_that_was_unpacked_since_is_a_candidate_of_a_finished_task(tmp_path: Path) -> None:
    """Moments are folders: with half of them there, fewer compete."""
    build(tmp_path, select(["QVHighlight"]))
    clip = sorted((tmp_path / "TIGER-Lab").rglob("positive*"))[0].parent
    other = next(f for f in clip.iterdir() if f.name != "query" and not f.name.startswith("positive"))
    other.rename(tmp_path / "not yet")
    first = _run(["QVHighlight"], HashEmbedder(), tmp_path, tmp_path / "out")["QVHighlight"]
    (tmp_path / "not yet").rename(other)
    second = _run(["QVHighlight"], HashEmbedder(), tmp_path, tmp_path / "out")["QVHighlight"]
    assert not second.reused and second.candidates == first.candidates + 1


def test_frames_asked_of_a_video_file_are_part_of_its_key(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"the same bytes")
    cache = EmbeddingCache(tmp_path / "cache", "m", 4)
    keys = {cache.key(TaskItem("p", visual=TaskVisual("video", (), video, n)), ("prompt", "p")) for n in (8, 16, 8)}
    assert len(keys) == 2


def test_a_model_in_other_numbers_never_gets_the_vectors(tmp_path: Path) -> None:
    """With `auto` the id is the same on every machine, so that a library may move; a score is of one of the two."""
    build(tmp_path, select(["GQA"]))
    cache = tmp_path / "cache"
    precise, half = (load(str(TINY), device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert precise.id != half.id  # a chosen dtype stands in it
    half.id = precise.id
    first = _run(["GQA"], precise, tmp_path, tmp_path / "out", cache=cache)["GQA"]
    with pytest.raises(RunError, match="bfloat16"):
        _run(["GQA"], half, tmp_path, tmp_path / "out", cache=cache)
    assert _run(["GQA"], half, tmp_path, tmp_path / "2", cache=cache)["GQA"].embedded == first.embedded > 0


class _OnAnotherMachine(HashEmbedder):
    """Its server is away for the first calls, or will not have some inputs."""

    def __init__(self, away: int = 0, rejects: str = "") -> None:
        super().__init__()
        self.away, self.rejects = away, rejects

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        self.away -= 1
        if self.away >= 0:
            raise ModelAway("http://box:8000 does not answer")
        if self.rejects and any((item.text or "").endswith(self.rejects) for item in inputs):
            raise InputRejected("it is 900 MB, and http://box:8000 takes 256")
        return super().embed(inputs)


def test_a_server_that_is_away_costs_no_query_its_score(mmeb: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelAway):
        _run(["OK-VQA"], _OnAnotherMachine(away=3), mmeb, tmp_path)
    assert _run(["OK-VQA"], _OnAnotherMachine(), mmeb, tmp_path)["OK-VQA"].failed == []


def test_an_input_that_a_server_will_not_have_is_a_miss_and_is_named(mmeb: Path, tmp_path: Path) -> None:
    (task,) = select(["OK-VQA"])
    unwanted = read_task(task, mmeb).queries[2].text
    got = _run(["OK-VQA"], _OnAnotherMachine(rejects=unwanted), mmeb, tmp_path)["OK-VQA"]
    (failed,) = got.failed
    assert (failed["side"], failed["name"], got.missed) == ("query", "2", 1) and "900 MB" in failed["reason"]
