"""Fusion, the line and moments, on evidence made by hand."""

from __future__ import annotations

import numpy as np

from data.span import Span
from indexer.search import ranking as ranking_module
from indexer.search.hit_facts import Fact, FileRef
from indexer.search.ranking import Evidence, Ranked, merged_moments
from indexer.search.text_search import ALL, EXACT, NOTHING, SOME, WordMatches
from indexer.types import KINDS, Kind
from model.lite.profile import PROFILE
from model.ranking_profile import BY_CHANCE, RankingProfile, untuned


def fact(number: int, content: str = "", ordinal: int = 0, kind: Kind = "image") -> Fact:
    span = Span(ordinal * 30.0, ordinal * 30.0 + 30) if kind == "video" else Span()
    name = content or f"c{number}"
    file = FileRef(number, f"/x/{name}", name, "/x")
    return Fact(number, name.encode(), ordinal, span, kind, None, None, None, None, None, 0, (file,))


def ranked(evidence: Evidence, facts: dict[int, Fact], profile: RankingProfile = PROFILE) -> list[Ranked]:
    """With what was measured of lite."""
    return ranking_module.ranked(evidence, facts, profile)


def found(tiers: dict[int, int]) -> WordMatches:
    shares = np.array([{SOME: 0.3, ALL: 0.9, EXACT: 1.0}[t] for t in tiers.values()])
    return WordMatches(np.array(list(tiers)), shares, np.array(list(tiers.values())))


def order(
    meaning: dict[int, float], text: dict[int, int] | None = None, named: dict[int, int] | None = None
) -> list[int]:
    in_text = found(text) if text else NOTHING
    names = {i: (t, 1.0) for i, t in (named or {}).items()}
    numbers = {*meaning, *in_text.ids.tolist(), *names}
    return [r.fact.chunk_id for r in ranked(Evidence(meaning, in_text, names), {i: fact(i) for i in numbers})]


def test_without_words_the_order_is_that_of_meaning() -> None:
    assert order({1: 2.0, 2: 5.0, 3: 3.5}) == [2, 3, 1]


def test_agreement_of_the_lists_beats_the_top_of_one() -> None:
    assert order({1: 9.0, 2: 8.0, 3: 7.0}, text={3: ALL, 4: ALL})[0] == 3


def test_exact_words_come_first_whatever_the_meaning() -> None:
    assert order({1: 9.0, 2: 8.0, 3: -3.0}, text={3: EXACT, 2: ALL})[0] == 3
    assert order({1: 9.0, 2: 8.0, 3: -2.0}, named={3: EXACT})[0] == 3


def test_one_word_of_many_does_not_beat_a_clear_meaning() -> None:
    assert order({1: 6.0, 2: 1.0}, text={2: SOME})[0] == 1


def test_what_is_relevant_comes_first_and_each_part_is_in_order_of_scores() -> None:
    meaning = {n: n / 2 for n in range(20)}
    contrast = {n: PROFILE.image_line - abs(n - 12) / 4 for n in meaning}
    ranking = ranked(Evidence(meaning, NOTHING, {}, contrast=contrast), {n: fact(n) for n in meaning})
    parts = [[r for r in ranking if r.relevant], [r for r in ranking if not r.relevant]]
    assert parts[0] + parts[1] == ranking
    assert all([r.score for r in part] == sorted((r.score for r in part), reverse=True) for part in parts)
    assert {r.fact.chunk_id for r in parts[0]} == {8, 9, 10, 11, 12, 13, 14, 15, 16}  # down to `slack`


def test_a_meaning_a_little_above_chance_is_no_answer_by_itself() -> None:
    facts = {1: fact(1), 2: fact(2)}
    unsure = {1: PROFILE.image_line - 0.1, 2: PROFILE.image_line - PROFILE.slack}
    assert not any(r.relevant for r in ranked(Evidence({1: 9.0, 2: 8.0}, NOTHING, {}, contrast=unsure), facts))
    sure = unsure | {1: PROFILE.image_line}
    assert all(r.relevant for r in ranked(Evidence({1: 9.0, 2: 8.0}, NOTHING, {}, contrast=sure), facts))
    page = {1: fact(1, kind="pdf")}
    contrast = {1: PROFILE.page_line - 0.1}
    assert not ranked(Evidence({1: 9.0}, NOTHING, {}, contrast=contrast), page)[0].relevant
    assert ranked(Evidence({1: 9.0}, found({1: SOME}), {}, contrast=contrast), page)[0].relevant
    picture = Evidence({1: PROFILE.line, 2: PROFILE.line - 1}, NOTHING, {}, in_words=False)
    assert [r.relevant for r in ranked(picture, facts)] == [True, False]


def test_a_verdict_is_the_same_whatever_else_the_library_holds() -> None:
    facts = {n: fact(n) for n in range(50)}
    contrast = {n: n / 49 * PROFILE.image_line for n in facts}

    def relevant(chunks: range) -> set[int]:
        own = {n: contrast[n] for n in chunks}
        ranking = ranked(Evidence(own, NOTHING, {}, contrast=own), {n: facts[n] for n in chunks})
        return {r.fact.chunk_id for r in ranking if r.relevant}

    assert relevant(range(49)) == set()
    assert relevant(range(40, 50)) == relevant(range(50)) and 49 in relevant(range(50))


def answered(contrast: float, named: tuple[int, float], alike: float) -> bool:
    facts = {1: fact(1), 2: fact(2)}
    evidence = Evidence(
        {1: contrast}, NOTHING, {1: named}, True, lambda ids: [alike] * len(ids), contrast={1: contrast}
    )
    return any(r.relevant for r in ranked(evidence, facts))


def test_a_name_with_one_of_the_words_answers_if_it_means_what_is_asked() -> None:
    assert not answered(1.0, (SOME, 0.5), 0.0)  # "jar.jpg" for "a jar of honey"
    assert answered(1.0, (SOME, 0.5), 4.0)  # "honey pot.jpg"
    assert not answered(1.0, (SOME, 0.5), -4.0)


def test_of_names_that_share_a_word_the_one_that_means_what_is_asked_comes_first() -> None:
    facts = {1: fact(1), 2: fact(2)}
    near = {1: 0.5, 2: 5.0}
    names = {1: (SOME, 0.35), 2: (SOME, 0.3)}
    evidence = Evidence({}, NOTHING, names, True, lambda ids: [near[i] for i in ids])
    assert [r.fact.chunk_id for r in ranked(evidence, facts)] == [2, 1]


def test_a_name_with_all_of_the_words_answers_whatever_it_means() -> None:
    assert answered(0.0, (ALL, 0.4), -4.0)
    assert answered(0.0, (EXACT, 1.0), -4.0)


def test_all_words_said_in_a_film_are_an_answer_and_some_of_them_are_not() -> None:
    for share, answered in ((1.0, True), (0.5, False)):
        said = WordMatches(np.array([1]), np.array([share]), np.array([ALL if share == 1 else SOME]))
        (film,) = ranked(Evidence({1: 0.0}, said, {}), {1: fact(1, kind="video")})
        (page,) = ranked(Evidence({1: 0.0}, said, {}), {1: fact(1, kind="pdf")})
        assert (film.relevant, page.relevant) == (answered, False)


def test_one_word_is_answered_by_the_images_near_the_best_one_if_the_model_knows_it() -> None:
    facts = {n: fact(n, kind="pdf" if n == 5 else "image") for n in (1, 2, 3, 4, 5)}
    meaning = {1: 6.0, 2: 5.5, 3: 4.0, 4: 3.0, 5: 9.0}
    contrast = {1: 5.0, 2: 5.0, 3: 7.5, 4: 7.5, 5: 0.0}  # a sibling is far above the line and far from the best

    def above(familiarity: float | None, words: WordMatches = NOTHING) -> set[int]:
        evidence = Evidence(meaning, words, {}, contrast=contrast, familiarity=familiarity)
        return {place.fact.chunk_id for place in ranked(evidence, facts) if place.relevant}

    assert above(PROFILE.word_familiarity) == {1, 2, 3}
    assert above(PROFILE.word_familiarity - 0.01) == set()
    assert above(PROFILE.word_familiarity - 0.01, found({5: EXACT})) == {5}, "nor beside an answer"
    assert above(None) == {1, 2, 3, 4}, "several words, or a model that tells no familiarity"


def test_names_are_read_only_where_it_is_open_whether_there_is_an_answer() -> None:
    def never(ids: list[int]) -> list[float]:
        raise AssertionError("asked")

    facts = {n: fact(n) for n in range(1, 9)}
    sure = {1: PROFILE.image_line}
    ranked(Evidence({1: 1.0}, NOTHING, {2: (SOME, 0.2)}, True, never, contrast=sure), facts)
    ranked(Evidence({}, found({1: EXACT}), {2: (SOME, 0.2)}, True, never), facts)
    ranked(Evidence({}, found({1: SOME}), {}, True, never), facts)
    ranked(Evidence({1: 1.0}, NOTHING, {1: (ALL, 0.2)}, True, never), facts)
    asked: list[int] = []
    names = {n: (SOME, n / 20) for n in facts}
    ranked(Evidence({}, NOTHING, names, True, lambda ids: asked.extend(ids) or [0.0] * len(ids)), facts)
    assert asked == [8, 7, 6]


def test_adjacent_windows_above_the_line_are_one_moment() -> None:
    line = PROFILE.video_line
    scores = {10: line - 2, 11: line - 0.5, 12: line + 1, 13: line - 0.6, 14: line - 3, 15: line + 0.5}
    facts = {n: fact(n, "film", n - 10, "video") for n in scores}
    ranking = merged_moments(ranked(Evidence(scores, NOTHING, {}), facts))
    moments = [(r.fact.chunk_id, r.span) for r in ranking if r.relevant]
    assert moments == [(12, Span(30.0, 120.0)), (15, Span(150.0, 180.0))]
    assert [r.fact.chunk_id for r in ranking if not r.relevant] == [10, 14]
    assert [r.windows for r in ranking if r.relevant] == [(11, 12, 13), ()]


def test_windows_of_two_films_are_not_merged() -> None:
    facts = {1: fact(1, "a", 0, "video"), 2: fact(2, "b", 1, "video")}
    assert len(merged_moments(ranked(Evidence({1: 9.0, 2: 8.0}, NOTHING, {}), facts))) == 2


def test_of_an_untuned_model_words_names_and_videos_weigh_alike() -> None:
    profile = untuned()
    said = WordMatches(np.array([1, 2]), np.array([0.5, 0.5]), np.array([SOME, SOME]))
    facts = {1: fact(1), 2: fact(2, kind="video"), 3: fact(3)}
    scores = [r.score for r in ranked(Evidence({}, said, {3: (SOME, 0.5)}), facts, profile)]
    assert scores == [1.5, 1.5, 1.5]
    assert (profile.video_shift, profile.page_weight, profile.words_beside_image) == (0.0, 1.0, 1.0)


def test_an_untuned_model_answers_above_what_chance_reaches() -> None:
    def relevant(contrast: float, kind: Kind) -> bool:
        evidence = Evidence({1: contrast}, NOTHING, {}, contrast={1: contrast})
        (place,) = ranked(evidence, {1: fact(1, kind=kind)}, untuned())
        return place.relevant

    assert all(relevant(BY_CHANCE + 0.1, kind) and not relevant(BY_CHANCE - 0.1, kind) for kind in KINDS)


def test_an_untuned_model_reads_no_names() -> None:
    def never(ids: list[int]) -> list[float]:
        raise AssertionError("asked")

    ranked(Evidence({}, NOTHING, {1: (SOME, 0.2)}, True, never), {1: fact(1)}, untuned())


def test_a_word_that_stands_in_one_place_comes_first_and_in_several_is_above_the_line() -> None:
    facts = {n: fact(n) for n in (1, 2, 3)}
    meaning, contrast = {1: 9.0, 2: -1.0}, {1: PROFILE.image_line + 1}
    one = Evidence(meaning, found({2: ALL}), {}, literal=frozenset({2}), contrast=contrast)
    (first, second) = ranked(one, {1: facts[1], 2: facts[2]})
    assert (first.fact.chunk_id, second.fact.chunk_id) == (2, 1)
    two = Evidence(meaning, found({2: ALL, 3: ALL}), {}, literal=frozenset({2, 3}), contrast=contrast)
    several = ranked(two, facts)
    assert several[0].fact.chunk_id == 1
    assert all(place.relevant for place in several)
