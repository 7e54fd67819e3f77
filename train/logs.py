"""The logs of a run: one JSON line per step, TensorBoard where it is installed, a progress line.

Built around `RunLog.write`, which takes the metrics of a step. A resumed run first deletes the lines of the steps
that it repeats. It knows nothing of how the metrics are computed.
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
    """Writes `log.jsonl` and `tensorboard/` below a run's folder, and a progress line. Only rank 0 has one."""

    def __init__(self, folder: Path, max_steps: int, first_step: int, stream: TextIO | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        self._max_steps, self._stream = max_steps, stream or sys.stderr
        self._start, self._first = time.monotonic(), first_step
        lines = [line for line in _complete_lines(self._path) if _step_of(line) <= first_step]
        self._file = self._path.open("w", encoding="utf-8")
        self._file.writelines(line + "\n" for line in lines)
        self._file.flush()
        self._board = _tensorboard(folder / "tensorboard", first_step)
        self._is_terminal = self._stream.isatty()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log the metrics of a step; they may hold one level of mappings (`source_loss: {WebQA: 0.4}`)."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in metrics.items():
                for label, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                    if isinstance(number, int | float):
                        self._board.add_scalar(f"{name}/{label}" if label else name, number, step)
        if "loss" in metrics:
            self._print_progress(step, metrics)

    def notice(self, message: str) -> None:
        """Print a message for the user on a line of its own."""
        print(("\r\x1b[K" if self._is_terminal else "") + message, file=self._stream, flush=True)

    def close(self) -> None:
        if self._is_terminal:
            print(file=self._stream)
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _print_progress(self, step: int, metrics: Mapping[str, Any]) -> None:
        seconds_per_step = (time.monotonic() - self._start) / max(1, step - self._first)
        remaining_s = seconds_per_step * (self._max_steps - step)
        text = (
            f"step {step}/{self._max_steps}  loss {metrics['loss']:.4f}  accuracy {metrics['accuracy']:.1%}  "
            f"{metrics['samples_per_s']:.1f} pairs/s  {metrics['memory_gb']:.1f} GB  {_clock(remaining_s)} left"
        )
        source_losses = sorted(metrics.get("source_loss", {}).items(), key=lambda item: -item[1])
        if len(source_losses) > 1:
            text += "  " + "  ".join(f"{name} {loss:.2f}" for name, loss in source_losses)
        if self._is_terminal:
            width = round(20 * step / self._max_steps)
            bar = "█" * width + "·" * (20 - width)
            line = f"{bar} {text}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)


def memory_gb(device_type: str) -> float:
    """Returns the peak memory of this process in GB (10^9): the GPU's with CUDA, else the resident set."""
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e9
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().rss / 1e9)
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)


def _complete_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line for line in lines[:-1] if line]  # a kill may cut the last line short


def _step_of(line: str) -> float:
    """Returns the step of a line; infinity if a power cut left a line that is no JSON."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
