"""What a run tells while it goes: a JSON line a step, TensorBoard where it is installed, a progress line.

Built around `RunLog.write`, a step's numbers. It knows nothing of how they came about. A run that goes on
from a checkpoint drops the lines of steps that will be made again.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


class RunLog:
    """`log.jsonl` and `tensorboard/` below a run's folder, and a progress line. Only rank 0 has one."""

    def __init__(self, folder: Path, max_steps: int, first_step: int, stream: TextIO | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        self._max_steps, self._stream = max_steps, stream or sys.stderr
        self._started, self._first = time.monotonic(), first_step
        kept = [line for line in _lines(self._path) if _step_of(line) <= first_step]
        self._file = self._path.open("w", encoding="utf-8")
        self._file.writelines(line + "\n" for line in kept)
        self._file.flush()
        self._board = _tensorboard(folder / "tensorboard", first_step)
        self._live = self._stream.isatty()

    def write(self, step: int, numbers: Mapping[str, Any], show: bool = True) -> None:
        """`numbers` may hold one level of mappings (`source_loss: {WebQA: 0.4}`)."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in numbers.items():
                for label, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                    if isinstance(number, int | float):
                        self._board.add_scalar(f"{name}/{label}" if label else name, number, step)
        if show and "loss" in numbers:
            self._show(step, numbers)

    def say(self, sentence: str) -> None:
        """A sentence for a person, on its own line."""
        print(("\r\x1b[K" if self._live else "") + sentence, file=self._stream, flush=True)

    def close(self) -> None:
        if self._live:
            print(file=self._stream)
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _show(self, step: int, numbers: Mapping[str, Any]) -> None:
        each = (time.monotonic() - self._started) / max(1, step - self._first)
        left = each * (self._max_steps - step)
        text = (
            f"step {step}/{self._max_steps}  loss {numbers['loss']:.4f}  accuracy {numbers['accuracy']:.1%}  "
            f"{numbers['samples_per_s']:.1f} pairs/s  {numbers['memory_gb']:.1f} GB  {_clock(left)} left"
        )
        by_source = sorted(numbers.get("source_loss", {}).items(), key=lambda named: -named[1])
        if len(by_source) > 1:
            text += "  " + "  ".join(f"{name} {loss:.2f}" for name, loss in by_source)
        if self._live:
            filled = round(20 * step / self._max_steps)
            bar = "█" * filled + "·" * (20 - filled)
            line = f"{bar} {text}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)


def memory_gb(device_type: str) -> float:
    """Peak memory of this process in GB (10^9): the accelerator's where there is one, else resident."""
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e9
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().rss / 1e9
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line for line in whole[:-1] if line]  # a kill may have cut the last line short


def _step_of(line: str) -> float:
    """The step of a line; beyond all of them where a power cut left something that is no line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
