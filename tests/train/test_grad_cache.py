"""The gradient cache is exact: loss and every gradient equal the un-chunked ones, on 1 and 2 processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from train.grad_cache import cached_backward, sum_gradients
from train.loss import gather, info_nce, same_target_mask
from train.processes import make_current

N, WIDTH = 16, 12


class Tower(nn.Module):
    """A small encoder with everything that can go wrong: dropout, normalisation, padding of unequal rows."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, WIDTH, padding_idx=0)
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, 24), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(24), nn.Linear(24, 8)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != 0).unsqueeze(-1)
        mean = (self.words(tokens) * mask).sum(1) / mask.sum(1)
        return nn.functional.normalize(self.layers(mean), dim=1)


def rows(n: int = N) -> tuple[list[Tensor], list[Tensor]]:
    """Queries and targets of unequal length; targets 3 and 9 are the same."""
    generator = torch.Generator().manual_seed(7)
    sides = [
        [torch.randint(1, 50, (int(torch.randint(2, 9, (1,), generator=generator)),), generator=generator)]
        for _ in range(2 * n)
    ]
    flat = [side[0] for side in sides]
    queries, targets = flat[:n], flat[n:]
    targets[9] = targets[3].clone()
    return queries, targets


def collate(items: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(items, batch_first=True)


def chunked(items: list[Tensor], size: int) -> list[Tensor]:
    return [collate(items[i : i + size]) for i in range(0, len(items), size)]


def keys_of(targets: list[Tensor]) -> Tensor:
    return torch.tensor([hash(tuple(t.tolist())) for t in targets])


def contrastive(n: int, target_keys: Tensor) -> Callable[[Tensor], Tensor]:
    def loss_of(embeddings: Tensor) -> Tensor:
        queries, _ = gather(embeddings[:n])
        targets, _ = gather(embeddings[n:])
        keys, _ = gather(target_keys)
        positives = torch.arange(len(queries))
        return info_nce(queries, targets, positives=positives, mask=same_target_mask(keys, positives))

    return loss_of


def plain_gradients(dtype: torch.dtype = torch.float32) -> tuple[Tensor, list[Tensor]]:
    tower = Tower(dropout=0.0).to(dtype)
    queries, targets = rows()
    embeddings = torch.cat([tower(collate(queries)), tower(collate(targets))])
    loss = contrastive(N, keys_of(targets))(embeddings)
    loss.backward()
    return loss.detach(), [p.grad for p in tower.parameters()]


def worst(got: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference, in units of the largest gradient where that is above 1 (float32 has 7 digits)."""
    scale = max(1.0, max(b.abs().max().item() for b in wanted))
    return max((a - b).abs().max().item() for a, b in zip(got, wanted, strict=True)) / scale


@pytest.mark.parametrize("size", [1, 3, 8, N])
@pytest.mark.parametrize("dtype, within", [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["f32", "f64"])
def test_chunked_gradients_equal_the_unchunked_ones(size: int, dtype: torch.dtype, within: float) -> None:
    loss, wanted = plain_gradients(dtype)
    tower = Tower(dropout=0.0).to(dtype)
    queries, targets = rows()
    chunks = chunked(queries, size) + chunked(targets, size)
    got = cached_backward(tower, chunks, contrastive(N, keys_of(targets)))
    assert abs(got - loss) < within
    assert worst([p.grad for p in tower.parameters()], wanted) < within
    assert max(g.abs().max() for g in wanted) > 1e-2  # the comparison is of something


def test_dropout_is_drawn_once_for_both_forwards() -> None:
    """With dropout, each chunk's second forward must repeat the first one's mask."""
    queries, targets = rows()
    chunks = chunked(queries, 4) + chunked(targets, 4)
    loss_of = contrastive(N, keys_of(targets))

    whole = Tower(dropout=0.5)
    torch.manual_seed(3)
    loss = loss_of(torch.cat([whole(chunk) for chunk in chunks]))
    loss.backward()
    drawn_after = torch.rand(1)

    cached = Tower(dropout=0.5)
    torch.manual_seed(3)
    got = cached_backward(cached, chunks, loss_of)
    assert abs(got - loss) < 1e-5
    assert worst([p.grad for p in cached.parameters()], [p.grad for p in whole.parameters()]) < 1e-5
    assert torch.rand(1) == drawn_after


class Card:
    """An accelerator's module of torch, with a generator that nothing else moves."""

    def __init__(self) -> None:
        self.generator = torch.Generator()

    def get_rng_state(self) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor) -> None:
        self.generator.set_state(state)


def test_dropout_of_any_accelerator_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only CUDA's: `device: auto` takes an Apple's or an Intel's card as well."""
    card = Card()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: card)
    drawn: list[float] = []
    weight = torch.ones(1, requires_grad=True)

    def encode(chunk: Tensor) -> Tensor:
        drawn.append(float(torch.rand(1, generator=card.generator)))
        return chunk * weight

    cached_backward(encode, [torch.ones(2, 1), torch.ones(2, 1)], lambda e: e.sum())
    assert drawn[:2] == drawn[2:] and drawn[0] != drawn[1]


def test_a_card_that_is_named_by_its_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random states are kept of the current card; another one would draw its dropout twice."""
    made: list[int] = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", made.append)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        make_current(torch.device(name))
    assert made == [1]


def test_a_batch_of_one_chunk_is_embedded_once() -> None:
    tower = Tower(dropout=0.0)
    calls = []

    def encode(tokens: Tensor) -> Tensor:
        calls.append(len(tokens))
        return tower(tokens)

    queries, targets = rows()
    cached_backward(encode, [collate(queries + targets)], contrastive(N, keys_of(targets)))
    assert calls == [2 * N]


def _one_of_several(rank: int, world: int, folder: str, sizes: list[int]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    tower = Tower(dropout=0.0)
    queries, targets = rows()
    first = sum(sizes[:rank])
    mine = slice(first, first + sizes[rank])
    chunks = chunked(queries[mine], 3) + chunked(targets[mine], 3)
    loss = cached_backward(tower, chunks, contrastive(sizes[rank], keys_of(targets[mine])))
    sum_gradients(tower.parameters())
    torch.save([loss, [p.grad for p in tower.parameters()]], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("sizes", [[8, 8], [11, 5]], ids=["even", "uneven"])
def test_two_processes_sum_to_the_unchunked_gradients(tmp_path: Path, sizes: list[int]) -> None:
    loss, wanted = plain_gradients()
    mp.spawn(_one_of_several, args=(2, str(tmp_path), sizes), nprocs=2)
    for rank in range(2):
        got, gradients = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert abs(got - loss) < 1e-5
        assert worst(gradients, wanted) < 1e-5
