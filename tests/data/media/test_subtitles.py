"""Words shown with a film: from files beside it and from tracks inside, as plain lines with their seconds."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from data.media import subtitles
from data.media.kinds import MediaError
from data.media.sandbox import Sandbox
from data.media.subtitles import beside, read_subtitles, words_of
from data.media.video import probe
from model.inputs import Cue
from tests.media import add_subtitles, draw_video

FILM = [
    Cue(1.0, 2.5, "Where is the harbour?"),
    Cue(3.0, 4.0, "Down there, behind the church."),
    Cue(5.0, 6.0, "Grüße – 你好 – שלום"),
]
SRT = """1
00:00:01,000 --> 00:00:02,500
Where is
the harbour?

2
00:00:03,000 --> 00:00:04,000
<i>Down there,</i> <font color="#ff0000">behind</font> {\\an8}the church.

3
00:00:05,000 --> 00:00:06,000
Grüße – 你好 – שלום
"""
VTT = """WEBVTT - a film
Kind: captions

NOTE nobody sees this

STYLE
::cue { color: red }

first
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Where is <00:00:01.500><c>the harbour?</c></v>

00:00:03.000 --> 00:00:04.000
Down there,
behind the church.

00:00:05.000 --> 00:00:06.000
Grüße – 你好 – שלום
"""
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic
Style: Default,Arial,20,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,nobody sees this
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\\an8\\pos(1,2)}Down there,\\N{\\i1}behind\\hthe church.
Dialogue: 0,0:00:01.00,0:00:02.50,Default,Anna,0,0,0,,Where is {a note}the harbour?
Dialogue: 0,0:00:04.00,0:00:05.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}
Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,Grüße – 你好 – שלום
"""


def srt(*cues: tuple[str, str, str]) -> str:
    return "\n".join(f"{i}\n{start} --> {end}\n{text}\n" for i, (start, end, text) in enumerate(cues, start=1))


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def said(path: Path) -> list[str]:
    return [cue.text for cue in read_subtitles(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT), ("a.ass", ASS), ("a.SSA", ASS)])
def test_every_format_gives_the_same_plain_lines(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    data = text.encode(encoding)
    path = written(tmp_path / name, b"\xfe\xff" + data if encoding == "utf-16-be" else data)
    assert read_subtitles(path) == FILM


def test_old_files_are_read_as_western_ones(tmp_path: Path) -> None:
    text = srt(("00:00:01,000", "00:00:02,000", "C’est l’été à Nîmes…"))
    assert said(written(tmp_path / "a.srt", text.encode("cp1252"))) == ["C’est l’été à Nîmes…"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "picture"),
    [
        ("a.mp4", "mov_text", "libx264"),
        ("a.mkv", "srt", "mpeg4"),
        ("b.mkv", "ass", "mpeg4"),
        ("c.mkv", "webvtt", "mpeg4"),
        ("a.webm", "webvtt", "libvpx"),
    ],
)
def test_a_track_inside_gives_the_same_plain_lines(tmp_path: Path, name: str, codec: str, picture: str) -> None:
    path = draw_video(tmp_path / name, 8, 10, size=(64, 48), codec=picture)
    assert not probe(path).has_subtitles and read_subtitles(path) == []
    told = [(1.0, 2.5, "{\\i1}Where is{\\i0}\\Nthe harbour?"), (3.0, 4.0, "Down there, behind the church.")]
    add_subtitles(path, *told, (5.0, 6.0, "Grüße – 你好 – שלום"), codec=codec)
    assert probe(path).has_subtitles and read_subtitles(path) == FILM


def test_the_best_track_is_read(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mkv", 4, 10, size=(64, 48), codec="mpeg4")
    add_subtitles(path, (1, 2, "foreign only"), forced=True, default=True)
    assert said(path) == ["foreign only"], "better than nothing"
    add_subtitles(path, (1, 2, "first"))
    assert said(path) == ["first"]
    add_subtitles(path, (1, 2, "default"), default=True)
    assert said(path) == ["default"]


def test_an_empty_track_is_passed_over(tmp_path: Path) -> None:
    path = draw_video(tmp_path / "a.mkv", 4, 10, size=(64, 48), codec="mpeg4")
    add_subtitles(path, (1, 2, "{\\an8}"), default=True)
    add_subtitles(path, (1, 2, "words"))
    assert said(path) == ["words"]


def test_the_clock_is_the_pictures(tmp_path: Path) -> None:
    """Frames held back for B-frames begin Matroska's picture at 0.1 s; its words are shifted alike."""
    path = draw_video(tmp_path / "a.mkv", 4, 10, size=(64, 48))
    add_subtitles(path, (1.1, 2.1, "words"))
    assert read_subtitles(path) == [Cue(1.0, 2.0, "words")]


def test_rolling_captions_are_told_once(tmp_path: Path) -> None:
    rolling = """WEBVTT

00:00:00.320 --> 00:00:02.389 align:start position:0%
\x20
hello<00:00:00.480><c> there</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hello there
\x20

00:00:02.399 --> 00:00:04.000 align:start position:0%
hello there
how<00:00:02.800><c> are</c><00:00:03.100><c> you</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
how are you
\x20

00:00:30.000 --> 00:00:31.000 align:start position:0%
how are you
"""
    assert read_subtitles(written(tmp_path / "a.vtt", rolling)) == [
        Cue(0.32, 2.399, "hello there"),
        Cue(2.399, 4.01, "how are you"),
        Cue(30.0, 31.0, "how are you"),
    ]


def test_a_line_that_flickers_is_one_line(tmp_path: Path) -> None:
    """Typesetters move a sign frame by frame, an event each."""
    frames = [(f"00:00:0{i // 10},{i % 10}00", f"00:00:0{(i + 1) // 10},{(i + 1) % 10}00", "EXIT") for i in range(30)]
    assert read_subtitles(written(tmp_path / "a.srt", srt(*frames))) == [Cue(0.0, 3.0, "EXIT")]


def test_lines_without_words_are_left_out(tmp_path: Path) -> None:
    lines = ["♪♪", "...", " ", "<i></i>", "♪ la la ♪", "&lt;3 &amp; \\ {x}", "1 < 2", "- Yes.\n- No."]
    cues = [(f"00:00:0{i},000", f"00:00:0{i},900", text) for i, text in enumerate(lines)]
    assert said(written(tmp_path / "a.srt", srt(*cues))) == ["♪ la la ♪", "<3 & \\", "1 < 2", "- Yes. - No."]


def test_impossible_times_are_mended_or_left_out(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.srt",
        srt(
            ("-00:00:01,000", "00:00:00,500", "negative"),
            ("00:00:03,000", "00:00:02,000", "ends before it begins"),
            ("00:00:05,000", "00:00:05,000", "lasts no time"),
            ("00:00:20,000", "99:00:00,000", "never ends"),
            ("99999999:00:00,000", "99999999:00:01,000", "in a thousand years"),
            ("00:00:10,000", "00:00:11,000", "out of order"),
        ),
    )
    found = read_subtitles(path)
    assert [cue.text for cue in found][1:] == ["ends before it begins", "lasts no time", "out of order", "never ends"]
    assert all(0 <= cue.start_s < cue.end_s for cue in found)
    assert found[-1] == Cue(20.0, 25.0, "never ends")
    starts = [cue.start_s for cue in found]
    assert starts == sorted(starts)


def test_a_drones_instruments_are_no_words(tmp_path: Path) -> None:
    cues = [
        (
            f"00:00:{i:02},000",
            f"00:00:{i + 1:02},000",
            f'<font size="28">FrameCnt: {i}, DiffTime: 33ms\n[iso: 100] [shutter: 1/500.0] [gps: 38.7]',
        )
        for i in range(40)
    ]
    assert read_subtitles(written(tmp_path / "DJI_0001.SRT", srt(*cues))) == []


@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.ass"])
def test_what_is_no_subtitle_file_gives_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for data in (
        b"",
        bytes(4000),
        b"Dear diary,\n" * 500,
        np.random.default_rng(0).bytes(5000),
        SRT.encode()[:24],
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ):
        assert read_subtitles(written(path, data)) == []
    written(path, b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(MediaError, match="not a subtitle file"):
        read_subtitles(path)
    with path.open("wb") as file:
        file.truncate(subtitles.MAX_BYTES + 1)
    with pytest.raises(MediaError, match="larger than Sightline reads"):
        read_subtitles(path)
    path.unlink()
    with pytest.raises(MediaError, match="no longer there"):
        read_subtitles(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(MediaError, match="not a file"):
            read_subtitles(path)


@pytest.mark.slow
def test_hostile_lines_stay_small_and_plain(tmp_path: Path) -> None:
    evil = [
        "a" * 1_000_000,
        "{" * 50_000 + "x",
        "<i" * 50_000 + " y",
        "x\x00y\u202e\u200bz\x1b[31m",
        "\ud7ff\ufdd0w",
        "&#0;&#x110000;v",
    ]
    cues = [(f"00:00:{i:02},000", f"00:00:{i:02},900", text) for i, text in enumerate(evil)]
    found = said(written(tmp_path / "a.srt", srt(*cues)))
    assert all(len(text) <= subtitles.MAX_LETTERS for text in found)
    assert "xyz[31m" in found and any(text.endswith("v") for text in found)
    assert not any(c in text for text in found for c in "\x00\x1b\u202e\u200b\n")


def test_no_more_cues_are_kept_than_a_film_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.media.subtitles.MAX_CUES", 10)
    cues = [(f"00:00:{i:02},000", f"00:00:{i:02},900", f"line {i}") for i in range(60)]
    assert len(read_subtitles(written(tmp_path / "a.srt", srt(*cues)))) == 10


def test_files_beside_a_film_come_in_order_of_preference(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    for name in ("film.en.forced.srt", "film.en.srt", "film.SRT", "film.de.ass", "film.txt", "film.2.srt", "films.srt"):
        written(tmp_path / name, SRT)
    assert [p.name for p in beside(film)] == [
        "film.SRT",
        "film.2.srt",
        "film.de.ass",
        "film.en.srt",
        "film.en.forced.srt",
    ]
    written(tmp_path / "film.2.mkv", b"")
    assert "film.2.srt" not in [p.name for p in beside(film)], "it belongs to another film"
    assert [p.name for p in beside(tmp_path / "film.2.mkv")] == ["film.2.srt"]
    assert beside(tmp_path / "nowhere" / "film.mkv") == []


def test_a_file_beside_wins_over_a_track_inside(tmp_path: Path) -> None:
    film = draw_video(tmp_path / "film.mkv", 4, 10, size=(64, 48), codec="mpeg4")
    assert words_of(film) == ()
    written(tmp_path / "film.en.forced.srt", srt(("00:00:01,000", "00:00:02,000", "foreign")))
    assert [cue.text for cue in words_of(film)] == ["foreign"]
    add_subtitles(film, (1, 2, "inside"))
    assert [cue.text for cue in words_of(film)] == ["inside"], "of the whole film, not of its foreign parts"
    written(tmp_path / "film.srt", srt(("00:00:01,000", "00:00:02,000", "beside")))
    assert [cue.text for cue in words_of(film)] == ["beside"]


def test_a_broken_file_beside_costs_itself_alone(tmp_path: Path) -> None:
    film = draw_video(tmp_path / "film.mkv", 4, 10, size=(64, 48), codec="mpeg4")
    written(tmp_path / "film.srt", b"\x89PNG\r\n\x1a\n" + bytes(1000))
    written(tmp_path / "film.vtt", b"")
    assert words_of(film) == ()
    add_subtitles(film, (1, 2, "inside"))
    assert [cue.text for cue in words_of(film)] == ["inside"]
    (tmp_path / "film.ass").mkdir()
    assert [cue.text for cue in words_of(film)] == ["inside"]


def test_cues_beyond_the_film_are_left_out(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    cues = [("00:00:01,000", "00:00:02,000", "in"), ("00:00:03,000", "00:00:09,000", "over the end")]
    written(tmp_path / "film.srt", srt(*cues, ("00:00:05,000", "00:00:06,000", "after")))
    assert words_of(film, 4.0, inside=False) == (Cue(1.0, 2.0, "in"), Cue(3.0, 4.0, "over the end"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_what_is_there_of_a_cut_off_film_is_read(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = draw_video(tmp_path / name, 40, 10, options=options)
    add_subtitles(
        path, *((float(s), s + 0.9, f"second {s}") for s in range(40)), codec="srt" if "mkv" in name else "mov_text"
    )
    if name.endswith("mp4"):
        import av

        with av.open(str(path)) as old, av.open(str(tmp_path / "b.mp4"), "w", options=options) as out:
            tracks = [out.add_stream_from_template(stream) for stream in old.streams]
            for packet in old.demux():
                if packet.dts is not None:
                    packet.stream = tracks[packet.stream.index]
                    out.mux(packet)
        path = tmp_path / "b.mp4"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    found = said(path)
    assert 5 < len(found) < 40 and found[0] == "second 0"


def test_cues_come_back_from_a_child(tmp_path: Path) -> None:
    path = written(tmp_path / "film.srt", SRT)
    with Sandbox(workers=1) as box:
        assert box.submit(words_of, tmp_path / "film.mp4", inside=False).result() == tuple(FILM)
        assert box.submit(read_subtitles, path).result() == FILM
    assert pickle.loads(pickle.dumps(FILM)) == FILM
