"""The speech stage: videos to cues, one video at a time, at the lowest priority.

Built around `model.speech`, one minute of sound at a time; cues are written after each minute, so that the
next run goes on where the last one ended. It knows nothing of how cues are used.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.media.kinds import MediaError
from indexer.catalogue.rows import Work
from indexer.errors import LibraryError
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.jobs import GONE
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.work_queue import WorkQueue
from indexer.types import Kind
from model import speech
from model.embedder import ModelError

if TYPE_CHECKING:
    import numpy as np

    from model.inputs import Cue

log = logging.getLogger(__name__)

SECTION_S = 60.0
"""Seconds of sound that are transcribed at once: some seconds of work, so that the program can end soon."""

EDGE_S = 2.0
"""A cue that ends so close to the end of a section may go on: it is transcribed again with the next section."""


class SpeechStage:
    """Safe to use from several threads; one transcribes at a time."""

    def __init__(self, ctx: PipelineContext, work_queue: WorkQueue, options: IndexingOptions) -> None:
        self._ctx, self._queue = ctx, work_queue
        self._name = options.speech_model or speech.BUILT_IN
        self._transcriber: speech.Transcriber | None = None
        self._guard = threading.Lock()
        self.preparing = False
        """The speech model that was named is being loaded."""
        self.notice: str | None = None
        """Why videos are not transcribed here, in one sentence."""

    def prepare(self) -> None:
        """Load the speech model that was named, in a thread, as it may have to be downloaded. Videos that another
        model transcribed then wait to be transcribed again; if it cannot be loaded, their cues are kept."""
        self.preparing = True
        threading.Thread(target=self._prepare, name="indexer-speech", daemon=True).start()

    def _prepare(self) -> None:
        try:
            if self._loaded() is not None:
                self._ctx.catalogue.transcripts.set_speech_model(speech.name_of(self._name))
        except LibraryError as error:  # the disk is full or the database away: the next run tries again
            self._give_up(error)
        finally:
            self.preparing = False
            self._ctx.wake.set()

    def transcribe(self, work: Work, path: str, do_quick: Callable[[], None], *, is_sample: bool = False) -> bool:
        """Transcribe one video from its last stored cue on; of a sample one minute. Returns False if that is not
        possible now, or if some is left of a sample. `do_quick` is called once per minute of sound. Raises MediaError
        if its file cannot be read now."""
        transcripts, worker = self._ctx.catalogue.transcripts, self._ctx.worker_id
        transcriber = self._loaded()
        if transcriber is None:
            return False
        stored = transcripts.cues(work.hash)
        at = stored[-1].end_s if stored else 0.0
        self._ctx.time_left.begins(work.hash, "speech", "video", 0, at)
        while True:
            if self._ctx.wake.stopped():
                return False
            self._ctx.priority.give_way()
            do_quick()
            heard: dict[Kind, float] = {}
            with self._ctx.time_left.work("speech", heard, of=work.hash):
                try:
                    sound = self._sound(path, at)
                except MediaError as error:
                    if error.cause in (*GONE, "closed"):
                        raise
                    log.info("%s: %s", path, error)
                    transcripts.add(work.hash, (), by="failed", worker=worker)
                    return True
                is_last = len(sound) < round(SECTION_S * speech.SAMPLE_RATE)
                try:
                    cues = transcriber.transcribe(sound) if len(sound) else []
                except ModelError as error:
                    return self._give_up(error)
                heard["video"] = len(sound) / speech.SAMPLE_RATE
            next_s = at + SECTION_S
            if cues and not is_last and cues[-1].end_s > SECTION_S - EDGE_S and cues[-1].start_s > EDGE_S:
                next_s = at + cues.pop().start_s
            cues = [_shifted(cue, at) for cue in cues]
            transcripts.add(work.hash, cues, by=transcriber.id if is_last else None, worker=worker)
            if cues:
                self._ctx.on_change()
            if is_last or is_sample:
                return is_last
            at = next_s

    def _sound(self, path: str, at: float) -> np.ndarray:
        from data.media import sound

        samples: np.ndarray = self._ctx.sandbox.submit(sound.read_sound, Path(path), at, at + SECTION_S).result()
        return samples

    def _loaded(self) -> speech.Transcriber | None:
        with self._guard:
            if self._transcriber is None:
                try:
                    self._transcriber = speech.load(self._name)
                except ModelError as error:
                    self._give_up(error)
            return self._transcriber

    def _give_up(self, error: Exception) -> bool:
        self.notice = f"Videos are not transcribed: {error}"
        self._queue.disable_speech()
        return False


def _shifted(cue: Cue, second: float) -> Cue:
    return replace(cue, start_s=round(cue.start_s + second, 2), end_s=round(cue.end_s + second, 2))
