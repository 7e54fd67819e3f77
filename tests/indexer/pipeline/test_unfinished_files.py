"""Files that are not complete yet wait; words that come with a copy are read; large pictures are given time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data import copies, reader
from indexer.library import Library
from tests import media
from tests.indexer.conftest import OpenLibrary


@pytest.mark.parametrize("name", ["a.mp4", "a.jpg", "a.png", "a.pdf"])
def test_what_another_program_still_writes_waits(tmp_path: Path, open_library: OpenLibrary, name: str) -> None:
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("only Linux tells who has a file open")
    draw = {
        ".mp4": lambda path: media.draw_video(path, 4, 5, size=(64, 48)),
        ".pdf": lambda path: media.draw_pdf(path, ["An invoice"]),
    }.get(Path(name).suffix, lambda path: media.draw_image(path, seed=1, size=(160, 120)))
    data = draw(tmp_path / name).read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    library = open_library()
    with (folder / name).open("wb") as writer:
        writer.write(data[: len(data) // 3])
        writer.flush()
        assert library.index([folder]).failed == 0
        assert (library.status().pending, library.failures()) == (1, [])
        writer.write(data[len(data) // 3 :])
    report = library.index()
    assert (report.failed, library.status().pending) == (0, 0) and report.chunks >= 1


def test_what_was_cut_off_is_refused(tmp_path: Path, open_library: OpenLibrary) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    data = media.draw_video(tmp_path / "a.mp4", 4, 5, size=(64, 48)).read_bytes()
    (folder / "a.mp4").write_bytes(data[: len(data) // 3])
    assert open_library().index([folder]).failed == 1


def words(library: Library, path: Path) -> list[str]:
    file = library.catalogue.files.at(str(path))
    assert file is not None
    return [cue.text for cue in library.transcript(file.file_id)]


def test_a_copy_of_a_known_film_reads_the_subtitles_beside_it(tmp_path: Path, open_library: OpenLibrary) -> None:
    folder = tmp_path / "folder"
    (folder / "copies").mkdir(parents=True)
    film = media.draw_video(folder / "film.mp4", 8, 5, size=(64, 48))
    library = open_library()
    library.index([folder])
    assert words(library, film) == []
    copy = folder / "copies" / "same.mp4"
    copy.with_suffix(".srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nour guest breeds alpacas\n")
    shutil.copy(film, copy)
    library.index()
    assert words(library, copy) == words(library, film) == ["our guest breeds alpacas"]


def test_a_large_picture_is_given_time_by_its_pixels(
    tmp_path: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (1800, 2000, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.png", compress_level=1)
    library = open_library()
    times: list[tuple[Any, float]] = []
    submit = library.sandbox.submit

    def noting(function: Any, /, *args: Any, timeout_s: float = 60.0, **kwargs: Any) -> Any:
        times.append((function, timeout_s))
        return submit(function, *args, timeout_s=timeout_s, **kwargs)

    monkeypatch.setattr(library.sandbox, "submit", noting)
    assert library.index([folder]).failed == 0
    of_decoding = [(function, allowed) for function, allowed in times if function is not copies.read_copies]
    assert [function for function, _ in of_decoding] == [reader.outline, reader.decode]
    assert of_decoding[1][1] == pytest.approx(60 + 15 + 3.6)
