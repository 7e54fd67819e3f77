"""The product on the benchmark: files laid out, Sightline asked, answers scored."""

from __future__ import annotations

import csv
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.mmeb.readers import read_task
from data.mmeb.tables import table_files
from eval.__main__ import main
from eval.embedding import Embedded
from eval.product import READERS, ProductError, _search, lay_out, score_search
from eval.scoring import score
from eval.task_list import all_tasks, select
from tests.eval.fixtures import build


def test_the_tasks_that_can_be_asked_are_words_against_one_pool() -> None:
    asked = [t for t in all_tasks() if t.reader in READERS]
    assert {t.group for t in asked} == {"V-RET", "VD-ViDoRe-V1", "VD-ViDoRe-V2", "VD-VisRAG", "VD-OOD"}
    assert len(asked) == 29 and all(t.scope == "global" for t in asked)


def test_pages_become_images_and_clips_become_videos_of_one_window(mmeb: Path, tmp_path: Path) -> None:
    from data import reader
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

    names, failed = lay_out(data, tmp_path / "pdfs", as_pdf=True)
    assert failed == [] and set(names) == {f"{n:06d}.pdf" for n in range(8)}
    path = tmp_path / "pdfs" / "000003.pdf"
    (chunk,) = reader.decode(path, "pdf", reader.outline(path, "pdf").chunks)
    page = chunk.frames[0]
    assert np.abs(page.astype(float).mean((0, 1)) - visual.read()[0].mean((0, 1))).max() < 12

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


def test_a_relevant_page_that_is_nowhere_counts_as_in_any_other_run(tmp_path: Path) -> None:
    (task,) = select(["ViDoRe_docvqa"])
    build(tmp_path, [task])
    qrels = table_files(tmp_path, task.source.repo, "qrels", "test")[0]
    rows = pq.read_table(qrels).to_pylist()
    lost = {**rows[0], "corpus-id": type(rows[0]["corpus-id"])(987)}
    pq.write_table(pa.Table.from_pylist([*rows, lost]), qrels)
    data = read_task(task, tmp_path)
    n = len(data.candidates)
    vectors = np.eye(n, dtype=np.float32)
    queries = np.stack([vectors[list(r)].sum(0) for r in data.relevant])
    direct = score(task, data, Embedded(queries, {}), Embedded(vectors, {})).metrics["ndcg_linear@5"]
    names = {f"{c:06d}.png": c for c in range(n)}
    found = {q.text: [f"/x/{c:06d}.png" for c in r] for q, r in zip(data.queries, data.relevant, strict=True)}
    asked = score_search(task, data, names, lambda words, k: found[words])[1].metrics["ndcg_linear@5"]
    assert asked.tolist() == direct.tolist() and min(asked) < 1


def test_a_query_that_sightline_does_not_answer_is_one_sentence() -> None:
    class Failing(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(500)

    server = HTTPServer(("127.0.0.1", 0), Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(ProductError, match=r"Sightline did not answer 'a dog' .*500"):
        _search(f"http://127.0.0.1:{server.server_port}", "a dog", 5)
    server.shutdown()


def test_the_model_that_re_ranks_is_told_with_each_search_and_what_it_lacks_is_said() -> None:
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"detail": "colpali is not on this machine"}')

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(ProductError, match=r"503: .*: colpali is not on this machine"):
        _search(f"http://127.0.0.1:{server.server_port}", "a dog", 5, "colpali")
    server.shutdown()
    assert asked == ["/api/search?q=a+dog&k=5&rerank=colpali"]


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
