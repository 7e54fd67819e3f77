"""A training run, from a config to checkpoints: one path for one process and for many.

Reads as the run goes: processes, tower, sources, mixing table, optimiser, then steps. Each process embeds
its share of the global batch in chunks, every process sees all embeddings, the gradients are summed; there
is no wrapper around the model. A step is the same arithmetic on 1 process and on 8, and after a restart as
without one.
It knows nothing of backbones (`towers/`), of losses (`objectives/`), of how rows become tensors
(`loading.py`) or of files' layout (`checkpoint.py`).
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sources.registry import open_source
from data.sources.source import Source
from train import checkpoint
from train.config import Config, ConfigError
from train.loading import DataError, Loader, Missing, PairBatch, pieces
from train.logs import RunLog, memory_gb
from train.mixing import Ingredient, MixingTable
from train.objectives.open import open_objective
from train.processes import Processes, everybodys, make_current, processes
from train.towers.open import open_tower
from train.towers.tower import Tower

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class TrainError(Exception):
    """Training stopped. One sentence for a person."""


class OutOfMemory(TrainError):
    """Of one process, which alone can tell it."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after `step` steps; `stopped` says that a signal ended it early."""

    step: int
    stopped: bool
    checkpoint: Path | None
    evaluation: Mapping[str, Any] | None = None


def train(config: Config, output_dir: Path) -> Outcome:
    """Train, or go on training where `output_dir` has checkpoints of the same config.

    Raises `TrainError`, `ConfigError`, `DataError`, `SourceError`, `MixingError`, `CheckpointError`,
    `ModelError`: each one sentence for a person.
    """
    with processes(config) as here:
        config.check_world(here.world)
        return _Run(config, output_dir, here).go()


class _Run:
    def __init__(self, config: Config, output_dir: Path, here: Processes) -> None:
        import torch

        self.config, self.output_dir, self.here = config, output_dir, here
        self.sources = open_sources(config)
        self.table = mixing_table(config, self.sources)
        torch.manual_seed(config.seed)  # adapters start alike in every process
        self.tower: Tower = open_tower(config, here.device)
        make_current(self.tower.device)
        self.parameters = self.tower.trained()
        if not self.parameters:
            raise ConfigError("nothing in the model would be trained")
        self.optimizer = optimizer_of(config, self.parameters.values())
        self.objective = open_objective(config, self.tower)
        self.loader = Loader(
            self.sources,
            self.tower.collator(),
            config.max_frames,
            config.hard_negatives,
            [self.table.held_out(i) for i in range(len(self.sources))],
            keep_items=self.objective.wants_items,
        )
        self.missing = Missing([s.name for s in self.sources], [len(s) for s in self.sources], config.max_missing)
        self.stop = _StopSignal()

    def go(self) -> Outcome:
        from train.grad_cache import random_state, set_random_state

        step = self._restore()
        log = RunLog(self.output_dir, self.config.max_steps, step) if self.here.first else None
        if log:
            self._introduce(log, step)
        saved = checkpoint.checkpoints(self.output_dir)
        last, last_saved, evaluation = (saved[-1] if saved else None), step, None
        shares = self.table.shares(step, self.config.max_steps, self.here.rank, self.here.world)
        try:
            began = time.monotonic()
            coming = pieces(self.loader, shares, self.config.chunk_size, self.config.workers)
            for share in self._agreed(coming):
                waited = time.monotonic() - began
                before = random_state()
                try:
                    numbers = self._step(step, share, log)
                except _Interrupted:
                    set_random_state(before)
                    if last is None or last_saved != step:
                        last, last_saved = self._save(step), step
                    break
                step += 1
                numbers["seconds"] = time.monotonic() - began
                numbers["waiting_s"] = waited
                numbers["samples_per_s"] = self.config.batch_size / numbers["seconds"]
                if log and (step % self.config.log_steps == 0 or step == self.config.max_steps):
                    log.write(step, numbers)
                if self.config.eval_steps and (step % self.config.eval_steps == 0 or step == self.config.max_steps):
                    evaluation = self.evaluate()
                    if log:
                        log.write(step, {"eval": evaluation})
                        log.say(f"step {step}: held-out hit@1 {evaluation['hit@1']:.1%}")
                stopping = self._agree(self.stop.asked)
                if step % self.config.save_steps == 0 or step == self.config.max_steps or stopping:
                    last, last_saved = self._save(step), step
                if stopping:
                    break
                began = time.monotonic()
        finally:
            self.stop.forget()
            if log:
                log.close()
        assert last_saved == step
        return Outcome(step, step < self.config.max_steps, last, evaluation)

    def _step(self, step: int, share: Sequence[PairBatch], log: RunLog | None) -> dict[str, Any]:
        """One optimiser step on this process's share of the batch. The numbers to be logged."""
        import torch

        from train.grad_cache import cached_backward, sum_gradients

        self._count_missing(share, log)
        self.tower.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        chunks = [p.queries for p in share] + [p.positives for p in share]
        chunks += [batch for p in share for batch in p.negatives]
        loss_of = self.objective.on(share)
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
            self._name_the_batch(step, share, float(loss), float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        self.optimizer.step()
        return {
            "loss": float(loss),
            **self.objective.numbers([s.name for s in self.sources]),
            "grad_norm": float(norm),
            "learning_rate": learning_rate(self.config, step),
            "memory_gb": memory_gb(self.tower.device.type),
            "missing": self.missing.count,
        }

    def _encode(self, batch: Any) -> Tensor:
        """The tower's. One process alone gives a step up between two chunks when it is asked to stop: on one
        card a step takes minutes, and who asks waits seconds. Several must end their step together."""
        if self.stop.asked and self.here.world == 1:
            raise _Interrupted
        return self.tower.encode(batch)

    def evaluate(self) -> dict[str, Any]:
        """Held-out rows: the share of queries whose own target beats every other one of their source."""
        import torch

        from train.grad_cache import embed_chunks, same_random_state
        from train.loss import gather, in_batch_accuracy, same_target_mask

        self.tower.module.eval()
        by_source: dict[str, float] = {}
        chance: list[float] = []
        for number, source in enumerate(self.sources):
            rows = [(number, int(row)) for row in self.table.held_out(number)]
            mine = rows[self.here.rank :: self.here.world]
            with same_random_state():
                coming = pieces(self.loader, iter([mine]), self.config.chunk_size or 32, 0)
                (found,) = self._agreed(coming)
                encoded = [
                    embed_chunks(self.tower.encode, [getattr(p, side) for p in found])
                    if found
                    else torch.zeros(0, 1, device=self.tower.device)
                    for side in ("queries", "positives")
                ]
            self._count_missing(found, None)
            keys = np.concatenate([p.target_keys for p in found]) if found else np.zeros(0, np.int64)
            if len(rows) >= self.here.world:
                queries, targets = (gather(e)[0] for e in encoded)
                all_keys = gather(torch.from_numpy(keys).to(targets.device))[0]
                own = torch.arange(len(queries), device=targets.device)
                right = in_batch_accuracy(queries, targets, own, same_target_mask(all_keys, own))
                by_source[source.name] = float(right.float().mean())
                chance.append(1 / max(1, len(all_keys.unique())))
        if not by_source:
            raise TrainError("no source has held-out rows to evaluate on; lower eval_rows or add data")
        return {
            "hit@1": sum(by_source.values()) / len(by_source),
            "chance": sum(chance) / len(chance),
            "by_source": by_source,
        }

    def _restore(self) -> int:
        """Where the run is: the step of its newest checkpoint, whose state is put back, or 0."""
        import torch

        found = checkpoint.checkpoints(self.output_dir)
        state: dict[str, Any] = {"step": 0}
        if found:
            state = checkpoint.restore(found[-1], self.tower, self.optimizer, self.config)
        step = int(state["step"])
        # From here on every process draws its own dropout, and not what it drew before.
        torch.manual_seed((step << 32) + self.config.seed + 1 + self.here.rank)
        if found:
            checkpoint.restore_random(found[-1], self.here.rank, self.here.world)
        for source, row, reason in state.get("missing", []):
            self.missing.lost.setdefault(source, {})[row] = reason
        now = {s.name: len(s) for s in self.sources}
        self.changed = {
            name: (rows, now[name]) for name, rows in state.get("rows", {}).items() if name in now and rows != now[name]
        }
        return step

    def _agreed(self, coming: Iterator[list[PairBatch]]) -> Iterator[list[PairBatch]]:
        """Each share when every process has its own; what one cannot load is the same error in all."""
        while True:
            share, problem = None, None
            try:
                share = next(coming, None)
            except DataError as error:
                problem = str(error)
            for told in everybodys(problem, self.here):
                if told is not None:
                    raise DataError(told)
            if share is None:
                return
            yield share

    def _save(self, step: int) -> Path:
        """Every process brings its random state; the first writes, the others wait for its success."""
        from train.grad_cache import random_state

        states = everybodys(random_state(), self.here)
        problem: str | None = None
        if self.here.first:
            lost = [[s, r, why] for s, rows in self.missing.lost.items() for r, why in rows.items()]
            try:
                checkpoint.save(
                    self.output_dir,
                    step,
                    self.tower,
                    self.optimizer,
                    states,
                    self.config,
                    self.config.keep_last,
                    {"missing": lost, "rows": {s.name: len(s) for s in self.sources}},
                )
            except checkpoint.CheckpointError as error:
                problem = str(error)
        problem = everybodys(problem, self.here)[0]
        if problem:
            raise checkpoint.CheckpointError(problem)
        return self.output_dir / f"checkpoint-{step}"

    def _count_missing(self, share: Sequence[PairBatch], log: RunLog | None) -> None:
        found = [m for piece in share for m in piece.missing]
        told = [m for part in everybodys(found, self.here) for m in part]
        for sentence in self.missing.add(told):
            if log:
                log.say(f"skipped {sentence}")

    def _agree(self, asked: bool) -> bool:
        """Whether any process was asked to stop: they must all stop after the same step."""
        return any(everybodys(asked, self.here))

    def _name_the_batch(self, step: int, share: Sequence[PairBatch], loss: float, norm: float) -> None:
        import torch

        names: list[str] = []
        with torch.no_grad():
            for piece in share:
                bad = torch.zeros(len(piece), dtype=torch.bool)
                for batch in (piece.queries, piece.positives):
                    bad |= ~torch.isfinite(self.tower.encode(batch)).all(dim=1).cpu()
                names += [name for name, is_bad in zip(piece.names, bad.tolist(), strict=True) if is_bad]
        suspects = [n for part in everybodys(names, self.here) for n in part]
        everything = [n for part in everybodys([n for p in share for n in p.names], self.here) for n in part]
        path = self.output_dir / f"not-a-number-at-step-{step + 1}.json"
        if self.here.first:
            report = {"step": step + 1, "loss": repr(loss), "grad_norm": repr(norm)}
            path.write_text(json.dumps(report | {"suspects": suspects, "batch": everything}, indent=1) + "\n")
        said = f"its embeddings of {', '.join(suspects[:3])}" if suspects else "its loss or gradients"
        raise TrainError(
            f"step {step + 1}: {said} are not numbers (loss {loss}, gradient norm {norm}); "
            f"the batch is named in {path}; the weights were not changed by it"
        )

    def _introduce(self, log: RunLog, step: int) -> None:
        count = sum(p.numel() for p in self.parameters.values())
        whole = sum(p.numel() for p in self.tower.module.parameters())
        log.say(
            f"{self.config.model_name} on {self.here.world} × {self.tower.device}: "
            f"{count:,} of {whole:,} weights trained; "
            f"{sum(len(s) for s in self.sources):,} pairs from {len(self.sources)} sources"
            + (f"; goes on after step {step}" if step else "")
        )
        for name, (before, now) in self.changed.items():
            held_out = ", and so are its held-out rows" if self.config.eval_steps else ""
            log.say(f"{name} has {now:,} rows, {before:,} before: its order is drawn anew{held_out}")


def open_sources(config: Config) -> list[Source]:
    """The sources of `datasets:`, in order; names made unique. Raises `SourceError`."""
    root = Path(config.data_root).expanduser()
    sources = [open_source(entry, root, config.imports) for entry in config.datasets]
    seen: set[str] = set()
    for number, source in enumerate(sources):
        if source.name in seen:
            source.name = f"{source.name} ({number + 1})"
        seen.add(source.name)
    return sources


def mixing_table(config: Config, sources: Sequence[Source]) -> MixingTable:
    """The table of a config; `eval_rows` of each source, at most a fifth, are held out where asked."""
    ingredients = [
        Ingredient(
            source.name,
            rows=len(source),
            weight=float(entry.get("weight", 1)),
            groups=source.groups,
            open_groups=source.open_groups,
            held_out=min(config.eval_rows, len(source) // 5) if config.eval_steps else 0,
        )
        for source, entry in zip(sources, config.datasets, strict=True)
    ]
    return MixingTable(ingredients, config.batch_size, config.sub_batch_size, config.seed)


def optimizer_of(config: Config, parameters: Iterable[Tensor]) -> Optimizer:
    """AdamW, fused: one pass over weights, gradients and moments. On a CPU 6 ms in place of 17 for 4.7
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
    left = (config.max_steps - step) / max(1, config.max_steps - config.warmup_steps)
    return config.learning_rate * max(0.0, left)


class _Interrupted(Exception):
    """A step was given up; nothing of it remains but gradients."""


class _StopSignal:
    """SIGTERM and SIGINT ask for a checkpoint and an end; a second SIGINT ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: whoever is there handles signals
                return

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def forget(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
