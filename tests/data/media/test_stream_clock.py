"""How long a video lasts, and which second is which: held pictures, longer sound, edit lists, joined files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from data.media.clip import cut
from data.media.frame_stream import open_video
from data.media.sound import RATE, read_sound
from data.media.video import probe, sample_frames, scene_cuts
from data.reader import decode, outline
from tests.data.media.test_sound import beeps, heard
from tests.media import add_sound, draw_video, time_of


def windows(path: Path) -> list[tuple[float | None, float | None, list[float]]]:
    """(start, end, seconds that the frames tell) of every window that can be decoded."""
    found = outline(path, "video")
    chunks = decode(path, "video", found.chunks, max_side=160)
    return [(*c.spec.span.seconds, [time_of(f) for f in c.frames]) for c in chunks]


# The longest of picture and sound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.mkv", "libopus"), ("a.mts", "aac"), ("a.avi", "libmp3lame")],
)
def test_a_film_lasts_as_long_as_its_sound(tmp_path: Path, name: str, codec: str) -> None:
    path = draw_video(tmp_path / name, 10, 2, codec="mpeg4" if name == "a.avi" else "libx264")
    add_sound(path, (0.0, beeps((50.0,), 70, 48_000, 1)), codec=codec)
    (tmp_path / "a.srt").write_text("1\n00:00:50,000 --> 00:00:55,000\nthe moraine contains garnet\n")
    found = outline(path, "video")
    assert found.duration_s == pytest.approx(70, abs=0.2) and not probe(path).truncated
    assert [cue.start_s for cue in found.cues] == [50.0], "what is said after the last picture belongs to it"
    assert [w[:2] for w in windows(path)] == [(0, 30), (30, 60), (60, found.duration_s)]
    assert [w[2] for w in windows(path)[1:]] == [[9.5], [9.5]], "the last picture stays"
    assert heard(read_sound(path, 45, 60), 45) == pytest.approx([50.0], abs=0.05)


def test_one_picture_with_an_hour_of_sound_before_it_and_after(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mkv", times=[3.0])
    add_sound(path, (0.0, beeps((1.0, 40.0), 75, 8_000, 1)), rate=8_000, codec="flac")
    found = windows(path)
    assert [w[:2] for w in found] == [(0, 30), (30, 60), (60, pytest.approx(75, abs=0.1))]
    assert [w[2] for w in found] == [[3.0]] * 3


def test_the_last_picture_is_whole_after_the_length_was_measured(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.avi", 6, 2, codec="mpeg4", gop=12)
    add_sound(path, (0.0, beeps((1.0,), 65, 16_000, 1)), rate=16_000, codec="libmp3lame")
    frames, _ = sample_frames(path, 0, 65, 6)
    assert [time_of(frame) for frame in frames] == [4.5, 5.5], "this encoder's second frame comes one late in an AVI"


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4"])
def test_a_clock_that_begins_late_makes_no_film_longer(tmp_path: Path, name: str) -> None:
    codec = "libvpx" if name == "a.webm" else "libx264"
    path = draw_video(tmp_path / name, times=[100 + i / 5 for i in range(40)], codec=codec)
    assert probe(path).duration_s == pytest.approx(8, abs=0.25) and not probe(path).truncated
    ((start, end, told),) = windows(path)
    assert (start, end) == (0, pytest.approx(8, abs=0.25)) and 100 <= told[0] < told[-1] < 108


@pytest.mark.slow
def test_a_film_lasts_as_long_as_its_picture_where_the_sound_is_shorter(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 20, 10)
    add_sound(path, (0.0, beeps((1.0,), 3, 48_000, 1)))
    assert probe(path).duration_s == pytest.approx(20, abs=0.15)


# A picture that stands still


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.mts", "a.flv"])
def test_a_slide_is_shown_for_as_long_as_it_is_held(tmp_path: Path, name: str) -> None:
    path = draw_video(tmp_path / name, times=[0, 5, 10, 90])
    found = windows(path)
    assert [w[:2] for w in found] == [(0, 30), (30, 60), (60, pytest.approx(90, abs=1.1))]
    assert [w[2] for w in found] == [[0, 5, 10], [10], [10]]
    frames, times = sample_frames(path, 45, 50, 3)
    assert times == pytest.approx([10.0], abs=0.01) and time_of(frames[0]) == 10.0, "the second it appeared"
    with open_video(path) as opened:
        for second in (80.0, 20.0, 89.0, 4.0):
            found_at = opened.frame_at(second)
            assert found_at is not None and found_at[0] == pytest.approx(0 if second < 5 else 10, abs=0.01)


def held_to_the_end(path: Path, length_s: float) -> Path:
    """Copy a film with its last frame's packet made to last to `length_s`."""
    import av

    held = path.with_name(f"held-{path.name}")
    with av.open(str(path)) as old, av.open(str(held), "w") as out:
        stream = out.add_stream_from_template(old.streams.video[0])
        packets = [p for p in old.demux(video=0) if p.dts is not None]
        packets[-1].duration = round(length_s / packets[-1].time_base) - packets[-1].pts
        for packet in packets:
            packet.stream = stream
            out.mux(packet)
    return held


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_the_last_slide_is_shown_to_the_end(tmp_path: Path, name: str) -> None:
    path = held_to_the_end(draw_video(tmp_path / name, times=[0, 5, 10]), 90)
    assert probe(path).duration_s == pytest.approx(90, abs=0.1) and not probe(path).truncated
    assert [w[2] for w in windows(path)] == [[0, 5, 10], [10], [10]]


@pytest.mark.slow
def test_what_was_cut_off_is_not_held(tmp_path: Path) -> None:
    data = draw_video(tmp_path / "a.mkv", 60, 10).read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    info = probe(tmp_path / "a.mkv")
    assert info.truncated and 20 < info.duration_s < 40


@pytest.mark.slow
@pytest.mark.parametrize("reencode", [False, True])
def test_a_clip_of_a_held_slide_shows_it_and_lasts_as_long_as_asked(tmp_path: Path, reencode: bool) -> None:
    path = draw_video(tmp_path / "a.mp4", times=[0, 5, 10, 90])
    add_sound(path, (0.0, beeps((45.0,), 91, 48_000, 1)))
    assert cut(path, 40, 60, tmp_path / "b.mp4", reencode) == (40, pytest.approx(60, abs=0.1))
    assert probe(tmp_path / "b.mp4").duration_s == pytest.approx(20, abs=0.2)
    assert time_of(sample_frames(tmp_path / "b.mp4", 0, 20, 4)[0][0]) == 10.0
    assert heard(read_sound(tmp_path / "b.mp4")) == pytest.approx([5.0], abs=0.05)


# Edit lists


def trimmed(path: Path, start_s: float) -> Path:
    """Copy a film so that an edit list hides what comes before `start_s`, as phones trim."""
    import av

    out_path = path.with_name(f"trimmed-{path.name}")
    with av.open(str(path)) as old, av.open(str(out_path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is None:
                continue
            shift = round(start_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            out.mux(packet)
    return out_path


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 160])
@pytest.mark.parametrize("tolerance_s", [0.0, 0.5])
def test_what_an_edit_list_hides_is_not_counted(tmp_path: Path, count: int, tolerance_s: float) -> None:
    path = trimmed(draw_video(tmp_path / "a.mp4", 20, 10, gop=30), 3.7)
    assert probe(path).duration_s == pytest.approx(16.3, abs=0.15)
    frames, times = sample_frames(path, 0, 16, count, tolerance_s=tolerance_s)
    assert [time_of(f) - 3.7 for f in frames] == pytest.approx(times, abs=0.06)
    with open_video(path) as opened:
        key = opened.keyframe_near(5.0)
        assert key == pytest.approx(2.3, abs=0.25) or key == pytest.approx(5.0 - 5.0 % 3 + 2.3 - 3, abs=0.25)


# Recordings joined end to end


def joined(tmp_path: Path, suffix: str, lengths: tuple[int, ...], starts: tuple[float, ...], sound: bool) -> Path:
    """Recordings that each tell the time of the whole, joined as `cat` joins them; each clock starts anew."""
    import av

    whole, before = b"", 0
    for number, (length, start) in enumerate(zip(lengths, starts, strict=True)):

        def frame(t: float, before: int = before) -> object:
            from tests.media import _clock_frame

            return _clock_frame(t + before, (160, 120), "", ())

        kind, fps, codec = ("avi", 25, "mpeg2video") if suffix == ".vob" else ("mp4", 10, "libx264")
        part = draw_video(tmp_path / f"{number}.{kind}", length, fps, frame=frame, codec=codec, gop=25)  # type: ignore[arg-type]
        if sound:
            add_sound(part, (0.0, beeps((length / 2,), length, 48_000, 1)), codec="libmp3lame")
        target = tmp_path / f"{number}{suffix}"
        with av.open(str(part)) as old, av.open(str(target), "w", format=FORMATS[suffix]) as out:
            streams = {s.index: out.add_stream_from_template(s) for s in old.streams}
            for packet in old.demux():
                if packet.dts is None:
                    continue
                shift = round(Fraction(start) / packet.time_base)
                shown = packet.dts if packet.pts is None else packet.pts
                packet.pts, packet.dts = shown + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
        whole += target.read_bytes()
        before += length
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(whole)
    return path


FORMATS = {".mts": "mpegts", ".vob": "vob"}


@pytest.mark.slow
@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize(
    ("suffix", "lengths", "starts"),
    [
        (".mts", (40, 40), (0.0, 0.0)),
        (".mts", (12, 7, 33), (0.0, 0.0, 0.0)),
        (".mts", (20, 20), (5000.0, 0.0)),
        (".mts", (20, 20), (100.0, 60.0)),
        (".vob", (40, 40), (0.0, 0.0)),
        (".vob", (9, 25, 9), (0.0, 0.0, 0.0)),
    ],
)
def test_joined_recordings_have_their_whole_length(
    tmp_path: Path, suffix: str, lengths: tuple[int, ...], starts: tuple[float, ...], sound: bool
) -> None:
    path = joined(tmp_path, suffix, lengths, starts, sound)
    total = sum(lengths)
    found = outline(path, "video")
    assert found.duration_s == pytest.approx(total, abs=0.5)
    for start, end, told in windows(path):
        assert start is not None and end is not None and len(told) == 8
        assert all(start - 0.2 <= second <= end for second in told) and told == sorted(told)
    with open_video(path) as opened:
        for second in (total - 1.0, 2.0, lengths[0] + 0.5, lengths[0] - 0.5, 5.0):
            found_at = opened.frame_at(second)
            assert found_at is not None
            assert time_of(opened.rgb(found_at[1], None)) == pytest.approx(second, abs=0.25)
    if sound:
        middles = [sum(lengths[:i]) + length / 2 for i, length in enumerate(lengths)]
        assert heard(read_sound(path)) == pytest.approx(middles, abs=0.15)
        last = middles[-1]
        assert heard(read_sound(path, last - 2, last + 2), last - 2) == pytest.approx([last], abs=0.15)
        assert len(read_sound(path)) / RATE == pytest.approx(total, abs=0.6)
    start, _ = cut(path, lengths[0] + 3.1, lengths[0] + 6, tmp_path / "clip.mp4")
    assert lengths[0] - 0.3 <= start <= lengths[0] + 3.1
    assert time_of(sample_frames(tmp_path / "clip.mp4", 0, 0.1, 1)[0][0]) == pytest.approx(start, abs=0.25)


@pytest.mark.slow
def test_a_recording_that_goes_on_with_a_later_clock_is_joined_too(tmp_path: Path) -> None:
    path = joined(tmp_path, ".mts", (20, 20), (0.0, 4000.0), sound=True)
    assert probe(path).duration_s == pytest.approx(40, abs=0.3)
    assert windows(path)[-1][2][-1] == pytest.approx(39.3, abs=0.3)


def test_a_still_in_a_transport_stream_is_no_join(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mts", times=[0, 5, 10, 90])
    with open_video(path) as opened:
        assert opened.joins is None


@pytest.mark.slow
def test_scene_cuts_are_found_in_joined_recordings(tmp_path: Path) -> None:
    parts = []
    for number, colour in enumerate(((200, 40, 40), (20, 60, 200))):
        scenes = [(0.0, colour)]
        part = draw_video(tmp_path / f"{number}.mts", 14, 10, scenes=scenes, text="x", gop=20)
        parts.append(part.read_bytes())
    (tmp_path / "a.mts").write_bytes(b"".join(parts))
    assert scene_cuts(tmp_path / "a.mts", [15.0]) == pytest.approx([14.0], abs=0.3)


@pytest.mark.parametrize("gop", [5, 250])
@pytest.mark.parametrize("audio", [False, True])
def test_h264_in_asf_is_read_from_its_first_frame_to_its_last(tmp_path: Path, gop: int, audio: bool) -> None:
    """FFmpeg gives its first frame a later time after a seek, so that no keyframe is found before it."""
    plain = [n / 5 for n in range(20)]  # no frame before its turn, as cameras in a network write it
    for times, slack_s in ((plain, 0.7), (None, 4.0)):  # ASF keeps one time a frame: those of others are guesses
        path = draw_video(tmp_path / "a.wmv", 4, 5, size=(320, 240), gop=gop, audio=audio, times=times)
        info = probe(path)
        assert info.codec == "h264" and info.duration_s == pytest.approx(4, abs=0.5)
        for start in (0.0, 0.1, 1.0, 2.6, 3.2):
            frames, _ = sample_frames(path, start, start + 0.4, 2)
            assert abs(time_of(frames[0]) - start) < slack_s, start
