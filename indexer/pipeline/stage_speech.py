"""A second listen, at the lowest priority: what is said in videos, as cues.

Built around `model.speech`, a minute of sound at a time; what was heard is written as it comes, so a
program that ends goes on with the minute it was at. It knows nothing of what cues are good for.
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
from indexer.pipeline.queue import WorkQueue
from model import speech
from model.embedder import ModelError

if TYPE_CHECKING:
    import numpy as np

    from model.inputs import Cue

log = logging.getLogger(__name__)

PIECE_S = 60.0
"""Sound that is listened to at once: some seconds of work, so that a program that ends is not kept long."""

EDGE_S = 2.0
"""A line that ends so near to a piece's end may go on: it is heard again, whole, with the next piece."""


class SpeechStage:
    """Safe to use from several threads; one listens at a time."""

    def __init__(self, ctx: PipelineContext, work_queue: WorkQueue, options: IndexingOptions) -> None:
        self._ctx, self._queue = ctx, work_queue
        self._name = options.listener or speech.BUILT_IN
        self._listener: speech.Transcriber | None = None
        self._guard = threading.Lock()
        self.preparing = False
        """A listener that was named is being loaded."""
        self.notice: str | None = None
        """Why nobody listens."""

    def prepare(self) -> None:
        """Load the listener that was named, in a thread of its own, for it may have to be fetched. Then what
        others have heard is to be heard again; where it cannot be loaded, that is kept."""
        self.preparing = True
        threading.Thread(target=self._prepare, name="indexer-listener", daemon=True).start()

    def _prepare(self) -> None:
        try:
            if self._loaded() is not None:
                self._ctx.catalogue.transcripts.set_listener(speech.name_of(self._name))
        except LibraryError as error:  # the disk is full, the database away: the next run does it
            self._give_up(f"Nobody listens to videos: {error}")
        finally:
            self.preparing = False
            self._ctx.wake.set()

    def transcribe(self, work: Work, path: str, between: Callable[[], None]) -> bool:
        """Listen to one video from where it was left; False when that could not be done now. `between` is
        called now and then: what is quick goes before. Raises MediaError when its file cannot be read now."""
        transcripts, worker = self._ctx.catalogue.transcripts, self._ctx.worker_id
        listener = self._loaded()
        if listener is None:
            return False
        known = transcripts.cues(work.hash)
        at = known[-1].end_s if known else 0.0
        while True:
            if self._ctx.wake.stopped():
                return False
            self._ctx.priority.give_way()
            between()
            try:
                sound = self._sound(path, at)
            except MediaError as error:
                if error.cause in (*GONE, "closed"):
                    raise
                log.info("%s: %s", path, error)
                transcripts.add(work.hash, (), by="none", worker=worker)
                return True
            ends = len(sound) < round(PIECE_S * speech.SAMPLE_RATE)
            try:
                cues = listener.transcribe(sound) if len(sound) else []
            except ModelError as error:
                return self._give_up(f"Nobody listens to videos: {error}")
            next_s = at + PIECE_S
            if cues and not ends and cues[-1].end_s > PIECE_S - EDGE_S and cues[-1].start_s > EDGE_S:
                next_s = at + cues.pop().start_s
            heard = [_at(cue, at) for cue in cues]
            transcripts.add(work.hash, heard, by=listener.id if ends else None, worker=worker)
            if heard:
                self._ctx.written()
            if ends:
                return True
            at = next_s

    def _sound(self, path: str, at: float) -> np.ndarray:
        from data.media import sound

        return self._ctx.sandbox.submit(sound.read_sound, Path(path), at, at + PIECE_S).result()

    def _loaded(self) -> speech.Transcriber | None:
        with self._guard:
            if self._listener is None:
                try:
                    self._listener = speech.load(self._name)
                except ModelError as error:
                    self._give_up(f"Nobody listens to videos: {error}")
            return self._listener

    def _give_up(self, notice: str) -> bool:
        self.notice = notice
        self._queue.leave_speech()
        return False


def _at(cue: Cue, second: float) -> Cue:
    return replace(cue, start_s=round(cue.start_s + second, 2), end_s=round(cue.end_s + second, 2))
