"""Sound: what is heard at a second, whatever the container, the codec and the channels."""

from __future__ import annotations

import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from data.media.kinds import MediaError
from data.media.sandbox import Sandbox
from data.media.sound import LONGEST_S, RATE, read_sound
from data.media.video import probe
from data.reader import decode, outline
from tests.media import add_sound, draw_video, sound_file

BEEPS = (1.0, 5.0, 9.5, 15.25)
# Container, picture, sound, its rate, its channels, and how late encoder and container let it come: AVI, FLV
# and transport streams have no word for the samples that an encoder puts before the first.
TRACKS = [
    ("a.mp4", "libx264", "aac", 48_000, 2, 0.0),
    ("b.mp4", "libx264", "libmp3lame", 16_000, 1, 0.0),
    ("a.mov", "libx264", "pcm_s16le", 44_100, 2, 0.0),
    ("a.mkv", "libx264", "flac", 96_000, 1, 0.0),
    ("b.mkv", "libx264", "libopus", 48_000, 6, 0.0),
    ("c.mkv", "libx264", "aac", 44_100, 6, 0.0),
    ("a.webm", "libvpx", "libopus", 48_000, 1, 0.0),
    ("a.avi", "mpeg4", "pcm_s16le", 8_000, 1, 0.0),
    ("b.avi", "mpeg4", "libmp3lame", 44_100, 2, 0.026),
    ("a.flv", "libx264", "aac", 22_050, 1, 0.047),
    ("a.mts", "libx264", "aac", 48_000, 2, 0.022),
]


def beeps(seconds: tuple[float, ...], length: float, rate: int, channels: int) -> np.ndarray:
    """Silence with a beep of 50 ms from each second on: float32 [channels, n]."""
    line = np.zeros(int(length * rate), dtype=np.float32)
    count = int(0.05 * rate)
    beep = 0.8 * np.sin(np.arange(count) * 2 * np.pi * 1000 / rate) * np.hanning(count)
    for second in seconds:
        at = round(second * rate)
        line[at : at + count] = beep
    return np.repeat(line[None], channels, axis=0)


def heard(samples: np.ndarray, start_s: float = 0.0) -> list[float]:
    """The seconds at which the beeps begin that are in `samples`."""
    if not len(samples):
        return []
    loud = np.convolve(np.abs(samples), np.ones(160) / 160, "same") > 0.15
    edges = np.diff(np.concatenate(([0], loud.astype(int), [0])))
    middles = (np.flatnonzero(edges == 1) + np.flatnonzero(edges == -1)) / 2
    return [start_s + middle / RATE - 0.025 for middle in middles]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "sound", "rate", "channels", "late"), TRACKS, ids=[f"{t[0]}-{t[2]}" for t in TRACKS]
)
def test_a_sample_is_heard_at_its_second(
    tmp_path: Path, name: str, codec: str, sound: str, rate: int, channels: int, late: float
) -> None:
    path = draw_video(tmp_path / name, 20, 10, size=(64, 48), codec=codec)
    add_sound(path, (0.0, beeps(BEEPS, 20, rate, channels)), rate=rate, codec=sound)
    whole = read_sound(path)
    assert whole.dtype == np.float32 and whole.ndim == 1 and 0.7 < np.abs(whole).max() <= 1.0
    assert len(whole) / RATE == pytest.approx(20, abs=0.15)
    truth = [second + late for second in BEEPS]
    assert heard(whole) == pytest.approx(truth, abs=0.004)
    assert heard(read_sound(path, 5.5, 16), 5.5) == pytest.approx(truth[2:], abs=0.004)
    assert heard(read_sound(path, 1.0, 1.2), 1.0) == pytest.approx(truth[:1], abs=0.004)
    assert len(read_sound(path, 5.5, 16)) == 10.5 * RATE, "as much as was asked for"
    assert 0 < len(read_sound(path, 19, 30)) < 1.2 * RATE, "up to the end"
    assert len(read_sound(path, 25, 30)) == 0, "nothing past the end"
    assert probe(path).has_sound


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sound"), [("a.mp4", "aac"), ("a.webm", "libopus")])
def test_silence_stands_where_there_is_no_sound(tmp_path: Path, name: str, sound: str) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = draw_video(tmp_path / name, 60, 10, size=(64, 48), codec=codec)
    before, after = beeps((1.0, 3.0), 5, 48_000, 1), beeps((0.5,), 2, 48_000, 1)
    add_sound(path, (2.0, before), (40.0, after), codec=sound)
    whole = read_sound(path)
    assert heard(whole) == pytest.approx([3.0, 5.0, 40.5], abs=0.004), "late, and after a pause"
    assert len(whole) / RATE == pytest.approx(42, abs=0.1)
    pause = read_sound(path, 20, 30)
    assert len(pause) == 10 * RATE and not pause.any(), "the sound goes on after it: not its end"
    assert heard(read_sound(path, 39, 45), 39) == pytest.approx([40.5], abs=0.004)
    assert heard(read_sound(path, 0, 4), 0) == pytest.approx([3.0], abs=0.004)


def test_pieces_join_to_the_whole(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 12, 10, size=(64, 48))
    noise = np.random.default_rng(3).normal(0, 0.1, (1, 12 * 16_000)).astype(np.float32)
    add_sound(path, (0.0, noise), rate=16_000)
    whole = read_sound(path, 0, 12)
    pieces = np.concatenate([read_sound(path, float(s), float(s + 3)) for s in range(0, 12, 3)])
    assert len(pieces) == len(whole) == 12 * RATE
    assert np.abs(pieces - whole).max() < 1e-3


def test_the_default_track_is_heard(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mkv", 4, 10, size=(64, 48), codec="mpeg4")
    add_sound(path, (0.0, beeps((1.0,), 4, 16_000, 1)), rate=16_000, default=False)
    add_sound(path, (0.0, beeps((2.0,), 4, 16_000, 1)), rate=16_000)
    assert heard(read_sound(path)) == pytest.approx([2.0], abs=0.004)


def test_a_video_without_sound_has_none(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 2, 10, size=(64, 48))
    assert not probe(path).has_sound and len(read_sound(path)) == 0


@pytest.mark.slow
def test_damaged_packets_cost_no_more_than_themselves(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 60, 10, size=(64, 48))
    add_sound(path, (0.0, beeps((1.0, 20.0, 50.0), 60, 48_000, 2)))
    data = bytearray(path.read_bytes())
    for at in range(20_000, len(data) - 40_000, 997):
        data[at] ^= 0xFF
    path.write_bytes(data)
    whole = read_sound(path)
    assert len(whole) / RATE == pytest.approx(60, abs=0.1)
    found = heard(whole)
    assert any(second == pytest.approx(50.0, abs=0.025) for second in found), "in time after the damage"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mkv", "a.mts"])
def test_the_sound_of_a_cut_off_video_is_read_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    path = draw_video(tmp_path / name, 30, 10, size=(64, 48))
    add_sound(path, (0.0, beeps((1.0, 2.0, 28.0), 30, 48_000, 1)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = read_sound(path)
    assert 5 < len(found) / RATE < 25 and len(heard(found)) == 2


def test_a_loud_mix_stays_within_bounds(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mov", 2, 10, size=(64, 48))
    wave = np.sin(np.arange(96_000) * 0.05).astype(np.float32)
    add_sound(path, (0.0, np.repeat(wave[None], 2, axis=0)), codec="pcm_s16le")
    found = read_sound(path, 0.5, 1.5)
    assert 0.97 < found.max() <= 1.0 and -1.0 <= found.min() < -0.97, "as loud as either, not clipped"


def test_spans_that_are_none_are_refused(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 2, 10, size=(64, 48), audio=True)
    for start, end in ((-1, 1), (1, 1), (2, 1), (0, LONGEST_S + 1), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(ValueError, match="cannot read the sound"):
            read_sound(path, start, end)
    (tmp_path / "b.mp4").write_bytes(b"Dear diary,\n" * 500)
    with pytest.raises(MediaError, match="the file holds text"):
        read_sound(tmp_path / "b.mp4")


@pytest.mark.slow
def test_sound_comes_back_from_a_child(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mp4", 4, 10, size=(64, 48))
    add_sound(path, (0.0, beeps((1.0,), 4, 48_000, 2)))
    with Sandbox(workers=1) as box:
        found = box.submit(read_sound, path, 0.5, 3.0).result()
    assert heard(found, 0.5) == pytest.approx([1.0], abs=0.004)
    assert len(pickle.dumps(found, protocol=5)) < 4 * len(found) + 1000, "and no more than what was asked for"


@pytest.mark.slow
@pytest.mark.parametrize(
    "suffix", [".m4a", ".mp3", ".ogg", ".opus", ".wav", ".flac", ".aac", ".amr", ".mka", ".aiff", ".ac3"]
)
def test_a_recording_without_a_picture_has_windows_and_sound(tmp_path: Path, suffix: str) -> None:
    rate = 8_000 if suffix == ".amr" else 48_000
    if suffix == ".amr" and "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("no encoder for AMR here")
    tags = {"title": "Chat with grandmother"}
    path = sound_file(tmp_path / f"a{suffix}", beeps((5.0, 50.0), 70, rate, 1), rate, tags)
    found = outline(path, "video")
    assert found.duration_s == pytest.approx(70, abs=0.3) and found.has_sound
    assert (found.width, found.height) == (None, None)
    assert [c.span.seconds for c in found.chunks] == [(0, 30), (30, 60), (60, found.duration_s)]
    assert suffix in (".aac", ".ac3", ".amr", ".aiff") or found.caption == "Chat with grandmother"
    assert heard(read_sound(path)) == pytest.approx([5.0, 50.0], abs=0.09)
    assert heard(read_sound(path, 45, 60), 45) == pytest.approx([50.0], abs=0.09)
    chunks = decode(path, "video", found.chunks, max_side=320)
    assert [(c.spec, c.frames.shape) for c in chunks] == [(s, (1, 180, 320, 3)) for s in found.chunks]
    loud, silent = (np.abs(c.frames[0, 84].astype(int) - c.frames[0, 0]).max() for c in (chunks[0], chunks[2]))
    assert loud > 100 and silent < 20, "the beep is a peak in the curve"


@pytest.mark.slow
def test_the_words_beside_a_recording_belong_to_it(tmp_path: Path) -> None:
    path = sound_file(tmp_path / "a.mp3", beeps((5.0,), 70, 48_000, 1))
    (tmp_path / "a.srt").write_text("1\n00:00:40,000 --> 00:00:44,000\nour guest breeds alpacas\n")
    assert [cue.text for cue in outline(path, "video").cues] == ["our guest breeds alpacas"]


def test_the_cover_of_an_album_is_no_film(tmp_path: Path) -> None:
    song = sound_file(tmp_path / "song.flac", beeps((5.0,), 10, 48_000, 1))
    path = tmp_path / "a.mka"
    with av.open(str(song)) as old, av.open(str(path), "w", format="matroska") as out:
        track = out.add_stream_from_template(old.streams.audio[0])
        cover = out.add_attachment("cover.jpg", "image/jpeg", b"\xff\xd8\xff\xe0" + bytes(100))
        assert cover is not None
        for packet in old.demux(audio=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    found = outline(path, "video")
    assert found.width is None and found.has_sound


def test_a_damaged_sound_file_is_refused_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(range(128)) * 40)
    with pytest.raises(MediaError):
        outline(path, "video")
