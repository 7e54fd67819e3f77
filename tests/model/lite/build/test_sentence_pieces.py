"""A SentencePiece model as a tokenizer: the pieces that SentencePiece itself makes."""

from itertools import pairwise

import pytest
from tokenizers import Tokenizer

from model.lite import weights
from model.lite.build.pickle_reader import WeightFileError
from model.lite.build.sentence_pieces import tokenizer_of


@pytest.fixture(scope="module")
def installed() -> Tokenizer:
    return Tokenizer.from_file(str(weights.find() / "multilingual_tokenizer.json"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("  two   blanks ", ["<s>", "▁two", "▁blank", "s", "</s>"]),
        ("ＡＢＣ １２３", ["<s>", "▁ABC", "▁123", "</s>"]),
        ("דיל दिल", None),
    ],
)
def test_texts_are_normalised_and_cut_as_the_model_says(
    installed: Tokenizer, text: str, pieces: list[str] | None
) -> None:
    tokens = installed.encode(text).tokens
    assert tokens[0] == "<s>" and tokens[-1] == "</s>"
    if pieces is None:
        assert not any(a == b == "<unk>" for a, b in pairwise(tokens))
    else:
        assert tokens == pieces


@pytest.mark.parametrize("content", [b"", b"\x0a\x02", b"\xff\xff\xff", bytes(200)])
def test_what_is_no_model_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(WeightFileError):
        tokenizer_of(content)
