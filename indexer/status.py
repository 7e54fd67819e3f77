"""How a library stands: its counts, its speed, and what a person should know about it.

Built around counts that are taken anew when something changed, at most twice a second. It
changes nothing and loads no model.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexer.active_models import ActiveModels
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Counts, ModelRow, Root
from indexer.errors import CatalogueAway
from indexer.pipeline.pipeline import Pipeline
from indexer.pipeline.run import Indexer
from indexer.search.open import Engines
from indexer.types import Status, WorkerStatus


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
        """`source`: the model that the user asked for. `boot`: this program's own id."""
        self._catalogue, self._models, self._indexing = catalogue, models, indexing
        self._engines, self._data_dir, self._source, self._boot = engines, data_dir, source, boot
        self._counted: tuple[float, Counts] | None = None
        self._weighed: tuple[float, int] | None = None
        self._last: Status | None = None

    def ask_for(self, source: dict[str, Any]) -> None:
        """The user asks for another model from now on."""
        self._source = source

    def status(self) -> Status:
        """As it is now; while the catalogue's server does not answer, as it was last, and that. Raises
        CatalogueAway where nothing is known yet and nobody waits for it."""
        try:
            self._last = self._now()
        except CatalogueAway as error:
            if self._last is not None:
                told = f"{error} What is shown is how it was before; it goes on by itself."
                return replace(self._last, notices=(told,), reading=(), chunks_per_s=0.0, seconds_left=None)
            if not self._indexing.running:
                raise
            return self._unknown(f"{error} Nothing is known of the library yet; it goes on by itself.")
        return self._last

    def _unknown(self, told: str) -> Status:
        model = str(self._source.get("name", "lite"))
        return Status(0, 0, 0, 0, 0, 0, 0, 0, 0, model, (), self._bytes(), self._boot, notices=(told,))

    def _now(self) -> Status:
        counts = self._counts()
        roots = [r for r in self._catalogue.files.roots() if r.state != "left_out"]
        row = self._catalogue.models.answering()
        pipeline = self._indexing.pipeline
        chunks_s, files_s = pipeline.pace.now() if pipeline else (0.0, 0.0)
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
            bytes=self._bytes(),
            boot=self._boot,
            reading=pipeline.reading() if pipeline else (),
            chunks_per_s=chunks_s,
            seconds_left=counts.pending / files_s if counts.pending and files_s > 0 else None,
            notices=tuple(self._told(roots, pipeline)),
            workers=self._workers(),
        )

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
        """Count anew at the next look."""
        self._counted = None

    def _counts(self) -> Counts:
        known = self._counted
        now = time.monotonic()
        working = self._indexing.pipeline is not None
        if known is None or now - known[0] > 2.0 or (now - known[0] > 0.5 and working):
            known = (now, self._catalogue.files.counts())
            self._counted = known
        return known[1]

    def _bytes(self) -> int:
        """What the library takes on the disk; weighed once a minute."""
        now = time.monotonic()
        if self._weighed is None or now - self._weighed[0] > 60:
            total = 0
            for at, _, names in os.walk(self._data_dir):
                for name in names:
                    try:
                        total += os.lstat(os.path.join(at, name)).st_size  # noqa: PTH118
                    except OSError:
                        continue
            self._weighed = (now, total)
        return self._weighed[1]

    def _told(self, roots: list[Root], pipeline: Pipeline | None) -> list[str]:
        told = list(self._indexing.notices)
        for r in roots:
            if r.state == "away":
                told.append(
                    f"{r.path} is not there now; what is indexed of it is kept. "
                    f"To take it out: sightline forget {shlex.quote(str(r.path))}"
                )
        told += self._indexing.follower.notices()
        if pipeline is not None:
            if pipeline.trouble.waiting:
                told.append(f"{pipeline.trouble.waiting} Indexing waits for it and goes on by itself.")
            told += [n for n in (pipeline.trouble.told, *pipeline.notices) if n]
            if unread := pipeline.left_to_read():
                told.append(
                    f"Reading the words in {_many(unread, 'picture or scan', 'pictures and scans')}, found by"
                    " their looks until then."
                )
            if unheard := pipeline.left_to_transcribe():
                told.append(f"Listening to {_many(unheard, 'video', 'videos')}, found by their looks until then.")
        if self._models.notice:
            told.append(self._models.notice)
        told += self._model_notices()
        if self._engines.trouble:
            told.append(self._engines.trouble)
        return told

    def _model_notices(self) -> list[str]:
        rows = self._catalogue.models.all()
        answering = next((m for m in rows if m.state == "answering"), None)
        building = next((m for m in rows if m.state == "building"), None)
        if answering is None:
            return []
        notices = self._switch_notices(answering, building)
        if not self._models.is_tuned(answering):
            notices.append(
                f"The line between matches and the rest is not measured for {answering.name};"
                " it is drawn where chance alone seldom reaches."
            )
        return notices

    def _switch_notices(self, answering: ModelRow, building: ModelRow | None) -> list[str]:
        if building is not None:
            total = self._catalogue.files.counts().chunks
            done = total - self._catalogue.models.lacking(building.id)
            return [
                f"Changing the model to {building.name}: {done:,} of {total:,} pieces done; "
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
            return [f"{lacking:,} pieces have no embedding yet and are found by their words only."]
        return []


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
