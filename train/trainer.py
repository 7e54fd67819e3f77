"""A training run, from a config to checkpoints: one code path for one process and for many.

Built around `_Run`, in the order of the run: processes, tower, sources, mixing table, optimiser, steps. Each
process embeds its share of the global batch in chunks, every process sees all embeddings, the gradients are
summed. The result of a step does not depend on the number of processes, nor on a restart.
It knows nothing of backbones (`towers/`), of losses (`objectives/`), of how rows become tensors
(`loading.py`) or of the layout of a checkpoint (`checkpoint.py`).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sources.pair import MissingSubset, SourceError
from data.sources.registry import open_source
from data.sources.source import Source
from train import checkpoint
from train.config import Config, ConfigError
from train.loading import DataError, Loader, Missing, PairBatch, pair_batches
from train.logs import RunLog, memory_gb
from train.mixing import Grouping, Ingredient, MixingTable
from train.objectives.open import open_objective
from train.processes import Processes, gather_objects, make_current, processes
from train.towers.open import open_tower
from train.towers.tower import Tower

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class TrainError(Exception):
    """Training stopped. The message is for the user."""


class OutOfMemory(TrainError):
    """One process ran out of memory; the others do not know it, so this process prints the message."""


@dataclass(frozen=True)
class Outcome:
    """The end of a run: after `step` steps; `stopped` if a signal ended it early."""

    step: int
    stopped: bool
    checkpoint: Path | None
    evaluation: Mapping[str, Any] | None = None


def train(config: Config, output_dir: Path) -> Outcome:
    """Train, from the newest checkpoint in `output_dir` if it has one of the same config.

    Raises `TrainError`, `ConfigError`, `DataError`, `SourceError`, `MixingError`, `CheckpointError`,
    `ModelError`; each message is for the user.
    """
    with processes(config) as group:
        config.check_world(group.world)
        return _Run(config, output_dir, group).run()


class _Run:
    def __init__(self, config: Config, output_dir: Path, group: Processes) -> None:
        import torch

        self.config, self.output_dir, self.processes = config, output_dir, group
        self.sources = open_sources(config)
        earlier = checkpoint.checkpoints(output_dir)
        self.groupings, self.regrouped = _kept_groupings(
            self.sources, checkpoint.state_of(earlier[-1]) if earlier else {}
        )
        self.table = mixing_table(config, self.sources, self.groupings)
        torch.manual_seed(config.seed)  # every process starts with the same adapters
        self.tower: Tower = open_tower(config, group.device)
        make_current(self.tower.device)
        self.parameters = self.tower.trainable()
        if not self.parameters:
            raise ConfigError("the model has no trainable weights")
        self.optimizer = optimizer_of(config, self.parameters.values())
        self.objective = open_objective(config, self.tower)
        self.loader = Loader(
            self.sources,
            self.tower.collator(),
            config.max_frames,
            config.hard_negatives,
            [self.table.held_out(i) for i in range(len(self.sources))],
            keep_items=self.objective.needs_items,
            pixels=(config.min_pixels, config.max_pixels),
        )
        self.missing = Missing([s.name for s in self.sources], [len(s) for s in self.sources], config.max_missing)
        self.stop = _StopSignal()

    def run(self) -> Outcome:
        from train.grad_cache import random_state, set_random_state

        step = self._restore()
        log = RunLog(self.output_dir, self.config.max_steps, step) if self.processes.first else None
        if log:
            self._log_start(log, step)
        earlier = checkpoint.checkpoints(self.output_dir)
        last, last_step, evaluation = (earlier[-1] if earlier else None), step, None
        shares = self.table.shares(step, self.config.max_steps, self.processes.rank, self.processes.world)
        try:
            start = time.monotonic()
            config = self.config
            batches = pair_batches(self.loader, shares, config.chunk_size, config.workers, config.length_buckets)
            for share in self._agree_on_errors(batches):
                waiting_s = time.monotonic() - start
                state = random_state()
                try:
                    metrics = self._step(step, share, log)
                except _Interrupted:
                    set_random_state(state)
                    if last is None or last_step != step:
                        last, last_step = self._save(step), step
                    break
                step += 1
                seconds = time.monotonic() - start
                metrics |= {"seconds": seconds, "waiting_s": waiting_s}
                metrics["samples_per_s"] = self.config.batch_size / seconds
                if log and (step % self.config.log_steps == 0 or step == self.config.max_steps):
                    log.write(step, metrics)
                if self.config.eval_steps and (step % self.config.eval_steps == 0 or step == self.config.max_steps):
                    evaluation = self.evaluate()
                    if log:
                        log.write(step, {"eval": evaluation})
                        log.notice(f"step {step}: held-out hit@1 {evaluation['hit@1']:.1%}")
                stop = any(self._gather(self.stop.is_set))  # all processes stop after the same step
                if step % self.config.save_steps == 0 or step == self.config.max_steps or stop:
                    last, last_step = self._save(step), step
                if stop:
                    break
                start = time.monotonic()
        finally:
            self.stop.restore_handlers()
            if log:
                log.close()
        assert last_step == step
        return Outcome(step, step < self.config.max_steps, last, evaluation)

    def _gather(self, value: Any) -> list[Any]:
        return gather_objects(value, self.processes)

    def _step(self, step: int, share: Sequence[PairBatch], log: RunLog | None) -> dict[str, Any]:
        """Make one optimiser step with this process's share of the batch. Returns the metrics for the log."""
        import torch

        from train.grad_cache import cached_backward, sum_gradients

        self._count_missing(share, log)
        self.tower.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        chunks = [p.queries for p in share] + [p.positives for p in share]
        chunks += [batch for p in share for batch in p.negatives]
        loss_of = self.objective.loss_function(share)
        try:
            loss = cached_backward(self._encode, chunks, loss_of, cache=self.config.chunk_size > 0)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"step {step + 1}: the memory of {self.tower.device} is full; set chunk_size below "
                f"{self.config.chunk_size or len(chunks[0])}, then max_pixels below {self.config.max_pixels}"
            ) from error
        sum_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            self._raise_not_finite(step, share, float(loss), float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        self.optimizer.step()
        return {
            "loss": float(loss),
            **self.objective.metrics([s.name for s in self.sources]),
            "grad_norm": float(norm),
            "learning_rate": learning_rate(self.config, step),
            "memory_gb": memory_gb(self.tower.device.type),
            "missing": self.missing.count,
        }

    def _encode(self, batch: Any) -> Tensor:
        """`Tower.encode`. Raises `_Interrupted` on a stop signal if this is the only process: a step takes minutes
        on one GPU. Several processes must end their step together."""
        if self.stop.is_set and self.processes.world == 1:
            raise _Interrupted
        return self.tower.encode(batch)

    def evaluate(self) -> dict[str, Any]:
        """Returns hit@1 over the held-out rows: each query against all held-out targets of its source."""
        import torch

        from train.grad_cache import embed_chunks, same_random_state
        from train.loss import gather, in_batch_accuracy, same_target_mask

        self.tower.module.eval()
        by_source: dict[str, float] = {}
        chance: list[float] = []
        for number, source in enumerate(self.sources):
            rows = [(number, int(row)) for row in self.table.held_out(number)]
            own_rows = rows[self.processes.rank :: self.processes.world]
            with same_random_state():
                batches = pair_batches(self.loader, iter([own_rows]), self.config.chunk_size or 32, 0)
                (share,) = self._agree_on_errors(batches)
                embeddings = [
                    embed_chunks(self.tower.encode, [getattr(p, side) for p in share])
                    if share
                    else torch.zeros(0, 1, device=self.tower.device)
                    for side in ("queries", "positives")
                ]
            self._count_missing(share, None)
            keys = np.concatenate([p.target_keys for p in share]) if share else np.zeros(0, np.int64)
            if len(rows) >= self.processes.world:
                queries, targets = (gather(e)[0] for e in embeddings)
                all_keys = gather(torch.from_numpy(keys).to(targets.device))[0]
                own = torch.arange(len(queries), device=targets.device)
                correct = in_batch_accuracy(queries, targets, own, same_target_mask(all_keys, own))
                by_source[source.name] = float(correct.float().mean())
                chance.append(1 / max(1, len(set(all_keys.tolist()))))
        if not by_source:
            raise TrainError("no source has held-out rows to evaluate on; lower eval_rows or add data")
        return {
            "hit@1": sum(by_source.values()) / len(by_source),
            "chance": sum(chance) / len(chance),
            "by_source": by_source,
        }

    def _restore(self) -> int:
        """Load the newest checkpoint, if there is one. Returns its step, or 0."""
        import torch

        checkpoints = checkpoint.checkpoints(self.output_dir)
        state: dict[str, Any] = {"step": 0}
        if checkpoints:
            state = checkpoint.restore(checkpoints[-1], self.tower, self.optimizer, self.config)
        step = int(state["step"])
        # Every process draws a dropout of its own, and after a restart not the one of the first steps.
        torch.manual_seed((step << 32) + self.config.seed + 1 + self.processes.rank)
        if checkpoints:
            checkpoint.restore_random(checkpoints[-1], self.processes.rank, self.processes.world)
        for source, row, reason in state.get("missing", []):
            self.missing.reasons.setdefault(source, {})[row] = reason
        sizes = {s.name: len(s) for s in self.sources}
        self.size_changes = {
            name: (rows, sizes[name])
            for name, rows in state.get("rows", {}).items()
            if name in sizes and rows != sizes[name]
        }
        return step

    def _agree_on_errors(self, shares: Iterator[list[PairBatch]]) -> Iterator[list[PairBatch]]:
        """Yields each share when every process has its own; a `DataError` of one is raised in all."""
        while True:
            share, message = None, None
            try:
                share = next(shares, None)
            except DataError as error:
                message = str(error)
            for other_message in self._gather(message):
                if other_message is not None:
                    raise DataError(other_message)
            if share is None:
                return
            yield share

    def _save(self, step: int) -> Path:
        """Gather the random states; the first process writes, the others wait for the result."""
        from train.grad_cache import random_state

        states = self._gather(random_state())
        problem: str | None = None
        if self.processes.first:
            missing = [[s, r, why] for s, rows in self.missing.reasons.items() for r, why in rows.items()]
            try:
                extra = {
                    "missing": missing,
                    "rows": {s.name: len(s) for s in self.sources},
                    "groups": {name: grouping.to_json() for name, grouping in self.groupings.items()},
                    "orders": {s.name: s.order for s in self.sources if s.order},
                }
                checkpoint.save(self.output_dir, step, self.tower, self.optimizer, states, self.config, extra)
            except checkpoint.CheckpointError as error:
                problem = str(error)
        if problem := self._gather(problem)[0]:
            raise checkpoint.CheckpointError(problem)
        return self.output_dir / f"checkpoint-{step}"

    def _count_missing(self, share: Sequence[PairBatch], log: RunLog | None) -> None:
        missing = [m for batch in share for m in batch.missing]
        for message in self.missing.add([m for part in self._gather(missing) for m in part]):
            if log:
                log.notice(f"skipped {message}")

    def _raise_not_finite(self, step: int, share: Sequence[PairBatch], loss: float, norm: float) -> None:
        """Write the rows of the batch to a JSON file. Raises `TrainError`."""
        import torch

        names: list[str] = []
        with torch.no_grad():
            for pairs in share:
                bad = torch.zeros(len(pairs), dtype=torch.bool)
                for batch in (pairs.queries, pairs.positives):
                    bad |= ~torch.isfinite(self.tower.encode(batch)).all(dim=1).cpu()
                names += [name for name, is_bad in zip(pairs.names, bad.tolist(), strict=True) if is_bad]
        suspects = [n for part in self._gather(names) for n in part]
        batch_names = [n for part in self._gather([n for p in share for n in p.names]) for n in part]
        path = self.output_dir / f"not-a-number-at-step-{step + 1}.json"
        if self.processes.first:
            report = {"step": step + 1, "loss": repr(loss), "grad_norm": repr(norm)}
            path.write_text(json.dumps(report | {"suspects": suspects, "batch": batch_names}, indent=1) + "\n")
        subject = f"its embeddings of {', '.join(suspects[:3])}" if suspects else "its loss or gradients"
        raise TrainError(
            f"step {step + 1}: {subject} are not numbers (loss {loss}, gradient norm {norm}); "
            f"the batch is named in {path}; the weights were not changed by it"
        )

    def _log_start(self, log: RunLog, step: int) -> None:
        count = sum(p.numel() for p in self.parameters.values())
        total = sum(p.numel() for p in self.tower.module.parameters())
        log.notice(
            f"{self.config.model_name} on {self.processes.world} × {self.tower.device}: "
            f"{count:,} of {total:,} weights trained; "
            f"{sum(len(s) for s in self.sources):,} pairs from {len(self.sources)} sources"
            + (f"; goes on after step {step}" if step else "")
        )
        for name, (old_size, size) in self.size_changes.items():
            held_out = ", and so are its held-out rows" if self.config.eval_steps else ""
            log.notice(f"{name} has {size:,} rows, {old_size:,} before: its order is drawn anew{held_out}")
        for name in self.regrouped:
            log.notice(f"{name} is packed otherwise than when the run began, which keeps the order of its rows")
        if self.config.workers * self.processes.world > 1:
            for source in self.sources:
                if source.advice:
                    log.notice(source.advice)


def _mined(source: Source, config: Config) -> Source:
    """Returns a source with its mined negatives and order, if the config names some. Raises `MiningError`."""
    if config.mined is None:
        return source
    from train.mining import Mined, MinedSource

    return MinedSource(source, Mined.load(Path(config.mined).expanduser() / f"{source.name}.npz"))


def open_sources(config: Config) -> list[Source]:
    """Returns the sources of `datasets:`, in order, with unique names. Raises `SourceError`; it names all
    subsets that were not downloaded."""
    root = Path(config.data_root).expanduser()
    sources: list[Source] = []
    missing: list[MissingSubset] = []
    for entry in config.datasets:
        try:
            sources.append(open_source(entry, root, config.imports))
        except MissingSubset as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(config.datasets)} data sets are not below {root}; fetch them with `python -m "
            f"data.download --root {root} --only {' '.join(f'train/{error.name}' for error in missing)}`"
        )
    names: set[str] = set()
    for number, source in enumerate(sources):
        if source.name in names:
            source.name = f"{source.name} ({number + 1})"
        names.add(source.name)
    return [_mined(source, config) for source in sources]


def _kept_groupings(sources: Sequence[Source], state: Mapping[str, Any]) -> tuple[dict[str, Grouping], list[str]]:
    """Returns each source's grouping, that of the run's checkpoint (`state`) where its rows are as many, and the names
    of the sources that are grouped otherwise by now: packing between two starts must not change the order of a run.

    Raises `ConfigError` if a source has another mined order than the run began with.
    """
    groupings: dict[str, Grouping] = {}
    regrouped: list[str] = []
    for source in sources:
        own = Grouping(source.groups, source.open_groups)
        began = state.get("groups", {}).get(source.name)
        if (order := state.get("orders", {}).get(source.name, source.order)) != source.order:
            raise ConfigError(
                f"{source.name} was mined again since this run began (order {order or 'none'}, now "
                f"{source.order or 'none'}); put the old mined rows back, or choose another --output_dir"
            )
        if began is not None and state["rows"].get(source.name) == len(source) and began != own.to_json():
            own = Grouping.from_json(began)
            regrouped.append(source.name)
        groupings[source.name] = own
    return groupings, regrouped


def mixing_table(
    config: Config, sources: Sequence[Source], groupings: Mapping[str, Grouping] | None = None
) -> MixingTable:
    """Returns the table of a config. With `eval_steps`, `eval_rows` of each source, at most a fifth, are held out.
    `groupings`: of the sources by name, in place of their own."""
    kept = {source.name: Grouping(source.groups, source.open_groups) for source in sources} | dict(groupings or {})
    ingredients = [
        Ingredient(
            source.name,
            rows=len(source),
            weight=float(entry.get("weight", 1)),
            groups=kept[source.name].groups,
            open_groups=kept[source.name].open_groups,
            held_out=min(config.eval_rows, len(source) // 5) if config.eval_steps else 0,
        )
        for source, entry in zip(sources, config.datasets, strict=True)
    ]
    return MixingTable(ingredients, config.batch_size, config.sub_batch_size, config.seed)


def optimizer_of(config: Config, parameters: Iterable[Tensor]) -> Optimizer:
    """Returns a fused AdamW: one pass over weights, gradients and moments. On a CPU 6 ms instead of 17 for 4.7
    million weights, which took all-weights training from 0.88 to above 0.9 of bare (`make bench-train`)."""
    import torch

    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(config: Config, step: int) -> float:
    """Linear warm-up, then linear to zero at `max_steps`; `step` counts from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    remaining = (config.max_steps - step) / max(1, config.max_steps - config.warmup_steps)
    return config.learning_rate * max(0.0, remaining)


class _Interrupted(Exception):
    """A stop signal interrupted a step before it changed the weights."""


class _StopSignal:
    """Set by SIGTERM and SIGINT: the run writes a checkpoint and ends. A second SIGINT ends it at once, but not under
    torchrun, whose agent repeats the signal that the process group got already."""

    def __init__(self) -> None:
        self.is_set = False
        self._is_repeated = "TORCHELASTIC_RUN_ID" in os.environ
        self._old_handlers: dict[int, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._old_handlers[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread, which handles the signals itself
                return

    def _handle(self, number: int, frame: Any) -> None:
        if self.is_set and number == signal.SIGINT and not self._is_repeated:
            raise KeyboardInterrupt
        self.is_set = True

    def restore_handlers(self) -> None:
        """As before; but after a signal no further one ends the process before it has left the process group."""
        if self.is_set:
            return
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
