"""Cutting and joining: the right pictures, the right sound, the right length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.media.clip import Cut, cut, join, replacing
from data.media.frame_stream import open_video
from data.media.kinds import MediaError
from data.media.sound import RATE, read_sound
from data.media.video import probe, sample_frames
from tests.media import add_sound, draw_video, sound_file, time_of


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_video(tmp_path_factory.mktemp("film") / "film.mp4", 20, 10, gop=30, audio=True)


def loudness(path: Path, start: float, end: float) -> float:
    with open_video(path) as video:
        blocks = list(video.sound_between(start, end, 8000))
    return float(np.abs(np.concatenate(blocks, axis=1)).mean()) if blocks else 0.0


def shown(path: Path) -> list[float]:
    info = probe(path)
    return [time_of(f) for f in sample_frames(path, 0, info.duration_s, round(info.duration_s * 10))[0]]


@pytest.mark.slow
def test_a_copy_starts_at_the_keyframe_and_loses_nothing(film: Path, tmp_path: Path) -> None:
    start, end = cut(film, 7.0, 12.0, tmp_path / "a.mp4")
    assert (start, end) == (pytest.approx(6.0), pytest.approx(12.0, abs=0.45))
    assert shown(tmp_path / "a.mp4")[:60] == pytest.approx(np.arange(60, 120) / 10, abs=0.06)
    ours, _ = sample_frames(tmp_path / "a.mp4", 0, 5, 5)
    theirs, _ = sample_frames(film, 6, 11, 5)
    assert (ours == theirs).all(), "the very same encoded pictures"
    assert loudness(tmp_path / "a.mp4", 1, 5) > 0.1


def test_an_encoded_clip_starts_at_the_frame(film: Path, tmp_path: Path) -> None:
    assert cut(film, 7.3, 9.3, tmp_path / "a.mp4", reencode=True) == (7.3, pytest.approx(9.3))
    assert probe(tmp_path / "a.mp4").duration_s == pytest.approx(2.0, abs=0.12)
    assert shown(tmp_path / "a.mp4")[:20] == pytest.approx(np.arange(73, 93) / 10, abs=0.06)
    assert loudness(tmp_path / "a.mp4", 0.2, 1.8) > 0.1


@pytest.mark.parametrize("reencode", [False, True])
def test_a_clip_of_an_upright_phone_stays_upright(tmp_path: Path, reencode: bool) -> None:
    path = draw_video(tmp_path / "a.mp4", 4, 10, rotation=90)
    cut(path, 1.2, 3, tmp_path / "b.mp4", reencode)
    frames, _ = sample_frames(tmp_path / "b.mp4", 0, 1, 1)
    assert frames.shape == (1, 160, 120, 3) and 1.2 <= time_of(np.rot90(frames[0])) <= 2.5


@pytest.mark.slow
def test_what_mp4_cannot_hold_is_encoded_anew(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.webm", 4, 10, codec="libvpx")
    cut(path, 1, 3, tmp_path / "b.mp4")
    assert probe(tmp_path / "b.mp4").codec == "h264" and shown(tmp_path / "b.mp4")[0] == pytest.approx(1.0, abs=0.06)


@pytest.mark.slow
def test_a_reel_joins_clips_of_different_shapes_with_and_without_sound(film: Path, tmp_path: Path) -> None:
    silent = draw_video(tmp_path / "tall.mkv", 5, 25, size=(120, 200))
    spans = join([Cut(film, 2, 4), Cut(silent, 1, 2.5), Cut(film, 15, 16)], tmp_path / "reel.mp4")
    assert spans == [
        (0.0, pytest.approx(2.0)),
        (pytest.approx(2.0), pytest.approx(3.5)),
        (pytest.approx(3.5), pytest.approx(4.5)),
    ]
    info = probe(tmp_path / "reel.mp4")
    assert info.duration_s == pytest.approx(4.5, abs=0.12) and (info.width, info.height) == (160, 120)
    frames, _ = sample_frames(tmp_path / "reel.mp4", 0, 4.5, 9)
    assert [time_of(f) for f in frames[[0, 3, 7, 8]]] == pytest.approx([2.2, 3.7, 15.2, 15.7], abs=0.11)
    middle = frames[5]
    assert middle[:, :20].max() < 20 and middle[:, 60:100].max() > 60, "the tall one stands between black borders"
    reel = tmp_path / "reel.mp4"
    assert loudness(reel, 0.3, 1.8) > 0.1 and loudness(reel, 2.3, 3.3) < 0.02 and loudness(reel, 3.7, 4.3) > 0.1


def test_nothing_half_written_is_left(film: Path, tmp_path: Path) -> None:
    for reencode in (False, True):
        with pytest.raises(MediaError, match="the video ends before"), replacing(tmp_path / "a.mp4") as part:
            cut(film, 100, 110, part, reencode)
    with pytest.raises(ValueError, match="nothing between"):
        cut(film, 5, 5, tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="no longer there"):
        cut(tmp_path / "gone.mp4", 1, 2, tmp_path / "a.mp4")
    with replacing(tmp_path / "a.mp4") as part:
        cut(film, 5, 6, part)
        assert not (tmp_path / "a.mp4").exists()
    (tmp_path / "a.mp4").unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mts", "a.mkv", "a.mp4", "a.flv"])
@pytest.mark.parametrize("start", [0.0, 1.0, 7.4, 12.3, 17.9, 29.95, 36.2])
def test_a_copy_begins_at_or_before_the_second_asked_for(
    long_films: dict[str, Path], tmp_path: Path, name: str, start: float
) -> None:
    """Also of a transport stream, in which a backward seek may land behind its target."""
    first = sample_frames(long_films[name], 0, 0.02, 1)[1][0]  # of an FLV: 64 ms after its sound
    begin, end = cut(long_films[name], start, start + 3, tmp_path / "b.mp4")
    assert start - 2.6 <= begin <= max(start, first) + 1e-9 and end >= start + 2.9
    assert shown(tmp_path / "b.mp4")[0] == pytest.approx(begin - first, abs=0.06)
    assert loudness(tmp_path / "b.mp4", 0, 2) > 0.1


@pytest.fixture(scope="module")
def long_films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("long")
    names = ("a.mts", "a.mkv", "a.mp4", "a.flv")
    tone = np.sin(np.arange(40 * 48_000) * 0.06).astype(np.float32)[None]
    whole = add_sound(draw_video(folder / "a.mp4", 40, 10, gop=25), (0.0, tone))
    return {name: whole if name == "a.mp4" else wrapped_again(whole, folder / name) for name in names}


def wrapped_again(source: Path, target: Path) -> Path:
    """The same packets in another container."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as out:
        tracks = {stream.index: out.add_stream_from_template(stream, opaque=True) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                out.mux(packet)
    return target


@pytest.mark.slow
def test_a_stream_whose_sound_begins_far_behind_its_picture_is_cut(tmp_path: Path) -> None:
    source = draw_video(tmp_path / "a.mts", 40, 10, gop=25, audio=True)  # all the sound behind all the pictures
    begin, end = cut(source, 7.4, 10.4, tmp_path / "b.mp4")
    assert begin <= 7.4 and end >= 10.3 and loudness(tmp_path / "b.mp4", 0, 2) > 0.1


def test_a_piece_of_a_recording_is_its_sound_alone(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(np.arange(10 * 48_000) * 2 * np.pi * 440 / 48_000)).astype(np.float32)[None]
    tone[:, : 4 * 48_000] = 0
    source = sound_file(tmp_path / "a.mp3", tone)
    assert cut(source, 3, 6, tmp_path / "b.mp4") == (3, pytest.approx(6, abs=0.01))
    heard = np.abs(read_sound(tmp_path / "b.mp4"))
    assert len(heard) / RATE == pytest.approx(3, abs=0.1)
    assert heard[: int(0.9 * RATE)].max() < 0.05 and heard[int(1.2 * RATE) :].max() > 0.3
    with pytest.raises(MediaError, match="ends before"):
        cut(source, 30, 40, tmp_path / "c.mp4")
