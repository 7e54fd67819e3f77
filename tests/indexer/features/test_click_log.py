"""What was searched for and then opened: kept only by consent, in the library's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.sources.pairs import Pairs
from indexer.errors import LibraryError
from indexer.features.click_log import Clicks
from indexer.library import Library
from indexer.types import Part, Query
from tests.media import draw_image, draw_pdf


@pytest.fixture
def library(tmp_path: Path) -> Library:
    draw_image(tmp_path / "photos" / "lake.jpg", color=(20, 60, 220))
    draw_pdf(tmp_path / "papers" / "lease.pdf", ["The notice period", "Parking costs extra"])
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([tmp_path / "photos", tmp_path / "papers"])
        yield library


def found(library: Library, words: str) -> int:
    return library.search(Query((Part(text=words),))).hits[0].chunk_id


def test_nothing_is_kept_until_the_person_agrees(library: Library) -> None:
    lease = found(library, "parking")
    assert not library.clicks.enabled and not library.clicks.add("parking", lease)
    assert not (library.data_dir / "clicks.jsonl").exists()
    library.clicks.enable(True)
    assert library.clicks.add("parking", lease) and len(library.clicks) == 1
    library.clicks.enable(False)
    assert not library.clicks.add("parking", lease)
    assert library.status().clicks == 1 and not library.status().keeps_clicks
    assert library.clicks.delete() == 1 and library.status().clicks == 0


def test_consent_and_clicks_outlive_the_program(library: Library) -> None:
    library.clicks.enable(True)
    library.clicks.add("parking", found(library, "parking"))
    again = Clicks(library.data_dir, library.catalogue)
    assert again.enabled and len(again) == 1


def test_only_words_are_kept_and_of_the_hit_only_what_trains(library: Library) -> None:
    library.clicks.enable(True)
    lease = found(library, "parking")
    assert library.clicks.add('parking "costs" -cat taken:2023 in:papers', lease)
    assert not library.clicks.add("type:pdf", lease), "filters alone are no query"
    assert not library.clicks.add("near:nowhere-at-all", lease)
    assert not library.clicks.add("parking", 10_000), "there is no such chunk"
    (row,) = [json.loads(line) for line in (library.data_dir / "clicks.jsonl").read_text().splitlines()]
    assert row["query"] == "parking costs" and row["page"] == 2
    assert set(row) == {"query", "content", "page", "start_s", "end_s"}


def test_kept_clicks_are_pairs_to_train_with_also_after_a_new_index(library: Library, tmp_path: Path) -> None:
    library.clicks.enable(True)
    library.clicks.add("what does parking cost", found(library, "parking"))
    library.close()
    (library.data_dir / "catalogue.sqlite").unlink()
    with Library.open(library.data_dir, ocr="off") as anew:
        anew.index([tmp_path / "papers"])
        anew.export_pairs(tmp_path / "pairs.jsonl", ["clicks"])
    (pair,) = Pairs(tmp_path / "pairs.jsonl")
    assert pair.query.text == "what does parking cost"
    media = pair.positive.media
    assert media is not None and (media.path, media.span.page) == (str(tmp_path / "papers" / "lease.pdf"), 2)


def test_a_forgotten_folder_takes_its_clicks_along(library: Library, tmp_path: Path) -> None:
    library.clicks.enable(True)
    library.clicks.add("parking", found(library, "parking"))
    library.clicks.add("a lake", found(library, "type:image"))
    with (library.data_dir / "clicks.jsonl").open("ab") as file:
        file.write(b'{"query": "half a li')  # a power cut
    library.forget(tmp_path / "papers")
    (row,) = (library.data_dir / "clicks.jsonl").read_text().splitlines()
    assert json.loads(row)["query"] == "a lake"


def test_a_folder_that_takes_no_file_is_one_sentence(library: Library) -> None:
    (library.data_dir / "keep-clicks").touch()
    (library.data_dir / "clicks.jsonl").mkdir()
    with pytest.raises(LibraryError, match=r"clicks\.jsonl cannot be written \(Is a directory\)"):
        library.clicks.add("parking", found(library, "parking"))
