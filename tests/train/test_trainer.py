"""A training run: it learns, resumes to the bit, is the same on two processes, and says what went wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import select
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import model
from data.sources.pack import main as pack
from data.sources.pair import Pair, load
from data.sources.pairs import Pairs
from data.sources.source import register
from model.inputs import Input
from tests.train.runs import (
    TWO_PROCESSES,
    assert_same,
    everything_saved,
    kill_after,
    log_of,
    losses,
    started,
    wait_for_step,
)
from train import checkpoint
from train.__main__ import main
from train.config import Config, ConfigError, to_dict
from train.loading import DataError
from train.logs import RunLog
from train.mining import Mined
from train.mixing import Grouping
from train.processes import Processes
from train.towers.open import open_tower
from train.towers.qwen import merge
from train.trainer import TrainError, _Run, learning_rate, mixing_table, open_sources, train

Configure = Callable[..., Config]
GROUPED = Grouping(np.array([20] * 11 + [4]), 1)


def test_a_tiny_qwen_learns_the_collection_and_the_adapter_loads_as_it_is(
    config: Configure, tmp_path: Path, collection: Path
) -> None:
    """Loss falls by half, held-out hit@1 rises to 5 × chance; `model.load` gives the trained vectors."""
    run = config(
        batch_size=32, sub_batch_size=32, chunk_size=16, max_steps=50, warmup_steps=4, eval_steps=50, eval_rows=40
    )
    outcome = train(run, tmp_path)
    curve = losses(tmp_path)
    assert np.mean(curve[-5:]) < 0.5 * min(curve[0], np.log(32))
    assert outcome.evaluation is not None and outcome.checkpoint is not None
    assert outcome.evaluation["hit@1"] >= 5 * outcome.evaluation["chance"]
    assert outcome.evaluation["chance"] == pytest.approx(1 / 40)

    tower = open_tower(run)
    untrained = vectors_of(tower, collection)
    tower.restore(outcome.checkpoint)
    tower.module.eval()
    trained = vectors_of(tower, collection)
    row = json.loads(collection.read_text().splitlines()[0])
    loaded = model.load(str(outcome.checkpoint), device="cpu").embed([Input(row["query"], role="query", kind="image")])
    assert np.abs(loaded[0] - trained).max() < 1e-4
    assert np.abs(loaded[0] - untrained).max() > 1e-2


def vectors_of(tower: Any, collection: Path) -> np.ndarray:
    query = load(Pairs(collection)[0].query)
    with torch.no_grad():
        return tower.encode(tower.collator()([query]))[0].numpy()


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 0}, {"lora_rank": 0, "train_vision": True}], ids=str)
def test_one_process_really_changes_the_weights(config: Configure, tmp_path: Path, changes: dict[str, Any]) -> None:
    """The original's single-process step computes the loss and never runs backward."""
    run = config(max_steps=2, warmup_steps=0, **changes)
    torch.manual_seed(run.seed)
    tower = open_tower(run)
    before = {name: p.detach().clone() for name, p in tower.trainable().items()}
    outcome = train(run, tmp_path)
    assert outcome.checkpoint is not None
    tower.restore(outcome.checkpoint)
    moved = {name.split(".")[0] for name, p in tower.trainable().items() if not torch.equal(p, before[name])}
    assert moved == ({"language_model", "visual"} if run.train_vision else {"language_model"})


def test_adapters_sit_in_the_language_model_only(config: Configure) -> None:
    tower = open_tower(config(lora_target_modules=["q_proj", "v_proj"]))
    names = list(tower.trainable())
    assert names and all(name.startswith("language_model.") for name in names)
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names} == {"q_proj", "v_proj"}
    assert any("lora_magnitude_vector" in name for name in names)  # DoRA
    with pytest.raises(ConfigError, match="lora_target_modules: the language model has no qkv_proj"):
        open_tower(config(lora_target_modules=["qkv_proj"]))


@pytest.mark.long
def test_killed_and_started_again_gives_the_weights_of_an_undisturbed_run(config: Configure, tmp_path: Path) -> None:
    """Dropout on, so that random states count; killed between two checkpoints, without warning."""
    run = config(lora_dropout=0.1, max_steps=9, save_steps=3, gradient_checkpointing=True)
    undisturbed = train(run, tmp_path / "whole")
    same = kill_after(run, tmp_path / "killed", steps=5)
    assert [c.name for c in checkpoint.checkpoints(tmp_path / "killed")] == ["checkpoint-3"]
    resumed = train(same, tmp_path / "killed")
    assert undisturbed.checkpoint is not None and resumed.checkpoint is not None
    assert_same(undisturbed.checkpoint, resumed.checkpoint)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.parametrize("more", [{}, {"eval_steps": 1, "eval_rows": 8}], ids=["plain", "evaluated"])
def test_loader_processes_draw_nothing_that_dropout_would(
    config: Configure, tmp_path: Path, more: dict[str, Any]
) -> None:
    """To start them takes a random number: not from the generator that a resumed run puts back."""
    changes = {"lora_dropout": 0.1, "max_steps": 4, "save_steps": 2, **more}
    whole = train(config(**changes), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "half" / "checkpoint-2")
    half = train(config(**changes, workers=2), tmp_path / "half")
    assert whole.checkpoint is not None and half.checkpoint is not None
    assert_same(whole.checkpoint, half.checkpoint)


def test_more_processes_than_before_draw_a_dropout_of_their_own_each(config: Configure, tmp_path: Path) -> None:
    train(config(max_steps=2), tmp_path)
    states = []
    for rank in range(2):
        run = _Run(config(max_steps=4), tmp_path, Processes(rank, 2))
        assert run._restore() == 2
        run.stop.restore_handlers()
        states.append(torch.get_rng_state())
    torch.manual_seed(config().seed + 1)
    assert not torch.equal(*states)
    assert not torch.equal(states[0], torch.get_rng_state()), "nor what was drawn from the first step on"


def test_holding_rows_out_only_later_is_refused(config: Configure, tmp_path: Path) -> None:
    """They have been trained on: hit@1 on them would be no such thing."""
    train(config(max_steps=2), tmp_path)
    with pytest.raises(ConfigError, match="was trained with eval_steps 0, now it is 2"):
        train(config(max_steps=4, eval_steps=2), tmp_path)
    assert config(eval_steps=2).same_run(to_dict(config(eval_steps=5))) == []


def test_data_that_grew_between_two_runs_is_said(
    config: Configure, tmp_path: Path, collection: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = collection.read_text().splitlines()
    path = tmp_path / "grows.jsonl"
    entries = [{"type": "pairs", "path": str(path), "media_root": str(collection.parent)}]
    for rows, steps in ((100, 1), (100, 2), (200, 3)):
        path.write_text("\n".join(lines[:rows]))
        train(config(max_steps=steps, warmup_steps=0, datasets=entries), tmp_path / "run")
    assert capfd.readouterr().err.count("grows has 200 rows, 100 before: its order is drawn anew") == 1


@pytest.mark.slow
def test_packing_between_two_starts_does_not_change_the_order_of_a_run(
    config: Configure, tmp_path: Path, collection: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pages in Parquet files come group by group; packed, each row stands alone and a new run shuffles them all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    repo = tmp_path / "data" / "vidore" / "colpali_train_set"
    repo.joinpath("data").mkdir(parents=True)
    lines = [json.loads(line) for line in collection.read_text().splitlines()]
    pages = [(collection.parent / line["positive"]["image"]).read_bytes() for line in lines]
    columns = {"query": [f"page {n}" for n in range(224)], "answer": [line["query"] for line in lines]}
    table = pa.table({**columns, "image": [{"bytes": page, "path": None} for page in pages]})
    pq.write_table(table, repo / "data" / "train-00000.parquet", row_group_size=20)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("data.sources.rows.OPEN_BYTES", 1)  # one open group, as with groups of 256 MB
    more = {"datasets": [{"name": "colpali_train_set"}], "data_root": str(tmp_path / "data"), "save_steps": 2}
    try:
        whole = train(config(max_steps=4, **more), tmp_path / "whole")
        shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "half" / "checkpoint-2")
        assert pack(["--root", str(tmp_path / "data"), "colpali_train_set"]) == 0
        half = train(config(max_steps=4, **more), tmp_path / "half")
        again = train(config(max_steps=6, **more), tmp_path / "half")
    finally:
        monkey.undo()
    assert whole.checkpoint is not None and half.checkpoint is not None and again.step == 6
    assert_same(whole.checkpoint, half.checkpoint)
    said = "colpali_train_set is packed otherwise than when the run began, which keeps the order of its rows"
    assert capfd.readouterr().err.count(said) == 2
    new = config(**more)
    drawn = [mixing_table(new, open_sources(new), kept).share(0) for kept in (None, {"colpali_train_set": GROUPED})]
    assert drawn[0] != drawn[1], "a run that begins now has another order"


@pytest.mark.slow
def test_rows_that_were_mined_again_are_refused_by_a_run_that_began_with_others(
    config: Configure, tmp_path: Path, collection: Path
) -> None:
    for seed in (0, 1):
        order = np.random.default_rng(seed).permutation(224)
        Mined(np.full((224, 1), -1), np.full((224, 2), np.nan), order, 16).save(tmp_path / "mined" / "pairs.npz")
        run = config(max_steps=2 + seed, warmup_steps=0, mined=str(tmp_path / "mined"))
        with pytest.raises(ConfigError, match="pairs was mined again since this run began") if seed else nullcontext():
            train(run, tmp_path / "run")


def test_full_training_resumes_to_the_bit_too(config: Configure, tmp_path: Path) -> None:
    whole = train(config(lora_rank=0, max_steps=4, save_steps=2), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "half" / "checkpoint-2")
    half = train(config(lora_rank=0, max_steps=4, save_steps=2), tmp_path / "half")
    assert whole.checkpoint is not None and half.checkpoint is not None
    assert_same(whole.checkpoint, half.checkpoint)


def test_sigterm_writes_a_checkpoint_and_the_same_command_goes_on(config: Configure, tmp_path: Path) -> None:
    run = config(max_steps=1_000_000)
    with started(run, tmp_path) as running:
        wait_for_step(running, tmp_path, 2)
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    (saved,) = checkpoint.checkpoints(tmp_path)
    step = int(saved.name.split("-")[1])
    assert f"stopped after step {step}; the same command goes on from {saved}" in said
    outcome = train(config(max_steps=step + 2), tmp_path)
    assert outcome.step == step + 2
    assert [line["step"] for line in log_of(tmp_path)] == list(range(1, step + 3))


def test_a_step_that_is_given_up_leaves_no_trace(config: Configure, tmp_path: Path) -> None:
    """Asked to stop in the middle of a step: the checkpoint is that of the step before, to the bit."""
    changes = {"lora_dropout": 0.1, "max_steps": 4, "save_steps": 2}
    undisturbed = train(config(**changes), tmp_path / "whole")
    entries = [{"type": "asks-to-stop", "path": config().datasets[0]["path"]}]
    AsksToStop.at = 2 * 16 + 3  # a row of the third step
    outcome = train(config(**changes, datasets=entries), tmp_path / "given-up")
    assert outcome.stopped and outcome.step == 2
    AsksToStop.at = None
    resumed = train(config(**changes, datasets=entries), tmp_path / "given-up")
    assert undisturbed.checkpoint is not None and resumed.checkpoint is not None
    assert_same(undisturbed.checkpoint, resumed.checkpoint)


@register("asks-to-stop")
class AsksToStop(Pairs):
    """SIGTERM while a step's rows are read."""

    at: int | None = None
    read = 0

    def __getitem__(self, row: int) -> Pair:
        AsksToStop.read += 1
        if AsksToStop.read - 1 == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(row)


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 0}], ids=["LoRA", "all weights"])
def test_bfloat16_learns_with_a_float32_loss(config: Configure, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = config(dtype="bfloat16", max_steps=5, chunk_size=8, **changes)
    assert train(run, tmp_path).step == 5
    curve = losses(tmp_path)
    assert np.isfinite(curve).all() and curve[-1] < 0.7 * curve[0]
    tower = open_tower(run)
    assert {p.dtype for p in tower.trainable().values()} == {torch.float32}
    picture = load(Pairs(Path(run.datasets[0]["path"]))[0].positive)
    pixels = tower.collator()([picture]).pixel_values
    assert pixels.dtype == (torch.bfloat16 if run.lora_rank else torch.float32)
    frozen = {p.dtype for p in tower.module.parameters() if not p.requires_grad}
    assert frozen == ({torch.bfloat16} if run.lora_rank else {torch.float32})


def test_an_untrained_adapter_changes_nothing_in_bfloat16_either(config: Configure, collection: Path) -> None:
    """DoRA begins with the length of every row of the base: rounded to bfloat16 it changed the model."""
    vectors = []
    for use_dora in (False, True):
        torch.manual_seed(1)
        tower = open_tower(config(dtype="bfloat16", use_dora=use_dora))
        tower.module.eval()
        vectors.append(vectors_of(tower, collection))
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-4


def with_negatives(collection: Path, folder: Path, every: int) -> list[dict[str, str]]:
    """`datasets:` where every `every`-th row brings the next row's picture as a negative."""
    rows = [json.loads(line) for line in collection.read_text().splitlines()]
    for row, other in list(zip(rows, rows[1:] + rows[:1], strict=True))[::every]:
        row["negatives"] = [other["positive"]]
    path = folder / "negatives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [{"type": "pairs", "path": str(path), "media_root": str(collection.parent)}]


@pytest.mark.long
def test_two_processes_follow_the_same_loss_curve_as_one(config: Configure, tmp_path: Path, collection: Path) -> None:
    """With negatives that only some rows have: the processes hold different numbers of targets."""
    entries = with_negatives(collection, tmp_path, every=3)
    run = config(max_steps=6, chunk_size=4, hard_negatives=1, datasets=entries)
    with started(run, tmp_path / "two", *TWO_PROCESSES) as pair:
        one = train(run, tmp_path / "one")
        _, said = pair.communicate(timeout=200)
    assert pair.returncode == 0, said
    assert np.abs(np.array(losses(tmp_path / "one")) - losses(tmp_path / "two")).max() < 1e-4
    assert one.checkpoint is not None
    first = load_file(one.checkpoint / "adapter_model.safetensors")
    second = load_file(tmp_path / "two/checkpoint-6/adapter_model.safetensors")
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-3


@pytest.mark.long
def test_a_row_that_one_process_cannot_read_is_a_sentence_of_them_all(
    config: Configure, tmp_path: Path, collection: Path
) -> None:
    run = config(max_steps=6)
    _, row = mixing_table(run, open_sources(run)).share(2, rank=1, world=2)[0]
    lines = collection.read_text().splitlines()
    lines[row] = "{broken"
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines))
    entries = [{"type": "pairs", "path": str(path), "media_root": str(collection.parent)}]
    with started(config(max_steps=6, datasets=entries), tmp_path / "run", *TWO_PROCESSES) as pair:
        _, said = pair.communicate(timeout=200)
    assert pair.returncode == 1
    assert f"error: {path}, row {row + 1}: not a line of JSON" in said
    assert "train/trainer.py" not in said, "no traceback of the process that could read its rows"


def test_chunks_and_loader_processes_change_nothing(config: Configure, tmp_path: Path) -> None:
    curves = []
    for name, changes in {
        "chunked": {"chunk_size": 4},
        "whole": {"chunk_size": 0},
        "checkpointed": {"chunk_size": 4, "gradient_checkpointing": True},
        "workers": {"chunk_size": 4, "workers": 2},
    }.items():
        train(config(max_steps=4, **changes), tmp_path / name)
        curves.append(losses(tmp_path / name))
    assert max(np.abs(np.array(curve) - curves[0]).max() for curve in curves) < 1e-3
    assert curves[3] == curves[0]


def test_only_the_last_checkpoints_are_kept(config: Configure, tmp_path: Path) -> None:
    train(config(max_steps=5, save_steps=1, keep_last=2), tmp_path)
    assert [c.name for c in checkpoint.checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-5"]
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.bin"))  # no pickles


def test_a_step_tells_loss_accuracy_sources_speed_and_memory(
    config: Configure, tmp_path: Path, collection: Path
) -> None:
    entries = [{"type": "pairs", "path": str(collection), "name": n} for n in ("first", "second")]
    train(config(datasets=entries, sub_batch_size=4, max_steps=3), tmp_path)
    for line in log_of(tmp_path):
        assert {"loss", "accuracy", "source_loss", "samples_per_s", "memory_gb", "grad_norm", "waiting_s"} <= set(line)
        assert set(line["source_loss"]) <= {"first", "second"}
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_progress_line_tells_the_person_all_of_it(
    config: Configure, tmp_path: Path, collection: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    entries = [{"type": "pairs", "path": str(collection), "name": n} for n in ("first", "second")]
    train(config(datasets=entries, sub_batch_size=4, max_steps=2), tmp_path)
    told = re.compile(
        r"step 2/2  loss \d+\.\d{4}  accuracy \d+\.\d%  \d+\.\d pairs/s  \d\.\d GB  0:00:00 left"
        r"  (first|second) \d+\.\d\d  (first|second) \d+\.\d\d"
    )
    assert any(told.fullmatch(line) for line in capfd.readouterr().err.splitlines())


def test_on_a_terminal_the_progress_is_one_bar_that_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    main_end, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        log = RunLog(tmp_path, 4, 0, stream)
        for step in (1, 2):
            log.write(step, {"loss": 2.5, "accuracy": 0.25, "samples_per_s": 8.0, "memory_gb": 1.5})
        log.close()
        shown = read_line(main_end)
    os.close(main_end)
    assert "\n" not in shown and shown.count("\r\x1b[K") == 2
    assert "█" * 10 + "·" * 10 + " step 2/4  loss 2.5000  accuracy 25.0%" in shown


def read_line(terminal: int) -> str:
    """A pseudo-terminal's first line. One read gives what has come through, not all that was written."""
    shown = b""
    while not shown.endswith(b"\r\n"):
        assert select.select([terminal], [], [], 60)[0], f"the line never ended: {shown!r}"
        shown += os.read(terminal, 10_000)
    return shown.decode().removesuffix("\r\n")


def test_the_learning_rate_rises_for_the_warm_up_and_falls_to_zero(config: Configure, tmp_path: Path) -> None:
    run = config(learning_rate=5e-5, warmup_steps=100, max_steps=5000)
    rates = [learning_rate(run, step) for step in range(5000)]
    assert np.argmax(rates) in (99, 100) and max(rates) == 5e-5
    rise, fall = np.diff(rates[:100]), np.diff(rates[100:])
    assert np.allclose(rise, 5e-5 / 100) and np.allclose(fall, -5e-5 / 4900)
    assert 0 < rates[-1] < 2e-8
    train(config(learning_rate=1e-3, warmup_steps=2, max_steps=4), tmp_path)
    assert [line["learning_rate"] for line in log_of(tmp_path)] == [5e-4, 1e-3, 1e-3, 5e-4]


def test_a_gradient_longer_than_the_limit_is_clipped(config: Configure, tmp_path: Path) -> None:
    """Adam does not mind a gradient's length, except where it is far below its epsilon."""
    moved = []
    for limit in (1.0, 1e-12):
        outcome = train(config(max_steps=1, warmup_steps=0, max_grad_norm=limit), tmp_path / str(limit))
        assert outcome.checkpoint is not None
        weights = load_file(outcome.checkpoint / "adapter_model.safetensors")
        moved.append(max(w.abs().max() for name, w in weights.items() if "lora_B" in name))
        assert log_of(tmp_path / str(limit))[0]["grad_norm"] > 1e-3, "as it was before"
    assert 0 < moved[1] < 1e-2 * moved[0]


def test_hard_negatives_join_the_targets(config: Configure, tmp_path: Path, collection: Path) -> None:
    entries = with_negatives(collection, tmp_path, every=1)
    train(config(datasets=entries, max_steps=2), tmp_path / "without")
    train(config(datasets=entries, max_steps=2, hard_negatives=1), tmp_path / "with")
    assert losses(tmp_path / "with")[0] > losses(tmp_path / "without")[0]


def test_negatives_are_embedded_no_more_at_once_than_anything_else(
    config: Configure, tmp_path: Path, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in collection.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["negatives"] = [rows[number - 1]["positive"], rows[number - 2]["positive"]]
    path = tmp_path / "negatives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = [{"type": "pairs", "path": str(path), "media_root": str(collection.parent)}]
    sizes: list[int] = []
    encode = _Run._encode
    monkeypatch.setattr(_Run, "_encode", lambda run, batch: sizes.append(len(batch)) or encode(run, batch))
    train(config(datasets=entries, max_steps=1, warmup_steps=0, chunk_size=4, hard_negatives=2), tmp_path / "run")
    assert sizes == [4] * (2 * 4 * 4), "16 queries, 16 positives, 32 negatives, each twice"


def broken_copy(collection: Path, folder: Path, lose: int) -> Path:
    shutil.copytree(collection.parent, folder)
    for path in sorted(folder.glob("*.png"))[:lose]:
        path.unlink()
    return folder / "pairs.jsonl"


def test_a_missing_picture_is_skipped_counted_and_named(
    config: Configure, tmp_path: Path, collection: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = broken_copy(collection, tmp_path / "data", lose=1)
    run = config(datasets=[{"type": "pairs", "path": str(path)}], max_steps=15)
    assert train(run, tmp_path / "run").step == 15
    assert log_of(tmp_path / "run")[-1]["missing"] == 1
    gone = sorted(collection.parent.glob("*.png"))[0].name
    assert f"{gone}: the file is no longer there" in capfd.readouterr().err


def test_more_than_one_in_a_hundred_missing_stops_the_run(config: Configure, tmp_path: Path, collection: Path) -> None:
    path = broken_copy(collection, tmp_path / "data", lose=3)
    run = config(datasets=[{"type": "pairs", "path": str(path)}], max_steps=60)
    with pytest.raises(DataError, match=r"pairs: 3 of 224 rows have no readable media, .* raise max_missing"):
        train(run, tmp_path / "run")


def test_a_number_that_is_none_stops_with_the_batch_named(config: Configure, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"step \d+: .* are not numbers .* the batch is named in") as stopped:
        train(config(learning_rate=1e37, warmup_steps=0, max_steps=9), tmp_path)
    (report,) = tmp_path.glob("not-a-number-at-step-*.json")
    named = json.loads(report.read_text())
    assert len(named["batch"]) == 16 and all(" row " in name for name in named["batch"])
    assert str(report) in str(stopped.value)


def test_a_card_whose_memory_is_full_is_told_what_to_lower(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By whichever process met it: the others cannot know."""

    def full(run: _Run, batch: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(_Run, "_encode", full)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(keys))
    asked = ["--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path / "run")]
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr("train.trainer.processes", lambda config: nullcontext(Processes(3, 1)))
    assert main(asked) == 1
    assert "error: step 1: the memory of cpu is full; set chunk_size below 8, then" in capfd.readouterr().err


def test_a_log_that_a_power_cut_damaged_does_not_stop_the_run(config: Configure, tmp_path: Path) -> None:
    train(config(max_steps=2), tmp_path)
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b"\0\0\0\xff\0\n{}\n")
    assert train(config(max_steps=3), tmp_path).step == 3
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3]


def test_a_full_disk_at_checkpoint_time_leaves_the_last_good_one(config: Configure, tmp_path: Path) -> None:
    """Writes fail for real: the system refuses files beyond 150 kB, as a full disk would."""
    train(config(max_steps=2), tmp_path)
    good = everything_saved(tmp_path / "checkpoint-2")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        with pytest.raises(checkpoint.CheckpointError, match=r"checkpoint-4 could not be .* good one is checkpoint-2"):
            train(config(max_steps=4), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.glob("*checkpoint-*")] == ["checkpoint-2"]
    assert all(torch.equal(good[name], now) for name, now in everything_saved(tmp_path / "checkpoint-2").items())
    assert train(config(max_steps=4), tmp_path).step == 4


def test_another_config_in_the_same_folder_is_refused(config: Configure, tmp_path: Path) -> None:
    train(config(max_steps=2), tmp_path)
    with pytest.raises(ConfigError, match=r"was trained with temperature 0\.02, now it is 0\.05"):
        train(config(max_steps=4, temperature=0.05), tmp_path)


def test_a_merged_model_gives_the_adapters_vectors(config: Configure, tmp_path: Path) -> None:
    outcome = train(config(max_steps=3), tmp_path / "run")
    assert outcome.checkpoint is not None
    merge(outcome.checkpoint, tmp_path / "merged")
    asked = [Input("a red square", role="query"), Input(images=(np.full((60, 60, 3), 90, np.uint8),), kind="image")]
    with_adapter = model.load(str(outcome.checkpoint), device="cpu").embed(asked)
    merged = model.load(str(tmp_path / "merged"), device="cpu").embed(asked)
    assert np.abs(with_adapter - merged).max() < 1e-5
    with pytest.raises(ConfigError, match="is an adapter; merge it first"):
        open_tower(config(model_name=str(outcome.checkpoint)))


@register("breaks-inside")
class BreaksInside(Pairs):
    """A source with one row that is no pair."""

    def __getitem__(self, row: int) -> Pair:
        from data.sources.pair import SourceError

        if row == 100:
            raise SourceError(f"{self.name}, row {row}: broken")
        return super().__getitem__(row)


@register("without-a-token")
class WithoutAToken(Pairs):
    """Exact prompts, one of which has no place for its picture."""

    def __getitem__(self, row: int) -> Pair:
        pair = super().__getitem__(row)
        text = "no place for it" if row == 100 else "<|image_pad|>"
        return dataclasses.replace(
            pair, positive=dataclasses.replace(pair.positive, exact=True, text=text), source="tokens", row=row
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_the_model_will_not_have_is_named(
    config: Configure, tmp_path: Path, collection: Path, workers: int
) -> None:
    entries = [{"type": "without-a-token", "path": str(collection)}]
    with pytest.raises(DataError, match=r"^tokens row 100: 1 images came with a prompt that holds no pad"):
        train(config(datasets=entries, max_steps=20, workers=workers), tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_row_is_one_sentence_whoever_reads_it(
    config: Configure, tmp_path: Path, collection: Path, workers: int
) -> None:
    entries = [{"type": "breaks-inside", "path": str(collection)}]
    with pytest.raises(DataError, match=r"^pairs, row 100: broken$"):
        train(config(datasets=entries, max_steps=20, workers=workers), tmp_path)


@pytest.mark.parametrize(
    "changes, code, message",
    [
        ({"lora_rnak": 4}, 2, "unknown key lora_rnak; did you mean lora_rank?"),
        ({"batch_size": 512, "sub_batch_size": 16}, 1, "have 224 rows to train on, fewer than one batch of 512"),
        ({"batch_size": 256, "sub_batch_size": 256}, 1, "pairs has 224 rows to train on, fewer than one sub-batch"),
        ({"datasets": [{"type": "pairs", "path": "nowhere.jsonl"}]}, 1, "nowhere.jsonl does not exist"),
        (
            {"datasets": [{"name": "WebQA"}], "data_root": "gone"},
            1,
            "python -m data.download --root gone --only train/WebQA",
        ),
        ({"model_name": "./no-such-model"}, 1, "no-such-model is not a folder with a model in it"),
        (
            {"datasets": [{"type": "pairs", "path": "corrupt.parquet"}]},
            1,
            "corrupt.parquet is not a readable Parquet file",
        ),
        ({"datasets": [{"type": "pairs", "path": "empty.jsonl"}]}, 1, "empty is empty: it has no rows"),
        ({"imports": ["my_sorces"]}, 1, "imports: my_sorces cannot be imported (No module named 'my_sorces')"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    keys: dict[str, Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    code: int,
    message: str,
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**keys, **changes}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corrupt.parquet").write_bytes(b"PAR1 this is no table PAR1")
    (tmp_path / "empty.jsonl").touch()
    assert main(["--config", str(path), "--output_dir", str(tmp_path / "run")]) == code
    said = capfd.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and message in said[-1]
    assert not any("Traceback" in line for line in said)
