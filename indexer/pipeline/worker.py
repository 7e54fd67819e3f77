"""A worker: one of any number of programs that index the library of another machine.

Built around the catalogue on a server that all of them share: contents are leased there, read where this
machine sees them (`indexer/files/mounts.py`), embedded, and written back in one transaction. The catalogue
says how videos are cut and which model embeds; a worker works with no other one. It scans and hashes nothing,
as the program that watches the folders does, and knows nothing of searching.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from indexer.active_models import Loader, load_checked, recognise
from indexer.catalogue.database import Database
from indexer.catalogue.dialects import place
from indexer.catalogue.models import Models
from indexer.catalogue.rows import ModelRow
from indexer.catalogue.settings import RECIPE
from indexer.errors import CatalogueAway, LibraryError, NoLibraryYet
from indexer.files.mounts import Mounts
from indexer.pipeline.context import AWAY_S, CatalogueParts
from indexer.pipeline.heartbeat import LEASE_S, Heartbeat
from indexer.pipeline.jobs import Tally
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.pipeline import Pipeline
from indexer.priority import QueryPriority, SharedEmbedder
from indexer.thumbnails import Thumbnails
from model.embedder import ModelError

if TYPE_CHECKING:
    from model.remote.embedder import RemoteEmbedder

log = logging.getLogger(__name__)

CHECK_S = 0.25
STATUS_S = 10.0
LIBRARY_S = 2.0
"""Seconds between checks whether the library has been indexed for the first time."""


class WorkerModel:
    """The one model of this worker, and its rows in the catalogue."""

    def __init__(self, models: Models, embedder: SharedEmbedder, address: str) -> None:
        self._models, self._embedder, self._address = models, embedder, address
        self.id = embedder.id

    def does(self, row: ModelRow) -> bool:
        return row.name == self.id

    def answering(self) -> tuple[ModelRow, SharedEmbedder]:
        return self._row("answering"), self._embedder

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]:
        return self.answering()

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None:
        row = self._find("building")
        return None if row is None else (row, self._embedder)

    def check(self) -> None:
        """Raise LibraryError if the library does not use this model."""
        rows = [r for r in self._models.all() if r.state in ("answering", "building")]
        if rows and not any(self.does(r) for r in rows):
            names = " and ".join(r.name for r in rows)
            raise LibraryError(
                f"This worker embeds with {self.id}, the library at {self._address} with {names}; vectors of "
                "two models never mix. Name that one by --model, or update the older installation."
            )

    def _find(self, state: str) -> ModelRow | None:
        return next((r for r in self._models.all() if r.state == state and self.does(r)), None)

    def _row(self, state: str) -> ModelRow:
        row = self._find(state)
        if row is None:
            self.check()
            raise ModelError(f"{self.id} does not answer in the library at {self._address} any more")
        return row


class Worker:
    def __init__(
        self,
        data_dir: Path,
        catalogue: str | None,
        *,
        model: dict[str, Any] | None = None,
        maps: Sequence[str] = (),
        name: str | None = None,
        threads: int | None = None,
        nice: bool = True,
        lease_s: float = LEASE_S,
        token: str | None = None,
        loader: Loader = load_checked,
    ) -> None:
        """`catalogue`: the address of a PostgreSQL database. `model`: name and options of `model.load`; None:
        the library's model. `maps`: as for `Mounts`. `name`: this worker's name in `status`, different for each
        worker; a worker that starts again under its name releases its old leases. `data_dir` holds thumbnails
        and the log. `token`: for a model on another machine. The server is not contacted yet. Raises
        `LibraryError`.
        """
        where = place(catalogue) if catalogue else None
        if where is None or isinstance(where, Path):
            raise LibraryError(
                "A worker needs a catalogue that machines can share: "
                "--catalogue postgresql+psycopg://USER@HOST/DATABASE (docs/scale.md)."
            )
        self._mounts = Mounts(maps)
        self._address = where.render_as_string()  # without the password
        self._where = where
        self._database: tuple[Database, int] | None = None  # and its schema version when it was opened
        self._model = model
        self._loader = partial(loader, token=token) if token else loader
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._threads, self._nice, self._lease_s = threads or 2, nice, lease_s
        self._thumbnails = Thumbnails(data_dir / "thumbnails")
        self._priority = QueryPriority()
        self._pipeline: Pipeline | None = None
        self._heartbeat: Heartbeat | None = None
        self.tally = Tally()

    def run(
        self, stop: threading.Event, on_status: Callable[[str], None] = lambda line: None, *, once: bool = False
    ) -> Tally:
        """Work until `stop`; `once`: until there is nothing left to lease. `on_status` is called with a line for
        a person when the worker begins or waits, and every STATUS_S if the line has changed. A server that does
        not answer yet, or has no library yet (unless `once`), is waited for. Raises `LibraryError` if this worker
        may not work here: a wrong password, another schema or model."""
        last_line = ""
        while True:
            try:
                return self._work(stop, on_status, once)
            except (CatalogueAway, NoLibraryYet) as error:  # at the beginning; later the pipeline waits
                if once and isinstance(error, NoLibraryYet):
                    raise  # there is nothing to do
                line = f"{error} It waits and goes on by itself."
                if line != last_line:
                    last_line = line
                    on_status(line)
                if stop.wait(AWAY_S):
                    return self.tally

    @property
    def _catalogue(self) -> CatalogueParts:
        return CatalogueParts.of(self._library()[0])

    def _library(self) -> tuple[Database, int]:
        """Returns the database, which is opened at the first call, and its schema version at that time."""
        if self._database is None:
            database = Database(self._where, read_only=True)  # a worker never migrates a library
            self._database = database, _schema_of(database)
        return self._database

    def _work(self, stop: threading.Event, on_status: Callable[[str], None], once: bool) -> Tally:
        from data.media.sandbox import Sandbox

        catalogue = self._catalogue
        roots = [root for root, _ in catalogue.leases.roots()]
        self._mounts.check([r.path for r in roots if r.state != "left_out"])
        if not self._wait_for_library(stop, on_status):
            return self.tally
        model = self._load()
        model.check()
        with Sandbox(workers=self._threads, nice=self._nice) as sandbox:
            while not stop.is_set():
                options = IndexingOptions.of(catalogue.settings)
                self._heartbeat = Heartbeat(
                    catalogue.leases,
                    catalogue.contents,
                    catalogue.transcripts,
                    self.name,
                    lambda: model.id,
                    mounts=self._mounts,
                    lease_s=self._lease_s,
                    status_text=lambda: self._pipeline.status_text() if self._pipeline is not None else "",
                    check=lambda: self._check(model),
                )
                self._pipeline = Pipeline(
                    catalogue,
                    self._mounts,
                    model,
                    sandbox,
                    self._thumbnails,
                    self._priority,
                    workers=self._threads,
                    nice=self._nice,
                    options=options,
                    heartbeat=self._heartbeat,
                )
                if self._run_with(options, stop, on_status, once):
                    break
        return self.tally

    def close(self) -> None:
        if self._database is not None:
            self._database[0].close()

    def line(self) -> str:
        """Returns what the worker does, or why it waits, in one line for a person."""
        if self._pipeline is None or self._heartbeat is None:
            return ""
        unseen = "".join(f"; {root} cannot be seen here" for root in self._heartbeat.unseen_roots)
        return f"{self._pipeline.status_text()}; {self._pipeline.tally.contents:,} done{unseen}"

    def _run_with(
        self, options: IndexingOptions, stop: threading.Event, on_status: Callable[[str], None], once: bool
    ) -> bool:
        """Returns True at the end of the work, False if the library's options have changed."""
        pipeline, heartbeat = self._pipeline, self._heartbeat
        assert pipeline is not None and heartbeat is not None
        before: object = None
        line = ""
        last = 0.0
        pipeline.start()
        try:
            checks = 0
            while not stop.wait(CHECK_S):
                if heartbeat.error is not None:
                    raise heartbeat.error
                if pipeline.trouble.broken:
                    raise LibraryError(pipeline.trouble.message or "The model is broken.")
                state = (pipeline.trouble.waiting, pipeline.trouble.message, heartbeat.unseen_roots)
                if state != before or (time.monotonic() - last > STATUS_S and self.line() != line):
                    before, last, line = state, time.monotonic(), self.line()
                    on_status(line)
                checks += 1
                try:
                    if once and pipeline.idle():
                        return True
                    if checks % 20 == 0 and IndexingOptions.of(self._catalogue.settings) != options:
                        return False
                except CatalogueAway as error:
                    pipeline.trouble.catalogue_is_away(str(error))
            return True
        finally:
            pipeline.stop()
            for field, value in vars(pipeline.tally).items():
                setattr(self.tally, field, getattr(self.tally, field) + value)

    # -- the library's model ---------------------------------------------------------------

    def _wait_for_library(self, stop: threading.Event, on_status: Callable[[str], None]) -> bool:
        line = f"The library at {self._address} has not been indexed yet; waiting for the program that watches it."
        waits = False
        while not stop.is_set():
            if self._catalogue.settings.get(RECIPE) and self._catalogue.models.answering():
                return True
            if not waits:
                waits = True
                on_status(line)
            stop.wait(LIBRARY_S)
        return False

    def _load(self) -> WorkerModel:
        row = self._catalogue.models.answering()
        assert row is not None, "call _wait_for_library first"
        options = dict(self._model) if self._model is not None else json.loads(row.source)
        try:
            embedder = self._loader(options.pop("name"), **options)
            if hasattr(embedder, "canary"):  # a model server's
                recognise(cast("RemoteEmbedder", embedder), self._catalogue.settings, read_only=True)
        except ModelError as error:
            raise LibraryError(f"The model of the library at {self._address} cannot be used here: {error}") from error
        return WorkerModel(self._catalogue.models, SharedEmbedder(embedder, self._priority), self._address)

    def _check(self, model: WorkerModel) -> None:
        database, opened_schema = self._library()
        schema = _schema_of(database)
        if schema != opened_schema:
            raise LibraryError(
                f"The library at {self._address} was brought to schema {schema} while this worker knows "
                f"{opened_schema}: update Sightline on {socket.gethostname()}."
            )
        model.check()


def _schema_of(database: Database) -> int:
    with database.reader() as c:
        return int(c.exec_driver_sql("SELECT version FROM schema_version").scalar_one())
