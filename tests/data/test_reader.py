"""From a file to chunks: outline, decode, thumbnails, inputs."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from data.media.dates import Taken
from data.media.kinds import MediaError
from data.media.picture_hash import hash_of_thumbnail
from data.reader import ChunkSpec, best_of, decode, make_thumbnail, outline, outline_and_image, to_input
from model.inputs import Cue
from tests.media import add_sound, add_subtitles, draw_image, draw_pdf, draw_video, picture, time_of, xmp_packet


def test_an_image_is_one_chunk(tmp_path: Path) -> None:
    taken = {"taken": "2023:07:14 09:30:00", "offset": "+02:00", "make": "Google", "model": "Pixel 7"}
    path = draw_image(tmp_path / "a.jpg", "dog", (640, 480), exif={**taken, "gps": (38.71, -9.14), "orientation": 6})
    found = outline(path, "image")
    assert found.chunks == (ChunkSpec(0),) and (found.width, found.height) == (480, 640)
    assert found.metadata.taken == Taken("2023-07-14T09:30:00+02:00", "exif")
    assert found.metadata.camera == "Google Pixel 7"
    assert (found.metadata.lat, found.metadata.lon) == pytest.approx((38.71, -9.14), abs=1e-4)
    (chunk,) = decode(path, "image", found.chunks, max_side=320)
    assert chunk.frames.shape == (1, 320, 240, 3)
    given = to_input(chunk, "image")
    assert given.kind == "image" and given.images[0] is not None and given.text is None and given.video is None


def test_one_opening_says_of_an_image_what_two_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = {"taken": "2023:07:14 09:30:00", "gps": (38.71, -9.14), "orientation": 6, "description": "a dog"}
    paths = [draw_image(tmp_path / f"a.{ending}", "dog", (640, 480), exif=exif) for ending in ("jpg", "png", "webp")]
    paths += [draw_image(tmp_path / f"b.{ending}", "dog", (640, 480)) for ending in ("jpg", "png", "jp2", "avif")]
    fax = Image.new("L", (200, 300), 90)
    fax.save(tmp_path / "fax.tiff", save_all=True, append_images=[fax], dpi=(204, 98))
    clear = Image.new("RGBA", (300, 200), (250, 20, 20, 0))
    clear.paste((20, 20, 250, 255), (50, 50, 150, 150))
    clear.save(tmp_path / "clear.png")
    late = Image.open(paths[1])
    late.save(tmp_path / "cut.jpg", "JPEG", quality=90)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-400])
    opened: list[str] = []
    true_open = Path.open

    def open_(path: Path, *rest: Any, **others: Any) -> Any:
        opened.append(path.name)
        return true_open(path, *rest, **others)

    monkeypatch.setattr(Path, "open", open_)
    for path in (*paths, tmp_path / "fax.tiff", tmp_path / "clear.png", tmp_path / "cut.jpg"):
        opened.clear()
        found, chunks = outline_and_image(path, 448)
        openings = len(opened)
        opened.clear()
        other = outline(path, "image")
        (one,), (two,) = chunks, decode(path, "image", other.chunks[:1], max_side=448, thumbnails=True)
        assert openings < len(opened), path.name
        assert found == other and one.spec == two.spec and one.text == two.text and one.note == two.note, path.name
        assert (one.frames == two.frames).all() and one.thumbnail == two.thumbnail, path.name
        assert one.picture_hash == two.picture_hash, path.name
        assert bool(one.picture_hash) == bool(hash_of_thumbnail(one.thumbnail) and found.pages is None), path.name
    assert one.note and "end" in one.note


@pytest.mark.slow
def test_a_video_becomes_windows_of_eight_frames(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 66, 5, metadata={"creation_time": "2021-05-06T07:08:09Z"})
    found = outline(path, "video")
    assert [c.span.seconds for c in found.chunks] == [(0.0, 30.0), (30.0, 60.0), (60.0, 66.0)]
    assert found.duration_s == 66.0 and found.metadata.taken == Taken("2021-05-06T07:08:09+00:00", "clock")
    chunks = decode(path, "video", found.chunks, max_side=120)
    for chunk in chunks:
        assert chunk.frames.shape == (8, 90, 120, 3) and chunk.times is not None
        assert [time_of(f) for f in chunk.frames] == pytest.approx(chunk.times, abs=0.11)
        start_s, end_s = chunk.spec.span.start_s, chunk.spec.span.end_s
        assert start_s is not None and end_s is not None
        assert start_s <= chunk.times[0] and chunk.times[-1] < end_s
    again = decode(path, "video", found.chunks[1:2], max_side=120)[0]
    assert (again.frames == chunks[1].frames).all(), "a window alone is the window in a batch"
    given = to_input(chunks[0], "video", role="query")
    assert given.video is not None and given.role == "query" and given.images == ()


@pytest.mark.slow
def test_a_window_ends_at_a_scene_cut_nearby(tmp_path: Path) -> None:
    scenes = [(0.0, (200, 40, 40)), (28.4, (20, 60, 200)), (61.2, (40, 160, 60))]
    path = draw_video(tmp_path / "a.mp4", 80, 5, scenes=scenes, text="x", gop=40)
    ends = [c.span.end_s for c in outline(path, "video").chunks]
    assert ends == pytest.approx([28.4, 61.2, 80.0], abs=0.25)


def test_a_pdf_is_a_chunk_a_page_with_its_text(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["first page", "second page"], metadata={"creationDate": "D:20200102030405Z"})
    found = outline(path, "pdf")
    assert [c.span.page for c in found.chunks] == [1, 2] and found.pages == 2
    assert found.metadata.taken == Taken("2020-01-02T03:04:05+00:00", "pdf")
    chunks = decode(path, "pdf", found.chunks)
    assert [c.text for c in chunks] == ["first page", "second page"]
    assert max(chunks[0].frames.shape) == 1280 and chunks[0].frames.shape[0] == 1
    assert to_input(chunks[1], "pdf").text == "second page"


def test_the_words_that_come_with_an_image_are_its_text(tmp_path: Path) -> None:
    packet = xmp_packet(dc_title="Regatta", dc_subject=("sailing", "storm"))
    path = draw_image(tmp_path / "a.jpg", exif={"description": "SONY DSC", "orientation": 6}, xmp=packet)
    found = outline(path, "image")
    assert found.caption == "Regatta\nsailing, storm" and found.cues == () and not found.has_sound
    (chunk,) = decode(path, "image", found.chunks)
    assert chunk.text == found.caption and to_input(chunk, "image").text == found.caption


@pytest.mark.slow
def test_a_videos_words_are_in_its_outline_and_not_in_its_chunks(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 40, 5, size=(64, 48), metadata={"title": "Regatta"})
    silent = outline(path, "video")
    assert (silent.has_sound, silent.cues, silent.caption) == (False, (), "Regatta")
    add_sound(path, (0.0, np.zeros((1, 40 * 16_000), dtype=np.float32)), rate=16_000)
    add_subtitles(path, (1.0, 2.0, "inside"), codec="mov_text")
    assert outline(path, "video").cues == (Cue(1.0, 2.0, "inside"),)
    (tmp_path / "a.srt").write_text(
        "1\n00:00:31,000 --> 00:00:45,000\nbeside\n\n2\n00:00:50,000 --> 00:00:55,000\nafter the end\n"
    )
    found = outline(path, "video")
    assert found.has_sound and found.cues == (Cue(31.0, found.duration_s or 0, "beside"),)
    assert pickle.loads(pickle.dumps(found)) == found
    (tmp_path / "a.srt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    assert outline(path, "video").cues == (Cue(1.0, 2.0, "inside"),), "a broken file costs itself alone"
    for chunk in decode(path, "video", found.chunks, max_side=64):
        assert chunk.text == "" and to_input(chunk, "video").text is None


def test_a_pdfs_title_is_in_its_outline_and_not_in_its_chunks(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["first page"], metadata={"title": "Report on boats"})
    found = outline(path, "pdf")
    assert found.caption == "Report on boats"
    (chunk,) = decode(path, "pdf", found.chunks)
    assert chunk.text == "first page" and to_input(chunk, "pdf").title == "Report on boats"
    (chunk,) = decode(draw_pdf(tmp_path / "b.pdf", ["a"]), "pdf", [ChunkSpec(0, found.chunks[0].span)])
    assert to_input(chunk, "pdf").title is None


def test_a_thumbnail_is_a_small_webp(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.png", "hello", (1000, 500))
    with Image.open(io.BytesIO(make_thumbnail(path, "image", ChunkSpec(0)))) as small:
        assert small.format == "WEBP" and small.size == (384, 192)


def test_the_thumbnail_is_neither_black_nor_blurred() -> None:
    sharp = picture("goal", (320, 240), seed=3)
    blurred = sharp.filter(ImageFilter.GaussianBlur(12))
    black, white = (Image.new("RGB", (320, 240), c) for c in ("black", "white"))
    frames = np.stack([np.asarray(f) for f in (black, blurred, sharp, white, blurred)])
    assert best_of(frames) == 2
    assert best_of(frames[[0, 1, 3]]) == 1, "blurred is better than nothing"


def test_chunks_and_outlines_travel_between_processes(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.png")
    found = outline(path, "image")
    assert pickle.loads(pickle.dumps(found)) == found
    error = pickle.loads(pickle.dumps(MediaError("why", "empty")))
    assert (str(error), error.cause) == ("why", "empty")


@pytest.mark.slow
def test_what_is_readable_of_a_cut_off_video_is_read(tmp_path: Path) -> None:
    whole = draw_video(tmp_path / "whole.mp4", 100, 5, options={"movflags": "faststart"}, text="x")
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * 0.55)])
    found = outline(cut, "video")
    assert found.duration_s is not None and 30 < found.duration_s < 75
    assert len(decode(cut, "video", found.chunks, max_side=64)) == len(found.chunks)


def test_chunks_have_thumbnails_only_where_they_are_asked_for(tmp_path: Path) -> None:
    image = draw_image(tmp_path / "a.png", "hello", (1000, 500))
    for path, kind in ((image, "image"), (draw_pdf(tmp_path / "a.pdf", ["page"]), "pdf")):
        specs = outline(path, kind).chunks  # type: ignore[arg-type]
        assert decode(path, kind, specs)[0].thumbnail == b""  # type: ignore[arg-type]
        assert decode(path, kind, specs, thumbnails=True)[0].thumbnail[8:12] == b"WEBP"  # type: ignore[arg-type]
