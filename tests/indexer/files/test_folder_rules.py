"""The rules that a library keeps for its folders: checked, counted, followed at once, kept through a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import LibraryError
from indexer.files.ignore import KEPT_RULE, wrong_rule
from indexer.library import Library
from indexer.types import FolderRules, RulesChange
from tests.indexer.conftest import OpenLibrary, wait_for
from tests.indexer.files.test_left_out import paths, tree
from tests.media import draw_image

FILES = ("a.jpg", "trip/one.jpg", "trip/two.gif", "trip/raw/three.jpg", "@eaDir/a.jpg/thumb.jpg", "notes.txt")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tree(tmp_path / "photos", draw_image(tmp_path / "one.jpg", seed=1, size=(64, 48)), FILES)


@pytest.fixture
def library(open_library: OpenLibrary, photos: Path) -> Library:
    library = open_library()
    library.index([photos])
    return library


def test_other_rules_are_counted_first_and_change_nothing_by_that(library: Library, photos: Path) -> None:
    before = paths(library, photos)
    assert library.change_rules(photos, "trip/*\n!trip/one.jpg", check=True) == RulesChange(left_out=2)
    assert library.change_rules(photos, "!@eaDir/\n# mine", check=True) == RulesChange(taken_in=1)
    assert library.change_rules(photos, "*.txt", check=True) == RulesChange(), "a text file is not indexed anyway"
    library.index()
    assert paths(library, photos) == before and library.folder_rules() == [FolderRules(str(photos), "", "")]


def test_rules_leave_out_and_take_in_and_are_taken_back(library: Library, photos: Path) -> None:
    before = paths(library, photos)
    assert library.change_rules(photos, "trip/*\n!trip/one.jpg\n!@eaDir/") == RulesChange(left_out=2, taken_in=1)
    library.index()
    assert paths(library, photos) == {"a.jpg", "trip/one.jpg", "@eaDir/a.jpg/thumb.jpg"}
    left_out = {sort.what: sort.count for sort in library.status().left_out if sort.why == KEPT_RULE}
    assert left_out == {".gif": 1, "": 1}, "a file, and a folder"
    library.index()
    assert paths(library, photos) == {"a.jpg", "trip/one.jpg", "@eaDir/a.jpg/thumb.jpg"}
    assert library.change_rules(photos, "") == RulesChange(left_out=1, taken_in=2)
    library.index()
    assert paths(library, photos) == before


def test_a_file_in_the_folder_has_the_last_word(library: Library, photos: Path) -> None:
    (photos / ".sightlineignore").write_text("!trip/\n")
    library.change_rules(photos, "trip/\na.*")
    library.index()
    assert paths(library, photos) == {"trip/one.jpg", "trip/two.gif", "trip/raw/three.jpg"}
    assert library.folder_rules() == [FolderRules(str(photos), "trip/\na.*", "!trip/\n")]


def test_the_indexer_follows_at_once_and_after_a_restart(open_library: OpenLibrary, photos: Path) -> None:
    with open_library() as library:
        library.add_root(photos)
        library.start()
        wait_for(lambda: len(paths(library, photos)) == 4 and not library.status().pending)
        library.change_rules(photos, "trip/raw/")
        wait_for(lambda: len(paths(library, photos)) == 3)
    with open_library() as again:
        again.index()
        assert paths(again, photos) == {"a.jpg", "trip/one.jpg", "trip/two.gif"}
        again.forget(photos)
        again.index([photos])
        assert len(paths(again, photos)) == 4, "forgotten with the folder"


@pytest.mark.parametrize("wrong", ["!", "[z-a]", "\\"])
def test_what_is_no_rule_is_refused_with_its_line(library: Library, photos: Path, wrong: str) -> None:
    with pytest.raises(LibraryError, match="Line 2 is no rule"):
        library.change_rules(photos, f"trip/\n{wrong}\n*.gif")
    assert library.folder_rules()[0].rules == ""
    (photos / ".sightlineignore").write_text(f"{wrong}\n*.gif\n")
    library.index()
    assert "trip/two.gif" not in paths(library, photos), "the other lines of a file hold"


def test_rules_belong_to_a_folder_of_the_library_and_have_a_size(library: Library, photos: Path) -> None:
    with pytest.raises(LibraryError, match="is no folder of the library"):
        library.change_rules(photos / "trip", "*.gif")
    with pytest.raises(LibraryError, match=r"30,000 characters; a folder's rules have at most 20,000"):
        library.change_rules(photos, "#" * 30_000)


def test_comments_and_blank_lines_are_no_mistakes() -> None:
    assert wrong_rule(["# mine", "", "  ", "a/", "!b", "**"]) is None
