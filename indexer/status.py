"""The status of a library: its counts, its speed, and notices for a person.

Built around counts that are read again after a change, at most twice a second. It changes nothing and loads
no model.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from data.media.confinement import layers
from indexer.active_models import ActiveModels
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Counts, ModelRow, Pictures, Root
from indexer.errors import CatalogueAway
from indexer.pipeline.pipeline import Pipeline
from indexer.pipeline.run import Indexer
from indexer.pipeline.schedule import Load
from indexer.pipeline.time_left import TimeLeft
from indexer.search.open import Engines
from indexer.types import KINDS, Kind, OtherModel, Status, WorkerStatus, WorkLeft

T = TypeVar("T")


class StatusReporter:
    def __init__(
        self,
        catalogue: Catalogue,
        models: ActiveModels,
        indexing: Indexer,
        engines: Engines,
        data_dir: Path,
        source: dict[str, Any],
        boot: str,
    ) -> None:
        """`source`: name and options of the requested model. `boot`: the id of this program's start."""
        self._catalogue, self._models, self._indexing = catalogue, models, indexing
        self._engines, self._data_dir, self._source, self._boot = engines, data_dir, source, boot
        self._cached_counts: tuple[float, Counts] | None = None
        self._cached: dict[str, tuple[float, Any]] = {}  # until when it holds, a count
        self._last: Status | None = None

    def request(self, source: dict[str, Any]) -> None:
        """Set the model that the user requests from now on."""
        self._source = source

    def status(self) -> Status:
        """The current status; while the catalogue is away, the last one and a notice.

        Raises CatalogueAway if there is no last status and this program does not index.
        """
        try:
            self._last = self._current()
        except CatalogueAway as error:
            if self._last is not None:
                notice = f"{error} The status shown is the last known one; Sightline goes on by itself."
                return replace(
                    self._last,
                    notices=(notice,),
                    reading=(),
                    chunks_per_s=0.0,
                    seconds_left=None,
                    all_seconds_left=None,
                )
            if not self._indexing.running:
                raise
            notice = f"{error} The library cannot be read yet; Sightline goes on by itself."
            model = str(self._source.get("name", "lite"))
            return Status(0, 0, 0, 0, 0, 0, 0, 0, 0, model, (), self._bytes(), self._boot, notices=(notice,))
        return self._last

    def _current(self) -> Status:
        counts = self._counts()
        roots = [r for r in self._catalogue.files.roots() if r.state != "left_out"]
        row = self._catalogue.models.answering()
        other = self._models.beside()
        pipeline = self._indexing.pipeline
        work = self._work(counts, pipeline)
        return Status(
            files=counts.files,
            images=counts.images,
            videos=counts.videos,
            pdfs=counts.pdfs,
            chunks=counts.chunks,
            reused=counts.reused,
            failed=counts.failed,
            ignored=counts.ignored,
            pending=counts.pending,
            model=row.name if row else str(self._source.get("name", "lite")),
            roots=tuple(str(r.path) for r in roots),
            bytes=self._kept("bytes", self._bytes, 60.0),
            boot=self._boot,
            reading=pipeline.paths() if pipeline else (),
            chunks_per_s=pipeline.pace.now()[0] if pipeline else 0.0,
            seconds_left=_total(one for one in work if one.step == "read"),
            work=work,
            all_seconds_left=_total(work),
            notices=tuple(self._notices(roots, pipeline)),
            workers=self._workers(),
            left_out=counts.left_out,
            confinement=layers(),
            other_model=OtherModel(other.name, other.state == "building") if row and other else None,
        )

    def _work(self, counts: Counts, pipeline: Pipeline | None) -> tuple[WorkLeft, ...]:
        """Returns what is still to be done, in its order; what this program can do, with an estimate."""
        left = pipeline.time_left if pipeline is not None else TimeLeft()
        steps = list(self._steps(counts, pipeline, left))
        seconds = left.seconds([load for _, load in steps])
        return tuple(replace(step, seconds_left=each) for (step, _), each in zip(steps, seconds, strict=True))

    def _steps(
        self, counts: Counts, pipeline: Pipeline | None, left: TimeLeft
    ) -> Iterator[tuple[WorkLeft, Load | None]]:
        for kind in KINDS:
            if kind in counts.unread:
                files, size = counts.unread[kind]
                yield WorkLeft("read", kind, files), left.to_read(kind, files, size)
        if pipeline is None:
            return
        models = self._catalogue.models
        building = next((m for m in models.all() if m.state == "building"), None)
        if building is not None and (chunks := models.lacking(building.id)):
            by_kind = self._kept(f"model {building.id}", partial(models.lacking_by_kind, building.id))
            yield WorkLeft("model", None, chunks), left.to_embed(by_kind, building.id)
        if count := pipeline.left_for_ocr():
            waiting = self._kept("ocr", pipeline.pictures_for_ocr)
            yield WorkLeft("ocr", None, count), left.to_ocr(_and_unread(waiting, counts, left))
        if count := pipeline.left_to_reread():
            chunks_again = self._kept("reread", self._catalogue.queue.chunks_to_reread)
            yield WorkLeft("reread", None, count), left.to_reread(chunks_again)
        videos, size = counts.unread.get("video", (0, 0))
        sound_s = left.sound_of(videos, size) if videos and pipeline.listens else 0.0
        if count := pipeline.left_to_transcribe() + (videos if sound_s else 0):
            seconds = self._kept("speech", self._catalogue.queue.seconds_to_hear) + sound_s
            yield WorkLeft("speech", None, count), left.to_hear(seconds, is_built_in=pipeline.hears_by_itself)

    def _kept(self, name: str, count: Callable[[], T], least_s: float = 0.5) -> T:
        """Returns a count, taken anew when it is older than `least_s` seconds and 50 times what it took: it goes
        through all that waits, or all files."""
        kept, now = self._cached.get(name), time.monotonic()
        if kept is None or now > kept[0]:
            number = count()
            kept = self._cached[name] = (now + max(least_s, 50 * (time.monotonic() - now)), number)
        return cast("T", kept[1])

    def _workers(self) -> tuple[WorkerStatus, ...]:
        if not self._catalogue.database.dialect.shared:
            return ()
        return tuple(
            WorkerStatus(
                name=w.name,
                host=w.host,
                version=w.version,
                model=w.model,
                told=w.told,
                silent_s=round(max(0.0, w.silent_s), 1),
                holds=w.holds,
                lacks=tuple(root for root, there in w.maps.items() if not there),
            )
            for w in self._catalogue.leases.workers()
        )

    def changed(self) -> None:
        """Read the counts again at the next call of `status`."""
        self._cached_counts = None

    def _counts(self) -> Counts:
        cached = self._cached_counts
        now = time.monotonic()
        working = self._indexing.pipeline is not None
        if cached is None or now - cached[0] > 2.0 or (now - cached[0] > 0.5 and working):
            cached = self._cached_counts = (now, self._catalogue.files.counts())
        return cached[1]

    def _bytes(self) -> int:
        """Bytes of the library on the disk."""
        total = 0
        for folder, _, names in os.walk(self._data_dir):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
        return total

    def _notices(self, roots: list[Root], pipeline: Pipeline | None) -> list[str]:
        notices = list(self._indexing.notices)
        notices += [
            f"{r.path} is not there now; its files stay in the library. "
            f"To take it out: sightline forget {shlex.quote(str(r.path))}"
            for r in roots
            if r.state == "away"
        ]
        notices += self._indexing.follower.notices()
        if pipeline is not None:
            if pipeline.trouble.waiting:
                notices.append(f"{pipeline.trouble.waiting} Indexing waits for it and goes on by itself.")
            notices += [n for n in (pipeline.trouble.message, *pipeline.notices) if n]
            if count := pipeline.left_for_ocr():
                many = _many(count, "image or scan", "images and scans")
                notices.append(f"Reading the text in {many}; until then they are found by what they show.")
            if count := pipeline.left_to_reread():
                many = _many(count, "file", "files")
                notices.append(
                    f"Reading {many} again, as this version reads more in them; the old text answers till then."
                )
            if count := pipeline.left_to_transcribe():
                many = _many(count, "video", "videos")
                notices.append(f"Transcribing {many}; until then they are found by what they show.")
        notices += filter(None, (self._models.notice, *self._model_notices(), self._engines.trouble))
        return notices

    def _model_notices(self) -> list[str]:
        rows = self._catalogue.models.all()
        answering = next((m for m in rows if m.state == "answering"), None)
        building = next((m for m in rows if m.state == "building"), None)
        if answering is None:
            return []
        notices = self._switch_notices(answering, building)
        if not self._models.is_tuned(answering):
            notices.append(
                f"The score from which a hit counts as a match is not measured for {answering.name};"
                " it is set to one that unrelated chunks seldom reach."
            )
        return notices

    def _switch_notices(self, answering: ModelRow, building: ModelRow | None) -> list[str]:
        if building is not None:
            total = self._catalogue.files.counts().chunks
            done = total - self._catalogue.models.lacking(building.id)
            return [
                f"Changing the model to {building.name}: {done:,} of {total:,} chunks done; "
                f"{answering.name} answers until then."
            ]
        if json.loads(answering.source) != self._source:
            name = self._source.get("name", "lite")
            return [
                f"Answers come from {answering.name}, which indexed this library; "
                f"`sightline index --model {name}` changes it to {name}."
            ]
        lacking = self._catalogue.models.lacking(answering.id)
        if lacking:
            return [f"{lacking:,} chunks have no embedding yet and are found by their words only."]
        if (previous := self._catalogue.models.previous()) is not None:
            row, until = previous
            return [
                f"{answering.name} answers in place of {row.name}, whose vectors stay until"
                f" {time.strftime('%Y-%m-%d', time.localtime(until))}: `sightline models compare` shows your last"
                " queries under both, `sightline models rollback` goes back, `sightline models accept` ends this."
            ]
        return []


def _total(work: Iterable[WorkLeft]) -> float | None:
    """Returns the seconds of these steps; None if there are none, or if nothing tells one of them."""
    seconds = [one.seconds_left for one in work]
    return sum(filter(None, seconds)) if seconds and None not in seconds else None


def _and_unread(waiting: Mapping[Kind, Pictures], counts: Counts, left: TimeLeft) -> dict[Kind, Pictures]:
    """Returns what waits for OCR, and will when all files are read."""
    pictures = dict(waiting)
    for kind in KINDS:
        files, size = counts.unread.get(kind, (0, 0))
        if number := left.pictures_of(kind, files, size):
            known = pictures.get(kind, Pictures())
            pictures[kind] = Pictures(known.contents + files, known.number + number, known.most)
    return pictures


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
