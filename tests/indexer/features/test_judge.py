"""Judgements of one's own: what counts as right, and what is said about a bad line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.span import Span
from eval.metrics import score_ranking
from indexer.features.judge import JudgementError, evaluate, read_judgements
from indexer.library import Library
from indexer.types import Part, Query
from tests.eval.fixtures import picture

SIDECAR = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Grandmother at the old mill</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>mill</rdf:li><rdf:li>Ida</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


@dataclass
class Hit:
    path: str
    span: Span = Span()
    also_at: tuple[str, ...] = ()
    relevant: bool = True


def _written(folder: Path, *lines: object) -> Path:
    path = folder / "queries.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return path


def _scores(folder: Path, relevant: object, hits: list[Hit]) -> dict[str, float]:
    judgements = read_judgements(_written(folder, {"query": "q", "relevant": relevant}))
    return evaluate(judgements, lambda words, k: hits[:k], score_ranking).scores


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    got = _scores(tmp_path, ["in/a.jpg"], [Hit(str(tmp_path / "b.jpg")), Hit(str(tmp_path / "in" / "a.jpg"))])
    assert (got["hit@1"], got["hit@5"], got["mrr@5"]) == (0.0, 1.0, 0.5)


def test_an_answer_named_twice_is_one_answer(tmp_path: Path) -> None:
    assert _scores(tmp_path, ["a.jpg", "a.jpg"], [Hit(str(tmp_path / "a.jpg"))])["recall@5"] == 1.0


@pytest.mark.parametrize("grade", [-1, float("nan")])
def test_a_grade_below_nothing_is_refused_with_its_line(tmp_path: Path, grade: float) -> None:
    line = {"query": "q", "relevant": [{"path": "a.jpg", "grade": grade}]}
    with pytest.raises(JudgementError, match=r"line 1: a grade is a number from 0 on, not (-1|nan)"):
        read_judgements(_written(tmp_path, line))


def test_a_copy_of_the_right_file_is_right(tmp_path: Path) -> None:
    assert _scores(tmp_path, "a.jpg", [Hit("/x/copy.jpg", also_at=(str(tmp_path / "a.jpg"),))])["hit@1"] == 1.0


def test_a_judged_page_is_that_page_and_a_judged_file_any_page(tmp_path: Path) -> None:
    file = str(tmp_path / "r.pdf")
    hits = [Hit(file, Span(page=3)), Hit(file, Span(page=12))]
    assert _scores(tmp_path, [{"path": "r.pdf", "page": 12}], hits)["mrr@5"] == 0.5
    assert _scores(tmp_path, ["r.pdf"], hits)["hit@1"] == 1.0


@pytest.mark.parametrize(("window", "right"), [((60, 90), 1.0), ((30, 60), 0.0), ((80, 110), 1.0), ((0, 500), 1.0)])
def test_a_window_is_right_where_it_overlaps_the_judged_stretch(tmp_path: Path, window: tuple, right: float) -> None:
    hit = Hit(str(tmp_path / "v.mp4"), Span(*window))
    assert _scores(tmp_path, [{"path": "v.mp4", "start_s": 60, "end_s": 90}], [hit])["hit@1"] == right


def test_pages_of_one_right_file_are_one_answer_and_take_one_place(tmp_path: Path) -> None:
    hits = [Hit(str(tmp_path / "a.pdf"), Span(page=n)) for n in range(1, 7)] + [Hit(str(tmp_path / "b.jpg"))]
    got = _scores(tmp_path, ["a.pdf", "b.jpg"], hits)
    assert got["recall@5"] == got["ndcg_linear@5"] == got["map@5"] == 1.0


def test_grades_weigh_in_ndcg(tmp_path: Path) -> None:
    hits = [Hit(str(tmp_path / "low.jpg")), Hit(str(tmp_path / "high.jpg"))]
    got = _scores(tmp_path, [{"path": "high.jpg", "grade": 3}, "low.jpg"], hits)
    assert got["ndcg_linear@5"] < got["recall@5"] == 1.0


def test_the_report_names_what_was_missed_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    judgements = read_judgements(
        _written(tmp_path, {"query": "one", "relevant": "a.jpg"}, "", {"query": "two", "relevant": ["gone.jpg"]})
    )
    report = evaluate(judgements, lambda words, k: [Hit(str(tmp_path / "a.jpg"))], score_ranking, "lite@1")
    assert report.scores["hit@1"] == 0.5
    assert report.absent == [str(tmp_path / "gone.jpg")]
    said = report.as_text()
    assert "2 queries with lite@1" in said and "Not in the first 10: two" in said and "gone.jpg" in said
    assert [q["found_at"] for q in report.as_json()["per_query"]] == [1, None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "line 2: not a JSON object"),
        ("[1, 2]", "line 2: not a JSON object"),
        ({"relevant": ["a"]}, "line 2: 'query' is missing"),
        ({"query": "  ", "relevant": ["a"]}, "line 2: the query is empty"),
        ({"query": "x"}, "line 2: 'relevant' is missing"),
        ({"query": "x", "relevant": 7}, "line 2: .*"),
        ({"query": "x", "relevant": [{"file": "a"}]}, "line 2: unknown field 'file'"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, line: object, reason: str) -> None:
    path = _written(tmp_path, {"query": "fine", "relevant": ["a"]}, line)
    with pytest.raises(JudgementError, match=reason):
        read_judgements(path)


def test_a_file_that_is_not_there_or_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(JudgementError, match="cannot be read"):
        read_judgements(tmp_path / "none.jsonl")
    with pytest.raises(JudgementError, match="holds no queries"):
        read_judgements(_written(tmp_path, ""))


def test_a_query_without_an_answer_should_be_refused_and_one_with_an_answer_should_not(tmp_path: Path) -> None:
    lines = [{"query": q, "relevant": r} for q, r in (("cat", "a.jpg"), ("dog", "b.mp4"), ("ufo", []), ("elf", []))]
    judgements = read_judgements(_written(tmp_path, *lines))
    answers = {
        "cat": [Hit(str(tmp_path / "a.jpg"))],
        "dog": [Hit(str(tmp_path / "b.mp4"), relevant=False)],
        "ufo": [Hit(str(tmp_path / "a.jpg"), relevant=False)],
        "elf": [Hit(str(tmp_path / "a.jpg"))],
    }
    report = evaluate(judgements, lambda words, k: answers[words], score_ranking)
    assert report.refused == {"answerable": 0.5, "unanswerable": 0.5}
    assert report.scores["recall@10"] == 1.0, "what has no answer is not averaged in"
    assert {kind: g["queries"] for kind, g in report.by_kind.items()} == {"image": 1, "video": 1}
    lines_of_text = report.as_text()
    assert "refused rightly: 50.0 %" in lines_of_text and "image 100.0 % of 1, video 100.0 % of 1" in lines_of_text


def _sightline(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *map(str, words), "--data-dir", str(home), "--model", "lite"]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_scores_a_real_library(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for seed, name in enumerate(("lighthouse harbour", "tax form")):
        picture(seed, 96).save(files / f"{name}.png")
    assert _sightline(tmp_path / "home", "index", files).returncode == 0
    queries = _written(
        files,
        {"query": "lighthouse harbour", "relevant": ["lighthouse harbour.png"]},
        {"query": "tax form", "relevant": ["tax form.png"]},
    )
    done = _sightline(tmp_path / "home", "judge", queries, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["queries"] == 2 and report["scores"]["hit@1"] == 1.0 and report["absent"] == []
    assert "first hit right   100.0 %" in _sightline(tmp_path / "home", "judge", queries).stdout
    wrong = _sightline(tmp_path / "home", "judge", tmp_path / "none.jsonl")
    assert wrong.returncode == 2 and "cannot be read" in wrong.stderr


@pytest.mark.slow
def test_without_a_file_the_clicks_and_captions_of_the_library_judge(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for seed in range(3):
        picture(seed, 96).save(files / f"IMG_{seed}.png")
    (files / "IMG_1.png.xmp").write_text(SIDECAR, "utf-8")
    home = tmp_path / "home"
    with Library.open(home, ocr="off", nice=False) as library:
        assert library.index([files]).failed == 0
        library.clicks.enable(True)
        shown = library.search(Query((Part("type:image"),))).hits
        bella = next(hit for hit in shown if hit.title == "IMG_2.png")
        assert library.clicks.add("our dog Bella", bella.chunk_id)
        words = library.own_words(("click", "caption"))
    assert {(own.words, own.source, own.places[0].paths[0].name) for own in words} == {
        ("our dog Bella", "click", "IMG_2.png"),
        ("Grandmother at the old mill", "caption", "IMG_1.png"),
        ("mill", "caption", "IMG_1.png"),
        ("Ida", "caption", "IMG_1.png"),
    }
    done = _sightline(home, "judge", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["by_source"]["caption"]["recall@10"] == 1.0 and report["by_source"]["click"]["queries"] == 1
    assert report["by_kind"]["image"]["queries"] == 4


def test_a_library_without_clicks_and_captions_says_what_to_do(tmp_path: Path) -> None:
    Library.open(tmp_path / "home").close()
    done = _sightline(tmp_path / "home", "judge")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "sightline clicks --keep" in done.stderr
