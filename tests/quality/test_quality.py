"""The lite model reaches the prototype's figures on the sample set (fetched from public packages)."""

from pathlib import Path

import pytest

from model import load
from tests.bench.quality import PROTOTYPE
from tests.quality import samples
from tests.quality.ranking import Table, measure_model, measure_names
from tests.quality.sampleset import SampleSet

pytestmark = pytest.mark.long

NOISE = 0.11
"""Two standard errors of an MRR over 57 questions."""


@pytest.fixture(scope="module")
def sample_set(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    folder = Path("samples") if Path("samples/stamps.json").exists() else tmp_path_factory.mktemp("samples")
    samples.fetch(folder)
    return SampleSet(folder)


@pytest.fixture(scope="module")
def measured(sample_set: SampleSet) -> Table:
    return measure_model(sample_set, sample_set.questions(), load("lite"))


@pytest.mark.parametrize("row, scope", PROTOTYPE)
def test_a_direction_is_as_good_as_the_prototype(measured: Table, row: str, scope: str) -> None:
    if (row, scope) not in measured:
        pytest.skip(f"no media for {row} could be fetched here")
    noise = NOISE if measured[row, scope].n >= 20 else 0.25
    assert measured[row, scope].mrr >= PROTOTYPE[row, scope] - noise


def test_pages_and_clips_are_found_far_better_than_by_file_name(sample_set: SampleSet, measured: Table) -> None:
    by_name = measure_names(sample_set, sample_set.questions())
    for row in ("text→page", "text→video"):
        if (row, "alone") in measured:
            assert measured[row, "alone"].mrr > by_name[row, "alone"].mrr + 0.5
