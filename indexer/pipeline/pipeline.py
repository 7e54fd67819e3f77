"""From a queue of files to vectors in the catalogue: hash -> decode -> embed -> write, overlapped.

Built around the catalogue's own queue (`queue.py`) and four roles, each in threads of its own
and each taking what the one before has finished:

    hasher    file -> content            one thread; BLAKE3 lets go of the interpreter
    reader    content -> decoded chunks  several, which wait for children of the `Sandbox`; photos
                                         and PDFs go before videos, also between two windows of one
    batcher   chunks -> vectors          batches across files, paced so that a query waits for a
                                         tenth of a second at most
    writer    content -> catalogue       one transaction each

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
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.schema import full_disk
from indexer.errors import CatalogueAway, LibraryError
from indexer.files.mounts import Mounts
from indexer.pipeline.context import Workshop
from indexer.pipeline.file_access import MappedPlaces, OwnPlaces
from indexer.pipeline.heartbeat import Leases
from indexer.pipeline.jobs import QUEUE_BYTES, ByteQueue, Job, Tally
from indexer.pipeline.options import Asked
from indexer.pipeline.queue import Agenda
from indexer.pipeline.shared_queue import SharedAgenda
from indexer.pipeline.stage_decode import Reader
from indexer.pipeline.stage_embed import Batcher
from indexer.pipeline.stage_hash import Hasher
from indexer.pipeline.stage_ocr import WordReader
from indexer.pipeline.stage_speech import Ears
from indexer.pipeline.stage_write import Writer
from indexer.priority import Turns
from indexer.thumbnails import Thumbnails
from model import speech
from model.embedder import ModelAway, ModelError

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)

USUAL = Asked()


class Pipeline:
    def __init__(
        self,
        catalogue: Catalogue,
        models: ModelSource,
        sandbox: Sandbox,
        thumbnails: Thumbnails,
        turns: Turns,
        *,
        workers: int = 2,
        nice: bool = True,
        asked: Asked = USUAL,
        written: Callable[[], None] = lambda: None,
        leases: Leases | None = None,
        mounts: Mounts | None = None,
    ) -> None:
        """`written` is called after each change of what can be found. `leases`: where others index this
        library too. `mounts`: for a worker, which only reads; None for the program that keeps the folders."""
        self.asked = asked
        self._nice, self._keeps = nice, mounts is None
        self._shop = shop = Workshop(catalogue, models, sandbox, thumbnails, turns, written, leases=leases)
        self.listens = asked.speech != "off" and (asked.listener is not None or speech.is_here())
        self._agenda = agenda_of(
            shop, leases, words=asked.ocr != "off", sounds=self.listens, keeps=mounts is None
        )
        self._finished: queue.Queue[Job | None] = queue.Queue(maxsize=64)
        self._decoded = decoded = ByteQueue(QUEUE_BYTES)
        self._words = WordReader(shop, self._agenda, every=asked.ocr == "all")
        self._ears = Ears(shop, self._agenda, asked)
        self._reader = Reader(
            shop,
            self._agenda,
            self._words,
            self._ears,
            decoded,
            places=OwnPlaces(shop) if mounts is None else MappedPlaces(mounts),
            asked=asked,
        )
        self._steps: list[tuple[str, Callable[[], None]]] = [
            *([("hash", Hasher(shop, self._agenda).step)] if mounts is None else []),
            ("embed", Batcher(shop, decoded, self._finished).step),
            ("write", Writer(shop, self._agenda, self._finished, asked).step),
            *[("read", self._reader.step)] * (max(1, workers) + 1),
        ]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if self._threads:
            return
        if self._shop.leases is not None:
            self._shop.leases.begin()
        for name, step in self._steps:
            thread = threading.Thread(target=self._run, args=(step,), name=f"indexer-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._keeps and self.listens and self.asked.listener is not None:
            self._ears.prepare()

    def stop(self) -> None:
        """End soon; what is not written stays pending."""
        self._shop.bell.stop()
        self._shop.files_bell.stop()
        self._decoded.close()
        with contextlib.suppress(queue.Full):
            self._finished.put_nowait(None)
        for thread in self._threads:
            thread.join(30)
        if self._threads and self._shop.leases is not None:
            self._shop.leases.end()
        self._threads = []

    def ring(self) -> None:
        """There may be work."""
        self._agenda.in_reach()
        self._shop.files_bell.ring()
        self._shop.bell.ring()

    def look_again(self) -> None:
        """Vectors may be missing: a switch of the model, a repair, a root that came back."""
        self._agenda.look_again()
        self._shop.trouble.forget()
        self.ring()

    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is left that can be done now."""
        if self._ears.preparing or not self._agenda.is_empty():
            return False
        self._agenda.promote()
        return True

    def wait(self, seconds: float) -> None:
        """Until nothing is in flight, at most so long."""
        self._agenda.wait(seconds)

    @property
    def tally(self) -> Tally:
        return self._shop.tally

    @property
    def trouble(self) -> str | None:
        """Why indexing stands still: a full disk, a broken model. One sentence for a person."""
        return self._shop.trouble.told

    @property
    def waiting(self) -> str | None:
        """Why it stands still and will go on by itself: the model's server is away. One sentence."""
        return self._shop.trouble.waiting

    def catalogue_is_away(self, told: str) -> None:
        """Whoever works beside the pipeline has found that the catalogue's server does not answer."""
        self._shop.trouble.catalogue_is_away(told)

    @property
    def notices(self) -> tuple[str, ...]:
        """Why words in pictures are not read, why nobody listens: a sentence each."""
        return tuple(n for n in (self._words.notice, self._ears.notice) if n)

    def missed(self) -> set[str]:
        """Files that were to be read and were not there, since this was asked last."""
        missed, self._shop.missed = self._shop.missed, set()
        return missed

    def left_to_read(self) -> int:
        """Contents whose pictures wait for their words to be read, here or elsewhere."""
        waits = self.asked.ocr != "off" and self._words.notice is None
        return self._shop.catalogue.unread_count() if waits else 0

    def left_to_hear(self) -> int:
        """Videos that wait to be listened to."""
        waits = self.listens and self._ears.notice is None
        return self._shop.catalogue.unheard_count() if waits else 0

    def reading(self) -> tuple[str, ...]:
        return self._reader.paths()

    def pace(self) -> tuple[float, float]:
        """(chunks, files) a second, over the last half minute of work."""
        return self._shop.pace.now()

    @property
    def busy(self) -> bool:
        """Whether anything is in flight."""
        return self._agenda.busy

    @property
    def broken(self) -> bool:
        """Whether it stands still for good: the model."""
        return self._shop.trouble.broken

    def _run(self, step: Callable[[], None]) -> None:
        """A thread's life: its role again and again; trouble is told once and waited out."""
        bell, trouble = self._shop.bell, self._shop.trouble
        if self._nice and hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        away = False
        while not bell.stopped():
            try:
                if trouble.stands():
                    bell.wait(1.0)
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
                folder = self._shop.thumbnails.folder.parent
                full = error.errno == errno.ENOSPC
                trouble.pause(full_disk(folder) if full else f"{folder} cannot be written: {error.strerror}.")
            except Exception:  # the boundary of a thread: a bug here must not end indexing silently
                log.exception("indexing: an error that should not happen")
                trouble.pause("Indexing met an error of its own; the log has the details.")


def agenda_of(shop: Workshop, leases: Leases | None, *, words: bool, sounds: bool, keeps: bool) -> Agenda:
    if leases is None:
        return Agenda(shop, words=words, sounds=sounds)
    return SharedAgenda(shop, leases, words=words, sounds=sounds, keeps=keeps)


def line_of(pipeline: Pipeline) -> str:
    """What it does, or why it does not, in one line for people."""
    waits = pipeline.waiting or pipeline.trouble
    if waits:
        return f"{waits} It waits and goes on by itself." if pipeline.waiting else waits
    reading = pipeline.reading()
    if reading:
        return f"reading {Path(reading[0]).name}"
    return "embedding" if pipeline.busy else "nothing to do"
