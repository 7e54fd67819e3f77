"""Moments, labels, moderation, reels, answers and exports over a real, indexed folder."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.media.video import probe
from indexer.errors import LibraryError
from indexer.features import edit_list, export, labels, moments, multiple_choice, reel
from indexer.library import Library
from indexer.search import ranking
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from tests import media
from tests.indexer.written_library import drawing

EVENT_S = (41.0, 46.0)


def shown(seed: int) -> Image.Image:
    return Image.fromarray(drawing(seed)).resize((160, 120))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 80 s in which drawing 7 is seen from 41 s to 46 s, two others, pictures and a PDF."""
    made = tmp_path_factory.mktemp("files")

    def event(t: float) -> Image.Image:
        return shown(7 if EVENT_S[0] <= t < EVENT_S[1] else 50 + int(t / 30))

    media.draw_video(made / "event.mp4", 80.0, fps=4, frame=event)
    for seed in (60, 61):
        media.draw_video(made / f"film{seed}.mp4", 12.0, fps=4, frame=lambda t, s=seed: shown(s))  # type: ignore[misc]
    for seed in range(20, 26):
        shown(seed).save(made / f"picture{seed}.png")
    pages = [
        "The blue whale is the largest animal that ever lived; whales eat krill.",
        "Bread is baked in a hot oven; this bread is made of flour and water.",
    ]
    media.draw_pdf(made / "whales.pdf", pages)
    return made


@pytest.fixture(scope="module")
def searcher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    library = Library.open(tmp_path_factory.mktemp("library"), ocr="off", nice=False)
    report = library.index([folder])
    assert report.failed == 0
    yield library.searcher()
    library.close()


def picture_of(seed: int, at: Path) -> Query:
    shown(seed).save(at / "asked.png")
    return Query((Part(file=at / "asked.png"),))


def test_a_moment_is_sharpened_to_the_event(searcher: Searcher, tmp_path: Path) -> None:
    first = moments.Moments(searcher).find(picture_of(7, tmp_path), k=3)[0]
    assert first.hit.title == "event.mp4"
    assert EVENT_S[0] - 2 <= first.at_s <= EVENT_S[1] + 2
    assert abs(first.start_s - EVENT_S[0]) <= 4 and abs(first.end_s - EVENT_S[1]) <= 4


def test_asking_again_about_a_place_decodes_nothing(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = moments.Moments(searcher)
    (hit, *_) = searcher.search(picture_of(7, tmp_path)).hits
    vectors = searcher.vectors(picture_of(7, tmp_path))
    first = finder.sharpened(hit, vectors)
    monkeypatch.setattr(searcher.sandbox, "submit", None)  # any call would raise
    assert finder.sharpened(hit, vectors) == first


def test_a_film_that_has_gone_keeps_its_window(searcher: Searcher, tmp_path: Path, folder: Path) -> None:
    hit = searcher.search(picture_of(7, tmp_path)).hits[0]
    (folder / "event.mp4").rename(tmp_path / "away.mp4")
    try:
        moment = moments.Moments(searcher).sharpened(hit, searcher.vectors(picture_of(7, tmp_path)))
    finally:
        (tmp_path / "away.mp4").rename(folder / "event.mp4")
    assert (moment.start_s, moment.end_s) == (hit.start_s, hit.end_s)


def test_files_are_ranked_by_their_best_piece_or_their_centroid(searcher: Searcher, tmp_path: Path) -> None:
    query = picture_of(60, tmp_path)
    for by in ("max", "centroid"):
        best = moments.rank_files(searcher, query, by)  # type: ignore[arg-type]
        assert Path(best[0].path).name == "film60.mp4"
    paths = [s.path for s in moments.rank_files(searcher, query)]
    assert len(paths) == len(set(paths))


def test_labels_are_kept_filter_and_are_replaced(searcher: Searcher) -> None:
    given = labels.label(searcher, ["whale", "bread", "zeppelin"], line=1.0, prompt="a text about a {}")
    assert given == sum(labels.counts(searcher).values()) > 0
    hits = searcher.search(Query((Part(text="label:whale"),)), 50).hits
    assert ("whales.pdf", 1) in [(h.title, h.page) for h in hits]
    assert labels.with_label(searcher, "whale")
    labels.label(searcher, ["whale", "bread", "zeppelin"], line=1e9)
    assert labels.counts(searcher) == {}
    assert searcher.search(Query((Part(text="label:whale"),))).hits == ()


def test_a_rule_hides_what_it_catches_and_reports_it(searcher: Searcher, tmp_path: Path) -> None:
    rules = tmp_path / "rules.csv"
    rules.write_text("label,threshold,action\n# a comment\nwhale,2.0,hide\nbread,2.0,flag\n")
    before = [h.page for h in searcher.search(Query((Part(text="largest whale animal"),)), 50).hits]
    caught = labels.moderate(searcher, labels.read_rules(rules), prompt="a text about a {}")
    try:
        assert {("whale", 1, "hide"), ("bread", 2, "flag")} <= {(c.label, c.page, c.action) for c in caught}
        after = searcher.search(Query((Part(text="largest whale animal"),)), 50).hits
        assert 1 in before and ("whales.pdf", 1) not in [(h.title, h.page) for h in after]
        labels.write_report(caught, tmp_path / "report.csv")
        labels.write_report(caught, tmp_path / "report.json")
        rows = list(csv.DictReader((tmp_path / "report.csv").open()))
        assert len(rows) == len(json.loads((tmp_path / "report.json").read_text())) == len(caught)
    finally:
        labels.moderate(searcher, [])
    again = searcher.search(Query((Part(text="largest whale animal"),)), 50).hits
    assert ("whales.pdf", 1) in [(h.title, h.page) for h in again]


@pytest.mark.parametrize("line", ["whale,high,hide", "whale,3.0,burn", "whale"])
def test_a_rule_that_is_none_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "rules.csv").write_text(f"label,threshold,action\n{line}\n")
    with pytest.raises(LibraryError, match="line 2"):
        labels.read_rules(tmp_path / "rules.csv")


def test_the_names_of_imagenet_and_of_a_file(tmp_path: Path) -> None:
    assert len(labels.names("imagenet")) == 1000
    kinetics = labels.names("kinetics")
    assert len(set(kinetics)) == 400 and kinetics == sorted(kinetics)
    assert {"abseiling", "playing guitar", "zumba"} <= set(kinetics)
    assert labels.PROMPTS["kinetics"].format("surfing water") == "a video of surfing water"
    (tmp_path / "l.txt").write_text("cat\n\n# no\ndog\ncat\n")
    assert labels.names(str(tmp_path / "l.txt")) == ["cat", "dog"]
    with pytest.raises(LibraryError, match="a label on each line"):
        labels.names(str(tmp_path / "none.txt"))


def test_a_reel_joins_the_best_moments_with_an_edit_list(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "LINE", 0.0)  # ten drawings are all alike: nothing stands out by three
    out = tmp_path / "reel.mp4"
    pieces = reel.reel(searcher, picture_of(7, tmp_path), out, max_length_s=10.0, clip_s=4.0)
    assert "event.mp4" in [Path(p.path).name for p in pieces]
    length = probe(out).duration_s
    assert abs(length - sum(p.end_s - p.start_s for p in pieces)) < 1.0 and length <= 11
    rows = list(csv.DictReader(out.with_suffix(".csv").open()))
    assert [float(r["start_s"]) for r in rows] == [p.start_s for p in pieces]
    fps = probe(out).fps
    assert fps is not None
    events = read_edl(out.with_suffix(".edl"), round(fps))
    assert [e["name"] for e in events] == [Path(p.path).name for p in pieces]
    for event, piece in zip(events, pieces, strict=True):
        assert abs(event["from"][0] / fps - piece.start_s) <= 1 / fps
        assert abs(event["from"][1] / fps - piece.end_s) <= 2 / fps
        assert abs(event["at"][0] / fps - piece.at_s) <= 2 / fps


EVENT = re.compile(r"(\d{3})  AX {7}B {5}C {8}" + " ".join([r"(\d\d:\d\d:\d\d:\d\d)"] * 4))


def read_edl(path: Path, a_second: int) -> list[dict[str, Any]]:
    """An EDL as an editing program reads it: columns are fixed, numbers run, the record has no gap."""
    title, mode, _, *lines = path.read_text("utf-8").split("\n")
    assert title.startswith("TITLE: ") and mode == "FCM: NON-DROP FRAME"
    events: list[dict[str, Any]] = []
    for line in lines:
        if found := EVENT.fullmatch(line):
            assert int(found[1]) == len(events) + 1
            a, b, c, d = (frames_of(found[n], a_second) for n in (2, 3, 4, 5))
            assert b - a == d - c > 0 and c == (events[-1]["at"][1] if events else 0)
            events.append({"from": (a, b), "at": (c, d)})
        elif line.startswith("* FROM CLIP NAME: "):
            events[-1]["name"] = line.removeprefix("* FROM CLIP NAME: ")
        elif line.startswith("* SOURCE FILE: "):
            events[-1]["path"] = line.removeprefix("* SOURCE FILE: ")
        else:
            assert not line, line
    return events


def frames_of(code: str, a_second: int) -> int:
    hours, minutes, seconds, frames = (int(part) for part in code.split(":"))
    assert frames < a_second
    return ((hours * 60 + minutes) * 60 + seconds) * a_second + frames


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 60.0])
def test_an_edit_list_is_exact_to_the_frame_at_every_rate(tmp_path: Path, fps: float) -> None:
    films = ["a.mp4", "b c.mov", "line\nbreak.mp4", os.fsdecode(b"caf\xe9.mp4")]
    spans = [(3599.0, 3603.2), (0.0, 8.0), (12.345, 15.0), (61.02, 65.5)]
    pieces, at = [], 0.0
    for film, (start, end) in zip(films, spans, strict=True):
        pieces.append(edit_list.Piece(f"/films/{film}", start, end, at, 3.0))
        at += end - start
    edit_list.write_edl(pieces, tmp_path / "r.edl", fps)
    text = (tmp_path / "r.edl").read_bytes().decode("utf-8", "surrogateescape")
    (tmp_path / "r.edl").write_text(text.encode("utf-8", "replace").decode())
    events = read_edl(tmp_path / "r.edl", round(fps))
    assert len(events) == 4 and events[2]["name"] == "line break.mp4"
    for event, piece in zip(events, pieces, strict=True):
        assert event["from"][0] == round(piece.start_s * fps)
        assert abs(event["at"][1] - (piece.at_s + piece.end_s - piece.start_s) * fps) <= 1
    edit_list.write_csv(pieces, tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").open(errors="surrogateescape", newline="")))
    assert [row["path"] for row in rows] == [piece.path for piece in pieces]


def test_a_reel_of_nothing_says_so(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="close enough"):
        reel.reel(searcher, Query((Part(text="zeppelin qqqqq"),)), tmp_path / "reel.mp4")
    assert not (tmp_path / "reel.mp4").exists()


def test_an_answer_is_chosen_for_a_document(searcher: Searcher, folder: Path) -> None:
    choices = ["a whale", "a locomotive", "a bicycle"]
    ranked = multiple_choice.answer(searcher, "Which is the largest animal?", choices, folder / "whales.pdf")
    assert ranked[0].text == "a whale"
    assert [c.score for c in ranked] == sorted((c.score for c in ranked), reverse=True)
    with pytest.raises(LibraryError, match="two answers"):
        multiple_choice.answer(searcher, "What?", ["one"], folder / "whales.pdf")


def test_an_export_holds_every_chunk_with_its_vector(searcher: Searcher, tmp_path: Path) -> None:
    count = export.export(searcher, tmp_path / "all.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert count == len(rows) == len(searcher._index)
    page = next(r for r in rows if r["page"] == 1)
    stored = searcher.catalogue.contents.vector(page["chunk_id"], searcher.model_id)
    assert stored is not None
    np.testing.assert_allclose(page["vector"], stored, atol=1e-6)
    assert "blue whale" in page["text"]
    assert export.export(searcher, tmp_path / "all.csv", "csv") == count
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export.export(searcher, tmp_path / "all.parquet", "parquet") == count
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.num_rows == count and table.schema.metadata[b"model"].decode() == searcher.embedder.id
    np.testing.assert_allclose(table["vector"][0].as_py(), rows[0]["vector"], atol=1e-5)


def test_an_answer_as_csv_has_a_line_a_hit(searcher: Searcher) -> None:
    answer = searcher.search(Query((Part(text="whale"),)), 5)
    rows = list(csv.DictReader(export.answer_csv(answer).splitlines()))
    assert len(rows) == len(answer.hits) and rows[0]["title"] == "whales.pdf"
    assert "\ue000" not in rows[0]["snippet"]
