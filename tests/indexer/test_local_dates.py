"""A library knows the day on the wall: on any computer, by copy, for new files and for those read long ago."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from data.copies import Copy, facts_of
from indexer.catalogue.dialects.sqlite import bring_up_to_date
from indexer.catalogue.schema import migrations
from indexer.library import Library
from indexer.types import Filters, Hit, Part, Query
from tests.indexer.conftest import CountingEmbedder, OpenLibrary
from tests.media import draw_image, draw_video, xmp_packet

OWN = 1_764_000_000  # 24 November 2025, 16:00 UTC
LISBON = {"latitude": 38.7223, "longitude": -9.1393}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    draw_image(folder / "tokyo.jpg", seed=1, exif={"taken": "2023:01:01 00:30:00", "offset": "+09:00"})
    draw_image(folder / "honolulu.jpg", seed=2, exif={"taken": "2022:12:31 20:00:00", "offset": "-10:00"})
    draw_image(folder / "no zone.jpg", seed=3, exif={"taken": "2012:02:03 00:05:06"})
    draw_image(folder / "IMG-20200517-WA0004.jpg", seed=4)
    draw_image(folder / "undated.jpg", seed=5)
    draw_image(folder / "epoch.jpg", seed=6, exif={"taken": "1970:01:01 00:00:00"})
    draw_image(
        folder / unicodedata.normalize("NFD", "Übung") / (unicodedata.normalize("NFD", "Übung Café") + ".jpg"), seed=7
    )
    draw_image(folder / "Ünal" / "Ünal Fête.jpg", seed=8)
    clock = {"creation_time": "2022-12-31T15:30:00Z", "location": "+35.6800+139.7600/"}
    draw_video(folder / "film.mp4", 1, 5, size=(64, 48), metadata=clock, options={"movflags": "use_metadata_tags"})
    for path in folder.rglob("*.*"):
        os.utime(path, (OWN, OWN))
    return folder


def stand_in(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A computer that travels."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system's zone cannot be set for one program")
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def hits(library: Library, text: str, **options: Any) -> list[Hit]:
    return [hit for hit in library.search(Query((Part(text=text),), **options), 50).hits if hit.relevant]


def titles(library: Library, text: str) -> set[str]:
    return {unicodedata.normalize("NFC", hit.title) for hit in hits(library, text)}


def beside(path: Path, description: str, seconds: int = 1_276_000_000, **more: Any) -> None:
    known = {"description": description, "photoTakenTime": {"timestamp": str(seconds)}, "geoData": LISBON, **more}
    path.write_text(json.dumps(known), encoding="utf-8")


@pytest.mark.parametrize("indexed_in", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_day_is_the_day_on_the_wall_wherever_the_computer_stands(
    album: Path, open_library: OpenLibrary, moved: pytest.MonkeyPatch, indexed_in: str
) -> None:
    stand_in(moved, indexed_in)
    library = open_library()
    library.index([album])
    own_day = time.strftime("%Y-%m-%d", time.localtime(OWN))
    expected = {
        "taken:2023-01-01": {"tokyo.jpg", "film.mp4"},
        "taken:2022-12-31": {"honolulu.jpg"},
        "taken:2012-02-03": {"no zone.jpg"},
        "taken:2012-02-02": set(),
        "taken:2020-05-17": {"IMG-20200517-WA0004.jpg"},
        "taken:1970": set(),
        "before:2012-02-03": set(),
        "after:2023 before:2024": {"tokyo.jpg", "film.mp4"},
        f"taken:{own_day}": {"undated.jpg", "epoch.jpg", "Übung Café.jpg", "Ünal Fête.jpg"},
    }
    for zone in (indexed_in, "Pacific/Auckland", "Pacific/Honolulu"):
        stand_in(moved, zone)
        for asked, right in expected.items():
            assert titles(library, asked) == right, (asked, zone)
    (tokyo,) = (hit.to_json() for hit in hits(library, "name:tokyo"))
    assert (tokyo["taken"], tokyo["taken_from"]) == ("2023-01-01T00:30:00+09:00", "exif")
    assert tokyo["taken_at"] == 1672500600.0
    years = library.search(Query((Part(text="type:image"),))).facets["year"]
    assert years == {"2025": 4, "2023": 1, "2022": 1, "2020": 1, "2012": 1}


def test_a_files_own_date_never_leads(album: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([album])
    for found in (hits(library, "type:image"), hits(library, "type:image", sort="date")):
        assert [hit.title for hit in found[:4]] == [
            "tokyo.jpg", "honolulu.jpg", "IMG-20200517-WA0004.jpg", "no zone.jpg"
        ]  # fmt: skip
        assert {hit.taken_from for hit in found[4:]} == {"file"}
    ranked = library.search(Query((Part(text="a photo"),), sort="date"), 50).hits
    for relevant in (True, False):
        own = [hit.taken_from == "file" for hit in ranked if hit.relevant is relevant]
        assert own == sorted(own)


@pytest.mark.parametrize(
    "typed", ["Übung", "übung", "ÜBUNG", unicodedata.normalize("NFD", "Übung"), "Café", "*bung Caf*"]
)
def test_names_are_found_in_both_spellings_of_a_letter(album: Path, open_library: OpenLibrary, typed: str) -> None:
    library = open_library()
    library.index([album])
    assert titles(library, f'name:"{typed}"') == {"Übung Café.jpg"}
    if "bung" in typed and "*" not in typed:
        assert titles(library, f'in:"{typed}"') == {"Übung Café.jpg"}
    for form in ("NFC", "NFD"):
        assert titles(library, "name:" + unicodedata.normalize(form, "Fête")) == {"Ünal Fête.jpg"}
        assert titles(library, "in:" + unicodedata.normalize(form, "ünal")) == {"Ünal Fête.jpg"}


def test_near_a_place_where_nothing_was_taken_is_a_sentence(album: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([album])
    assert titles(library, "near:Tokyo") == {"film.mp4"}
    answer = library.search(Query((Part(text="near:Atlantis"),)))
    assert answer.total == 0 and answer.notice is not None and "Atlantis, South Africa" in answer.notice
    assert answer.to_json()["notice"] == answer.notice
    assert library.search(Query((Part(text="near:Tokyo taken:1999"),))).notice is None, "it is the date that fails"
    assert library.search(Query((Part(text="near:Tokyo"),))).notice is None


def test_what_lies_beside_a_file_is_the_copys_own(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    ann, ben = tmp_path / "ann", tmp_path / "ben"
    draw_image(ann / "scan.jpg", seed=1)
    ben.mkdir()
    shutil.copy(ann / "scan.jpg", ben / "IMG-20200517-WA0004.jpg")
    beside(ann / "scan.jpg.json", "grandmother feeding geese", people=[{"name": "Philippa"}])
    (ann / "scan.jpg.xmp").write_bytes(xmp_packet(dc_subject=("zeppelin",)))
    library = open_library()
    library.index([ann, ben])
    embedded = counted.embedded
    own = {name: Filters(within=(folder,)) for name, folder in (("ann", ann), ("ben", ben))}
    for words in ("grandmother feeding geese", '"feeding geese"', "Philippa", "zeppelin"):
        (hit,) = hits(library, words)
        assert hit.path == str(ann / "scan.jpg")
        assert [hit.path for hit in hits(library, words, filters=own["ann"])] == [str(ann / "scan.jpg")]
        assert hits(library, words, filters=own["ben"]) == [], words
        assert len(hits(library, f"type:image -{words.split()[0].strip(chr(34))}", filters=own["ben"])) == 1
    assert "geese" in hits(library, "grandmother feeding geese")[0].snippet
    assert hits(library, "type:image", filters=own["ben"])[0].snippet == ""
    assert [hit.taken for hit in hits(library, "type:image", filters=own["ben"])] == ["2020-05-17"]
    assert hits(library, "taken:2010 near:Lisbon", filters=own["ben"]) == []
    (hit,) = hits(library, "taken:2010 near:Lisbon")
    assert (hit.path, hit.taken) == (str(ann / "scan.jpg"), "2010-06-08T13:26:40+01:00")
    (ann / "scan.jpg").unlink()
    library.index()
    assert hits(library, "Philippa") == [] and counted.embedded == embedded


def test_of_several_copies_the_one_with_the_words_is_shown(tmp_path: Path, open_library: OpenLibrary) -> None:
    words = {"ann": "xylophone", "ben": "bassoonist", "cat": "xylophone"}
    for name, word in words.items():
        draw_image(tmp_path / name / "scan.jpg", seed=1)
        (tmp_path / name / "scan.jpg.xmp").write_bytes(
            xmp_packet(dc_subject=(word,), exif_DateTimeOriginal=f"19{60 + ord(name[0]) - 97}-01-02")
        )
    library = open_library()
    library.index([tmp_path])
    for query, name in (
        ("xylophone", "ann"),
        ("bassoonist", "ben"),
        ("xylophone taken:1962", "cat"),
        ("bassoonist in:ben", "ben"),
    ):
        for sort in ("relevance", "date"):
            (hit,) = hits(library, query, sort=sort)
            assert words[Path(hit.path).parent.name] == words[name] == hit.snippet, (query, sort)
            assert hit.taken == f"19{60 + ord(Path(hit.path).parent.name[0]) - 97}-01-02" and len(hit.also_at) == 2
    assert hits(library, "bassoonist taken:1960") == []


def test_a_note_that_comes_later_a_new_name_and_a_new_date_are_read(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    folder = tmp_path / "album"
    path = draw_image(folder / "scan.jpg")
    os.utime(path, (OWN, OWN))
    library = open_library()
    library.index([folder])
    (hit,) = hits(library, "type:image")
    assert hit.taken_from == "file"
    embedded = counted.embedded
    beside(folder / "scan.supplemental-metadata.json", "cookies for the choir")
    library.index()
    (hit,) = hits(library, "cookies for the choir")
    assert (hit.taken, hit.taken_from) == ("2010-06-08T13:26:40+01:00", "export")
    path.rename(folder / "2017-06-05 04.03.02.jpg")
    library.index()
    (hit,) = hits(library, "type:image")
    assert (hit.taken, hit.taken_from) == ("2017-06-05T04:03:02", "name")
    assert not hits(library, "cookies for the choir")
    (folder / "2017-06-05 04.03.02.jpg").rename(folder / "plain.jpg")
    os.utime(folder / "plain.jpg", (1.5e9, 1.5e9))
    library.index()
    (hit,) = hits(library, "type:image")
    assert (hit.taken_from, (hit.taken or "")[:7]) == ("file", "2017-07") and counted.embedded == embedded


def test_a_library_made_before_gets_its_dates_and_reads_no_picture_again(
    tmp_path: Path, album: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    beside(album / "undated.jpg.json", "the lighthouse keeper")
    library = open_library()
    library.index([album])
    library.close()
    with sqlite3.connect(tmp_path / "library" / "catalogue.sqlite") as catalogue:
        catalogue.execute("UPDATE content SET taken = NULL, taken_from = NULL, camera = NULL, facts = 0")
        catalogue.execute("UPDATE file SET taken = NULL, taken_from = NULL, lat = NULL, lon = NULL, due = NULL")
        catalogue.execute("UPDATE file SET words = ''")
        catalogue.execute("DELETE FROM names WHERE rowid = (SELECT id FROM file WHERE name = 'undated.jpg')")
    catalogue.close()
    embedded = counted.embedded
    again = open_library()
    again.index()
    assert titles(again, "taken:2023-01-01") == {"tokyo.jpg", "film.mp4"} and titles(again, "near:Lisbon") == {
        "undated.jpg"
    }
    assert titles(again, "lighthouse keeper") == {"undated.jpg"}
    assert counted.embedded == embedded + 1, "the one whose text may hold what lies beside it"
    embedded = counted.embedded
    again.index()
    assert counted.embedded == embedded and again.catalogue.copies.count() == 0


def test_facts_of_an_earlier_generation_are_read_again_and_nothing_else(
    tmp_path: Path, album: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    beside(album / "undated.jpg.json", "the lighthouse keeper")
    library = open_library()
    library.index([album])
    library.close()
    with closing(sqlite3.connect(tmp_path / "library" / "catalogue.sqlite")) as catalogue, catalogue:
        catalogue.execute("UPDATE content SET facts = facts - 1, taken = NULL, taken_from = NULL")
    embedded = counted.embedded
    again = open_library()
    again.index()
    assert titles(again, "taken:2023-01-01") == {"tokyo.jpg", "film.mp4"}
    assert again.catalogue.copies.count() == 0 and counted.embedded == embedded


def test_the_schema_before_keeps_its_dates_until_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    ladder = migrations()
    bring_up_to_date(path, [step for step in ladder if step[0] < 8])
    with sqlite3.connect(path) as catalogue:
        catalogue.execute("INSERT INTO root (id, path) VALUES (1, '/r')")
        catalogue.execute("INSERT INTO content (hash, kind, taken_at, lat) VALUES (x'00', 'image', 1.5e9, 3.5)")
        catalogue.execute("INSERT INTO content (hash, kind) VALUES (x'01', 'image')")
        for n in range(3):
            catalogue.execute(
                "INSERT INTO file (root_id, path, folder, name, kind, size, mtime_ns, ctime_ns, content_hash)"
                " VALUES (1, ?, '/r', ?, 'image', 1, 1, 1, ?)",
                (f"/r/{n}", str(n), bytes([n]) if n < 2 else None),
            )
    catalogue.close()
    bring_up_to_date(path, ladder)
    with sqlite3.connect(path) as catalogue:
        rows = catalogue.execute("SELECT taken, taken_from, lat, due FROM file ORDER BY path").fetchall()
    catalogue.close()
    local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1.5e9))
    assert rows == [(local, "exif", 3.5, 1), (None, None, None, 1), (None, None, None, None)]


def test_a_file_changed_while_it_is_read_about_stays_due(album: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([album])
    copies, path = library.catalogue.copies, str(album / "undated.jpg")
    assert copies.read_again([path]) == 1
    (due,) = copies.due(10)
    assert copies.read_again([path]) == 1 and copies.count() == 1
    copies.write([(due, facts_of(Copy(Path(due.path), due.kind, due.mtime_ns, due.inside)))])
    assert copies.count() == 1, "what was read may be the old"
    library.index()
    assert copies.count() == 0
