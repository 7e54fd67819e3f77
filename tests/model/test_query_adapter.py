"""A linear change of text queries: what it may change, and what is said about a damaged file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model.embedder import Embedder, ModelError, unit_rows
from model.inputs import Input
from model.query_adapter import AdaptedEmbedder, QueryAdapter, adapted
from model.ranking_profile import untuned

DIM = 6


class Fixed:
    """Returns for each input the vector that its text names."""

    id, dim, max_frames, profile = "fixed@1", DIM, 1, untuned()

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        return np.stack([VECTORS[item.text or "picture"] for item in inputs])


VECTORS = {
    name: unit_rows(np.array([row], np.float32))[0]
    for name, row in {"a": [1, 2, 0, 0, 0, 0], "b": [0, 0, 3, 1, 0, 0], "picture": [1, 1, 1, 1, 1, 1]}.items()
}


@pytest.fixture
def adapter() -> QueryAdapter:
    shift = np.random.default_rng(0).normal(size=(DIM, DIM)).astype(np.float32)
    return QueryAdapter("fixed@1", shift, np.array([False] * 4 + [True] * 2))


def test_only_queries_of_text_alone_change(adapter: QueryAdapter) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    inputs = [
        Input("a", role="query"),
        Input("a", role="document"),
        Input("a", (pixels,), role="query"),
        Input(video=pixels[None], role="query", kind="video"),
    ]
    before, after = Fixed().embed(inputs), AdaptedEmbedder(Fixed(), adapter).embed(inputs)
    assert (before[1:] == after[1:]).all() and not np.allclose(before[0], after[0])
    assert np.linalg.norm(after, axis=1) == pytest.approx(1)


def test_zeros_stay_where_the_model_says_something_with_them(adapter: QueryAdapter) -> None:
    """lite says with zeros in which language a query is; no query has looks, and the adapter may give it some."""
    (a,), (b,) = (adapter.adapt(VECTORS[name][None]) for name in "ab")
    assert (a[2:4] == 0).all() and (b[:2] == 0).all()
    assert (a[4:] != 0).all() and (b[4:] != 0).all()


def test_it_is_an_embedder_with_the_profile_and_the_id_of_its_model(adapter: QueryAdapter) -> None:
    embedder = AdaptedEmbedder(Fixed(), adapter)
    assert isinstance(embedder, Embedder)
    assert embedder.id == "fixed@1" and embedder.profile is Fixed.profile
    assert getattr(embedder, "max_side", 7) == 7


def test_it_is_stored_and_is_of_one_model(adapter: QueryAdapter, tmp_path: Path) -> None:
    path = tmp_path / "adapter.npz"
    plain = Fixed()
    assert adapted(plain, path) is plain
    adapter.write(path)
    again = adapted(plain, path).embed([Input("a", role="query")])
    assert (again == adapter.adapt(VECTORS["a"][None])).all()
    plain.id = "fixed@2"
    assert adapted(plain, path) is plain


@pytest.mark.parametrize("damage", ["cut", "text", "not finite", "another shape"])
def test_a_damaged_file_is_refused_in_one_line(adapter: QueryAdapter, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "adapter.npz"
    if damage == "not finite":
        adapter.shift[0, 0] = np.nan
    if damage == "another shape":
        adapter = QueryAdapter(adapter.model_id, adapter.shift[:3], adapter.open_)
    adapter.write(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    if damage == "text":
        path.write_text("no adapter")
    with pytest.raises(ModelError, match=r"adapter\.npz .*sightline tune --undo") as raised:
        adapted(Fixed(), path)
    assert "\n" not in str(raised.value)
