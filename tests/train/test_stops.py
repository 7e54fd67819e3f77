"""Twenty stops: a signal at any place of a run, sent in any way, leaves a checkpoint, and the run resumes to the bit.

Built around two runs of the real command with loader processes, of one rank and of two. Each stop goes on where the
one before it stopped; what it leaves is compared with the same step of a run that nobody stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import run_keys
from tests.train.runs import ONE_COMMAND, TWO_PROCESSES, assert_same, held, living, log_of, processes_of, started
from train import checkpoint
from train.config import Config, from_dict

TERM, INT = signal.SIGTERM, signal.SIGINT
KEYS: dict[str, Any] = {
    "workers": 2,
    "chunk_size": 4,
    "length_buckets": 1,
    "lora_dropout": 0.1,  # so that random states count
    "max_steps": 40,
    "save_steps": 3,
    "keep_last": 1000,
    "eval_steps": 2,
    "eval_rows": 8,
}
STOPS = [
    # signal, sent to, while it is at, that often passed before
    (1, TERM, "group", "loading", 20),
    (1, INT, "group", "step", 40),
    (1, TERM, "each", "step", 21),
    (1, INT, "each", "loading", 21),
    (1, TERM, "group", "saving", 0),
    (1, INT, "each", "saving", 0),
    (1, TERM, "each", "reading", 3),
    (1, INT, "group", "reading", 11),
    (1, TERM, "program", "loading", 23),
    (1, INT, "program", "step", 33),
    (2, TERM, "program", "loading", 10),
    (2, INT, "program", "step", 19),
    (2, TERM, "group", "step", 12),
    (2, INT, "group", "loading", 9),
    (2, TERM, "each", "saving", 0),
    (2, INT, "each", "reading", 2),
    (2, TERM, "group", "reading", 5),
    (2, INT, "program", "saving", 0),
    (2, TERM, "torchrun", "step", 11),
    (2, INT, "torchrun", "loading", 9),
]


class Runs:
    """The stopped run and the undisturbed one, by the number of ranks; each is begun when it is first asked for."""

    def __init__(self, folder: Path, collection: Path) -> None:
        self.folder, self.places = folder, folder / "places"
        self.config: Config = held(from_dict(run_keys(collection) | KEYS), self.places)

    def whole(self, ranks: int) -> Path:
        folder = self.folder / f"whole-{ranks}"
        if not folder.exists():
            shutil.rmtree(self.places, ignore_errors=True)
            with started(self.config, folder, *launcher(ranks), "--save_steps", "1") as running:
                _, said = running.communicate(timeout=200)
            assert running.returncode == 0, said
        return folder


def launcher(ranks: int, sent_to: str = "") -> tuple[str, ...]:
    if ranks == 1:
        return (sys.executable, "-m", "train")
    return (*TWO_PROCESSES, "-m", "train") if sent_to == "torchrun" else ONE_COMMAND


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("stops"), collection)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="counts the processes of a session in /proc")
@pytest.mark.parametrize(
    ("ranks", "number", "sent_to", "place", "passes"),
    STOPS,
    ids=[f"{ranks} rank, {n.name} to {to}, {at}" for ranks, n, to, at, _ in STOPS],
)
def test_a_signal_leaves_a_checkpoint_and_the_run_resumes_to_the_bit(
    runs: Runs, ranks: int, number: signal.Signals, sent_to: str, place: str, passes: int
) -> None:
    """torchrun itself ends with 1 after any signal; all else ends with 0. No process outlives its run."""
    whole, folder = runs.whole(ranks), runs.folder / f"stopped-{ranks}"
    earlier = checkpoint.checkpoints(folder)
    shutil.rmtree(runs.places, ignore_errors=True)
    runs.places.mkdir()
    (runs.places / place).write_text(str(passes))
    with started(runs.config, folder, *launcher(ranks, sent_to), session=True) as running:
        while not (runs.places / f"{place}.held").exists():  # the test's own time limit ends the wait
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.02)
        while len(processes := processes_of(running.pid)) < (3 if ranks == 1 else 7):
            time.sleep(0.02)  # the launcher, ranks and loader processes
        if sent_to == "group":
            os.killpg(running.pid, number)
        for process in processes if sent_to == "each" else [running.pid] if sent_to != "group" else []:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        (runs.places / "go").touch()
        _, said = running.communicate(timeout=100)
    assert running.returncode == (1 if sent_to == "torchrun" else 0), said
    while not living().keys().isdisjoint(processes):
        time.sleep(0.02)
    last = checkpoint.checkpoints(folder)[-1]
    step = int(last.name.split("-")[1])
    assert last not in earlier, "it got further than the stop before"
    assert f"stopped after step {step}; the same command goes on from {last}" in said
    assert not list(folder.glob(".*"))
    assert_same(whole / last.name, last)
    assert told(folder) == [line for line in told(whole) if line["step"] <= step]


def told(folder: Path) -> list[dict[str, Any]]:
    """What the log says of each step but its time and memory."""
    fields = ("step", "loss", "accuracy", "grad_norm", "learning_rate", "eval")
    return [{name: line[name] for name in fields if name in line} for line in log_of(folder)]
