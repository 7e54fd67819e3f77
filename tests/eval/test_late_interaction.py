"""A model with late interaction on the miniature benchmark, its inputs, vectors and scores against the original's.

`colpali_cases.json` holds outputs of TIGER-AI-Lab/VLM2Vec, commit 6e1e1d4, on a CPU in float32 with eager attention and
transformers 4.52.3: its loaders, collator, `ColPali` and `ColPaliProcessor` on the tiny ColPali of tiny_models.py with
the weights of `draw_weights`. `inputs`: the first query and candidate of ten tasks of fixtures.py, with token
ids, the first and last vector and the sum of all; of a clip `picture` is the frame that the original shows. Then the
scores of a task, as its eval.py takes them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.mmeb.readers import read_task
from data.mmeb.task_data import ImageError, ImageFile, TaskItem
from eval import late_interaction
from eval.__main__ import main
from eval.late_interaction import LatePrompter, RaggedCache, max_sim_scores
from eval.task_list import all_tasks, select
from model.late_interaction import LateInteractionModel, load_late_interaction, max_sim

CASES = json.loads((Path(__file__).parent / "colpali_cases.json").read_text("utf-8"))
sys.path.append(str(Path(__file__).parents[1] / "model"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    import tiny_models

    folder = tiny_models.colpali(tmp_path_factory.mktemp("tiny") / "colpali")
    draw_weights(folder / "model.safetensors")
    return folder


def draw_weights(path: Path) -> None:
    """Weights that depend on their names alone, as in colpali_cases.json."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(path)
    for name, before in weights.items():
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        values = np.random.default_rng(seed).normal(0, 0.1, before.shape).astype(np.float32)
        is_norm = "norm" in name and name.endswith("weight") and "language_model" not in name
        weights[name] = values + 1 if is_norm else values
    save_file(weights, path, {"format": "pt"})


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LateInteractionModel:
    return load_late_interaction(str(checkpoint))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[RaggedCache]:
    cache = RaggedCache(tmp_path, "tiny", 16)
    yield cache
    cache.close()


def ragged(cache: RaggedCache, lengths: list[int], seed: int) -> tuple[list[bytes], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(n, cache.dim)) for n in lengths]
    vectors = [(r / np.linalg.norm(r, axis=1, keepdims=True)).astype(np.float16) for r in rows]
    keys = [b"%d-%d" % (seed, n) for n in range(len(lengths))]
    cache.put(keys, vectors)
    return keys, vectors


@pytest.mark.long
def test_all_78_tasks_are_scored_and_a_second_run_embeds_nothing(checkpoint: Path, mmeb: Path, tmp_path: Path) -> None:
    words = ["--data", str(mmeb), "--output_dir", str(tmp_path), "--cache_dir", str(tmp_path / "cache")]
    words += ["--model_path", str(checkpoint), "--device", "cpu", "--dtype", "float32", "--name", "tiny"]
    folder = tmp_path / "mmeb" / "tiny"

    def results() -> dict[str, Any]:
        return {task.name: json.loads((folder / f"{task.name}.json").read_text()) for task in all_tasks()}

    assert main(words) == 0
    first = results()
    assert {r["state"] for r in first.values()} == {"scored"} and not any(r["failed"] for r in first.values())
    assert len({r["scores"]["hit@1"] for r in first.values()}) > 2
    assert json.loads((folder / "run.json").read_text())["dim"] == 16
    for path in folder.glob("*.parquet"):
        path.unlink()  # so that every task is scored again
    assert main(words) == 0
    second = results()
    assert sum(r["embedded"] for r in second.values()) == 0
    assert {name: r["scores"] for name, r in second.items()} == {name: r["scores"] for name, r in first.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES["inputs"]))
def test_inputs_and_vectors_are_those_of_the_benchmarks_code(
    name: str, model: LateInteractionModel, mmeb: Path
) -> None:
    (task,) = select([name])
    data = read_task(task, mmeb)
    prompter = LatePrompter(model)
    columns = data.local_candidates[0] if data.local_candidates else list(data.relevant[0])
    for side, items in (("query", data.queries[:1]), ("candidate", [data.candidates[c] for c in columns])):
        case = CASES["inputs"][name][side]
        item = next((i for i in items if shown(i).endswith(case["picture"] or "-")), items[0])
        frames = item.visual.read() if item.visual else []
        processor = model.processor
        inputs = (
            processor.process_images(images=[Image.fromarray(frames[0])])
            if frames
            else processor.process_queries(text=[case["text"]])
        )
        assert inputs["input_ids"][0].tolist() == case["ids"]
        (rows,) = prompter.embed([item], [frames])
        assert rows[[0, -1]] == pytest.approx(np.array([case["first"], case["last"]]), abs=1e-3)
        assert rows.astype(np.float64).sum(axis=0) == pytest.approx(case["sum"], abs=1e-2)


def shown(item: TaskItem) -> str:
    """The file of the first picture, if it has one of its own."""
    images = item.visual.images if item.visual else ()
    return str(images[0].path) if images and isinstance(images[0], ImageFile) else ""


@pytest.mark.slow
def test_pages_and_queries_of_a_task_score_as_the_benchmarks_code_scores_them(
    model: LateInteractionModel, mmeb: Path, tmp_path: Path
) -> None:
    (task,) = select(["ViDoRe_arxivqa"])
    data = read_task(task, mmeb)
    case = CASES["ViDoRe_arxivqa"]
    assert [query.prompt for query in data.queries] == case["queries"]
    prompter, cache = LatePrompter(model), RaggedCache(tmp_path, model.id, model.dim)
    keys = []
    for items in (data.queries, data.candidates):
        keys.append([cache.key(item, prompter.parts(item)) for item in items])
        cache.put(keys[-1], prompter.embed(items, [item.visual.read() if item.visual else [] for item in items]))
    tokens = np.array([[len(cache.rows([key])[key])] for key in keys[0]])
    ours = max_sim_scores(*keys, cache) * tokens
    cache.close()
    columns = [data.keys.index(str(page)) for page in case["pages"]]
    assert ours[:, columns] == pytest.approx(np.array(case["scores"]), rel=2e-3)


@pytest.mark.parametrize("padded", [False, True])
def test_ragged_scores_are_those_of_the_published_function(cache: RaggedCache, padded: bool) -> None:
    torch = pytest.importorskip("torch")
    from transformers import ColPaliProcessor

    queries, query_rows = ragged(cache, [3, 9, 1, 5], seed=1)
    candidates, candidate_rows = ragged(cache, [1, 12, 4, 2, 12, 7], seed=2)
    ours = max_sim_scores(queries, candidates, cache, padded=padded) * np.array([[len(q)] for q in query_rows])
    if padded:
        both = ([torch.from_numpy(r).float() for r in rows] for rows in (query_rows, candidate_rows))
        expected = ColPaliProcessor.score_retrieval(None, *both).numpy()
    else:
        expected = np.stack([max_sim(query, candidate_rows) for query in query_rows])
    assert ours == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_blocks_change_no_score_and_what_failed_has_none(cache: RaggedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, _ = ragged(cache, [3, 9, 1, 5], seed=1)
    candidates, _ = ragged(cache, [1, 12, 4, 2, 12, 7], seed=2)
    whole = max_sim_scores(queries, candidates, cache)
    monkeypatch.setattr(late_interaction, "BLOCK_TOKENS", 5)
    monkeypatch.setattr(late_interaction, "QUERY_TOKENS", 4)
    assert max_sim_scores(queries, candidates, cache) == pytest.approx(whole, rel=1e-5)

    damaged = ImageError("page.png", "is no picture")
    with_gaps = max_sim_scores([queries[0], damaged], [candidates[0], b"not there", damaged, candidates[1]], cache)
    assert with_gaps[0, [0, 3]] == pytest.approx(whole[0, :2], rel=1e-5)
    assert not with_gaps[1].any() and not with_gaps[:, 1:3].any()


def test_the_cache_keeps_half_precision_rows_of_any_number(cache: RaggedCache, tmp_path: Path) -> None:
    keys, vectors = ragged(cache, [1, 40], seed=3)
    cache.close()
    again = RaggedCache(tmp_path, "tiny", 16)
    rows = again.rows([*keys, b"?"])
    assert [rows[key].tolist() for key in keys] == [v.tolist() for v in vectors] and b"?" not in rows
    assert again.lengths(keys) == {keys[0]: 1, keys[1]: 40}
    assert again.missing([*keys, b"?"]) == {b"?"}
    again.close()
