"""The review of duplicates: which files are one group, and which is the one to keep."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from indexer.library import Library
from indexer.types import Part, Query
from tests.data.media.test_picture_hash import landscape
from tests.media import exif_bytes

AT = "2023:07:14 09:30:0"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A picture, a copy of it and a small version; a burst of two; a picture of its own; two copies of a text."""
    place = tmp_path_factory.mktemp("duplicates")
    folder = place / "media"
    (folder / "phone").mkdir(parents=True)
    hills = landscape(1)
    hills.save(folder / "hills.png")
    shutil.copy(folder / "hills.png", folder / "phone" / "hills again.png")
    hills.resize((128, 128)).save(folder / "phone" / "hills sent.jpg", quality=60)
    burst = landscape(2)
    burst.save(folder / "shot 1.jpg", exif=exif_bytes(taken=AT + "1"), quality=95)
    burst.crop((10, 10, 256, 256)).save(folder / "shot 2.jpg", exif=exif_bytes(taken=AT + "2"), quality=90)
    landscape(3).save(folder / "other.jpg", exif=exif_bytes(taken=AT + "2"))
    with Library.open(place / "library", nice=False, ocr="off") as library:
        library.index([folder])
        yield library


def names(library: Library, **how: bool) -> list[list[str]]:
    return [[one.file.path.name for one in group.files] for group in library.duplicates(**how)[0]]


def test_copies_versions_and_bursts_are_groups_with_the_best_first(library: Library) -> None:
    assert names(library) == [["hills.png", "hills again.png", "hills sent.jpg"], ["shot 1.jpg", "shot 2.jpg"]]
    hills = library.duplicates()[0][0]
    assert [one.is_best for one in hills.files] == [True, True, False] and not hills.exact
    assert names(library, exact=True) == [["hills.png", "hills again.png"]]
    assert library.duplicates(exact=True)[0][0].exact


def test_groups_come_in_pages_and_for_some_folders(library: Library) -> None:
    groups, total = library.duplicates(k=1, offset=1)
    assert (len(groups), total) == (1, 2) and groups == library.duplicates()[0][1:]
    files = [one.file.path for one in library.duplicates()[0][0].files]
    within, count = library.duplicates_within([files[1].parent], 10)
    assert count == 1 and [one.file.path.name for one in within[0].files] == ["hills again.png", "hills sent.jpg"]


def test_in_an_answer_the_later_one_says_to_which_it_is_near(library: Library) -> None:
    hits = library.search(Query(())).hits
    titles = {hit.chunk_id: hit.title for hit in hits}
    pairs = {frozenset((hit.title[:4], titles[hit.alike][:4])) for hit in hits if hit.alike is not None}
    assert pairs == {frozenset(("hill",)), frozenset(("shot",))}
    alike = {hit.title: hit.alike for hit in hits}
    for offset in range(1, 5):  # the hits before a page count, too
        page = library.search(Query(()), k=2, offset=offset).hits
        assert [hit.alike for hit in page] == [alike[hit.title] for hit in page]


def test_an_older_library_gets_its_hashes_from_the_thumbnails(library: Library) -> None:
    before = names(library)
    with library.catalogue.database.writer() as c:
        c.exec_driver_sql("UPDATE content SET picture_hash = NULL")
    assert [len(group) for group in names(library)] == [2], "the copies alone"
    assert library._duplicates.fill() == 5 and library._duplicates.fill() == 0
    assert names(library) == before


def test_a_label_that_is_given_is_found_and_can_be_taken_again(library: Library) -> None:
    chunk = library.search(Query((Part(text="name:other"),))).hits[0].chunk_id
    assert library.give_label("  to   keep ", [chunk, chunk, 10**9]) == 1
    found = library.search(Query((Part(text='label:"to keep"'),)))
    assert [hit.chunk_id for hit in found.hits] == [chunk]
    assert library.take_label("to keep", [chunk]) == 1 and library.take_label("to keep", [chunk]) == 0
