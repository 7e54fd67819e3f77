"""A selection as a ZIP: whole files, unique names, bounds, and nothing that the visitor may not see."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.web import archive
from data.media.video import probe
from indexer.features.reel import CLIP_S
from indexer.library import Library


def ids(library: Library, *paths: Path) -> str:
    files = [library.file_at(path) for path in paths]
    return ",".join(str(file.file_id) for file in files if file)


def test_a_zip_holds_the_files_as_they_are(client: TestClient, library: Library, folder: Path) -> None:
    paths = [folder / "red square.jpg", folder / "old" / "green scan.tiff", folder / "road trip.mp4"]
    fields = {"ids": f"{ids(library, *paths)},424242"}
    counted = client.post("/api/zip", data={**fields, "check": "true"}).json()
    assert counted == {"files": 3, "bytes": sum(p.stat().st_size for p in paths), "gone": 1}
    answer = client.post("/api/zip", data=fields)
    assert answer.headers["content-disposition"] == 'attachment; filename="Sightline.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert made.testzip() is None
        assert {name: made.read(name) for name in made.namelist()} == {p.name: p.read_bytes() for p in paths}


def test_too_many_too_large_and_nothing_left_are_sentences(
    client: TestClient, library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ids(library, folder / "red square.jpg")
    assert client.post("/api/zip", data={"ids": ",".join(["1"] * (archive.MAX_FILES + 1))}).status_code == 422
    assert client.post("/api/zip", data={"ids": str(2**63)}).status_code == 422
    assert client.post("/api/zip", data={"ids": "../etc"}).status_code == 400
    assert client.post("/api/zip", data={"ids": "424242"}).json()["error"].startswith("None of these files")
    monkeypatch.setattr(archive, "MAX_BYTES", 10)
    assert "select fewer" in client.post("/api/zip", data={"ids": one}).json()["error"]


def test_equal_names_get_numbers(tmp_path: Path) -> None:
    names = ["a/x.jpg", "b/X.JPG", "c/x.jpg", "d/x (2).jpg", "e/Left out.txt"]
    named = [name for name, _ in archive.unique_names([tmp_path / name for name in names])]
    assert named == ["x.jpg", "X (2).JPG", "x (3).jpg", "x (2) (2).jpg", "Left out (2).txt"]


def test_a_file_that_disappears_meanwhile_is_named_in_the_zip(tmp_path: Path) -> None:
    (tmp_path / "here.jpg").write_bytes(b"x" * 3_000_000)
    paths = [tmp_path / "here.jpg", tmp_path / "gone.jpg"]
    with zipfile.ZipFile(io.BytesIO(b"".join(archive.zip_stream(archive.unique_names(paths))))) as made:
        assert made.testzip() is None and made.namelist() == ["here.jpg", archive.LEFT_OUT]
        assert str(tmp_path / "gone.jpg") in made.read(archive.LEFT_OUT).decode()


@pytest.mark.slow
def test_a_reel_holds_the_selected_moments_in_order_and_its_edit_lists(
    client: TestClient, library: Library, folder: Path, tmp_path: Path
) -> None:
    film, photo = (library.file_at(folder / name) for name in ("road trip.mp4", "red square.jpg"))
    assert film and photo
    windows = library.catalogue.contents.chunks(film.file_id)
    still = library.catalogue.contents.chunks(photo.file_id)[0]
    chunks = [windows[1], still, windows[0]]
    fields = {"ids": ",".join(str(chunk.chunk_id) for chunk in chunks)}
    assert client.post("/api/reel", data={**fields, "check": "true"}).json() == {"files": 2, "gone": 0}
    answer = client.post("/api/reel", data=fields)
    assert answer.headers["content-disposition"] == 'attachment; filename="Sightline reel.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        made.extractall(tmp_path)
    rows = list(csv.DictReader((tmp_path / "Sightline reel.csv").open(encoding="utf-8")))
    assert [row["path"] for row in rows] == [str(folder / "road trip.mp4")] * 2
    for row, window in zip(rows, (windows[1], windows[0]), strict=True):
        start, end = window.span.seconds
        assert start <= float(row["start_s"]) < float(row["end_s"]) <= end
        assert float(row["end_s"]) - float(row["start_s"]) <= CLIP_S
    assert probe(tmp_path / "Sightline reel.mp4").duration_s == pytest.approx(2 * CLIP_S, abs=0.5)
    assert (tmp_path / "Sightline reel.edl").read_text().count("FROM CLIP NAME: road trip.mp4") == 2
    nothing = client.post("/api/reel", data={"ids": str(still.chunk_id)})
    assert nothing.status_code == 400 and "none is selected" in nothing.json()["error"]
