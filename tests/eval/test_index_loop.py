"""The product on the benchmark: files laid out, Sightline asked, answers scored."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.mmeb.read import read_task
from eval.__main__ import main
from eval.catalogue import all_tasks, select
from eval.index_loop import can_be_asked, lay_out, score_search


def test_the_tasks_that_can_be_asked_are_words_against_one_pool() -> None:
    asked = [t for t in all_tasks() if can_be_asked(t)]
    assert {t.group for t in asked} == {"V-RET", "VD-ViDoRe-V1", "VD-ViDoRe-V2", "VD-VisRAG", "VD-OOD"}
    assert len(asked) == 29 and all(t.scope == "global" for t in asked)


def test_pages_become_images_and_clips_become_videos_of_one_window(mmeb: Path, tmp_path: Path) -> None:
    from data.media.image import read_image
    from data.media.video import probe, sample_frames

    (pages,) = select(["ViDoRe_docvqa"])
    data = read_task(pages, mmeb)
    names, failed = lay_out(data, tmp_path / "pages")
    assert failed == [] and sorted(names.values()) == list(range(8))
    name = next(n for n, c in names.items() if c == 3)
    visual = data.candidates[3].visual
    assert visual is not None
    assert (read_image(tmp_path / "pages" / name) == visual.read()[0]).all()

    (clips,) = select(["MSVD"])
    data = read_task(clips, mmeb)
    names, failed = lay_out(data, tmp_path / "clips")
    assert failed == [] and len(names) == 4
    path = tmp_path / "clips" / next(n for n, c in names.items() if c == 1)
    info = probe(path)
    assert 15 < info.duration_s < 30
    shown, _ = sample_frames(path, 0.0, info.duration_s, 5)
    visual = data.candidates[1].visual
    assert visual is not None
    for made, saved in zip(shown, visual.read(), strict=True):
        # Through H.264 and 4:2:0 the colours move a little; the pictures are the saved ones, in order.
        assert abs(made.astype(float).mean((0, 1)) - saved.astype(float).mean((0, 1))).max() < 12


def test_answers_are_scored_and_windows_of_one_clip_are_one_answer(mmeb: Path) -> None:
    (task,) = select(["MSVD"])
    data = read_task(task, mmeb)
    names = {f"{c:06d}.mp4": c for c in range(4)}
    right = {q.text: f"/x/{c:06d}.mp4" for q, r in zip(data.queries, data.relevant, strict=True) for c in r}
    outcome, _ = score_search(task, data, names, lambda words, k: [right[words]])
    assert outcome.scores["hit@1"] == 1.0
    outcome, scored = score_search(
        task, data, names, lambda words, k: ["/x/000000.mp4", "/x/000000.mp4", "/other.jpg", right[words]]
    )
    assert outcome.scores["hit@1"] == 0.25 and outcome.scores["mrr@5"] == pytest.approx((1 + 3 * 0.5) / 4)
    outcome, scored = score_search(task, data, names, lambda words, k: [])
    assert set(outcome.scores.values()) == {0.0} and (scored.ranking.columns == -1).all()


def test_sightline_itself_goes_through_a_task(mmeb: Path, tmp_path: Path) -> None:
    at = ["--data", str(mmeb), "--output_dir", str(tmp_path), "--cache_dir", str(tmp_path / "cache")]
    asked = ["--model_path", "lite", "--datasets", "ViDoRe_docvqa", "K700"]
    assert main([*asked, *at, "--through_index"]) == 0
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = {r["name"]: r for r in csv.DictReader(file)}
    assert rows["ViDoRe_docvqa"]["queries"] == "4" and rows["ViDoRe_docvqa"]["lite through Sightline"]
    assert rows["K700"]["lite through Sightline"] == ""
    assert "searches no pool of files with words" in (tmp_path / "leaderboard.md").read_text("utf-8")
    ranked = pq.read_table(tmp_path / "mmeb" / "lite_through_Sightline" / "ViDoRe_docvqa.parquet").to_pylist()
    assert all(len(row["ranking"]) == 8 for row in ranked)
