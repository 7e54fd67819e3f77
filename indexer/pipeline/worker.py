"""A worker: a program that indexes another machine's library, as one of any number.

Built around the catalogue on a server that all share: contents are leased there, read
where this machine sees them (`files/mounts.py`), embedded, and written back in one transaction. It takes
from the catalogue how videos are cut and which model embeds, and refuses to work with another. It
scans and hashes nothing: the one program that watches the folders does. It knows nothing of
searching.
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
from indexer.pipeline.pipeline import Pipeline, line_of
from indexer.priority import QueryPriority, SharedEmbedder
from indexer.thumbnails import Thumbnails
from model.embedder import ModelError

if TYPE_CHECKING:
    from model.remote.client import RemoteEmbedder

log = logging.getLogger(__name__)

LOOK_S = 0.25
TELL_S = 10.0
BEGIN_S = 2.0
"""Between looks whether the library has been indexed at all yet."""


class OneModel:
    """The one model that this worker has, and the rows of the catalogue that it stands behind."""

    def __init__(self, models: Models, embedder: SharedEmbedder, shown: str) -> None:
        self._models, self._embedder, self._shown = models, embedder, shown
        self.id = embedder.id

    def does(self, row: ModelRow) -> bool:
        return row.name == self.id

    def answering(self) -> tuple[ModelRow, SharedEmbedder]:
        return self._row("answering"), self._embedder

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]:
        return self.answering()

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None:
        found = self._find("building")
        return None if found is None else (found, self._embedder)

    def check(self) -> None:
        """Raise LibraryError when the library has no use for this model."""
        rows = [r for r in self._models.all() if r.state in ("answering", "building")]
        if rows and not any(self.does(r) for r in rows):
            wanted = " and ".join(r.name for r in rows)
            raise LibraryError(
                f"This worker embeds with {self.id}, the library at {self._shown} with {wanted}; vectors of "
                "two models never mix. Name that one by --model, or update the older installation."
            )

    def _find(self, state: str) -> ModelRow | None:
        return next((r for r in self._models.all() if r.state == state and self.does(r)), None)

    def _row(self, state: str) -> ModelRow:
        found = self._find(state)
        if found is None:
            self.check()
            raise ModelError(f"{self.id} does not answer in the library at {self._shown} any more")
        return found


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
        what the library was indexed with. `maps`: as `Mounts` takes them. `name`: what `status` calls it,
        one for each worker; a worker that starts again under its name goes on with what it had. `data_dir`
        holds thumbnails and the log. `token`: for a model on another machine. Nothing is asked of the server
        yet. Raises `LibraryError` in one sentence.
        """
        where = place(catalogue) if catalogue else None
        if where is None or isinstance(where, Path):
            raise LibraryError(
                "A worker needs a catalogue that machines can share: "
                "--catalogue postgresql+psycopg://USER@HOST/DATABASE (docs/scale.md)."
            )
        self._mounts = Mounts(maps)
        self._shown = where.render_as_string()
        self._where = where
        self._opened: tuple[Database, int] | None = None
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
        self, stop: threading.Event, told: Callable[[str], None] = lambda line: None, *, once: bool = False
    ) -> Tally:
        """Work until `stop`; `once`: until there is nothing left to lease. `told` is called with `line` when
        it begins or waits, and now and then meanwhile. A server that is not there yet, or has no library yet
        (unless `once`), is waited for. Raises `LibraryError` when this worker may not work here: a wrong
        password, another schema or model."""
        said = ""
        while True:
            try:
                return self._work(stop, told, once)
            except (CatalogueAway, NoLibraryYet) as error:  # while it began; at work, the pipeline waits
                if once and isinstance(error, NoLibraryYet):
                    raise  # there is nothing to do
                line = f"{error} It waits and goes on by itself."
                if line != said:
                    said = line
                    told(line)
                if stop.wait(AWAY_S):
                    return self.tally

    @property
    def _catalogue(self) -> CatalogueParts:
        """What a worker may touch."""
        return CatalogueParts.of(self._library()[0])

    def _library(self) -> tuple[Database, int]:
        """The database, opened with its first use, and its schema then."""
        if self._opened is None:
            database = Database(self._where, read_only=True)  # it never brings a library up to date
            self._opened = database, _schema_of(database)
        return self._opened

    def _work(self, stop: threading.Event, told: Callable[[str], None], once: bool) -> Tally:
        from data.media.sandbox import Sandbox

        catalogue = self._catalogue
        roots = [root for root, _ in catalogue.leases.roots()]
        self._mounts.check([r.path for r in roots if r.state != "left_out"])
        if not self._wait_for_library(stop, told):
            return self.tally
        models = self._load()
        models.check()
        with Sandbox(workers=self._threads, nice=self._nice) as sandbox:
            while not stop.is_set():
                options = IndexingOptions.of(catalogue.settings)
                self._heartbeat = Heartbeat(
                    catalogue.leases,
                    catalogue.contents,
                    catalogue.transcripts,
                    self.name,
                    lambda: models.id,
                    mounts=self._mounts,
                    lease_s=self._lease_s,
                    told=lambda: line_of(self._pipeline) if self._pipeline is not None else "",
                    check=lambda: self._check(models),
                )
                self._pipeline = Pipeline(
                    catalogue,
                    self._mounts,
                    models,
                    sandbox,
                    self._thumbnails,
                    self._priority,
                    workers=self._threads,
                    nice=self._nice,
                    options=options,
                    heartbeat=self._heartbeat,
                )
                if self._one_session(options, stop, told, once):
                    break
        return self.tally

    def close(self) -> None:
        if self._opened is not None:
            self._opened[0].close()

    def line(self) -> str:
        """What it does now, or why it does not."""
        if self._pipeline is None or self._heartbeat is None:
            return ""
        lacks = "".join(f"; {root} cannot be seen here" for root in self._heartbeat.lacks)
        done = self._pipeline.tally.contents
        return f"{line_of(self._pipeline)}; {done:,} done{lacks}"

    # -- one session: one way of cutting ---------------------------------------------------

    def _one_session(
        self, options: IndexingOptions, stop: threading.Event, told: Callable[[str], None], once: bool
    ) -> bool:
        """True at the end; False when the library is cut otherwise now."""
        pipeline, heartbeat = self._pipeline, self._heartbeat
        assert pipeline is not None and heartbeat is not None
        before: object = None
        line = ""
        last = 0.0
        pipeline.start()
        try:
            looked = 0
            while not stop.wait(LOOK_S):
                if heartbeat.refused is not None:
                    raise heartbeat.refused
                if pipeline.trouble.broken:
                    raise LibraryError(pipeline.trouble.told or "The model is broken.")
                state = (pipeline.trouble.waiting, pipeline.trouble.told, heartbeat.lacks)
                if state != before or (time.monotonic() - last > TELL_S and self.line() != line):
                    before, last, line = state, time.monotonic(), self.line()
                    told(line)
                looked += 1
                try:
                    if once and pipeline.idle():
                        return True
                    if looked % 20 == 0 and IndexingOptions.of(self._catalogue.settings) != options:
                        return False
                except CatalogueAway as error:
                    pipeline.trouble.catalogue_is_away(str(error))
            return True
        finally:
            pipeline.stop()
            for field, value in vars(pipeline.tally).items():
                setattr(self.tally, field, getattr(self.tally, field) + value)

    # -- what the library asks for ---------------------------------------------------------

    def _wait_for_library(self, stop: threading.Event, told: Callable[[str], None]) -> bool:
        waits = False
        while not stop.is_set():
            if self._catalogue.settings.get(RECIPE) and self._catalogue.models.answering():
                return True
            if not waits:
                waits = True
                told(f"The library at {self._shown} has not been indexed yet; waiting for the program that watches it.")
            stop.wait(BEGIN_S)
        return False

    def _load(self) -> OneModel:
        row = self._catalogue.models.answering()
        assert row is not None, "it was waited for"
        options = dict(self._model) if self._model is not None else json.loads(row.source)
        try:
            embedder = self._loader(options.pop("name"), **options)
            if hasattr(embedder, "canary"):  # a server's
                recognise(cast("RemoteEmbedder", embedder), self._catalogue.settings, read_only=True)
        except ModelError as error:
            raise LibraryError(f"The model of the library at {self._shown} cannot be used here: {error}") from error
        return OneModel(self._catalogue.models, SharedEmbedder(embedder, self._priority), self._shown)

    def _check(self, models: OneModel) -> None:
        database, known = self._library()
        schema = _schema_of(database)
        if schema != known:
            raise LibraryError(
                f"The library at {self._shown} was brought to schema {schema} while this worker knows "
                f"{known}: update Sightline on {socket.gethostname()}."
            )
        models.check()


def _schema_of(database: Database) -> int:
    with database.reader() as c:
        return int(c.exec_driver_sql("SELECT version FROM schema_version").scalar_one())
