"""What the command line shows a person."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli import output
from data.span import Span
from indexer.types import Answer, Hit, Part, Query

Paper = pytest.CaptureFixture[str]


def hit(rank: int = 1, **changed: object) -> Hit:
    values: dict[str, object] = {
        "rank": rank, "score": 3.0, "relevant": True, "kind": "image", "path": "/p/cat.jpg", "also_at": (),
        "file_id": 1, "chunk_id": rank, "span": Span(), "pages": None,
        "duration_s": None, "width": 10, "height": 10, "taken": None, "taken_from": None,
        "title": "cat.jpg", "snippet": "",
    }  # fmt: skip
    return Hit(**(values | changed))  # type: ignore[arg-type]


def shown(*hits: Hit, paper: Paper) -> str:
    query = Query(parts=(Part(text="a cat"),))
    output.show_answer(Answer(query, "lite@0", 1.0, len(hits), hits))
    return paper.readouterr().out


def test_a_hit_says_where_in_its_file_it_is() -> None:
    assert output.place(hit(kind="video", span=Span(60.0, 90.0))) == "1:00–1:30"
    said = hit(kind="video", span=Span(60.0, 90.0), at_s=72.4)
    assert output.place(said) == "1:00–1:30, said at 1:12"
    assert output.place(hit(kind="pdf", span=Span(page=12), pages=40)) == "p. 12 of 40"
    assert output.place(hit()) == ""


def test_names_cannot_write_to_the_terminal() -> None:
    """Neither escape sequences nor bytes that are no UTF-8 reach the screen as they are."""
    assert output.printable("a\x1b[31mb\nc\udcff.jpg") == "a\\x1b[31mb\\nc\\udcff.jpg"


def test_markup_in_a_file_name_is_shown_as_text(capsys: Paper) -> None:
    text = shown(hit(path="/photos/[red]holiday[bold].jpg"), paper=capsys)
    assert "[red]holiday[bold].jpg" in text


def test_hits_below_the_line_stand_under_a_divider(capsys: Paper) -> None:
    text = shown(hit(1), hit(2, relevant=False, path="/photos/dog.jpg"), paper=capsys)
    assert text.index("cat.jpg") < text.index("less likely") < text.index("dog.jpg")


def test_without_a_relevant_hit_it_says_nothing_close(capsys: Paper) -> None:
    text = shown(hit(1, relevant=False), paper=capsys)
    assert text.startswith("Nothing close")
    assert "less likely" not in text


def test_no_hit_at_all_is_told_by_its_cause(capsys: Paper) -> None:
    nothing = Answer(Query(parts=(Part(text="label:dog"),)), "lite@0", 1.0, 0, ())
    output.show_answer(nothing)
    output.show_answer(nothing, empty=True)
    filtered, empty = capsys.readouterr().err.splitlines()
    assert "leave out a filter" in filtered and "sightline index FOLDER" in empty


def test_one_is_no_many() -> None:
    assert [output.counted(n, "group") for n in (0, 1, 2)] == ["0 groups", "1 group", "2 groups"]


def test_the_words_that_matched_are_emphasised(monkeypatch: pytest.MonkeyPatch, capsys: Paper) -> None:
    found = hit(snippet="the \ue000life jackets\ue001 are in the shed")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1mlife jackets\x1b[0m" in shown(found, paper=capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "the life jackets are" in shown(found, paper=capsys)


def test_a_terminal_of_few_letters_shows_the_others_as_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(paper, "ascii"))
    output.out.print("1:00–1:30")
    assert paper.getvalue() == b"1:00?1:30\n"


@pytest.mark.parametrize(("n", "text"), [(0, "0 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3000.0 GB")])
def test_a_size_is_readable(n: float, text: str) -> None:
    assert output.size(n) == text


@pytest.mark.slow
def test_the_demo_folder_holds_all_three_kinds(tmp_path: Path) -> None:
    from app.demo import build
    from data.media.kinds import kind_of

    folder = build(tmp_path / "demo")
    kinds = {kind_of(p) for p in folder.rglob("*") if p.is_file()}
    assert kinds == {"image", "video", "pdf"}
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    build(folder)
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before
