"""Videos: the frame that is on screen at a second, whatever the container, codec and frame rate."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from data.media import video
from data.media.dates import Taken
from data.media.frame_stream import open_video
from data.media.kinds import MediaError
from data.media.metadata import Metadata
from data.media.video import probe, sample_frames, scene_cuts, tag_metadata
from tests.media import draw_video, picture, time_of

CONTAINERS = [
    ("a.mp4", "libx264"),
    ("a.mov", "libx264"),
    ("a.mkv", "libx264"),
    ("a.mts", "libx264"),
    ("a.flv", "libx264"),
    ("a.avi", "mpeg4"),
    ("a.webm", "libvpx"),
    ("b.webm", "libvpx-vp9"),
    ("b.mp4", "libx265"),
    ("c.mp4", "libsvtav1"),
    ("d.mp4", "mjpeg"),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: draw_video(folder / name, 8, 10, codec=codec) for name, codec in CONTAINERS}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in CONTAINERS])
def test_frames_are_those_on_screen_at_their_second(clips: dict[str, Path], name: str) -> None:
    path = clips[name]
    info = probe(path)
    assert info.duration_s == pytest.approx(8, abs=0.25) and (info.width, info.height) == (160, 120)
    assert info.fps == pytest.approx(10, abs=0.1) and info.rotation == 0 and not info.truncated
    for start, end, count in ((0, 8, 8), (2, 4, 20), (7, 8, 4), (3.05, 3.1, 1)):
        frames, times = sample_frames(path, start, end, count)
        assert frames.dtype == np.uint8 and frames.shape[1:] == (120, 160, 3) and len(frames) == len(times)
        assert (np.diff(times) > 0).all()
        assert [time_of(f) for f in frames] == pytest.approx(times, abs=0.06)
        asked = start + (np.arange(count) + 0.5) * (end - start) / count
        shown = np.floor(asked * 10 + 0.02) / 10
        assert set(np.round(times, 1)) == set(np.round(shown, 1))


@pytest.mark.parametrize("name", [name for name, _ in CONTAINERS])
def test_any_second_in_any_order_gives_its_frame(clips: dict[str, Path], name: str) -> None:
    rng = random.Random(7)
    with open_video(clips[name]) as opened:
        for _ in range(25):
            second = rng.uniform(0, 7.9)
            found = opened.frame_at(second)
            assert found is not None
            time_s, frame = found
            assert time_s <= second + 0.01 and second - time_s < 0.11
            assert time_of(opened.rgb(frame, None)) == pytest.approx(time_s, abs=0.06)


def test_every_frame_can_be_asked_for(clips: dict[str, Path]) -> None:
    frames, times = sample_frames(clips["a.mp4"], 0, 8, 80)
    assert len(frames) == 80 and times == pytest.approx(np.arange(80) / 10, abs=1e-3)
    assert [time_of(f) for f in frames] == pytest.approx(times, abs=0.06)


def test_a_variable_frame_rate_is_followed_and_not_averaged(tmp_path: Path) -> None:
    moments = [0, 0.1, 0.2, 0.3, 2, 2.1, 5, 5.1, 9]
    path = draw_video(tmp_path / "a.mp4", times=moments)
    for engine in ("auto", "pyav"):
        frames, times = sample_frames(path, 0, 10, 20, engine=engine)
        assert times == pytest.approx([0.2, 0.3, 2.1, 5.1, 9.0]), "the last frame before each quarter second"
        assert [time_of(f) for f in frames] == pytest.approx(times, abs=0.06)


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("engine", ["pyav", "decord"])
def test_a_phone_held_upright_is_shown_upright(tmp_path: Path, rotation: int, engine: video.Engine) -> None:
    if engine == "decord":
        pytest.importorskip("decord")
    path = draw_video(tmp_path / "a.mp4", 2, 10, size=(160, 120), rotation=rotation)
    info = probe(path)
    assert info.rotation == rotation
    assert (info.width, info.height) == ((120, 160) if rotation != 180 else (160, 120))
    frames, times = sample_frames(path, 0, 2, 2, engine=engine)
    assert frames.shape[1:3] == (info.height, info.width)
    stored = [np.rot90(f, rotation // 90) for f in frames]
    assert [time_of(f) for f in stored] == pytest.approx(times, abs=0.11)


def test_decord_and_pyav_agree_on_a_constant_frame_rate(clips: dict[str, Path]) -> None:
    pytest.importorskip("decord")
    ours, our_times = sample_frames(clips["a.mp4"], 1, 7, 6, 80, engine="pyav")
    theirs, their_times = sample_frames(clips["a.mp4"], 1, 7, 6, 80, engine="decord")
    assert our_times == pytest.approx(their_times, abs=1e-6)
    assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).mean() < 4


@pytest.mark.slow
def test_reading_every_frame_gives_the_same_with_either_decoder(clips: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("decord")
    long = draw_video(tmp_path / "long.mp4", 15, 10)
    with open_video(long) as opened:
        dense = np.arange(150) / 10 + 0.05
        assert opened.steady() and video._decord_is_better(opened, dense, 0.0)
        assert not video._decord_is_better(opened, dense[::4], 0.0), "a window's frames are PyAV's"
    frames, times = sample_frames(long, 0, 15, 150)
    assert len(frames) == 150 and [time_of(f) for f in frames] == pytest.approx(times, abs=0.06)
    uneven = draw_video(tmp_path / "vfr.mp4", times=[i / 10 + 0.04 * (i % 3 == 1) for i in range(150)])
    with open_video(uneven) as opened:
        assert not opened.steady() and not video._decord_is_better(opened, dense, 0.0)


def test_a_keyframe_nearby_is_taken_where_it_is_good_enough(clips: dict[str, Path]) -> None:
    _, exact = sample_frames(clips["a.mp4"], 0, 8, 4)
    frames, near = sample_frames(clips["a.mp4"], 0, 8, 4, tolerance_s=0.5)
    assert exact == pytest.approx([1.0, 3.0, 5.0, 7.0])
    assert near == pytest.approx([1.2, 3.0, 4.8, 7.2]), "keyframes lie 1.2 s apart: at 1.2, 4.8 and 7.2"
    assert [time_of(f) for f in frames] == pytest.approx(near, abs=0.06)


def test_frames_are_scaled_as_they_are_decoded(clips: dict[str, Path]) -> None:
    assert sample_frames(clips["a.mp4"], 0, 8, 2, 40)[0].shape == (2, 30, 40, 3)
    assert sample_frames(clips["a.mp4"], 0, 8, 2, 4000)[0].shape == (2, 120, 160, 3)


def test_a_picture_with_oblong_pixels_is_stretched(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 1, 10, size=(90, 80), sample_aspect=2)
    assert (probe(path).width, probe(path).height) == (180, 80)
    assert sample_frames(path, 0, 1, 1)[0].shape == (1, 80, 180, 3)


@pytest.mark.slow
def test_a_long_run_without_keyframes_stays_small_and_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw_video(tmp_path / "a.mp4", 40, 10, gop=10_000)
    monkeypatch.setattr("data.media.frame_stream.MAX_BUFFERED", 100)
    with open_video(path) as opened:
        for second in (5.05, 17.05, 17.15, 31.05, 39.05, 2.05):
            found = opened.frame_at(second)
            assert found is not None and len(opened.buffer) <= 101
            assert time_of(opened.rgb(found[1], None)) == pytest.approx(second - 0.05, abs=0.06)


@pytest.mark.slow
def test_cuts_are_found_to_the_frame(tmp_path: Path) -> None:
    scenes = [(0.0, (200, 40, 40)), (13.3, (20, 60, 200)), (31.7, (40, 160, 60))]
    path = draw_video(tmp_path / "a.mp4", 50, 10, scenes=scenes, text="x", gop=40)
    assert scene_cuts(path, [15, 30, 45]) == pytest.approx([13.3, 31.7], abs=0.11)
    assert scene_cuts(path, [20, 40]) == [], "too far away"
    assert scene_cuts(path, [15, 30], budget_pixels=1) == pytest.approx([13.3], abs=0.11)


@pytest.mark.slow
def test_a_slow_fade_is_no_cut(tmp_path: Path) -> None:
    def fading(t: float) -> object:
        return picture("x", (160, 120), (int(min(255, 9 * t)),) * 3)

    path = draw_video(tmp_path / "a.mp4", 30, 10, frame=fading, gop=20)  # type: ignore[arg-type]
    assert scene_cuts(path, [10, 15, 20]) == []


def test_metadata_of_a_phone(tmp_path: Path) -> None:
    tags = {"creation_time": "2022-03-04T05:06:07.000000Z", "location": "+48.8577+002.295/", "make": "Apple"}
    options = {"movflags": "use_metadata_tags"}
    info = probe(draw_video(tmp_path / "a.mp4", 1, 10, metadata={**tags, "model": "iPhone 13"}, options=options))
    assert info.metadata == Metadata(Taken("2022-03-04T05:06:07+00:00", "clock"), "Apple iPhone 13", 48.8577, 2.295)
    assert tag_metadata(tmp_path / "a.mp4") == info.metadata, "without a look at the pictures"


def reason(path: Path) -> MediaError:
    with pytest.raises(MediaError) as caught:
        probe(path)
    with pytest.raises(MediaError) as again:
        sample_frames(path, 0, 5)
    assert str(again.value) == str(caught.value)
    return caught.value


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for data, words, cause in (
        (b"", "the file is empty (0 bytes)", "empty"),
        (b"Dear diary,\n" * 500, "this is not a video: the file holds text", "wrong kind"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n", "this is not a video: the file holds text", "wrong kind"),
        (bytes(20_000), "the file holds nothing but zeros; its copy or download did not finish", "damaged"),
        (np.random.default_rng(0).bytes(20_000), "the video is damaged; no decoder makes sense of it", "damaged"),
    ):
        path.write_bytes(data)
        error = reason(path)
        assert (str(error), error.cause) == (words, cause)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    error = reason(draw_video(tmp_path / "a.mp4", 2, audio=True, video=False))
    assert (str(error), error.cause) == ("this is a sound file; there is no picture in it", "nothing to see")


def test_a_recording_that_was_cut_off_before_its_index(tmp_path: Path, clips: dict[str, Path]) -> None:
    data = clips["a.mp4"].read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    error = reason(tmp_path / "a.mp4")
    assert (str(error), error.cause) == (
        "the video is cut off: its index at the end is missing; copy it again",
        "cut off",
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mts", "a.avi"])
def test_what_is_there_of_a_cut_off_video_can_be_seen(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    data = draw_video(tmp_path / name, 40, 10, codec=codec, options=options).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.5)])
    info = probe(tmp_path / name)
    assert 15 < info.duration_s < 25
    frames, times = sample_frames(tmp_path / name, 0, info.duration_s, 6)
    assert len(frames) == 6 and [time_of(f) for f in frames] == pytest.approx(times, abs=0.06)
    with pytest.raises(MediaError, match="nothing between 0:35 and 0:40 can be decoded"):
        sample_frames(tmp_path / name, 35, 40)


def test_a_name_that_is_not_utf8(tmp_path: Path, clips: dict[str, Path]) -> None:
    import os

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.mp4"))
    try:
        path.write_bytes(clips["a.mp4"].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert probe(path).duration_s == 8
    assert sample_frames(path, 0, 8, 2)[0].shape == (2, 120, 160, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "streams", "chosen"),
    [
        ("a.mkv", (((160, 120), "libx264", False), ((320, 180), "libx264", True)), (320, 180)),
        ("a.mkv", (((320, 180), "libx264", False), ((160, 120), "libx264", True)), (160, 120)),
        ("a.mkv", (((160, 120), "libx264", True), ((320, 180), "libx264", True)), (320, 180)),
        ("a.mkv", (((160, 120), "libx264", False), ((320, 180), "libx264", False)), (320, 180)),
        ("a.mts", (((160, 120), "libx264", False), ((320, 180), "libx264", False)), (320, 180)),
        ("a.mp4", (((320, 180), "libx264", True), ((320, 180), "libx264", False)), (320, 180)),
        ("a.mov", (((160, 120), "mjpeg", True), ((320, 180), "libx264", False)), (320, 180)),
        ("a.mov", (((320, 180), "mjpeg", True),), (320, 180)),
    ],
)
def test_the_default_picture_is_chosen_else_the_largest(
    tmp_path: Path, name: str, streams: tuple[tuple[tuple[int, int], str, bool], ...], chosen: tuple[int, int]
) -> None:
    """A camera's motion JPEG preview is not the film, whatever its flag."""
    import av

    parts = [
        draw_video(tmp_path / f"{i}.mov", 2, 10, size=size, codec=codec) for i, (size, codec, _) in enumerate(streams)
    ]
    with av.open(str(tmp_path / name), "w") as out:
        packets = []
        for part, (_, _, default) in zip(parts, streams, strict=True):
            with av.open(str(part)) as old:
                stream = out.add_stream_from_template(old.streams.video[0])
                stream.disposition = int(default)
                for packet in old.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    info = probe(tmp_path / name)
    assert (info.width, info.height) == chosen
    assert sample_frames(tmp_path / name, 0, 2, 1)[0].shape[1:3] == chosen[::-1]


def test_what_another_program_still_writes_is_not_called_broken(tmp_path: Path, clips: dict[str, Path]) -> None:
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("only Linux tells who has a file open")
    data = clips["a.mp4"].read_bytes()
    path = tmp_path / "a.mp4"
    for start in (data[: len(data) // 2], b"", bytes(20_000)):
        with path.open("wb") as writer:
            writer.write(start)
            writer.flush()
            error = reason(path)
            assert (error.cause, "still being written" in str(error)) == ("being written", True)
        assert reason(path).cause != "being written", "the writer is gone"
    path.write_bytes(data)
    assert probe(path).duration_s == 8
