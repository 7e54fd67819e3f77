"""Where a torch model runs and in which numbers. It knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model.embedder import ModelError

if TYPE_CHECKING:
    import torch

NAMES = {
    "float32": "float32", "fp32": "float32",
    "bfloat16": "bfloat16", "bf16": "bfloat16",
    "float16": "float16", "fp16": "float16",
}  # fmt: skip


def pick_device(device: str) -> torch.device:
    """The device of a name; auto is the first accelerator that torch sees, else the CPU."""
    import torch

    if device == "auto":
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator() or torch.device("cpu")
        return torch.device("cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"This machine has no usable device {device} ({reason}).") from None
    return place


def pick_dtype(dtype: str, device: torch.device, config: dict[str, Any]) -> tuple[torch.dtype, bool]:
    """(number format of the weights, whether to quantise to int8 afterwards).

    auto: float32 on a CPU; on an accelerator the checkpoint's own, as its `config` (config.json) says.
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
    stored = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    number = getattr(torch, NAMES.get(str(stored), "bfloat16"))
    if number is torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        number = torch.float16
    return number, False
