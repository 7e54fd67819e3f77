"""Late interaction on tiny random checkpoints, against the scoring that was published with the models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from model.embedder import ModelError
from model.late_interaction import is_late_interaction, load_late_interaction, max_sim

TINY: dict[str, Callable[[Path], Path]] = {"colpali": tiny_models.colpali, "colqwen2": tiny_models.colqwen2}
QUERIES = ["notice period", "how long may I keep the key of the cabin", "x"]


@pytest.fixture(scope="module", params=list(TINY))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return TINY[request.param](tmp_path_factory.mktemp("tiny") / str(request.param))


def pages(count: int, shape: tuple[int, int] = (64, 56)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*shape, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.slow
def test_scores_are_those_of_the_published_scoring(checkpoint: Path) -> None:
    import torch
    from PIL import Image

    model = load_late_interaction(str(checkpoint))
    images = pages(6)
    queries, documents = model.embed_queries(QUERIES), model.embed_pages(images)
    ours = np.stack([max_sim(query, documents) for query in queries])

    processor, network = model.processor, model.model
    with torch.inference_mode():
        of_queries = network(**processor.process_queries(text=QUERIES)).embeddings
        of_pages = network(
            **{
                name: value
                for name, value in processor.process_images(images=[Image.fromarray(i) for i in images]).items()
                if name != "labels"
            }
        ).embeddings
    published = processor.score_retrieval(list(of_queries), list(of_pages)).numpy()
    # float16 holds three digits of a vector, and a score is a sum over 15 to 25 tokens
    assert np.abs(ours - published).max() < 5e-3 * np.abs(published).max()
    stored = [[torch.from_numpy(rows).float() for rows in side] for side in (queries, documents)]
    of_stored = processor.score_retrieval(*stored).numpy()
    assert ours == pytest.approx(of_stored, rel=1e-5)


@pytest.mark.slow
def test_vectors_are_ragged_of_unit_length_and_do_not_depend_on_their_neighbours(checkpoint: Path) -> None:
    model = load_late_interaction(str(checkpoint))
    together, alone = model.embed_queries(QUERIES), [model.embed_queries([text])[0] for text in QUERIES]
    assert [len(rows) for rows in together] == [len(rows) for rows in alone]
    assert len({len(rows) for rows in together}) > 1
    for a, b in zip(together, alone, strict=True):
        assert a.dtype == np.float16 and a.shape[1] == model.dim
        assert np.abs(a.astype(np.float32) - b).max() < 2e-3
        assert np.abs(np.linalg.norm(a.astype(np.float32), axis=1) - 1).max() < 2e-3
    sizes = [*pages(1, (56, 56)), *pages(1, (112, 84))]
    lengths = [len(rows) for rows in model.embed_pages(sizes)]
    assert lengths == [len(model.embed_pages([page])[0]) for page in sizes]


def test_max_sim_compares_the_vectors_that_are_there_and_no_zeros() -> None:
    rng = np.random.default_rng(1)
    query = rng.normal(size=(5, 8)).astype(np.float16)
    ragged = [rng.normal(size=(n, 8)).astype(np.float16) for n in (1, 7, 3)]
    by_hand = [sum(max(float(q @ p) for p in page.astype(float)) for q in query.astype(float)) for page in ragged]
    assert max_sim(query, ragged) == pytest.approx(by_hand, rel=1e-3)
    opposite = [-query[:1], np.concatenate([-query[:1], -query[:1]])]
    one, two = max_sim(query[:1], opposite)
    assert one == two < 0
    assert max_sim(query, []).shape == (0,)


def test_what_is_missing_is_said_in_one_line(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    cases = {"colpali": "hf download vidore/colpali", "nowhere": "give colpali, colqwen2 or a folder"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    cases[str(other)] = "of kind bert, which has no late interaction"
    bare = shutil.copytree(checkpoint, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    cases[str(bare)] = "holds no \\*.safetensors"
    for name, message in cases.items():
        with pytest.raises(ModelError, match=message) as raised:
            load_late_interaction(name)
        assert "\n" not in str(raised.value)
    assert is_late_interaction(checkpoint) and not is_late_interaction(other) and not is_late_interaction(tmp_path)
