"""Puts a model of `HUB_MODELS` on this machine: its files from the hub, or graphs built from its authors' weights.

Built around a staging folder beside the model's: what is fetched or built is there until all is complete, so that a
model is whole or absent, and the next run continues one that was stopped or killed. It knows nothing of the commands.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from data.download import model_files
from data.download.hub import DownloadError, Hub
from data.download.model_files import HubAway, ModelPlan
from model import hub_models
from model.embedder import ModelError
from model.hub_models import HUB_MODELS, HubCheckpoint, HubModel

Report = Callable[[str], None]

CHECKPOINT_HASHES = "checkpoint"
"""In a model's record: path -> [bytes, SHA-256] of the checkpoint that its graphs were built from."""


def install_model(
    name: str, report: Report, precision: str | None = None, *, keep: bool = False, progress: Report | None = None
) -> None:
    """Put a model into its folder, and verify its files. `keep`: also the checkpoint that its graphs are built from.
    `progress`: is told every second how much of a file is here. Raises `ModelError`."""
    model = HUB_MODELS[name]
    precision = precision or model.precision
    source, folder, hub = model.source(precision), model.folder(), Hub()
    report(f"{name}: {model.repo if source is None else source.repo}, licence {model.licence}")
    if note := model.notes.get(precision):
        report(f"{precision}: {note}")
    try:
        with _one_at_a_time(model):
            if hub_models.missing(model, folder, precision):
                run = _Run(model, precision, hub, report, progress)
                run.fetch() if source is None else run.build(source, keep=keep)
            hub_models.verify(folder, model.files(precision), model.checksums)
            _tidy(model, keep=keep)
    except HubAway as error:
        raise ModelError(
            f"the hub at {hub.api.endpoint} cannot be used ({error}). Without network: put these files there\n"
            f"{hub_models.manual_download(model, precision, hub.api.endpoint)}\n"
            f"and run this command again: sightline models get {name} --precision {precision}"
        ) from error
    except DownloadError as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(f"{folder} cannot be written ({error.strerror or error})") from error
    report(f"in place: {folder} ({_origins(model, precision)})")


class _Run:
    """One installation in `precision`. Both methods raise `ModelError`, `HubAway`, `DownloadError` and `OSError`."""

    def __init__(self, model: HubModel, precision: str, hub: Hub, report: Report, progress: Report | None) -> None:
        self._model, self._precision, self._hub = model, precision, hub
        self._report, self._progress = report, progress
        self._folder = model.folder()

    def fetch(self) -> None:
        """Fetch the files of the hub's repository."""
        plan = self._plan(self._model.files(self._precision))
        self._report(f"{plan.bytes / 1e6:,.0f} MB to fetch into {self._folder}")
        model_files.require_room([plan], self._folder)
        self._download(plan)
        self._install(plan)

    def build(self, source: HubCheckpoint, *, keep: bool) -> None:
        """Fetch the checkpoint, and tokenizer and config.json of the repository; build the graphs of them."""
        from model.gemma.build.__main__ import build_graphs

        weights_folder = self._model.checkpoint_folder()
        others = self._plan(self._model.others) if hub_models.missing_in(self._folder, self._model.others) else None
        weights = None
        if hub_models.missing_in(weights_folder, source.files):
            known = hub_models.read_record(self._folder).get(CHECKPOINT_HASHES, {})
            held = {path: (int(size), str(digest)) for path, (size, digest) in known.items()}
            weights = model_files.plan_model(
                self._hub, source.repo, source.revision, source.files, weights_folder, held
            )
        plans = [plan for plan in (others, weights) if plan is not None]
        self._report(
            f"{sum(plan.bytes for plan in plans) / 1e6:,.0f} MB to fetch, then {source.graph_bytes / 1e6:,.0f} MB of"
            f" graphs to build in {self._folder}; the fetched weights are {'kept' if keep else 'removed'} afterwards"
        )
        model_files.require_room(plans, self._folder, source.graph_bytes)
        for plan in plans:
            self._download(plan)
        if weights is not None:
            files = model_files.install(weights)
            hub_models.record_files(weights_folder, weights.revision, [(f.path, f.sha256, f.source) for f in files])
        digests = hub_models.verify(weights_folder, source.files)
        self._report(f"building the {self._precision} graphs, some seconds")
        staging, paths = model_files.staging_folder(self._folder), self._model.graph_files(self._precision)
        try:
            build_graphs(weights_folder, staging, self._precision)
        except ModelError:  # of a file that was put there by hand, and may be replaced by another
            (weights_folder / hub_models.RECORD).unlink(missing_ok=True)
            raise
        if others is not None:
            self._install(others)
        for path in paths:
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(self._folder / path)
        revision = str(hub_models.read_record(self._folder).get("revision") or self._model.revision)
        graphs = [(path, hub_models.sha256(self._folder / path), "built") for path in paths]
        hub_models.record_files(self._folder, revision, graphs)
        sizes = [(weights_folder / path).stat().st_size for path in source.files]
        entries = {path: entry for path, *entry in zip(source.files, sizes, digests, strict=True)}
        hub_models.write_record(self._folder, hub_models.read_record(self._folder) | {CHECKPOINT_HASHES: entries})

    def _plan(self, paths: tuple[str, ...]) -> ModelPlan:
        """Returns the download of files of the repository, held to the hashes declared and of the first download."""
        model, record = self._model, hub_models.read_record(self._folder)
        held = {
            path: (entry["bytes"], entry["sha256"])
            for path, entry in record["files"].items()
            if entry.get("from") == "hub"
        }
        revision = model.revision or record.get("revision")
        return model_files.plan_model(
            self._hub, model.repo, revision, paths, self._folder, held | dict(model.checksums)
        )

    def _download(self, plan: ModelPlan) -> None:
        model_files.fetch_model(self._hub, plan, self._report, self._progress)

    def _install(self, plan: ModelPlan) -> None:
        files = model_files.install(plan, self._model.checksums)
        hub_models.record_files(self._folder, plan.revision, [(f.path, f.sha256, f.source) for f in files])


@contextmanager
def _one_at_a_time(model: HubModel) -> Iterator[None]:
    """Raises `DownloadError` if another program installs this model."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined, unused-ignore]

    lock = model.folder().with_name(f".{model.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with WeakFileLock(lock, timeout=1):
            yield
    except Timeout:
        raise DownloadError(f"another program is fetching {model.name}; wait until it is done") from None


def _tidy(model: HubModel, *, keep: bool) -> None:
    """Remove the staging folders, and the checkpoint unless it is kept; a kept one has a tokenizer, so that it is whole
    for `--model`."""
    folder, weights_folder = model.folder(), model.checkpoint_folder()
    for place in (folder, weights_folder):
        shutil.rmtree(model_files.staging_folder(place), ignore_errors=True)
    if keep and weights_folder.is_dir():
        shutil.copyfile(folder / "tokenizer.json", weights_folder / "tokenizer.json")
    elif not (weights_folder / "tokenizer.json").is_file():
        shutil.rmtree(weights_folder, ignore_errors=True)


def _origins(model: HubModel, precision: str) -> str:
    """Returns a clause on which hashes the files were held to."""
    entries, paths = hub_models.read_record(model.folder())["files"], model.files(precision)
    origins = [entries.get(path, {}).get("from") for path in paths]
    declared, built = origins.count("declared"), origins.count("built")
    clause = f"{declared} of {len(paths)} files match the hashes that Sightline declares"
    if built:
        clause += f", {built} were built here"
    if rest := len(paths) - declared - built:
        clause += f", {rest} the hashes that were recorded at the first download"
    return clause
