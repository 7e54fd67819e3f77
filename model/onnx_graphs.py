"""ONNX graphs on the CPU: opened within bounds of memory and threads, and held to the signature that is expected.

Built around onnxruntime. It knows nothing of any model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.embedder import ModelError

if TYPE_CHECKING:
    import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def open_graph(path: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session on the CPU, on `threads` (None: the CPUs, at most 4). Raises `ModelError` that names the file.

    Without an arena: it would keep the memory of the longest input for good. Idle threads do not spin.
    """
    import onnxruntime

    if not path.is_file():
        raise ModelError(f"{path} is missing.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpus()
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, without a common one
        raise ModelError(
            f"{path} does not load: it is cut short, damaged or for a newer onnxruntime ({first_line(error)})."
        ) from error


def require(session: onnxruntime.InferenceSession, path: Path, inputs: Sequence[str], output: str) -> None:
    """The graph takes exactly `inputs` and gives `output` among others; else `ModelError` names what differs."""
    has = {put.name for put in session.get_inputs()}
    if has != set(inputs):
        raise ModelError(
            f"{path} is another kind of graph: it takes {', '.join(sorted(has))} where"
            f" {', '.join(sorted(inputs))} are expected."
        )
    if output not in {put.name for put in session.get_outputs()}:
        raise ModelError(f"{path} is another kind of graph: it gives no {output}.")


def width(session: onnxruntime.InferenceSession, name: str) -> int | None:
    """The last axis of an input or output; None where the graph leaves it open."""
    found = next(p for p in [*session.get_inputs(), *session.get_outputs()] if p.name == name)
    return found.shape[-1] if isinstance(found.shape[-1], int) else None


def run(session: onnxruntime.InferenceSession, output: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """One output. Raises `ModelError` when the graph fails."""
    try:
        return np.asarray(session.run([output], feeds)[0])
    except Exception as error:
        raise ModelError(f"the model's graph failed ({first_line(error)}).") from error


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def cpus() -> int:
    """CPUs that this process may use, at most 4: a laptop should stay usable while it indexes."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, count))


def feed_type(session: onnxruntime.InferenceSession, name: str) -> Any:
    """The NumPy type of an input; `ModelError` for one that is never fed (float16)."""
    found = next(put for put in session.get_inputs() if put.name == name)
    if found.type not in TYPES:
        raise ModelError(f"the model's graph takes {name} as {found.type}; float32 and whole numbers are fed.")
    return TYPES[found.type]
