"""Videos are listened to after everything else, a minute at a time, once; what is said is found again.

The listener of most trials is a parrot: each burst of a tone is a word to it, "word 3" for 300 Hz more than
the lowest. The real one is in tests/model/test_speech.py, and here once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.media.kinds import MediaError
from data.span import Span
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.library import Library
from indexer.pipeline.heartbeat import MAX_ATTEMPTS, Heartbeat
from indexer.pipeline.stage_speech import SpeechStage
from indexer.pipeline.worker import Worker
from indexer.types import Hit, Part, Query
from model import speech
from model.embedder import Embedder, ModelError
from model.inputs import Cue
from tests import media
from tests.indexer.conftest import OpenLibrary, wait_for
from tests.postgresql import Server

LOWEST, STEP, RATE = 400.0, 100.0, 48_000


class Parrot:
    """Hears tones. `heard`: seconds of sound it was given."""

    def __init__(self, name: str = "parrot") -> None:
        self.id, self.heard, self.pieces = f"{name}@1", 0.0, 0
        self.fails: str | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def transcribe(self, sound: np.ndarray) -> list[Cue]:
        assert self.may_go_on.wait(60)
        if self.fails:
            raise ModelError(self.fails)
        self.heard += len(sound) / speech.SAMPLE_RATE
        self.pieces += 1
        blocks = np.abs(sound[: len(sound) // 800 * 800].reshape(-1, 800)).max(axis=1) > 0.05
        edges = np.flatnonzero(np.diff(np.concatenate(([0], blocks, [0]))))
        return [self._cue(sound, a * 800, b * 800) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def _cue(self, sound: np.ndarray, start: int, end: int) -> Cue:
        tone = np.abs(np.fft.rfft(sound[start:end])).argmax() * speech.SAMPLE_RATE / (end - start)
        word = round((tone - LOWEST) / STEP)
        return Cue(start / speech.SAMPLE_RATE, end / speech.SAMPLE_RATE, f"word {word}")


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    parrot = Parrot()
    monkeypatch.setattr(speech, "load", lambda name, **options: parrot)
    monkeypatch.setattr(speech, "is_installed", lambda: True)
    return parrot


def film(path: Path, words: Sequence[tuple[float, int, float]] = (), seconds: float = 20.0) -> Path:
    """A video in which words are said: (second, word, how long)."""
    media.draw_video(path, seconds, size=(96, 64), fps=2, text=path.stem)
    silence = (0.0, np.zeros((1, round(seconds * RATE)), np.float32))
    bursts = []
    for second, word, length in words:
        t = np.arange(round(length * RATE)) / RATE
        bursts.append((second, (0.4 * np.sin(2 * np.pi * (LOWEST + STEP * word) * t))[None].astype(np.float32)))
    line = silence[1]
    for second, burst in bursts:
        at = round(second * RATE)
        line[:, at : at + burst.shape[1]] = burst
    return media.add_sound(path, (0.0, line), rate=RATE)


def said(library: Library, path: Path) -> list[tuple[float, str]]:
    file = library.catalogue.files.at(str(path))
    assert file is not None
    return [(round(cue.start_s, 1), cue.text) for cue in library.transcript(file.file_id)]


def ask(library: Library, text: str) -> Hit:
    return library.search(Query((Part(text=text),))).hits[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def test_what_is_said_is_found_and_a_click_leads_to_its_second(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8), (41.0, 7, 0.8)], seconds=50.0)
    film(folder / "other.mp4", [(5.0, 2, 0.8)])
    library = open_library()
    library.index([folder])
    assert said(library, path) == [(3.0, "word 1"), (41.0, "word 7")]
    hit = ask(library, '"word 7"')
    assert (hit.title, hit.span.start_s, hit.relevant) == ("talk.mp4", 30.0, True)
    assert hit.at_s == pytest.approx(41.0, abs=0.1) and "word" in hit.snippet
    (moment,) = library.moment(Query((Part(text='"word 7"'),)), hit.chunk_id)
    assert moment.at_s == hit.at_s
    heard = parrot.heard
    library.index()
    assert parrot.heard == heard, "once is enough"


def test_a_word_on_the_edge_of_two_pieces_is_heard_whole_and_once(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    path = film(folder / "long.mp4", [(10.0, 3, 0.5), (59.6, 5, 0.9), (118.0, 6, 0.5)], seconds=130.0)
    library = open_library()
    library.index([folder])
    assert said(library, path) == [(10.0, "word 3"), (59.6, "word 5"), (118.0, "word 6")]
    assert parrot.pieces == 3


def test_a_program_that_ends_goes_on_with_the_minute_it_was_at(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    path = film(folder / "long.mp4", [(50.0, 3, 0.5), (70.0, 4, 0.5), (130.0, 6, 0.5)], seconds=150.0)
    library = open_library()
    library.index([folder])
    whole = parrot.heard
    first = said(library, path)
    with library.catalogue.database.writer() as c:  # as if it had ended after the first minute
        c.exec_driver_sql("DELETE FROM cue WHERE start_s > 60")
        c.exec_driver_sql("UPDATE content SET heard = 'pending'")
    parrot.heard = 0.0
    library.index()
    assert said(library, path) == first and parrot.heard == pytest.approx(whole - 50.5, abs=0.2)


def test_what_is_quick_goes_before_a_long_film(folder: Path, open_library: OpenLibrary, parrot: Parrot) -> None:
    film(folder / "long.mp4", [(50.0, 3, 0.5)], seconds=130.0)
    parrot.may_go_on.clear()
    library = open_library()
    library.add_root(folder)
    library.start(watch=False)
    wait_for(lambda: any("Transcribing 1 video;" in n for n in library.status().notices))
    media.draw_image(folder / "late.jpg", seed=1)
    library._indexing.follower.look()
    wait_for(lambda: library.status().images == 1 and library.status().pending == 0)
    parrot.may_go_on.set()
    wait_for(lambda: library.catalogue.queue.count("speech") == 0)


def test_subtitles_spare_listening(folder: Path, open_library: OpenLibrary, parrot: Parrot) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    (folder / "talk.en.srt").write_text("1\n00:00:12,000 --> 00:00:14,000\nThe ferry leaves at dawn\n")
    library = open_library()
    library.index([folder])
    assert said(library, path) == [(12.0, "The ferry leaves at dawn")] and parrot.heard == 0
    hit = ask(library, "ferry at dawn")
    assert (hit.title, hit.at_s) == ("talk.mp4", 12.0)


def test_a_film_without_sound_is_not_listened_to(folder: Path, open_library: OpenLibrary, parrot: Parrot) -> None:
    media.draw_video(folder / "still.mp4", 5.0, size=(96, 64), fps=2)
    library = open_library()
    library.index([folder])
    assert library.catalogue.queue.count("speech") == 0 and parrot.pieces == 0


def test_a_film_whose_sound_cannot_be_read_is_told_from_one_without_sound(
    folder: Path, open_library: OpenLibrary, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, still = film(folder / "talk.mp4", [(3.0, 1, 0.8)]), folder / "still.mp4"
    media.draw_video(still, 5.0, size=(96, 64), fps=2)

    def unreadable(self: SpeechStage, path: str, at: float) -> None:
        raise MediaError("the sound is damaged")

    monkeypatch.setattr(SpeechStage, "_sound", unreadable)
    library = open_library()
    library.index([folder])
    files = [library.catalogue.files.at(str(path)) for path in (talk, still)]
    assert [library.speech_state(f.file_id) for f in files if f] == ["failed", "none"]
    assert library.catalogue.queue.count("speech") == 0 and library.status().failed == 0


def test_with_speech_off_nobody_listens_and_later_somebody_may(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    off = open_library(speech="off")
    off.index([folder])
    assert parrot.pieces == 0 and not any("Transcribing" in n for n in off.status().notices)
    off.close()
    library = open_library()
    library.index()
    assert said(library, path) == [(3.0, "word 1")]


def test_another_listener_that_is_named_hears_everything_again(
    folder: Path, open_library: OpenLibrary, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    first = open_library()
    first.index([folder])
    first.close()
    better = Parrot("better")
    monkeypatch.setattr(speech, "load", lambda name, **options: better if name == "better" else parrot)
    library = open_library(speech="better")
    library.index()
    assert better.pieces == 1 and said(library, path) == [(3.0, "word 1")]
    library.close()
    again = open_library()
    again.index()
    assert parrot.pieces == 1, "who was not named does not undo what a better one has heard"


def test_a_listener_that_cannot_be_loaded_is_told_once_and_holds_nothing_up(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    parrot.fails = "The ears are full of wax; clean them."
    library = open_library()
    report = library.index([folder])
    assert (report.videos, report.failed) == (1, 0)
    assert library.catalogue.queue.count("speech") == 1
    library.start(watch=False)
    wait_for(lambda: "Videos are not transcribed: The ears are full of wax; clean them." in library.status().notices)


def test_a_video_that_is_gone_by_the_time_of_listening_waits_for_its_return(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    library = open_library(speech="off")
    library.index([folder])
    library.close()
    kept = path.read_bytes()
    path.unlink()
    again = open_library()
    again.index()
    assert parrot.pieces == 0
    path.write_bytes(kept)
    again.index()
    assert said(again, path) == [(3.0, "word 1")]


def test_a_worker_listens_as_the_library_asks(
    folder: Path, tmp_path: Path, postgresql_server: Server, parrot: Parrot, lite: Embedder
) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    address = postgresql_server.database()
    with Library.open(tmp_path / "home", catalogue=address, nice=False, ocr="off", speech="off") as library:
        library.index([folder])
        assert library.catalogue.settings.get("speech") == "off"
        library.catalogue.settings.set("speech", "auto")
        worker = Worker(tmp_path / "w", address, name="w", nice=False, loader=lambda name, **_: lite)
        try:
            worker.run(threading.Event(), lambda line: None, once=True)
        finally:
            worker.close()
        assert said(library, path) == [(3.0, "word 1")] and library.catalogue.leases.count() == 0
        assert place(address) is not None


def test_the_words_of_a_real_speech_are_found_to_the_second(folder: Path, open_library: OpenLibrary) -> None:
    if not speech.is_installed():
        pytest.skip("speech is not installed")
    import av

    with av.open(str(Path(__file__).parents[2] / "speech" / "inaugural.ogg")) as recording:
        resampler = av.AudioResampler("flt", "mono", RATE)
        frames = [f for frame in recording.decode(audio=0) for f in resampler.resample(frame)]
    voice = np.concatenate([f.to_ndarray() for f in frames], axis=1).astype(np.float32)
    path = folder / "inauguration.mp4"
    media.draw_video(path, 60.0, size=(96, 64), fps=2)
    media.add_sound(path, (35.0, voice), rate=RATE)
    library = open_library()
    library.index([folder])
    hit = ask(library, "what your country can do for you")
    assert hit.title == "inauguration.mp4" and hit.span.start_s == 30.0 and hit.relevant
    assert hit.at_s is not None and 36.0 < hit.at_s < 46.0
    assert "country" in hit.snippet.lower()


def test_a_model_takes_over_while_a_film_is_listened_to(
    folder: Path, open_library: OpenLibrary, parrot: Parrot, monkeypatch: pytest.MonkeyPatch, lite: Embedder
) -> None:
    class Other:
        id, dim, max_frames, embed = "other@1-r1", lite.dim, lite.max_frames, staticmethod(lite.embed)
        max_side = lite.max_side  # type: ignore[attr-defined]

    from model import loading

    real = loading.load
    monkeypatch.setattr(loading, "load", lambda name, **o: Other() if name == "other" else real(name, **o))
    film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    first = open_library(speech="off")
    first.index([folder])
    first.close()
    parrot.may_go_on.clear()
    library = open_library(model="other")
    library.start(watch=False)
    try:
        wait_for(lambda: library._indexing.pipeline is not None)
        wait_for(lambda: library.status().model == "other@1-r1", 10.0)
        assert library.catalogue.queue.count("speech") == 1
    finally:
        parrot.may_go_on.set()
    wait_for(lambda: library.catalogue.queue.count("speech") == 0)


def test_a_film_that_workers_die_of_listening_to_is_found_by_its_looks(
    tmp_path: Path, postgresql_server: Server
) -> None:
    catalogue = Catalogue(place(postgresql_server.database()))
    root, model = catalogue.files.set_root(Path("/films")), catalogue.models.add("m", 4)
    catalogue.files.note(root, [FoundFile("/films/a.mp4", "video", (9, 9, 9))])
    (file,) = catalogue.queue.unhashed(1)
    catalogue.queue.hashed([(file, file.stamp, bytes(32))])
    chunks = [NewChunk(0, np.ones(4, np.float32) / 2, Span(0.0, 30.0))]
    catalogue.contents.write(bytes(32), {}, chunks, model.id, has_sound=True)
    parts = catalogue.leases, catalogue.contents, catalogue.transcripts
    heartbeat = Heartbeat(*parts, "w", lambda: "m", lease_s=60.0)
    heartbeat.begin()
    try:
        dead = catalogue.leases.enrol("dead", "box", "1", "m", {})
        for _ in range(MAX_ATTEMPTS):
            assert catalogue.leases.take(dead, 1, 0.01, stage="speech")
            time.sleep(0.02)
        assert heartbeat.take("speech") == []
    finally:
        heartbeat.end()
    assert catalogue.queue.count("speech") == 0 and catalogue.files.failures() == []
    assert len(catalogue.contents.chunks_of(bytes(32))) == 1
    catalogue.close()


def test_a_named_listener_that_cannot_be_had_takes_nothing_away(
    folder: Path, open_library: OpenLibrary, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(folder / "talk.mp4", [(3.0, 1, 0.8)])
    first = open_library()
    first.index([folder])
    first.close()

    def missing(name: str, **options: object) -> Parrot:
        raise ModelError("the speech model org/none is not to be fetched.")

    monkeypatch.setattr(speech, "load", missing)
    library = open_library(speech="org/none")
    library.index()
    assert said(library, path) == [(3.0, "word 1")] and library.catalogue.queue.count("speech") == 0
    library.start(watch=False)
    told = "Videos are not transcribed: the speech model org/none is not to be fetched."
    wait_for(lambda: told in library.status().notices)


def test_a_recording_without_a_picture_is_found_by_what_is_said_in_it(
    folder: Path, open_library: OpenLibrary, parrot: Parrot
) -> None:
    line = np.zeros((1, 50 * RATE), np.float32)
    t = np.arange(round(0.8 * RATE)) / RATE
    line[:, 41 * RATE : 41 * RATE + len(t)] = 0.4 * np.sin(2 * np.pi * (LOWEST + STEP * 7) * t)
    path = media.sound_file(folder / "memo.mp3", line, RATE)
    library = open_library()
    report = library.index([folder])
    assert (report.videos, report.failed, report.left_out) == (1, 0, ())
    assert [word for _, word in said(library, path)] == ["word 7"]
    hit = ask(library, '"word 7"')
    assert (hit.title, hit.kind, hit.width, hit.span.start_s) == ("memo.mp3", "video", None, 30.0)
    assert library.thumbnail(hit.chunk_id)
    library.close()
    quiet = open_library(speech="off")
    assert quiet.index().files == 1 and ask(quiet, '"word 7"').title == "memo.mp3", "what is known stays"
