"""The whole road on real files: open, index, look, change, index again."""

import shutil
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Part, Query, Status
from model.inputs import Input
from tests import media
from tests.indexer.conftest import CountingEmbedder, OpenLibrary, contents_of
from tests.indexer.written_library import found_vectors


def test_a_folder_is_indexed_whole(folder: Path, open_library: OpenLibrary) -> None:
    told: list[Status] = []
    (folder / "notes.txt").write_text("not media")
    report = open_library().index([folder], progress=told.append)
    assert (report.files, report.images, report.videos, report.pdfs) == (5, 3, 1, 1)
    assert (report.chunks, report.failed, report.ignored) == (7, 0, 1)
    assert told[-1].pending == 0 and told[-1].chunks == 7
    status = open_library().status()
    assert (status.files, status.chunks, status.pending) == (5, 7, 0)
    assert status.roots == (str(folder),) and status.model.startswith("lite@")


def test_a_second_run_decodes_and_embeds_nothing(
    folder: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    open_library().index([folder])
    embedded = counted.embedded
    again = open_library()
    report = again.index([folder])
    assert (report.files, report.chunks, counted.embedded) == (5, 0, embedded)
    assert again.sandbox.pids() == [], "no child was started, so nothing was decoded"


def test_chunks_know_their_place_and_their_words(folder: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([folder])
    pdf = library.catalogue.files.at(str(folder / "letter.pdf"))
    video = library.catalogue.files.at(str(folder / "clip.mp4"))
    assert pdf is not None and video is not None and (pdf.pages, video.duration_s) == (2, pytest.approx(40, abs=0.5))
    pages = library.chunks(pdf.file_id)
    assert [c.span.page for c in pages] == [1, 2] and "bananas" in pages[0].text
    windows = library.chunks(video.file_id)
    assert [(c.span.start_s, round(c.span.end_s or 0)) for c in windows] == [(0.0, 30), (30.0, 40)]
    assert library.chunk(windows[1].chunk_id) == windows[1]
    assert library.file(video.file_id) == video
    assert library.chunk(10_000) is None and library.file(10_000) is None


def test_thumbnails_are_a_cache_that_is_made_again(folder: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([folder])
    chunks = [chunk for file_id in range(1, 6) for chunk in library.chunks(file_id)]
    chunk = next(one for one in chunks if one.span.page is None)  # a page of the model is smaller than its thumbnail
    first = library.thumbnail(chunk.chunk_id)
    assert first is not None and first[:4] == b"RIFF" and first[8:12] == b"WEBP"
    shutil.rmtree(library.data_dir / "thumbnails")
    again = library.thumbnail(chunk.chunk_id)
    assert again is not None and abs(len(again) - len(first)) < 0.2 * len(first)
    assert any((library.data_dir / "thumbnails").rglob("*.webp"))
    assert library.thumbnail(10_000) is None


@pytest.mark.unprivileged
def test_bad_files_are_named_with_their_reason_and_the_rest_is_indexed(folder: Path, open_library: OpenLibrary) -> None:
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.mp4").write_text("only words")
    media.draw_pdf(folder / "secret.pdf", ["hidden"], password="x")
    (folder / "locked.jpg").write_bytes((folder / "photo 0.jpg").read_bytes() + b"!")
    (folder / "locked.jpg").chmod(0)
    (folder / "cut.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:200])
    library = open_library()
    report = library.index([folder])
    reasons = {Path(f.path).name: f.reason for f in library.failures()}
    expected = {"empty.jpg", "text.mp4", "secret.pdf", "cut.mp4", "locked.jpg"}
    assert set(reasons) == expected and all(reasons.values())
    assert report.failed == len(expected) and "password" in reasons["secret.pdf"]
    assert library.status().pending == 0 and report.chunks >= 7
    (folder / "empty.jpg").write_bytes((folder / "photo 1.jpg").read_bytes())
    assert library.retry() == len(expected)
    library.index()
    assert "empty.jpg" not in {Path(f.path).name for f in library.failures()}


def test_what_cannot_be_a_root_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, open_library: OpenLibrary
) -> None:
    library = open_library()
    for wrong, reason in (
        (tmp_path / "nowhere", "does not exist"),
        (folder / "letter.pdf", "is a file"),
        (library.data_dir, "library's own folder"),
    ):
        with pytest.raises(LibraryError, match=reason):
            library.add_root(wrong)
    assert library.status().roots == ()


@pytest.mark.unprivileged
def test_a_folder_without_permission_is_named(folder: Path, open_library: OpenLibrary) -> None:
    folder.chmod(0)
    try:
        with pytest.raises(LibraryError, match="may not be read"):
            open_library().add_root(folder)
    finally:
        folder.chmod(stat.S_IRWXU)


def test_an_empty_folder_is_an_empty_library(tmp_path: Path, open_library: OpenLibrary) -> None:
    (tmp_path / "empty").mkdir()
    report = open_library().index([tmp_path / "empty"])
    assert (report.files, report.chunks, report.failed) == (0, 0, 0)


def test_the_same_file_twice_is_one_content(folder: Path, open_library: OpenLibrary, counted: CountingEmbedder) -> None:
    library = open_library()
    library.index([folder])
    embedded = counted.embedded
    (folder / "copies").mkdir()
    for path in list(folder.glob("*.*")):
        shutil.copy(path, folder / "copies" / path.name)
    report = library.index([folder])
    assert counted.embedded == embedded
    assert (report.files, report.chunks, report.reused) == (10, 0, 7)
    assert len(library.catalogue.files.of_content(library.catalogue.contents.of_chunk(1)[0])) == 2  # type: ignore[index]


def test_forgetting_a_folder_leaves_nothing_of_it(folder: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([folder])
    assert library.forget(folder) == 5
    assert library.status().files == library.status().chunks == 0 and library.status().roots == ()
    assert contents_of(library) == {}
    assert not any((library.data_dir / "thumbnails").rglob("*.webp"))
    assert len(list(folder.iterdir())) == 5, "the files themselves are not touched"
    with pytest.raises(LibraryError, match="is not in the library"):
        library.forget(folder)


def test_a_folder_below_a_root_can_be_forgotten_and_taken_back(folder: Path, open_library: OpenLibrary) -> None:
    (folder / "private").mkdir()
    shutil.move(folder / "photo 0.jpg", folder / "private")
    library = open_library()
    library.index([folder])
    assert library.forget(folder / "private") == 1
    assert library.index([folder]).files == 4
    assert library.status().roots == (str(folder),)
    library.add_root(folder / "private")
    assert library.index().files == 5


def test_two_libraries_over_the_same_files_are_the_same(
    folder: Path, tmp_path: Path, open_library: OpenLibrary
) -> None:
    library = open_library()
    library.index([folder])
    with Library.open(tmp_path / "second", nice=False, ocr="off", threads=1) as second:
        second.index([folder])
        assert contents_of(second) == contents_of(library)


def test_vectors_are_of_unit_length_and_differ(folder: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([folder])
    vectors = found_vectors(library.catalogue)[1].astype(np.float32)
    assert vectors.shape == (7, 1152)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert len(np.unique(vectors, axis=0)) == 7


def test_a_library_that_is_read_only_refuses_to_change(folder: Path, open_library: OpenLibrary) -> None:
    with pytest.raises(LibraryError, match="index a folder first"):
        open_library(read_only=True)
    open_library().index([folder])
    reader = open_library(read_only=True)
    assert reader.status().chunks == 7
    with pytest.raises(LibraryError, match="reading only"):
        reader.index([folder])


def test_only_a_changed_catalogue_is_searched_for_new_vectors(
    folder: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = open_library()
    library.index([folder])
    query = Query((Part(text="bananas"),))
    library.search(query)
    library.search(query)  # with the searcher that the first has opened
    transactions: list[str] = []
    reader = library.catalogue.database.reader

    def counted_reader() -> AbstractContextManager[sa.Connection]:
        transactions.append("read")
        return reader()

    monkeypatch.setattr(library.catalogue.database, "reader", counted_reader)
    found = library.search(query, k=20).total
    assert found and not transactions
    media.draw_image(folder / "new.jpg", seed=9)
    open_library().index([folder])
    assert library.search(query, k=20).total == found + 1 and transactions


def test_a_query_in_flight_is_answered_though_another_model_takes_over(tmp_path: Path) -> None:
    for n in range(3):
        media.draw_image(tmp_path / "files" / f"red {n}.jpg", color=(200, 40 * n, 30), seed=n)
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([tmp_path / "files"])
        embedder, embed = library.searcher().embedder, library.searcher().embedder.embed
        begun, go_on = threading.Event(), threading.Event()

        def slow(inputs: Sequence[Input]) -> np.ndarray:
            begun.set()
            assert go_on.wait(30)
            return embed(inputs)

        embedder.embed = slow  # type: ignore[method-assign]
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(library.search, Query((Part(text="something red"),)), 3)
            assert begun.wait(30)
            embedder.embed = embed  # type: ignore[method-assign]
            library._engines._index = None  # what a switch of the model does
            assert len(library.search(Query((Part(text="red"),)), k=3).hits) == 3
            go_on.set()
            assert len(asked.result(30).hits) == 3
