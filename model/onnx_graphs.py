"""ONNX graphs on the CPU, with bounded memory and threads, and checks of their inputs and outputs.

Built around onnxruntime. It knows nothing of any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.embedder import ModelError, first_line
from model.machine import model_threads

if TYPE_CHECKING:
    import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Returns a session on the CPU, with `model_threads` threads. Raises `ModelError`.

    Without an arena, which would keep the memory of the longest input. Idle threads do not spin.
    """
    import onnxruntime

    if not path.is_file():
        raise ModelError(f"{path} is missing.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = model_threads()
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common class
        raise ModelError(
            f"{path} does not load: it is cut short, damaged or for a newer onnxruntime ({first_line(error)})."
        ) from error


def require(session: onnxruntime.InferenceSession, path: Path, inputs: Sequence[str], output: str) -> None:
    """Raises `ModelError` unless the graph has exactly `inputs`, and `output` among its outputs."""
    names = {put.name for put in session.get_inputs()}
    if names != set(inputs):
        raise ModelError(
            f"{path} is another kind of graph: it takes {', '.join(sorted(names))}, not {', '.join(sorted(inputs))}."
        )
    if output not in {put.name for put in session.get_outputs()}:
        raise ModelError(f"{path} is another kind of graph: it gives no {output}.")


def width(session: onnxruntime.InferenceSession, name: str) -> int | None:
    """Returns the last dimension of an input or output; None if it is variable."""
    put = next(p for p in [*session.get_inputs(), *session.get_outputs()] if p.name == name)
    return put.shape[-1] if isinstance(put.shape[-1], int) else None


def run(session: onnxruntime.InferenceSession, output: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Returns one output. Raises `ModelError` if the graph fails."""
    try:
        return np.asarray(session.run([output], feeds)[0])
    except Exception as error:
        raise ModelError(f"the model's graph failed ({first_line(error)}).") from error


def feed_type(session: onnxruntime.InferenceSession, name: str) -> Any:
    """Returns the NumPy type of an input. Raises `ModelError` for any but float32 and integers."""
    put = next(p for p in session.get_inputs() if p.name == name)
    if put.type not in TYPES:
        raise ModelError(f"the model's graph takes {name} as {put.type}; Sightline has float32 and integers.")
    return TYPES[put.type]
