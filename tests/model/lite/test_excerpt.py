"""What is read of a long text: its beginning and its rarest words, in their order."""

from hypothesis import given
from hypothesis import strategies as st

from model.lite.excerpt import Length, excerpt

TOKENS = st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=80)


def test_a_short_text_is_read_whole() -> None:
    assert excerpt([5, 6, 7], [0, 1, 2], Length(2, 1, 100)) == [5, 6, 7]


def test_the_rarest_words_of_the_rest_follow_the_head_once_and_in_their_order() -> None:
    tokens = [1, 2, 40, 3, 41, 42, 9, 40, 30, 1]
    words = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert excerpt(tokens, words, Length(2, 3, 20)) == [1, 2, 40, 41, 42]
    assert excerpt(tokens, words, Length(2, 4, 20)) == [1, 2, 40, 41, 42, 30]
    assert excerpt(tokens, words, Length(3, 3, 20)) == [1, 2, 40, 41, 42, 30], "a word of the head is not read again"


@given(TOKENS, st.integers(1, 20), st.integers(0, 20), st.integers(0, 50))
def test_an_excerpt_is_no_longer_than_asked_and_begins_as_the_text(
    made: list[tuple[int, bool]], head: int, rest: int, common: int
) -> None:
    tokens, words, word = [token for token, _ in made], [], 0
    for _, begins in made:
        word += begins
        words.append(word)
    read = excerpt(tokens, words, Length(head, rest, common))
    assert len(read) <= head + rest and read[:head] == tokens[:head]
    if len(tokens) > head + rest:
        assert set(read[head:]) <= set(tokens[head:])
