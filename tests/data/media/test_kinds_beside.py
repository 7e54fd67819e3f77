"""Which files may say something of others beside them, by their names alone."""

import pytest

from data.media.beside_names import may_describe
from data.media.kinds import SUBTITLES, may_describe_others
from data.media.subtitles import READERS


@pytest.mark.parametrize(
    ("name", "other", "says"),
    [
        ("film.srt", "film.mp4", True),
        ("film.en.forced.SRT", "film.mp4", True),
        ("film.mp4.srt", "film.mp4", True),
        ("film 2.srt", "film.mp4", False),
        ("photo.srt", "photo.jpg", False),
        ("photo.xmp", "photo.jpg", True),
        ("photo.jpg.xmp", "photo.jpg", True),
        ("photo.jpg.supplemental-metadata.json", "photo.jpg", True),
        ("photo.json", "photo.jpg", True),
        ("photo.supplemental-metadata.json", "photo.jpg", True),
        ("photo.jpg(1).json", "photo(1).jpg", True),
        ("photo.jpg.json", "photo(1).jpg", False),
        ("photo.jpg.supplemental-meta.json", "photo-edited.jpg", True),
        ("photo 2.jpg.json", "photo.jpg", False),
        ("paper.xmp", "paper.pdf", False),
    ],
)
def test_a_file_says_something_of_those_whose_name_it_bears(name: str, other: str, says: bool) -> None:
    assert may_describe_others(name) and may_describe(name, other) == says


def test_most_files_say_nothing_of_others() -> None:
    assert not any(map(may_describe_others, ("photo.jpg", "notes.txt", "film.mp4", "srt")))


def test_every_format_of_subtitles_is_looked_for_beside_films() -> None:
    assert set(SUBTITLES) == set(READERS)
