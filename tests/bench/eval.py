"""`make bench-eval`: ranking 10,000 queries x 100,000 candidates, and embedding with a cold and a warm cache.

Ranking is set beside a bare matrix product of the same shape in the same blocks, and beside a
plain Python loop that ranks as the original does (a full sort a query, metrics one by one);
the loop is measured on a sample of queries and scaled, since all of them would take an hour.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.mmeb.task_data import TaskData, TaskItem
from eval.embedding import Embedded, Rank
from eval.metrics import KS, score_ranking
from eval.runner import run
from eval.scoring import BLOCK, score
from eval.task_list import all_tasks, select
from model.embedder import Embedder
from model.loading import load
from tests.bench.report import table, write
from tests.eval.fixtures import build

QUERIES, CANDIDATES = 10_000, 100_000
LOOPED = 40


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.eval", description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, nargs="+", default=[384, 1536])
    parser.add_argument("--queries", type=int, default=QUERIES)
    asked = parser.parse_args()
    rows = [row for dim in asked.dim for row in _ranking(asked.queries, dim)]
    ranking = table(["ranking", "seconds", "against the bare product", "against the loop"], rows)
    embedding = table(["78 tasks in miniature, lite", "inputs", "seconds", "inputs/s"], _embedding())
    write(
        "eval",
        f"{asked.queries:,} queries x {CANDIDATES:,} candidates, one relevant each, float32, every metric at "
        f"1, 5 and 10. Targets: at most 1.5 x the bare product, at least 20 x faster than the loop "
        f"({LOOPED} queries looped, scaled).\n\n{ranking}\n\n{embedding}\n\n"
        "Warm: every task is ranked and scored again, nothing is embedded; what is left is reading rows and "
        "looking vectors up.",
    )


def _ranking(queries: int, dim: int) -> list[list[object]]:
    rng = np.random.default_rng(0)
    candidates = rng.standard_normal((CANDIDATES, dim), dtype=np.float32)
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    right = rng.integers(0, CANDIDATES, queries)
    asked = candidates[right] + rng.standard_normal((queries, dim), dtype=np.float32) * 0.08
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    data = TaskData(
        queries=[TaskItem("")] * queries,
        ids=[str(i) for i in range(queries)],
        candidates=[TaskItem("")] * CANDIDATES,
        keys=[str(i) for i in range(CANDIDATES)],
        relevant=[{int(c): 1.0} for c in right],
        missing=[0] * queries,
    )
    (task,) = select(["MSR-VTT"])

    block = BLOCK // CANDIDATES

    def bare() -> None:
        space = np.empty((block, CANDIDATES), dtype=np.float32)
        for at in range(0, queries, block):
            some = asked[at : at + block]
            np.matmul(some, candidates.T, out=space[: len(some)])

    found: dict[str, float] = {}

    def ours() -> None:
        scored = score(task, data, Embedded(asked, {}), Embedded(candidates, {}))
        found.update({k: float(v.mean()) for k, v in scored.metrics.items()})

    product, ranked = _alternating(bare, ours)
    sample = rng.choice(queries, LOOPED, replace=False)
    began = time.perf_counter()
    for i in sample:
        _as_a_loop(asked[i], candidates, data.keys, str(right[i]))
    loop = (time.perf_counter() - began) * queries / LOOPED
    return [
        [f"{dim}-d, bare product", product, 1.0, None],
        [f"{dim}-d, ranked and scored (hit@1 {found['hit@1']:.3f})", ranked, ranked / product, loop / ranked],
        [f"{dim}-d, plain Python loop", loop, loop / product, 1.0],
    ]


def _alternating(first: Callable[[], None], second: Callable[[], None], rounds: int = 2) -> tuple[float, float]:
    """The shortest of a few runs each, in turns, so that a busy neighbour hits both."""
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for kept, work in zip(times, (first, second), strict=True):
            began = time.perf_counter()
            work()
            kept.append(time.perf_counter() - began)
    return min(times[0]), min(times[1])


def _as_a_loop(query: np.ndarray, candidates: np.ndarray, keys: list[str], right: str) -> dict[str, float]:
    """One query as the original ranks it: product, full sort, names, metrics."""
    scores = candidates @ query
    order = np.argsort(-scores)
    return score_ranking([keys[i] for i in order], [right], ks=KS)


def _embedding() -> list[list[object]]:
    model: Embedder = load("lite")
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        build(root, all_tasks())
        for label, out in (("cold cache", "one"), ("warm cache", "two")):
            began = time.perf_counter()
            outcomes = run(all_tasks(), model, root, root / out, root / "cache", rank=Rank())
            seconds = time.perf_counter() - began
            inputs = sum(o.queries + o.candidates for o in outcomes)
            rows.append([f"{label}, {sum(o.embedded for o in outcomes)} embedded", inputs, seconds, inputs / seconds])
    return rows


if __name__ == "__main__":
    main()
