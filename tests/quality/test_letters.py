"""The probe for letters is fitted as it is asked: a picture counts by its highest score."""

import numpy as np
import pytest

from tests.quality.letters import FINE, Learnt, fit, is_learnt


@pytest.fixture(scope="module")
def learnt() -> list[Learnt]:
    """Pictures of 10 cells; in every other one two cells have letters, which differ in four of 576 channels."""
    rng, pictures = np.random.default_rng(0), []
    for number in range(400):
        features, cells = rng.standard_normal((10, 576)) + 4, np.zeros(10, np.int8)
        if number % 2:
            cells[:2] = 1
            features[:2, [5, 50, FINE + 7, FINE + 90]] += 10
        text = "letters" if number % 2 else ""
        pictures.append(Learnt("drawn", features.astype(np.float16), cells, text))
    return pictures


def test_pictures_with_letters_score_higher_than_all_without(learnt: list[Learnt]) -> None:
    probe = fit(learnt[:320])
    best = [probe.scores(picture.features).max() for picture in learnt[320:]]
    assert min(best[1::2]) > max(best[::2])


def test_the_stored_probe_gives_the_fitted_scores(learnt: list[Learnt]) -> None:
    probe = fit(learnt[:320])
    plain = probe.plain(np.zeros((1, 2), np.float32))
    assert (len(plain.fine), len(plain.coarse)) == (FINE, 576 - FINE)
    features = learnt[1].features.astype(np.float32)
    scores = features[:, :FINE] @ plain.fine + features[:, FINE:] @ plain.coarse + plain.bias
    assert np.allclose(scores, probe.scores(learnt[1].features), atol=1e-3)


def test_about_half_of_the_names_are_learnt_and_always_the_same() -> None:
    names = [f"picture {number}" for number in range(400)]
    assert 150 < sum(map(is_learnt, names)) < 250
    assert not is_learnt("animals_mammals_pig_golden") and is_learnt("cv_text_defocus")
