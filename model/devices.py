"""The device and the dtype of a torch model. It knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model.embedder import ModelError, first_line

if TYPE_CHECKING:
    import torch

NAMES = {
    "float32": "float32", "fp32": "float32",
    "bfloat16": "bfloat16", "bf16": "bfloat16",
    "float16": "float16", "fp16": "float16",
}  # fmt: skip


def pick_device(device: str) -> torch.device:
    """Returns the device of a name; `auto` is torch's first accelerator, else the CPU. Raises `ModelError`."""
    import torch

    if device == "auto":
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator() or torch.device("cpu")
        return torch.device("cpu")
    try:
        torch_device = torch.device(device)
        torch.empty(1, device=torch_device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"This machine has no usable device {device} ({first_line(error)}).") from None
    return torch_device


def pick_dtype(dtype: str, device: torch.device, config: dict[str, Any]) -> tuple[torch.dtype, bool]:
    """Returns (dtype of the weights, whether to quantise to int8 afterwards). Raises `ModelError`.

    `auto`: float32 on a CPU; on an accelerator the dtype in the checkpoint's `config` (config.json).
    """
    import torch

    if dtype == "int8":
        if device.type != "cpu":
            raise ModelError("int8 runs on a CPU only; take bfloat16 on an accelerator.")
        return torch.float32, True
    if dtype != "auto" and dtype not in NAMES:
        raise ModelError(f"There is no dtype {dtype}; choose auto, float32, bfloat16, float16 or int8.")
    if dtype != "auto":
        return getattr(torch, NAMES[dtype]), False
    if device.type == "cpu":
        return torch.float32, False
    name = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    torch_dtype = getattr(torch, NAMES.get(str(name), "bfloat16"))
    if torch_dtype is torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        torch_dtype = torch.float16
    return torch_dtype, False


def dtype_label(dtype: str, device: torch.device, config: dict[str, Any]) -> str:
    """Returns the dtype as part of a model's id: "int8", "bfloat16" …, or "" for the dtype of `auto`."""
    torch_dtype, quantise = pick_dtype(dtype, device, config)
    if quantise:
        return "int8"
    return "" if torch_dtype == pick_dtype("auto", device, config)[0] else str(torch_dtype).removeprefix("torch.")
