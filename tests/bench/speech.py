"""`make bench-speech`: what listening costs beside the bare library, what is heard, what a film takes in all.

One recording there is (tests/speech), so the words right are of eleven seconds said again and again between
pauses and hiss: they tell that nothing is lost on the way, not how good Whisper is. CPU seconds of a thread.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from data.media.sound import read_sound
from indexer.library import Library
from indexer.types import Part, Query
from model import speech
from model.inputs import Cue
from tests import media
from tests.bench import report

RECORDING = Path(__file__).resolve().parents[1] / "speech" / "inaugural.ogg"
SAID = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
MINUTES = 5
RATE = 48_000


def recording(rate: int) -> np.ndarray:
    """float32 [n]."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    with av.open(str(RECORDING)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([f.to_ndarray()[0] for f in (*frames, *resampler.resample(None))])


def scene(rate: int, minutes: float, pause_s: float) -> tuple[np.ndarray, list[float]]:
    """The recording again and again with a soft hiss in the pauses, and the second at which each begins."""
    voice, rng = recording(rate), np.random.default_rng(0)
    line = (0.003 * rng.normal(size=round(60 * minutes * rate))).astype(np.float32)
    begins = []
    at = pause_s
    while round(at * rate) + len(voice) < len(line):
        line[round(at * rate) : round(at * rate) + len(voice)] += voice
        begins.append(at)
        at += len(voice) / rate + pause_s
    return line, begins


def cpu(call: object) -> tuple[float, object]:
    begun = time.process_time()
    result = call()  # type: ignore[operator]
    return time.process_time() - begun, result


def right(cues: list[Cue], times: int) -> float:
    """Share of the words that were said that were heard, in order: the longest common subsequence."""
    heard = re.findall(r"[a-z]+", " ".join(c.text for c in cues).lower())
    wanted = SAID.split() * times
    best = [0] * (len(heard) + 1)
    for word in wanted:
        before = best
        best = [0]
        for n, other in enumerate(heard, 1):
            best.append(before[n - 1] + 1 if word == other else max(best[-1], before[n]))
    return best[-1] / len(wanted)


def listening() -> str:
    begun = time.perf_counter()
    listener = speech.load()
    loaded_s = time.perf_counter() - begun
    sound, begins = scene(speech.SAMPLE_RATE, MINUTES, 4.0)
    spoken = len(begins) * len(recording(speech.SAMPLE_RATE)) / speech.SAMPLE_RATE
    ours_s, cues = cpu(lambda: listener.transcribe(sound))
    assert isinstance(cues, list)
    bare_s, bare = cpu(
        lambda: list(listener._model.transcribe(sound, language="en", beam_size=5, temperature=0.0, vad_filter=True)[0])
    )
    rng = np.random.default_rng(1)
    noise = (0.1 * rng.normal(size=60 * speech.SAMPLE_RATE)).astype(np.float32)
    noise_s, from_noise = cpu(lambda: listener.transcribe(noise))
    bare_cues = [Cue(s.start, s.end, s.text) for s in bare]  # type: ignore[attr-defined]
    off = [min(abs(c.start_s - b) for c in cues) for b in begins]
    rows = [
        ("CPU seconds a minute of speech", 60 * ours_s / spoken, f"{spoken:.0f} s of speech in {MINUTES} minutes"),
        ("of the bare library's", ours_s / bare_s, "faster-whisper with its own filter, no times of words"),
        ("CPU seconds a minute of noise", noise_s, f"{len(from_noise)} lines heard in it"),  # type: ignore[arg-type]
        ("words right", right(cues, len(begins)), f"the bare library: {right(bare_cues, len(begins)):.3f}"),
        ("beginning of a speech, worst miss, s", max(off), f"median {float(np.median(off)):.2f} s"),
        ("seconds until it can listen", loaded_s, listener.id),
    ]
    return report.table(["measure", "measured", "details"], rows)


def film() -> str:
    """A film of five minutes: indexed, then listened to."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-bench-"))
    try:
        path = folder / "media" / "talk.mp4"
        path.parent.mkdir()
        media.draw_video(path, 60.0 * MINUTES, size=(640, 360), fps=10, gop=50)
        line, begins = scene(RATE, MINUTES, 20.0)
        media.add_sound(path, (0.0, line[None]), rate=RATE)
        sound_s, _ = cpu(lambda: read_sound(path, 0.0, 60.0))
        times = {}
        for who in ("off", "auto"):
            with Library.open(folder / who, ocr="off", nice=False, speech=who) as library:
                begun = time.perf_counter()
                library.index([path.parent])
                times[who] = time.perf_counter() - begun
                if who == "auto":
                    query = Query((Part(text="what your country can do for you"),))
                    hits = [h for h in library.search(query, 50).hits if h.at_s is not None]
                    off = [min(abs((h.at_s or 0) - b - 5.4) for b in begins) for h in hits]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        ("a film of five minutes, indexed, s", times["off"], "640 x 360, a speech of 11 s each 31 s"),
        ("the same, and listened to, s", times["auto"], ""),
        ("CPU seconds to read a minute of its sound", sound_s, "AAC, 48 kHz"),
        (
            "a click on what is said, miss of its second",
            max(off),
            f"said {len(begins)} times, windows side by side: moments {len(hits)}",
        ),
    ]
    return report.table(["measure", "measured", "details"], rows)


def main() -> None:
    report.write("speech", f"{listening()}\n\n{film()}")


if __name__ == "__main__":
    main()
