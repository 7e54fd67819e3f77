"""The pipeline from files to vectors in the catalogue: hash -> decode -> embed -> write, overlapped.

Built around the work queue (`work_queue.py`) and five stages, each in threads of its own:

    hash      file -> content            one thread; BLAKE3 releases the GIL
    decode    content -> decoded chunks  several threads, which wait for child processes (`Sandbox`);
                                         images and PDFs go before videos, also between two windows of one
    embed     chunks -> vectors          batches across files, of a size that lets a query wait for a
                                         tenth of a second at most
    write     content -> catalogue       one transaction each
    facts     file -> date, place, sidecar text; only in the program that watches the folders

Decoded frames wait in one queue of bounded bytes, so memory does not grow with the folder. A content
that fails stops no other one. Contents that are in progress when the program dies are still pending in
the catalogue. The file knows nothing of scanning, watching or searching.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.active_models import ModelSource
from indexer.catalogue.copies import Copies
from indexer.catalogue.files import Files
from indexer.catalogue.rows import Pictures
from indexer.catalogue.schema import full_disk
from indexer.errors import CatalogueAway, LibraryError
from indexer.files.mounts import Mounts
from indexer.pipeline.context import CatalogueParts, PipelineContext
from indexer.pipeline.file_access import MappedFileAccess, OwnFileAccess
from indexer.pipeline.heartbeat import Heartbeat
from indexer.pipeline.jobs import QUEUE_BYTES, ByteQueue, Job
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.shared_queue import SharedQueue
from indexer.pipeline.stage_decode import DecodeStage
from indexer.pipeline.stage_embed import EmbedStage
from indexer.pipeline.stage_facts import FactsStage
from indexer.pipeline.stage_hash import HashStage
from indexer.pipeline.stage_ocr import OcrStage
from indexer.pipeline.stage_speech import SpeechStage
from indexer.pipeline.stage_write import WriteStage
from indexer.pipeline.work_queue import WorkQueue
from indexer.priority import QueryPriority
from indexer.thumbnails import Thumbnails
from indexer.types import Kind
from model import speech
from model.embedder import ModelAway, ModelError
from model.machine import lower_priority

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)

DEFAULT_OPTIONS = IndexingOptions()


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
        options: IndexingOptions = DEFAULT_OPTIONS,
        on_change: Callable[[], None] = lambda: None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """`files`: the catalogue's files for the program that watches the folders, the mounts for a worker, which
        only reads. `on_change` is called after each change of the searchable contents. `heartbeat`: set if
        other programs index this library too."""
        self.options = options
        self._nice, self._is_owner = nice, isinstance(files, Files)
        self._ctx = ctx = PipelineContext(
            catalogue, models, sandbox, thumbnails, priority, on_change, heartbeat=heartbeat
        )
        ctx.time_left.threads = max(1, workers) + 1
        self.tally, self.trouble, self.pace, self.time_left = ctx.tally, ctx.trouble, ctx.pace, ctx.time_left
        self.transcribes = options.speech != "off" and (options.speech_model is not None or speech.is_installed())
        self.hears_by_itself = options.speech_model in (None, speech.BUILT_IN)
        stages = {"ocr": options.ocr != "off", "speech": self.transcribes}
        self._queue: WorkQueue = (
            WorkQueue(ctx, **stages)
            if heartbeat is None
            else SharedQueue(ctx, heartbeat, **stages, is_owner=self._is_owner)
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
            *[("decode", self._decode.step)] * ctx.time_left.threads,
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
        if self._is_owner and self.transcribes and self.options.speech_model is not None:
            self._speech.prepare()

    def stop(self) -> None:
        """End soon; contents that are not written stay pending."""
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
        self._queue.retry_postponed()
        if self._facts is not None:
            self._facts.look_again()
        self._ctx.files_wake.set()
        self._ctx.facts_wake.set()
        self._ctx.wake.set()

    def look_again(self) -> None:
        """Vectors may be missing: the model was switched, the library repaired, or a root came back."""
        self._queue.look_again()
        self.trouble.retry()
        self.wake()

    def idle(self) -> bool:
        """Whether nothing is in progress and nothing can be done now."""
        if self._queue.busy:  # the usual case, answered without a query
            return False
        if self._facts is not None and not self._facts.is_done():
            return False  # checked before the queue: facts may make a content pending
        if self._speech.preparing or not self._queue.is_empty():
            return False
        if self._facts is not None and not self._facts.is_done():
            return False  # checked after it: facts of contents that were just written may be due
        self._queue.promote()
        return True

    def wait(self, seconds: float) -> None:
        """Wait until nothing is in progress, at most `seconds`."""
        self._queue.wait(seconds)

    @property
    def notices(self) -> tuple[str, ...]:
        """Why OCR and speech do not run here, a sentence each."""
        return tuple(n for n in (self._ocr.notice, self._speech.notice) if n)

    def pop_missing_files(self) -> set[str]:
        """Returns the files that should have been read and did not exist, since the last call."""
        missing, self._ctx.missing_files = self._ctx.missing_files, set()
        return missing

    def left_for_ocr(self) -> int:
        """Returns how many contents wait for OCR, in this program or another."""
        runs = self.options.ocr != "off" and self._ocr.notice is None
        return self._ctx.catalogue.queue.count("ocr") if runs else 0

    def pictures_for_ocr(self) -> dict[Kind, Pictures]:
        """Returns the images and pages in which OCR is to look for text."""
        return self._ctx.catalogue.queue.pictures_for_ocr(every=self.options.ocr == "all")

    def left_to_reread(self) -> int:
        """Returns how many contents of an older version wait to be read again, in this program or another."""
        return self._ctx.catalogue.queue.count("reread")

    def left_to_transcribe(self) -> int:
        """Returns how many videos wait to be transcribed."""
        return self._ctx.catalogue.queue.count("speech") if self.listens else 0

    @property
    def listens(self) -> bool:
        """Whether videos are transcribed here."""
        return self.transcribes and self._speech.notice is None

    def paths(self) -> tuple[str, ...]:
        """Returns the files that are being read."""
        return self._decode.paths()

    def status_text(self) -> str:
        """Returns what the pipeline does, or why it is stopped, in one line for a person."""
        if self.trouble.waiting:
            return f"{self.trouble.waiting} It waits and goes on by itself."
        if self.trouble.message:
            return self.trouble.message
        if paths := self.paths():
            return f"reading {Path(paths[0]).name}"
        return "embedding" if self._queue.busy else "nothing to do"

    def _run(self, step: Callable[[], None]) -> None:
        """Repeat a stage's step until the end; after an error, wait while `trouble` lasts."""
        wake, trouble = self._ctx.wake, self.trouble
        if self._nice:
            lower_priority()
        away = False
        while not wake.stopped():
            try:
                if trouble.is_stopped():
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
                trouble.pause("Indexing stopped at an internal error; the log has the details.")
