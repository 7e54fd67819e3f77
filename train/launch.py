"""Several processes of one run on this machine, which a signal ends with a checkpoint and exit code 0.

Built around torchrun, whose agent ends with an error after any signal, however well its processes ended: here the first
of them says so in a file. It knows nothing of training.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ENDED = "SIGHTLINE_TRAIN_ENDED"
"""The variable with the path of the file that the first process writes when its run ends as it should."""
SHUTDOWN_S = 900
"""Seconds after a signal until processes that still run are killed: a step, and the writing of a checkpoint. torchrun
takes 30 s (`--shutdown_timeout`)."""


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m train` with these arguments in so many processes. Returns the exit code."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with tempfile.TemporaryDirectory() as folder:
        os.environ[ENDED] = str(Path(folder) / "ended")
        words = ["--standalone", f"--nproc_per_node={processes}", f"--shutdown_timeout={SHUTDOWN_S}", "-m", "train"]
        try:
            torchrun.main([*words, *arguments])
        except SignalException as error:
            if not Path(os.environ[ENDED]).exists():
                print(f"error: stopped by {error.sigval.name} before a checkpoint was written", file=sys.stderr)
                return 1
        except ChildFailedError as error:
            return max(1, *(failure.exitcode for failure in error.failures.values()))
    return 0


def say_ended() -> None:
    """Tell `launch` that the run ended as it should; nothing without it."""
    if path := os.environ.get(ENDED):
        Path(path).touch()
