"""What the loss claims: the original's numbers, masks that only remove negatives, float32 at any dtype."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.loss import in_batch_accuracy, info_nce, same_target_mask

CASES = json.loads((Path(__file__).parent / "loss_cases.json").read_text())["cases"]


def unit(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1).to(dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{len(c['queries'])}x{c['targets_per_query']}")
def test_loss_and_both_gradients_are_the_originals(case: dict) -> None:
    queries = torch.tensor(case["queries"], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor(case["targets"], dtype=torch.float64, requires_grad=True)
    loss = info_nce(queries, targets, temperature=case["temperature"])
    loss.backward()
    assert abs(loss.item() - case["loss"]) < 1e-7
    for got, wanted in ((queries.grad, case["grad_queries"]), (targets.grad, case["grad_targets"])):
        assert (got - torch.tensor(wanted, dtype=torch.float64)).abs().max() < 1e-7


def test_the_default_temperature_is_the_papers() -> None:
    queries, targets = unit(5, 8, 0), unit(5, 8, 1)
    assert info_nce(queries, targets) == info_nce(queries, targets, temperature=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10_000))
def test_the_order_of_targets_does_not_matter_when_positives_are_named(n: int, group: int, seed: int) -> None:
    queries, targets = unit(n, 6, seed), unit(n * group, 6, seed + 1)
    order = torch.randperm(n * group, generator=torch.Generator().manual_seed(seed))
    where = torch.argsort(order)
    positives = where[torch.arange(n) * group]
    shuffled = info_nce(queries, targets[order], positives=positives)
    assert torch.allclose(shuffled, info_nce(queries, targets), atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 10_000))
def test_masking_equals_leaving_the_repeated_targets_out(labels: list[int], seed: int) -> None:
    """Rows with few labels: the masked loss is the loss against the *other* labels only."""
    queries, by_label = unit(len(labels), 6, seed), unit(4, 6, seed + 1)
    keys = torch.tensor(labels)
    targets = by_label[keys]
    positives = torch.arange(len(labels))
    masked = info_nce(queries, targets, mask=same_target_mask(keys, positives))
    expected = []
    for i, label in enumerate(labels):
        keep = [i] + [j for j, other in enumerate(labels) if other != label]
        expected.append(info_nce(queries[i : i + 1], targets[keep]))
    assert torch.allclose(masked, torch.stack(expected).mean(), atol=1e-10)


def test_a_mask_never_removes_the_positive() -> None:
    queries, targets = unit(4, 6, 0), unit(4, 6, 1)
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert info_nce(queries, targets, mask=everything).item() == pytest.approx(0.0)


def test_similarity_is_float32_however_the_towers_run() -> None:
    queries, targets = unit(32, 64, 0, torch.bfloat16), unit(32, 64, 1, torch.bfloat16)
    exact = info_nce(queries.double(), targets.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(queries, targets)
    assert loss.dtype == torch.float32
    assert abs(loss.item() - exact.item()) < 1e-4


def test_uneven_groups_are_refused_with_both_counts() -> None:
    with pytest.raises(ValueError, match="7 targets cannot be shared evenly by 3 queries"):
        info_nce(unit(3, 4, 0), unit(7, 4, 1))


def test_accuracy_counts_ties_against_the_model_and_skips_masked_targets() -> None:
    collapsed = torch.ones(3, 4) / 2
    assert not in_batch_accuracy(collapsed, collapsed).any()
    eye = torch.eye(3)
    assert in_batch_accuracy(eye, eye).all()
    keys, positives = torch.tensor([5, 5, 6]), torch.arange(3)
    same = torch.stack([eye[0], eye[0], eye[1]])
    assert in_batch_accuracy(same, same, mask=same_target_mask(keys, positives)).all()
    assert not in_batch_accuracy(torch.full((3, 4), float("nan")), collapsed).any()
