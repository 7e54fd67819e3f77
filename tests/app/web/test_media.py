"""Files, thumbnails, pages and clips by id: Range, types, what is gone, what is cut."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.web.render import cut_clip, page_layer, page_webp
from app.web.render_pool import Renderer
from app.web.transcode import Stretches
from data.media.video import probe, sample_frames
from indexer.library import Library
from tests.media import draw_pdf, draw_video, time_of


def hit(client: TestClient, q: str, kind: str, **more: Any) -> dict[str, Any]:
    return client.get("/api/search", params={"q": q, "kind": kind, **more}).json()["hits"][0]


@pytest.fixture
def video(client: TestClient) -> dict[str, Any]:
    return hit(client, "road trip", "video")


@pytest.mark.parametrize(
    "asked, status, first, length",
    [("bytes=0-99", 206, 0, 100), ("bytes=100-", 206, 100, None), ("bytes=-50", 206, None, 50)],
)
def test_a_part_of_a_file_is_sent_when_asked_for(
    client: TestClient, video: dict[str, Any], asked: str, status: int, first: int | None, length: int | None
) -> None:
    whole = Path(video["path"]).read_bytes()
    answer = client.get(f"/media/{video['file_id']}", headers={"range": asked})
    assert answer.status_code == status
    start = first if first is not None else len(whole) - (length or 0)
    assert answer.content == whole[start : start + (length or len(whole))]
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(answer.content) - 1}/{len(whole)}"


def test_a_range_outside_the_file_is_refused(client: TestClient, video: dict[str, Any]) -> None:
    assert client.get(f"/media/{video['file_id']}", headers={"range": "bytes=999999999-"}).status_code == 416


def test_files_are_served_as_what_they_are(client: TestClient, video: dict[str, Any]) -> None:
    assert client.get(f"/media/{video['file_id']}").headers["content-type"] == "video/mp4"
    pdf = hit(client, "lighthouse", "pdf")
    answer = client.get(f"/media/{pdf['file_id']}")
    assert answer.headers["content-type"] == "application/pdf"
    assert "sandbox" not in answer.headers.get("content-security-policy", "")  # the browser's viewer needs that
    download = client.get(f"/media/{pdf['file_id']}", params={"download": 1})
    assert download.headers["content-disposition"].startswith("attachment")


def test_a_name_that_tries_something_stays_a_name(client: TestClient) -> None:
    odd = next(
        h
        for h in client.get("/api/search", params={"q": "alert", "kind": "image"}).json()["hits"]
        if "onerror" in h["title"]
    )
    answer = client.get(f"/media/{odd['file_id']}", params={"download": 1})
    assert answer.headers["content-type"] == "image/png"
    assert "<img" not in answer.headers["content-disposition"]


def test_what_is_not_in_the_library_is_a_404_with_a_sentence(client: TestClient) -> None:
    for path in (
        "/media/999",
        "/thumb/999.webp",
        "/page/999/1.webp",
        "/page/999/1.json",
        "/inside/999/2.pdf",
        "/clip/999.mp4",
        "/open/999",
    ):
        answer = client.get(path, follow_redirects=False)
        assert answer.status_code == 404, path
        assert "999" in answer.json()["error"]


def test_a_person_gets_the_sentence_as_a_page(client: TestClient) -> None:
    answer = client.get("/open/999", headers={"accept": "text/html"})
    assert answer.status_code == 404 and "<h1>Not here any more</h1>" in answer.text


def test_a_file_deleted_since_is_a_404_that_says_where_it_was(
    client: TestClient, folder: Path, video: dict[str, Any]
) -> None:
    path, away = Path(video["path"]), folder.parent / "gone.mp4"
    path.rename(away)
    try:
        answer = client.get(f"/media/{video['file_id']}")
    finally:
        away.rename(path)
    assert answer.status_code == 404
    assert "road trip.mp4 is no longer where it was indexed" in answer.json()["error"]


def test_a_thumbnail_is_webp_and_is_not_sent_twice(client: TestClient, video: dict[str, Any]) -> None:
    answer = client.get(video["thumb_url"])
    assert answer.headers["content-type"] == "image/webp"
    assert max(Image.open(io.BytesIO(answer.content)).size) <= 384
    again = client.get(video["thumb_url"], headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content


def test_a_page_is_a_picture_with_its_words_and_marks(client: TestClient) -> None:
    pdf = hit(client, "lighthouse", "pdf")
    picture = client.get(f"/page/{pdf['file_id']}/2.webp", params={"width": 1280})
    assert max(Image.open(io.BytesIO(picture.content)).size) == 1280
    layer = client.get(f"/page/{pdf['file_id']}/2.json", params={"q": "the lighthouse"}).json()
    assert layer["pages"] == 3
    assert [word[4] for word in layer["words"]] == ["The", "lighthouse", "of", "the", "harbour"]
    lighthouse = next(word for word in layer["words"] if word[4] == "lighthouse")
    assert len(layer["marks"]) == 1 and np.allclose(layer["marks"], [lighthouse[:4]], atol=0.02)
    for query, marks in (("lighthouses type:pdf", 1), ("-lighthouse", 0), ("the", 2), ("taken:soon", 0)):
        layer = client.get(f"/page/{pdf['file_id']}/2.json", params={"q": query}).json()
        assert len(layer["marks"]) == marks, query
    assert client.get(f"/page/{pdf['file_id']}/4.webp").status_code == 404
    assert client.get(f"/page/{pdf['file_id']}/0.webp").status_code == 404


def test_an_image_that_browsers_cannot_show_is_made_one_that_they_can(client: TestClient) -> None:
    scan = hit(client, "green scan", "image")
    answer = client.get(f"/view/{scan['file_id']}.webp")
    assert Image.open(io.BytesIO(answer.content)).size == (320, 240)


def test_a_deep_link_opens_the_page_with_the_chunk(client: TestClient, video: dict[str, Any]) -> None:
    answer = client.get(video["open_url"], follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/?open={video['chunk_id']}"


def test_a_clip_is_copied_from_the_keyframe_before_the_moment(tmp_path: Path) -> None:
    source = draw_video(tmp_path / "v.mp4", 20, 10, gop=20, audio=True)
    first, last = cut_clip(source, 5.0, 11.0, tmp_path / "clip.mp4", False)
    assert first == pytest.approx(4.0, abs=0.11) and last == pytest.approx(11.0, abs=0.5)
    frames, _ = sample_frames(tmp_path / "clip.mp4", 0, 0.1, 1)
    assert time_of(frames[0]) == pytest.approx(first, abs=0.11)
    assert probe(tmp_path / "clip.mp4").duration_s == pytest.approx(last - first, abs=0.5)


def test_an_exact_clip_begins_at_the_second(tmp_path: Path) -> None:
    source = draw_video(tmp_path / "v.mp4", 20, 10, gop=50, audio=True)
    cut_clip(source, 7.3, 10.3, tmp_path / "clip.mp4", True)
    frames, _ = sample_frames(tmp_path / "clip.mp4", 0, 0.1, 1)
    assert time_of(frames[0]) == pytest.approx(7.3, abs=0.11)
    assert probe(tmp_path / "clip.mp4").duration_s == pytest.approx(3.0, abs=0.3)


def test_clips_are_served_and_leave_nothing_behind(client: TestClient, video: dict[str, Any], tmp_path: Path) -> None:
    import tempfile

    answer = client.get(f"/clip/{video['chunk_id']}.mp4", params={"start": 10, "end": 14, "exact": 1})
    assert answer.status_code == 200, answer.text
    (tmp_path / "c.mp4").write_bytes(answer.content)
    assert probe(tmp_path / "c.mp4").duration_s == pytest.approx(4.0, abs=0.4)
    assert list(Path(tempfile.gettempdir()).glob("sightline-clip-*")) == []
    for asked in ({"start": 5, "end": 5}, {"start": 0, "end": 1e6}, {"start": 9, "end": 2}):
        assert client.get(f"/clip/{video['chunk_id']}.mp4", params=asked).status_code == 400


def test_a_video_that_no_browser_plays_comes_in_stretches_that_it_does(
    client: TestClient, video: dict[str, Any], tmp_path: Path
) -> None:
    second = client.get(f"/play/{video['file_id']}/1.mp4")
    assert second.status_code == 200 and second.headers["content-type"] == "video/mp4"
    (tmp_path / "stretch.mp4").write_bytes(second.content)
    assert probe(tmp_path / "stretch.mp4").duration_s == pytest.approx(20.0, abs=0.4)
    frames, _ = sample_frames(tmp_path / "stretch.mp4", 0, 0.1, 1)
    assert time_of(frames[0]) == pytest.approx(20.0, abs=0.21)
    part = client.get(f"/play/{video['file_id']}/1.mp4", headers={"range": "bytes=0-99"})
    assert part.status_code == 206 and part.content == second.content[:100]
    assert client.get(f"/play/{video['file_id']}/9.mp4").status_code == 404
    assert client.get(f"/play/{hit(client, 'red square', 'image')['file_id']}/0.mp4").status_code == 404


def test_stretches_are_made_once_and_the_oldest_are_forgotten(library: Library, video: dict[str, Any]) -> None:
    file = library.file(video["file_id"])
    assert file is not None

    async def watch() -> tuple[list[Path], list[Path]]:
        stretches = Stretches(Renderer(), most_bytes=1)
        try:
            twice = await asyncio.gather(stretches.get(file, 0), stretches.get(file, 0))
            await stretches.get(file, 1)
            return twice, list(twice[0].parent.iterdir())
        finally:
            stretches.close()

    twice, kept = asyncio.run(watch())
    assert twice[0] == twice[1]
    assert [f.name[-6:] for f in kept] == ["-1.mp4"]
    assert not kept[0].parent.exists()


def test_pages_are_drawn_at_the_size_asked_for(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["One two", "three"])
    assert max(Image.open(io.BytesIO(page_webp(path, 1, 640))).size) == 640
    assert page_layer(path, 2, ("three",))["marks"]
