"""Sources of one's own: pairs from a file, a class for PDFs, an export of a library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pymupdf
import pytest
from PIL import Image

from data.sources.pair import Media, MissingMedia, Side, SourceError, choose_frames, load
from data.sources.pairs import Pairs
from data.sources.registry import open_source
from data.span import Span


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def picture(path: Path, size: tuple[int, int] = (64, 40), colour: str = "red") -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def pdf(path: Path, pages: int = 2, size: tuple[float, float] = (595, 842)) -> Path:
    document = pymupdf.open()
    for number in range(pages):
        document.new_page(width=size[0], height=size[1]).insert_text((50, 60), f"Page {number + 1} of the report")
    document.save(path)
    return path


def test_pairs_of_every_shape_become_sides(tmp_path: Path) -> None:
    rows = [
        {"query": "a red bicycle", "positive": {"image": "a.png"}},
        {
            "query": {"image": "a.png", "text": "the same in blue"},
            "positive": {"image": "b.png"},
            "negatives": [{"image": "a.png"}, "a word"],
        },
        {"query": "notice period", "positive": {"pdf": "c.pdf", "page": 4}},
        {"query": "a door", "positive": {"video": "film.mp4", "start_s": 30, "end_s": 60}},
        {"query": "flat", "positive_pdf": "c.pdf", "positive_page": 2},
    ]
    source = Pairs(jsonl(tmp_path / "p.jsonl", rows))
    assert len(source) == 5
    pairs = [source[i] for i in range(5)]
    assert pairs[0].query.text == "a red bicycle" and pairs[0].query.looks_for == "image"
    assert pairs[0].positive.media == Media("image", str(tmp_path / "a.png"))
    assert pairs[1].query.media is not None and pairs[1].query.text == "the same in blue"
    assert [bool(n.media) for n in pairs[1].negatives] == [True, False]
    assert pairs[2].positive.media == Media("page", str(tmp_path / "c.pdf"), span=Span(page=4))
    assert pairs[3].positive.media == Media("video", str(tmp_path / "film.mp4"), span=Span(30, 60))
    assert pairs[4].positive.media == Media("page", str(tmp_path / "c.pdf"), span=Span(page=2))
    assert pairs[4].query.looks_for == "pdf"


def test_parquet_pairs_are_the_same_as_jsonl_pairs(tmp_path: Path) -> None:
    rows = [{"query": f"words {i}", "positive_image": f"{i}.png"} for i in range(7)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet", row_group_size=3)
    both = Pairs(tmp_path / "p.parquet", name="p"), Pairs(jsonl(tmp_path / "p.jsonl", rows), name="p")
    assert [both[0][i] for i in range(7)] == [both[1][i] for i in range(7)]
    assert both[0].groups.tolist() == [3, 3, 1] and both[1].groups.tolist() == [1] * 7


@pytest.mark.parametrize(
    "row, message",
    [
        ({"query": "x"}, "row 1: positive needs a text, or one of image, video, pdf, frames"),
        ({"query": "x", "positive": {"img": "a.png"}}, "row 1: positive has img; known are"),
        ({"query": "x", "positive": {"image": "a.png", "pdf": "b.pdf"}}, "positive needs a text, or one of"),
    ],
)
def test_a_row_that_makes_no_pair_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    source = Pairs(jsonl(tmp_path / "p.jsonl", [row]))
    with pytest.raises(SourceError, match=message):
        source[0]


def test_lines_are_found_with_and_without_a_last_newline_and_with_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"query":"a","positive":"1"}\n\n{"query":"ü","positive":"2"}', encoding="utf-8")
    source = Pairs(path)
    assert [source[i].query.text for i in range(len(source))] == ["a", "ü"]
    path.write_text('{"query": "a"\n')
    with pytest.raises(SourceError, match=r"p\.jsonl, row 1: not a line of JSON"):
        Pairs(path)[0]


def test_an_empty_source_is_refused_by_name(tmp_path: Path) -> None:
    jsonl(tmp_path / "nothing.jsonl", [])
    with pytest.raises(SourceError, match="nothing is empty: it has no rows"):
        open_source({"type": "pairs", "path": str(tmp_path / "nothing.jsonl")}, tmp_path)


def test_unknown_types_and_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no source type is called 'pears'; known are .*pairs"):
        open_source({"type": "pears"}, tmp_path)
    path = str(jsonl(tmp_path / "p.jsonl", [{"query": "a", "positive": "b"}]))
    with pytest.raises(SourceError, match="type pairs does not take these keys"):
        open_source({"type": "pairs", "path": path, "wieght_of_row": 2}, tmp_path)


def test_a_class_of_ones_own_is_a_few_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/training.md, registered by `imports:`."""
    pdf(tmp_path / "minutes.pdf", pages=3)
    (tmp_path / "questions.csv").write_text("who spoke?;minutes.pdf;2\nwhat for?;minutes.pdf;3\n")
    (tmp_path / "my_sources.py").write_text(
        "from data.sources.source import VisDocDataset, register\n"
        "@register('board-minutes')\n"
        "class BoardMinutes(VisDocDataset):\n"
        "    def rows(self):\n"
        "        for line in (self.root / 'questions.csv').open():\n"
        "            question, pdf, page = line.rstrip().split(';')\n"
        "            yield {'query': question, 'pdf': pdf, 'page': int(page)}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = {"type": "board-minutes", "root": str(tmp_path), "weight": 2}
    source = open_source(entry, tmp_path, imports=["my_sources"])
    sys.modules.pop("my_sources")
    assert len(source) == 2
    pair = source[1]
    assert pair.query.text == "what for?" and pair.query.looks_for == "pdf"
    page = load(pair.positive)
    assert page.kind == "pdf" and len(page.frames) == 1


def test_pages_are_drawn_at_300_dpi_and_capped(tmp_path: Path) -> None:
    card = pdf(tmp_path / "card.pdf", 1, size=(252, 144))  # 3.5 × 2 inches
    frame = load(Side(media=Media("page", str(card), span=Span(page=1)))).frames[0]
    assert frame.shape == (600, 1050, 3)
    sheet = pdf(tmp_path / "sheet.pdf", 1)
    assert max(load(Side(media=Media("page", str(sheet), span=Span(page=1)))).frames[0].shape) == 2048


def test_missing_and_broken_media_are_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(MissingMedia, match=r"gone\.png: .*no longer there"):
        load(Side(media=Media("image", str(tmp_path / "gone.png"))))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with pytest.raises(MissingMedia, match=r"bad\.png: "):
        load(Side(media=Media("image", str(tmp_path / "bad.png"))))
    report = pdf(tmp_path / "r.pdf", 2)
    with pytest.raises(MissingMedia, match=r"r\.pdf page 9: "):
        load(Side(media=Media("page", str(report), span=Span(page=9))))
    with pytest.raises(MissingMedia, match="no frames"):
        (tmp_path / "clip").mkdir()
        load(Side(media=Media("frames", str(tmp_path / "clip"))))


def test_frames_are_the_benchmarks_choice(tmp_path: Path) -> None:
    for number in range(1, 65):
        (tmp_path / f"c01_{number}.jpeg").touch()
    chosen = [int(p.stem.split("_")[1]) - 1 for p in choose_frames(tmp_path, 8)]
    assert chosen == [0, 9, 18, 27, 36, 45, 54, 63]
    assert len(choose_frames(tmp_path, 80)) == 64


def test_saved_frames_of_two_sizes_are_one_clip(tmp_path: Path) -> None:
    for name, width in (("1.png", 60), ("2.png", 80)):
        Image.new("RGB", (width, 40), (width, 0, 0)).save(tmp_path / name)
    clip = load(Side(media=Media("frames", str(tmp_path)))).to_input().video
    assert clip is not None and clip.shape == (2, 40, 60, 3)
    assert clip[1, 20, 30].tolist() == [80, 0, 0]


def test_a_loaded_side_is_an_input_for_any_model(tmp_path: Path) -> None:
    side = Side("<|image_pad|>\nRepresent it\n", Media("image", str(picture(tmp_path / "a.png"))), exact=True)
    given = load(side).to_input()
    assert given.text == "Represent it" and given.images[0].shape == (40, 64, 3)


def test_a_row_without_a_query_is_its_positive_alone(tmp_path: Path) -> None:
    source = Pairs(jsonl(tmp_path / "p.jsonl", [{"positive": {"image": "a.png"}}]))
    assert source[0].query == source[0].positive and source[0].query.media is not None


def test_a_library_is_trained_on_from_an_export(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"`sightline export --pairs FILE\.jsonl` and write {type: pairs"):
        open_source({"type": "library", "data_dir": str(tmp_path)}, tmp_path)
