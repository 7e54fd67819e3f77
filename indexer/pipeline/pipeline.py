"""From a queue of files to vectors in the catalogue: hash -> decode -> embed -> write, overlapped.

Built around the catalogue's own queue (`queue.py`) and five stages, each in threads of its own
and each taking what the one before has finished:

    hash      file -> content            one thread; BLAKE3 lets go of the interpreter
    decode    content -> decoded chunks  several, which wait for children of the `Sandbox`; photos
                                         and PDFs go before videos, also between two windows of one
    embed     chunks -> vectors          batches across files, paced so that a query waits for a
                                         tenth of a second at most
    write     content -> catalogue       one transaction each
    facts     file -> date, place, words beside it, in the program that watches the folders

Decoded pictures wait in one queue of bounded bytes, so memory stays flat however big the
folder. A content that fails costs itself. What is in flight when the program dies is still
pending in the catalogue, and nothing else remembers it. It knows nothing of scanning,
watching or searching.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.active_models import ModelSource
from indexer.catalogue.copies import Copies
from indexer.catalogue.files import Files
from indexer.catalogue.schema import full_disk
from indexer.errors import CatalogueAway, LibraryError
from indexer.files.mounts import Mounts
from indexer.pipeline.context import CatalogueParts, PipelineContext
from indexer.pipeline.file_access import MappedFileAccess, OwnFileAccess
from indexer.pipeline.heartbeat import Heartbeat
from indexer.pipeline.jobs import QUEUE_BYTES, ByteQueue, Job
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.queue import WorkQueue
from indexer.pipeline.shared_queue import SharedQueue
from indexer.pipeline.stage_decode import DecodeStage
from indexer.pipeline.stage_embed import EmbedStage
from indexer.pipeline.stage_facts import FactsStage
from indexer.pipeline.stage_hash import HashStage
from indexer.pipeline.stage_ocr import OcrStage
from indexer.pipeline.stage_speech import SpeechStage
from indexer.pipeline.stage_write import WriteStage
from indexer.priority import QueryPriority
from indexer.thumbnails import Thumbnails
from model import speech
from model.embedder import ModelAway, ModelError

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)

USUAL = IndexingOptions()


class Pipeline:
    def __init__(
        self,
        catalogue: CatalogueParts,
        files: Files | Mounts,
        models: ModelSource,
        sandbox: Sandbox,
        thumbnails: Thumbnails,
        priority: QueryPriority,
        *,
        workers: int = 2,
        nice: bool = True,
        options: IndexingOptions = USUAL,
        written: Callable[[], None] = lambda: None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """`files`: the catalogue's, for the program that watches the folders; for a worker, which only reads
        them, where they are mounted. `written` is called after each change of what can be found. `heartbeat`:
        where others index this library too."""
        self.options = options
        self._nice, self._keeps = nice, isinstance(files, Files)
        self._ctx = ctx = PipelineContext(
            catalogue, models, sandbox, thumbnails, priority, written, heartbeat=heartbeat
        )
        self.tally, self.trouble, self.pace = ctx.tally, ctx.trouble, ctx.pace
        self.listens = options.speech != "off" and (options.listener is not None or speech.is_installed())
        stages = {"ocr": options.ocr != "off", "speech": self.listens}
        self._queue: WorkQueue = (
            WorkQueue(ctx, **stages) if heartbeat is None else SharedQueue(ctx, heartbeat, **stages, keeps=self._keeps)
        )
        self._finished: queue.Queue[Job | None] = queue.Queue(maxsize=64)
        self._decoded = decoded = ByteQueue(QUEUE_BYTES)
        self._ocr = OcrStage(ctx, self._queue, every=options.ocr == "all")
        self._speech = SpeechStage(ctx, self._queue, options)
        access = OwnFileAccess(ctx, files) if isinstance(files, Files) else MappedFileAccess(files)
        self._decode = DecodeStage(
            ctx, self._queue, self._ocr, self._speech, decoded, file_access=access, options=options
        )
        self._steps: list[tuple[str, Callable[[], None]]] = [
            ("embed", EmbedStage(ctx, decoded, self._finished).step),
            ("write", WriteStage(ctx, self._queue, self._finished, options).step),
            *[("decode", self._decode.step)] * (max(1, workers) + 1),
        ]
        self._facts: FactsStage | None = None
        if isinstance(files, Files):
            self._copies = Copies(files.database)
            self._facts = FactsStage(ctx, self._copies)
            self._steps.insert(0, ("hash", HashStage(ctx, self._queue, files).step))
            self._steps.append(("facts", self._facts.step))
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if self._threads:
            return
        if self._ctx.heartbeat is not None:
            self._ctx.heartbeat.begin()
        if self._facts is not None:
            self._copies.renew()
        for name, step in self._steps:
            thread = threading.Thread(target=self._run, args=(step,), name=f"indexer-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._keeps and self.listens and self.options.listener is not None:
            self._speech.prepare()

    def stop(self) -> None:
        """End soon; what is not written stays pending."""
        self._ctx.wake.stop()
        self._ctx.files_wake.stop()
        self._ctx.facts_wake.stop()
        self._decoded.close()
        with contextlib.suppress(queue.Full):
            self._finished.put_nowait(None)
        for thread in self._threads:
            thread.join(30)
        if self._threads and self._ctx.heartbeat is not None:
            self._ctx.heartbeat.end()
        self._threads = []

    def wake(self) -> None:
        """There may be work."""
        self._queue.in_reach()
        if self._facts is not None:
            self._facts.look_again()
        self._ctx.files_wake.set()
        self._ctx.facts_wake.set()
        self._ctx.wake.set()

    def look_again(self) -> None:
        """Vectors may be missing: a switch of the model, a repair, a root that came back."""
        self._queue.look_again()
        self.trouble.forget()
        self.wake()

    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is left that can be done now."""
        if self._facts is not None and not self._facts.is_done():
            return False  # asked first: what it reads may make a content pending
        if self._speech.preparing or not self._queue.is_empty():
            return False
        if self._facts is not None and not self._facts.is_done():
            return False  # and what was written may be due
        self._queue.promote()
        return True

    def is_at_rest(self) -> bool:
        """Whether nothing is in flight."""
        return not self._queue.busy

    def wait(self, seconds: float) -> None:
        """Until nothing is in flight, at most so long."""
        self._queue.wait(seconds)

    @property
    def notices(self) -> tuple[str, ...]:
        """Why words in pictures are not read, why nobody listens: a sentence each."""
        return tuple(n for n in (self._ocr.notice, self._speech.notice) if n)

    def missed(self) -> set[str]:
        """Files that were to be read and were not there, since this was asked last."""
        missed, self._ctx.missed = self._ctx.missed, set()
        return missed

    def left_to_read(self) -> int:
        """Contents whose pictures wait for their words to be read, here or elsewhere."""
        waits = self.options.ocr != "off" and self._ocr.notice is None
        return self._ctx.catalogue.queue.count("ocr") if waits else 0

    def left_to_reread(self) -> int:
        """Contents that an older program has read and that are read again, here or elsewhere."""
        return self._ctx.catalogue.queue.count("reread")

    def left_to_transcribe(self) -> int:
        """Videos that wait to be transcribed."""
        waits = self.listens and self._speech.notice is None
        return self._ctx.catalogue.queue.count("speech") if waits else 0

    def reading(self) -> tuple[str, ...]:
        return self._decode.paths()

    def _run(self, step: Callable[[], None]) -> None:
        """A thread's life: its step again and again; trouble is told once and waited out."""
        wake, trouble = self._ctx.wake, self.trouble
        if self._nice and hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        away = False
        while not wake.stopped():
            try:
                if trouble.stands():
                    wake.wait(1.0)
                    continue
                step()
                if away:
                    away = False
                    trouble.catalogue_answered()
            except CatalogueAway as error:
                away = True
                trouble.catalogue_is_away(str(error))
            except LibraryError as error:  # a full disk, a lock held too long
                trouble.pause(str(error))
            except ModelAway as error:
                trouble.model_is_away(str(error))
            except ModelError as error:
                trouble.model_broke(str(error))
            except OSError as error:
                folder = self._ctx.thumbnails.folder.parent
                full = error.errno == errno.ENOSPC
                trouble.pause(full_disk(folder) if full else f"{folder} cannot be written: {error.strerror}.")
            except Exception:  # the boundary of a thread: a bug here must not end indexing silently
                log.exception("indexing: an error that should not happen")
                trouble.pause("Indexing met an error of its own; the log has the details.")


def line_of(pipeline: Pipeline) -> str:
    """What it does, or why it does not, in one line for people."""
    trouble = pipeline.trouble
    if trouble.waiting:
        return f"{trouble.waiting} It waits and goes on by itself."
    if trouble.told:
        return trouble.told
    reading = pipeline.reading()
    if reading:
        return f"reading {Path(reading[0]).name}"
    return "nothing to do" if pipeline.is_at_rest() else "embedding"
