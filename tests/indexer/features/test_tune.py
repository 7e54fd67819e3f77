"""Tuning on the demo: what its owner calls things is learnt, and what does not help is not kept."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import demo
from eval.metrics import score_ranking
from indexer.errors import LibraryError
from indexer.features.own_words import words_of_name
from indexer.library import ADAPTER, Library
from indexer.types import Part, Query
from tests.indexer.conftest import contents_of

OWN_NAMES = {
    "IMG_0431.jpg": "Bruno",
    "P1010021.jpg": "the anniversary",
    "DSC_0007.png": "the commute",
    "IMG_1180.jpeg": "Woody",
    "earth from orbit.mp4": "the screensaver",
}
WAYS = (
    "{}", "my {}", "{} again", "{} last summer", "the best of {}", "{} for grandmother", "{} in the evening",
    "a picture of {}", "{} with Ida", "{} from afar", "{} once more", "where is {}",
)  # fmt: skip
UNSEEN = "show me {} please"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    with Library.open(folder / "library", ocr="off", speech="off", nice=False) as library:
        assert library.index([demo.build(folder / "files")]).failed == 0
        library.clicks.enable(True)
    return folder / "library"


@pytest.fixture
def library(indexed: Path) -> Iterator[Library]:
    """The indexed demo without clicks and untuned."""
    with Library.open(indexed, ocr="off", speech="off") as library:
        library.clicks.delete()
        library.untune()
        yield library


def chunk_of(library: Library, name: str) -> int:
    with library.catalogue.database.reader() as c:
        sql = "SELECT k.id FROM file f JOIN chunk k ON k.content_hash = f.content_hash WHERE f.name = ? ORDER BY k.id"
        return int(c.exec_driver_sql(sql, (name,)).scalars().first())


def click(library: Library, words: str, names: Sequence[str]) -> None:
    for name in names:
        assert library.clicks.add(words, chunk_of(library, name))


def title(library: Library, words: str) -> str:
    return library.search(Query((Part(words),))).hits[0].title


def learn_own_names(library: Library) -> None:
    for name, own in OWN_NAMES.items():
        for way in WAYS:
            click(library, way.format(own), [name])


@pytest.mark.slow
def test_what_its_owner_calls_things_is_found_in_words_never_used_before(library: Library) -> None:
    learn_own_names(library)
    before, vectors = library.search(Query((Part("a lion"),))), contents_of(library)
    unseen = [UNSEEN.format(own) for own in OWN_NAMES.values()]
    found_before = [title(library, words) for words in unseen]

    report = library.tune(score_ranking)
    assert report.kept and report.searched is not None
    assert report.searched.gain > 2 * report.searched.noise > 0
    assert "Search is tuned from now on" in report.as_text()
    found = [title(library, words) for words in unseen]
    right = [sum(a == b for a, b in zip(titles, OWN_NAMES, strict=True)) for titles in (found_before, found)]
    assert right[0] < right[1] and right[1] >= 4, (found_before, found)
    assert title(library, "a lion") == "IMG_0431.jpg" == before.hits[0].title
    assert contents_of(library) == vectors and len(library.catalogue.models.all()) == 1

    with Library.open(library.data_dir, read_only=True) as again:
        assert [title(again, words) for words in unseen] == found
        assert library.untune() and not library.untune()
        # Another program that has the library open follows at its next search.
        assert [title(again, words) for words in unseen] == found_before
    assert library.search(Query((Part("a lion"),))).hits == before.hits


@pytest.mark.slow
def test_what_does_not_help_is_not_kept_and_an_earlier_tuning_stays(library: Library) -> None:
    chance = random.Random(3)
    for own in OWN_NAMES.values():
        for way in WAYS:
            click(library, way.format(own), [chance.choice(list(OWN_NAMES))])
    report = library.tune(score_ranking)
    assert not report.kept and report.reason and "Nothing changes." in report.as_text()
    assert not (library.data_dir / ADAPTER).exists()

    (library.data_dir / ADAPTER).write_bytes(b"an earlier one")
    assert not library.tune(score_ranking).kept
    assert (library.data_dir / ADAPTER).read_bytes() == b"an earlier one"


def test_a_library_with_too_few_words_says_what_to_do(library: Library) -> None:
    click(library, "my Bruno", ["IMG_0431.jpg"])
    with pytest.raises(LibraryError, match=r"of the 40 searches.*sightline clicks --keep"):
        library.tune(score_ranking)


def test_the_name_of_a_camera_says_nothing() -> None:
    assert [words_of_name(stem) for stem in ("IMG_0412", "DSC_0007 copy", "P1010021", "2023-07-14", "Scan 3")] == [
        ""
    ] * 5
    assert words_of_name("earth_from-orbit (2)") == "earth from orbit"


@pytest.mark.slow
def test_the_commands_judge_tune_and_undo(library: Library, tmp_path: Path) -> None:
    """As a person does it: what the search is worth before, after, and on questions of one's own."""
    learn_own_names(library)
    library.close()

    def sightline(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", *words, "--data-dir", str(library.data_dir)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def judged(*words: str) -> dict[str, Any]:
        done = sightline("judge", "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    before = judged()
    assert before["queries"] == len(OWN_NAMES) * len(WAYS) and not before["learnt"]
    done = sightline("tune", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kept"] and report["searched"]["after"] > report["searched"]["before"]
    assert report["searched"]["words"] == pytest.approx(report["words"] / 5, abs=2), "the held-out part"
    assert (library.data_dir / ADAPTER).exists()

    after = judged()
    assert after["scores"]["ndcg_linear@10"] > before["scores"]["ndcg_linear@10"] + 0.2 and after["learnt"]
    told = sightline("judge").stdout
    assert "first hit right" in told and "learnt from most of these words, which flatters it" in told
    questions = [
        {"query": UNSEEN.format(own), "relevant": [str(next(library.data_dir.parent.rglob(name)))]}
        for name, own in OWN_NAMES.items()
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, questions)), "utf-8")
    tuned = judged(str(tmp_path / "own.jsonl"))
    assert tuned["scores"]["hit@1"] >= 0.8 and not tuned["learnt"]

    assert "as before" in sightline("tune", "--undo").stderr
    assert not (library.data_dir / ADAPTER).exists()
    assert judged(str(tmp_path / "own.jsonl"))["scores"]["hit@1"] < tuned["scores"]["hit@1"]
    assert judged()["scores"] == before["scores"]


def test_a_damaged_adapter_is_one_line(library: Library) -> None:
    (library.data_dir / ADAPTER).write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(LibraryError, match=r"query-adapter\.npz is damaged .*sightline tune --undo"):
        library.search(Query((Part("a lion"),)))
