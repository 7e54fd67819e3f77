"""LoRA and DoRA around a linear layer in training: one product with the base weight, in the dtype of that weight.

Built around `AdaptedLinear`:

    LoRA   y = W x + s B A drop(x) + bias                              s = alpha / rank
    DoRA   y = m / |W + s B A| * (W x + s B A drop(x)) + bias          norms by output row, constant in the gradient

A, B and m are float32 and are cast for each product: a step in bfloat16 has no large product in float32. peft
multiplies with W twice, the second time with drop(x) and in the dtype of A; here dropout reaches the adapter's branch
alone, which is the same in the mean. Parameters have the names that adapter files have on disk. It knows nothing of
backbones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdaptedLinear(nn.Module):
    """A frozen `nn.Linear` with an adapter. Untrained, it equals the linear layer exactly."""

    lora_magnitude_vector: nn.Parameter | None
    base_norm: Tensor

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float, use_dora: bool) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False, device=base.weight.device, dtype=torch.float32)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False, device=base.weight.device, dtype=torch.float32)
        nn.init.normal_(self.lora_A.weight, std=1 / rank)
        nn.init.zeros_(self.lora_B.weight)
        self.scale, self.dropout = alpha / rank, dropout
        # In float32: row norms in bfloat16 are up to 0.4 % off, and an untrained adapter would change the model.
        norm = base.weight.float().norm(dim=1)
        self.register_buffer("base_norm", norm, persistent=False)
        self.lora_magnitude_vector = nn.Parameter(norm.clone()) if use_dora else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` [..., in]. Returns [..., out] in its dtype."""
        base, bias = self.base_layer.weight, self.base_layer.bias
        a, b = self.lora_A.weight.to(x.dtype), self.lora_B.weight.to(x.dtype)
        plain = functional.linear(x, base)
        low = functional.linear(functional.dropout(x, self.dropout, self.training), a)
        low = functional.linear(low, b * self.scale)
        y = plain + low
        if self.lora_magnitude_vector is not None:
            factor = self.lora_magnitude_vector / self._row_norms(a.detach(), b.detach())
            # `factor` is near 1, where bfloat16 has steps of 0.4 %; `factor - 1` keeps its digits.
            y = torch.addcmul(y, y, (factor - 1).to(x.dtype))
        return y if bias is None else y + bias

    @torch.no_grad()
    def _row_norms(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns |W + s B A| by row, float32 [out], without a matrix of the size of W:

        |W + s B A|² = |W|² + 2 s <B, W Aᵀ> + s² <B, B (A Aᵀ)>
        """
        scaled = b.float() * self.scale
        cross = (scaled * (self.base_layer.weight @ a.T.to(self.base_layer.weight.dtype)).float()).sum(dim=1)
        own = (scaled * (scaled @ (a.float() @ a.float().T))).sum(dim=1)
        return (self.base_norm.square() + 2 * cross + own).clamp_min(1e-12).sqrt()


def insert_adapters(
    module: nn.Module, names: tuple[str, ...], rank: int, alpha: float, dropout: float, use_dora: bool
) -> None:
    """Replace every linear layer of `module` with one of these last names by an `AdaptedLinear`, in order."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if name in names and isinstance(child, nn.Linear):
                setattr(parent, name, AdaptedLinear(child, rank, alpha, dropout, use_dora))
