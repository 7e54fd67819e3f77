"""Our LoRA and DoRA layers against peft's, and what a step in bfloat16 multiplies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from data.sources.pair import load
from data.sources.pairs import Pairs
from train.config import Config
from train.grad_cache import cached_backward
from train.loss import info_nce
from train.towers.adapters import AdaptedLinear
from train.towers.open import open_tower

Configure = Callable[..., Config]
RANK = 4


def _layer(use_dora: bool, dropout: float = 0.0, dtype: torch.dtype = torch.float32, trained: bool = True) -> Any:
    """Ours with random A, B and m, over 48 x 32 random weights."""
    torch.manual_seed(0)
    layer = AdaptedLinear(nn.Linear(32, 48, dtype=dtype).requires_grad_(False), RANK, 8.0, dropout, use_dora)
    if trained:
        nn.init.normal_(layer.lora_B.weight, std=0.05)
        if layer.lora_magnitude_vector is not None:
            layer.lora_magnitude_vector.data *= 1 + 0.1 * torch.randn(48)
    return layer


def _pefts(layer: AdaptedLinear, dropout: float = 0.0) -> Any:
    """peft's layer with the same weights."""
    from peft import LoraConfig, inject_adapter_in_model

    base = nn.Linear(32, 48)
    base.load_state_dict({name: t.float() for name, t in layer.base_layer.state_dict().items()})
    config = LoraConfig(
        r=RANK,
        lora_alpha=8,
        lora_dropout=dropout,
        target_modules=["linear"],
        use_dora=layer.lora_magnitude_vector is not None,
    )
    theirs: Any = inject_adapter_in_model(config, nn.ModuleDict({"linear": base}))["linear"]
    theirs.lora_A["default"].weight.data.copy_(layer.lora_A.weight)
    theirs.lora_B["default"].weight.data.copy_(layer.lora_B.weight)
    if layer.lora_magnitude_vector is not None:
        theirs.lora_magnitude_vector["default"].weight.data.copy_(layer.lora_magnitude_vector)
    return theirs


def _inputs(count: int = 40, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()


@pytest.mark.parametrize("use_dora", [False, True])
def test_without_dropout_outputs_and_gradients_are_pefts(use_dora: bool) -> None:
    ours = _layer(use_dora)
    theirs, x, y = _pefts(ours), _inputs(), _inputs()
    target = torch.randn(40, 48)
    for layer, inputs in ((ours, x), (theirs, y)):
        (layer(inputs) * target).sum().backward()
    torch.testing.assert_close(ours(x), theirs(y), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.lora_A.weight.grad, theirs.lora_A["default"].weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.lora_B.weight.grad, theirs.lora_B["default"].weight.grad, rtol=1e-4, atol=1e-4)
    if use_dora:
        magnitude = theirs.lora_magnitude_vector["default"].weight.grad
        torch.testing.assert_close(ours.lora_magnitude_vector.grad, magnitude, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("use_dora", [False, True])
def test_with_dropout_the_mean_over_many_draws_is_pefts(use_dora: bool) -> None:
    """peft drops values in front of the base weight as well; neither changes the mean."""
    draws = 2000
    ours = _layer(use_dora, dropout=0.3).train()
    theirs, x = _pefts(ours, 0.3).train(), _inputs(2).detach()
    with torch.no_grad():
        outputs = [torch.stack([layer(x) for _ in range(draws)]) for layer in (ours, theirs)]
    error = sum(o.var(dim=0) / draws for o in outputs).sqrt()
    assert ((outputs[0].mean(dim=0) - outputs[1].mean(dim=0)).abs() < 5 * error + 1e-6).all()
    assert outputs[0].var(dim=0).mean() <= 1.05 * outputs[1].var(dim=0).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_untrained_adapter_is_the_base_to_the_bit_with_dropout_too(dtype: torch.dtype) -> None:
    layer, x = _layer(True, dropout=0.5, dtype=dtype, trained=False).train(), _inputs(dtype=dtype)
    assert torch.equal(layer(x), x @ layer.base_layer.weight.T + layer.base_layer.bias)


def test_row_norms_equal_those_of_the_whole_matrix() -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 1e-3)):
        layer = _layer(True, dtype=dtype)
        a, b = layer.lora_A.weight, layer.lora_B.weight
        whole = (layer.base_layer.weight.float() + layer.scale * b @ a).norm(dim=1)
        got = layer._row_norms(a.detach().to(dtype), b.detach().to(dtype))
        torch.testing.assert_close(got, whole, rtol=tolerance, atol=0)


def test_a_small_change_of_a_magnitude_shows_in_bfloat16() -> None:
    """m / |W| = 1.003 is 1 in bfloat16: as one factor it would be lost in every output, not rounded in each."""
    layer, x = _layer(True, dtype=torch.bfloat16, trained=False), _inputs(4000, torch.bfloat16)
    layer.base_layer.bias = None
    before = layer(x).float()
    layer.lora_magnitude_vector.data *= 1.003
    assert (layer(x).float().norm() / before.norm()).item() == pytest.approx(1.003, abs=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize("use_dora", [False, True])
def test_a_whole_step_without_dropout_has_pefts_loss_and_gradients(
    use_dora: bool, config: Configure, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 1e-5 of the loss and 1e-3 of each tensor's longest gradient, in float32."""
    from peft import LoraConfig, inject_adapter_in_model

    run = config(use_dora=use_dora)
    ours = _step(run, collection)
    pattern = rf".*\.({'|'.join(run.lora_target_modules)})"

    def inject(language_model: nn.Module, _: Config) -> None:
        about = LoraConfig(r=run.lora_rank, lora_alpha=64, use_dora=use_dora, target_modules=pattern)
        inject_adapter_in_model(about, language_model)
        for name, parameter in language_model.named_parameters():
            if "lora_A" in name:
                parameter.data.copy_(starts[_short(name)])

    starts = {n.removeprefix("language_model."): p.detach() for n, p in _tower(run).trainable().items()}
    monkeypatch.setattr("train.towers.adapters.insert_adapters", inject)
    theirs = _step(run, collection)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    gradients = {_short(name): gradient for name, gradient in theirs[1].items()}
    assert gradients.keys() == ours[1].keys() and len(gradients) > 20
    for name, gradient in ours[1].items():
        torch.testing.assert_close(gradient, gradients[name], rtol=0, atol=1e-3 * float(gradients[name].abs().max()))


def _short(name: str) -> str:
    """peft's name of a parameter in memory -> ours."""
    return name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def _tower(config: Config) -> Any:
    """A tower whose random start is that of `_step`."""
    torch.manual_seed(3)
    return open_tower(config)


class _Products(TorchDispatchMode):
    """Counts matrix products by dtype and (m, k, n)."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[torch.dtype, tuple[int, int, int]]] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        if name in ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"):
            left, right = args[-2:]
            self.counts[left.dtype, (left.shape[-2], left.shape[-1], right.shape[-1])] += 1
        return function(*args, **(kwargs or {}))


def _step(config: Config, collection: Path, watch: bool = False) -> tuple[float, dict[str, Tensor], _Products]:
    """One step's loss and gradients over 16 pairs in two chunks a side."""
    tower = _tower(config)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in sorted(tower.trainable().items(), key=lambda item: _short(item[0])):
        if "lora_B" in name:
            parameter.data.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    tower.module.train()
    pairs = [Pairs(collection)[row] for row in range(16)]
    sides = [[load(pair.query) for pair in pairs], [load(pair.positive) for pair in pairs]]
    collate = tower.collator()
    chunks = [collate(side[at : at + 8]) for side in sides for at in (0, 8)]

    def loss_of(embeddings: Tensor) -> Tensor:
        return info_nce(*embeddings.chunk(2), config.temperature)

    products = _Products()
    if watch:
        with products:
            loss = cached_backward(tower.encode, chunks, loss_of)
    else:
        loss = cached_backward(tower.encode, chunks, loss_of)
    return float(loss), {n: p.grad.clone() for n, p in tower.trainable().items()}, products


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"use_dora": False}, {"gradient_checkpointing": True}], ids=str)
def test_a_bfloat16_step_has_no_full_size_float32_product(
    config: Configure, collection: Path, changes: dict[str, Any]
) -> None:
    run = config(dtype="bfloat16", lora_dropout=0.1, **changes)
    _, _, products = _step(run, collection, watch=True)
    # The similarities of 16 x 16 pairs and DoRA's norms of rank 8 are products in float32, and small.
    large = {k: n for k, n in products.counts.items() if k[0] == torch.float32 and min(k[1]) > run.lora_rank}
    assert not {k: n for k, n in large.items() if k[1][0] > 16 and k[1][2] > 16}, large


@pytest.mark.parametrize("use_dora", [False, True])
def test_a_projection_multiplies_with_its_weight_once_and_peft_twice(use_dora: bool) -> None:
    ours = _layer(use_dora, dropout=0.1).train()
    counts = []
    for layer in (ours, _pefts(ours, 0.1).train()):
        with _Products() as products:
            layer(_inputs(600))
        counts.append(sum(n for (_, shape), n in products.counts.items() if shape == (600, 32, 48)))
    assert counts == [1, 2 if use_dora else 1]


@pytest.mark.slow
def test_loss_and_gradients_in_bfloat16_stay_near_those_in_float32(config: Configure, collection: Path) -> None:
    """Tolerances: 3 % of the loss (temperature 0.02), cosine 0.995 over all gradients, 0.97 of nine tensors in ten."""
    whole = _step(config(dtype="float32"), collection)
    half = _step(config(dtype="bfloat16"), collection)
    assert half[0] == pytest.approx(whole[0], rel=0.03)
    both = [torch.cat([step[1][name].flatten() for name in sorted(whole[1])]) for step in (whole, half)]
    assert torch.nn.functional.cosine_similarity(*both, dim=0) > 0.995
    each = [torch.nn.functional.cosine_similarity(whole[1][n].flatten(), half[1][n].flatten(), dim=0) for n in whole[1]]
    assert np.mean([float(c) > 0.97 for c in each]) > 0.9
