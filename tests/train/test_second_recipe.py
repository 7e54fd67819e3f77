"""What the second recipe adds, each on a toy task where plain InfoNCE fails.

Towers are matrices: queries and targets are rows of features, a model is one matrix for each side.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import model
from data.sources.pair import SourceError
from data.sources.pairs import Pairs
from model.embedder import ModelError
from model.inputs import Input
from train.__main__ import main
from train.average import average
from train.config import Config
from train.loss import info_nce
from train.mining import Mined, MinedSource, MiningError, mine
from train.mixing import Ingredient, MixingTable
from train.objectives.matryoshka import cut, nested
from train.objectives.multi_positive import both_ways, multi_positive_nce
from train.objectives.reranker import order_loss
from train.trainer import train

Configure = Callable[..., Config]


def _fit(
    start: Tensor, loss_of: Callable[[Tensor, int], Tensor], steps: int, rate: float = 0.02, sgd: bool = False
) -> Tensor:
    """Adam, or plain descent, on one matrix."""
    weights = start.clone().requires_grad_()
    optimizer = (torch.optim.SGD if sgd else torch.optim.Adam)([weights], lr=rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(weights, step).backward()
        optimizer.step()
    return weights.detach()


def _hit1(queries: Tensor, targets: Tensor) -> float:
    return float(((queries @ targets.T).argmax(dim=1) == torch.arange(len(queries))).float().mean())


# -- Matryoshka


@pytest.mark.slow
def test_vectors_trained_for_it_can_be_cut_and_plainly_trained_ones_cannot() -> None:
    """Of both sides the first four values are noise, and what they share stands behind them."""
    short, n, dim = 4, 48, 16
    signal = torch.randn(n, dim - short, generator=torch.Generator().manual_seed(0))

    def side(seed: int) -> Tensor:
        return torch.cat([torch.randn(n, short, generator=torch.Generator().manual_seed(seed)), signal], dim=1)

    def fitted(dims: tuple[int, ...]) -> tuple[float, float]:
        def loss_of(weights: Tensor, step: int) -> Tensor:
            queries, targets = (normalize(side(2 * step + more) @ weights, dim=1) for more in (10, 11))
            return nested(lambda q, t: info_nce(q, t, 0.1), queries, targets, dims)

        weights = _fit(torch.eye(dim), loss_of, 150)
        queries, targets = (normalize(side(seed) @ weights, dim=1) for seed in (1, 2))
        return _hit1(queries, targets), _hit1(cut(queries, short), cut(targets, short))

    plain, nested_too = fitted(()), fitted((short,))
    assert plain[0] > 0.9 and nested_too[0] > 0.9
    assert nested_too[1] > 0.7 and plain[1] < 0.3, (plain, nested_too)


def test_without_cuts_it_is_the_plain_loss() -> None:
    q, t = (normalize(torch.randn(6, 8), dim=1) for _ in range(2))
    assert nested(info_nce, q, t, ()) == info_nce(q, t)
    assert torch.allclose(
        nested(info_nce, q, t, (2, 4)),
        (info_nce(q, t) + info_nce(cut(q, 2), cut(t, 2)) + info_nce(cut(q, 4), cut(t, 4))) / 3,
    )


# -- several positives, both directions


def test_a_query_comes_near_all_of_its_right_targets_and_not_to_one_alone() -> None:
    """Each query has its own picture and another of the same thing. The mask only stops pushing the other away."""
    torch.manual_seed(1)
    things, dim = 12, 24
    targets = normalize(torch.randn(2 * things, dim), dim=1)
    keys = torch.arange(things).repeat(2)
    order = torch.cat([torch.arange(things), torch.arange(things) + things])
    targets, keys = targets[order], keys[order]
    own = torch.arange(2 * things)
    start = 0.1 * torch.randn(2 * things, dim)

    def fitted(several: bool) -> float:
        def loss_of(weights: Tensor, _: int) -> Tensor:
            return both_ways(normalize(weights, dim=1), targets, 0.1, keys, several=several)

        scores = normalize(_fit(start, loss_of, 200), dim=1) @ targets.T
        top = scores.topk(2, dim=1).indices
        return float((keys[top] == keys[own][:, None]).all(dim=1).float().mean())

    assert fitted(several=True) > 0.95
    assert fitted(several=False) < 0.5


def test_with_one_positive_each_it_is_info_nce() -> None:
    q, t = (normalize(torch.randn(7, 8), dim=1) for _ in range(2))
    assert torch.allclose(
        multi_positive_nce(q, t, torch.eye(7, dtype=torch.bool), 0.05), info_nce(q, t, 0.05), atol=1e-6
    )
    assert torch.allclose(both_ways(q, t, 0.05, torch.arange(7), several=True), both_ways(q, t, 0.05), atol=1e-6)
    forth_and_back = (info_nce(q, t, 0.05) + info_nce(t, q, 0.05)) / 2
    assert torch.allclose(both_ways(q, t, 0.05, symmetric=True), forth_and_back, atol=1e-6)


def test_a_target_finds_its_query_only_by_the_loss_of_both_directions() -> None:
    """Every second query is near all targets. No query ranks targets worse for that: the plain loss is near zero from
    the start and sees no fault, and each target's nearest query is one of these."""
    n = 24
    hubs = (torch.arange(n) % 2 == 0).float()[:, None]
    queries, targets = (torch.cat([torch.eye(n), last], dim=1) for last in (1.5 * hubs, torch.full((n, 1), 3.0)))

    def fitted(symmetric: bool) -> tuple[float, float]:
        def loss_of(weights: Tensor, _: int) -> Tensor:
            rows, columns = normalize(queries @ weights, dim=1), normalize(targets @ weights, dim=1)
            return both_ways(rows, columns, 0.02, symmetric=symmetric)

        weights = _fit(torch.eye(n + 1), loss_of, 100, rate=0.02, sgd=True)
        rows, columns = normalize(queries @ weights, dim=1), normalize(targets @ weights, dim=1)
        return _hit1(rows, columns), _hit1(columns, rows)

    plain, both = fitted(False), fitted(True)
    assert plain[0] > 0.9 and both[0] > 0.9
    assert both[1] > 0.9 and plain[1] < 0.6, (plain, both)


# -- a loss in blocks


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("with_keys", [False, True])
def test_a_loss_in_blocks_and_its_gradient_are_those_of_the_whole(
    several: bool, symmetric: bool, with_keys: bool
) -> None:
    generator = torch.Generator().manual_seed(8)
    n, m = 70, 110
    keys = torch.randint(0, 40, (m,), generator=generator) if with_keys else None
    results = []
    for rows in (n, 16):
        generator.manual_seed(9)
        queries, targets = (torch.randn(size, 12, generator=generator).requires_grad_() for size in (n, m))
        loss = both_ways(
            normalize(queries, dim=1), normalize(targets, dim=1), 0.05, keys,
            several=several, symmetric=symmetric, rows=rows,
        )  # fmt: skip
        loss.backward()
        results.append((loss.detach(), queries.grad, targets.grad))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


class _Largest(TorchDispatchMode):
    """The number of values of the largest tensor that is made."""

    values = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.values = max([self.values, *(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))])
        return out


@pytest.mark.parametrize("batch", [1024, 8192])
def test_a_global_batch_of_8192_makes_no_matrix_of_its_square(batch: int) -> None:
    """On tensors without numbers, forward and backward, with a hard negative each."""
    with FakeTensorMode() as mode, _Largest() as largest:
        assert mode
        queries, targets = (torch.empty(size, 64).requires_grad_() for size in (batch, 2 * batch))
        keys = torch.empty(2 * batch, dtype=torch.int64)
        both_ways(queries, targets, 0.02, keys, several=True, symmetric=True).backward()
    assert largest.values <= 1024 * 2 * batch


# -- a reranker's scores


@pytest.mark.slow
def test_the_order_of_a_rerankers_scores_is_learnt_and_info_nce_learns_none() -> None:
    torch.manual_seed(3)
    n, k, dim = 12, 3, 40
    targets = normalize(torch.randn(n * (1 + k), dim), dim=1)
    own = torch.arange(n)
    owners = torch.cat([own, own.repeat_interleave(k)])
    scores = torch.cat([torch.full((n,), 2.0), torch.tensor([1.0, 0.0, -1.0]).repeat(n)])
    start = 0.1 * torch.randn(n, dim)

    def fitted(weight: float) -> float:
        def loss_of(weights: Tensor, _: int) -> Tensor:
            queries = normalize(weights, dim=1)
            return info_nce(queries, targets, 0.1, positives=own) + weight * order_loss(
                queries, targets, scores, owners, 0.1
            )

        found = normalize(_fit(start, loss_of, 300), dim=1) @ targets.T
        mine = torch.stack([found[i, owners == i] for i in range(n)])
        return float((mine.diff(dim=1) < 0).all(dim=1).float().mean())

    assert fitted(3.0) > 0.9 and fitted(0.0) < 0.5


def test_pairs_without_scores_add_nothing_and_no_nan() -> None:
    torch.manual_seed(7)
    queries, targets = torch.randn(3, 8, requires_grad=True), torch.randn(5, 8)
    owners = torch.tensor([0, 1, 2, 0, 1])
    nothing = order_loss(queries, targets, torch.full((5,), float("nan")), owners)
    nothing.backward()
    assert nothing == 0 and torch.equal(queries.grad, torch.zeros(3, 8))
    queries.grad = None
    partly = order_loss(queries, targets, torch.tensor([2.0, float("nan"), 1.0, 1.0, 1.0]), owners, 1.0)
    partly.backward()
    theirs, ours = (torch.log_softmax(row, 0) for row in (torch.tensor([2.0, 1.0]), queries[0] @ targets[[0, 3]].T))
    assert torch.allclose(partly, (theirs.exp() * (theirs - ours)).sum())
    assert torch.isfinite(queries.grad).all()
    assert not queries.grad[1:].any(), "the second has no score of its own, the third no scored negative"


# -- mining


FAMILIES, MEMBERS, BATCH = 48, 8, 32


def _families() -> tuple[Tensor, Tensor]:
    """Features of queries and targets: families that are easy to tell apart, and members that are not."""
    n = FAMILIES * MEMBERS
    features = torch.zeros(n, FAMILIES + n)
    features[torch.arange(n), torch.arange(n) // MEMBERS] = 3.0
    features[torch.arange(n), FAMILIES + torch.arange(n)] = 1.0
    noise = 0.02 * torch.randn(n, FAMILIES + n, generator=torch.Generator().manual_seed(4))
    return features, features + noise


def _batches(order: np.ndarray, steps: int) -> list[Tensor]:
    """Rows of batches of four blocks; a block is a cluster of `order`."""
    clusters = np.full(len(order) // MEMBERS, MEMBERS)
    table = MixingTable([Ingredient("toy", len(order), groups=clusters, open_groups=1)], BATCH, MEMBERS)
    return [torch.from_numpy(order[[row for _, row in table.share(step)]]) for step in range(steps)]


@pytest.mark.parametrize("way", ["neighbours", "negatives"])
def test_members_of_a_family_are_told_apart_only_where_they_meet(way: str) -> None:
    """48 families of 8: two of one family meet in every second random batch, in a mined one all do."""
    features, targets = _families()
    n, dim, steps = len(features), 48, 120
    torch.manual_seed(5)
    start = 0.05 * torch.randn(2 * features.shape[1], dim)
    vectors = normalize(features, dim=1).numpy(), normalize(targets, dim=1).numpy()
    mined = mine(*vectors, np.arange(n), negatives=4, margin=0.99, cluster=MEMBERS)
    random = np.random.default_rng(6).permutation(n)

    def fitted(use: bool) -> float:
        batches = _batches(mined.order if use and way == "neighbours" else random, steps)
        half = len(start) // 2

        def loss_of(weights: Tensor, step: int) -> Tensor:
            rows = columns = batches[step]
            if use and way == "negatives":
                columns = torch.cat([rows, torch.from_numpy(mined.negatives[rows.numpy()]).flatten()])
            queries = normalize(features[rows] @ weights[:half], dim=1)
            answers = normalize(targets[columns] @ weights[half:], dim=1)
            return info_nce(queries, answers, 0.05, positives=torch.arange(len(rows)))

        weights = _fit(start, loss_of, steps, rate=0.01)
        return _hit1(normalize(features @ weights[:half], dim=1), normalize(targets @ weights[half:], dim=1))

    plain, better = fitted(False), fitted(True)
    assert better > plain + 0.15, (plain, better)


def test_neighbours_stand_in_one_cluster_and_every_row_in_one() -> None:
    features, targets = (normalize(part, dim=1).numpy() for part in _families())
    n = FAMILIES * MEMBERS
    mined = mine(features, targets, np.arange(n), cluster=MEMBERS)
    assert sorted(mined.order.tolist()) == list(range(n))
    families = (mined.order // MEMBERS).reshape(FAMILIES, MEMBERS)
    assert (families == families[:, :1]).all()


def test_a_target_as_good_as_the_own_one_is_no_negative() -> None:
    """Row 1's target answers row 0's query as well (0.97 of its own), row 2's nearly (0.9), row 3's not at all."""
    targets = np.eye(5, dtype=np.float32)
    queries = np.eye(5, dtype=np.float32)
    queries[0] = [1.0, 0.97, 0.9, 0.1, 0.5]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    keys = np.array([10, 11, 12, 13, 12])
    mined = mine(queries, targets, keys, negatives=2)
    assert mined.negatives[0].tolist() == [2, 4] and mined.scores[0].tolist() == queries[0, [0, 2, 4]].tolist()
    assert mine(queries, targets, keys, negatives=2, margin=2).negatives[0].tolist() == [1, 2]
    keys[2] = keys[0]
    assert mine(queries, targets, keys, negatives=2).negatives[0].tolist() == [4, 3], "the same content is none either"


def test_a_row_without_vectors_has_no_negatives_and_is_none() -> None:
    queries = targets = np.eye(4, dtype=np.float32) + 0.1
    targets = targets.copy()
    targets[2] = 0
    mined = mine(queries, targets, np.arange(4), negatives=3)
    assert (mined.negatives[2] == -1).all() and 2 not in mined.negatives
    assert sorted(mined.order.tolist()) == [0, 1, 2, 3]


def test_a_mined_source_gives_its_order_and_its_negatives(collection: Path, tmp_path: Path) -> None:
    source = Pairs(collection, limit=20)
    negatives, scores = np.tile(np.array([3, -1]), (20, 1)), np.tile(np.array([0.8, 0.5, np.nan]), (20, 1))
    Mined(negatives, scores, np.arange(20)[::-1], 8).save(tmp_path / "pairs.npz")
    mined = MinedSource(source, Mined.load(tmp_path / "pairs.npz"))
    assert mined[0].query == source[19].query and mined[0].negatives == (source[3].positive,)
    assert mined[0].scores == pytest.approx((40, 25))
    assert mined.groups.tolist() == [8, 8, 4] and mined.open_groups == 1
    with pytest.raises(MiningError, match="has 30 rows and was mined with 20"):
        MinedSource(Pairs(collection, limit=30), Mined.load(tmp_path / "pairs.npz"))
    (tmp_path / "pairs.npz").write_bytes(b"no")
    with pytest.raises(MiningError, match="mine again"):
        Mined.load(tmp_path / "pairs.npz")


@pytest.mark.slow
def test_a_run_mines_with_a_teacher_and_trains_with_all_of_it(
    config: Configure, keys: dict[str, Any], tmp_path: Path
) -> None:
    run = {**keys, "hard_negatives": 2, "datasets": [keys["datasets"][0] | {"limit": 48}], "max_steps": 2}
    (tmp_path / "run.yaml").write_text(json.dumps(run))
    at = ["--config", str(tmp_path / "run.yaml"), "--output_dir", str(tmp_path / "mined")]
    assert main([*at, "--mine", keys["model_name"]]) == 0
    mined = Mined.load(tmp_path / "mined" / "pairs.npz")
    assert mined.negatives.shape == (48, 2) and mined.cluster == 16
    more = {"mined": str(tmp_path / "mined"), "matryoshka": [32], "symmetric": True, "multi_positive": True}
    outcome = train(config(**{**run, **more}), tmp_path / "run")
    assert outcome.step == 2


@pytest.mark.slow
def test_scores_of_a_reranker_reach_the_loss_of_a_run(config: Configure, collection: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in collection.read_text().splitlines()][:32]
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        row |= {"negatives": [other["positive"]], "scores": [2.0, -1.0]}
    (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    datasets = [{"type": "pairs", "path": str(tmp_path / "scored.jsonl"), "media_root": str(collection.parent)}]
    losses = []
    for weight in (0.0, 1.0):
        run = config(datasets=datasets, hard_negatives=1, rerank_weight=weight, max_steps=1, warmup_steps=0)
        train(run, tmp_path / str(weight))
        losses.append(json.loads((tmp_path / str(weight) / "log.jsonl").read_text().splitlines()[-1])["loss"])
    assert losses[1] > losses[0] + 1e-3
    rows[0]["scores"] = [1.0]
    (tmp_path / "scored.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(SourceError, match="one for the positive and one for each negative"):
        Pairs(tmp_path / "scored.jsonl")[0]


# -- averages


@pytest.mark.slow
def test_an_average_of_adapters_adds_the_mean_of_what_they_add(config: Configure, tmp_path: Path) -> None:
    folders = []
    for seed in (1, 2):
        run = config(use_dora=False, seed=seed, max_steps=2, lora_rank=4)
        folders.append(train(run, tmp_path / str(seed)).checkpoint)
    average(folders, tmp_path / "mean")
    base = Path(config().model_name)
    text = [Input("a red bar on white", role="query")]
    weights = {
        f: dict(model.load(str(f), device="cpu").model.named_parameters()) for f in (base, *folders, tmp_path / "mean")
    }
    name = next(n for n in weights[base] if n.endswith("layers.0.self_attn.q_proj.weight") and "visual" not in n)
    added = [weights[f][name] - weights[base][name] for f in (*folders, tmp_path / "mean")]
    assert added[0].abs().max() > 1e-5
    torch.testing.assert_close(added[2], (added[0] + added[1]) / 2, rtol=1e-4, atol=1e-6)
    assert model.load(str(tmp_path / "mean"), device="cpu").embed(text).shape == (1, 64)


def test_an_average_of_checkpoints_is_that_of_their_weights(tmp_path: Path) -> None:
    for number, value in enumerate((1.0, 2.0, 6.0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_file({"w": torch.full((2, 2), value, dtype=torch.bfloat16)}, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text("{}")
    folders = [tmp_path / str(number) for number in range(3)]
    assert main(["--average", *map(str, folders), "--output_dir", str(tmp_path / "mean")]) == 0
    (weights,) = load_file(tmp_path / "mean" / "model.safetensors").values()
    assert weights.dtype == torch.bfloat16 and (weights == 3).all() and (tmp_path / "mean" / "config.json").exists()
    assert (tmp_path / "mean" / "1_Pooling" / "config.json").exists(), "which modules.json names"


@pytest.mark.parametrize(
    ("missing", "message"), [("0", "0 has no safetensors weights"), ("1", "1 has other weight files than")]
)
def test_a_checkpoint_that_lacks_weights_is_named(missing: str, message: str, tmp_path: Path) -> None:
    for number in "01":
        (tmp_path / number).mkdir()
        if number != missing:
            save_file({"w": torch.zeros(2)}, tmp_path / number / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        average([tmp_path / "0", tmp_path / "1"], tmp_path / "mean")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "x.yaml", "--mine", "lite", "--nproc_per_node", "8"], "runs in one process"),
        (["--average", "a", "--mine", "lite"], "--mine goes with --config"),
        (["--average", "a", "--max_steps", "1"], "--average takes no --max_steps"),
        (["--merge", "a", "--max_steps", "1"], "--merge takes no --max_steps"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output_dir", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "is a DoRA adapter"),
        ({"base_model_name_or_path": "other"}, "another base"),
        ({"rank_pattern": {"q": 3}}, "ranks or scales of its own"),
        (None, "only one of them has"),
    ],
)
def test_what_has_no_average_is_refused_and_nothing_is_left(
    change: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    about = {"r": 2, "lora_alpha": 4, "use_dora": False, "base_model_name_or_path": "base"}
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        name = "x.lora_A.weight" if number == 0 or change is not None else "y.lora_A.weight"
        save_file({name: torch.zeros(2, 3)}, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(about | (change or {} if number else {})))
    with pytest.raises(ModelError, match=message):
        average([tmp_path / "0", tmp_path / "1"], tmp_path / "mean")
    assert not (tmp_path / "mean").exists() and not (tmp_path / "mean.part").exists()
