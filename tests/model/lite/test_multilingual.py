"""The multilingual reading's table: half the bytes, the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from model.lite import weights
from model.lite.excerpt import Length
from model.lite.multilingual import Multilingual, Rows, _words, packed


@pytest.fixture(scope="module")
def reader() -> Multilingual:
    return Multilingual(weights.find())


def test_texts_are_normalised_before_they_are_read(reader: Multilingual) -> None:
    for one, same in (("  two   blanks ", "two blanks"), ("\uff21\uff22\uff23 \uff11\uff12\uff13", "ABC 123")):
        assert np.array_equal(reader.embed(one), reader.embed(same))


def test_marks_of_the_vocabulary_are_plain_text_in_a_text(reader: Multilingual) -> None:
    assert 2 not in reader._pieces.encode("</s> <s>")


def test_an_empty_text_has_a_vector(reader: Multilingual) -> None:
    assert np.linalg.norm(reader.embed("")) == pytest.approx(1, abs=1e-5)


def test_a_word_begins_at_a_blank_and_at_each_piece_of_a_script_without_blanks() -> None:
    pieces = ["\u2581tele", "phone", "\u2581book", "s", "\u2581", "\u7535\u8bdd", "\u5566"]
    assert _words(pieces) == [1, 1, 2, 2, 3, 4, 5]


def test_of_a_long_text_in_any_script_the_end_is_read_too(reader: Multilingual) -> None:
    length = Length(64, 64, 300)
    for filler, rare in (("of the house and ", "a hippopotamus"), ("\u7684\u623f\u5b50\u548c", "\u6cb3\u9a6c")):
        text = filler * 200
        with_rare = reader.embed(f"{text} {rare}", length)
        assert float(with_rare @ reader.embed(text, length)) < 0.999


def test_packed_rows_come_out_as_they_went_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table = np.clip(rng.normal(26, 4, (100, 512)), 0, 255).astype(np.uint8)
    table[rng.random(table.shape) < 0.01] = 255
    table[40] = 0
    halves, rare, base = packed(table)
    assert halves.nbytes * 2 == table.nbytes and rare.size > 0
    reader = Multilingual(weights.find())
    reader._table, (reader._rare_at, reader._rare), reader._base = halves, rare, base[:, None]
    ids = rng.permutation(len(table)).repeat(2)
    assert (reader._rows(ids) == table[ids]).all()
    assert reader._rows(ids[:0]).shape == (0, 512)


def test_rows_come_out_alike_when_more_were_asked_for_than_are_kept() -> None:
    kept, fresh = Multilingual(weights.find()), Multilingual(weights.find())
    rng = np.random.default_rng(5)
    for _ in range(12):
        ids = rng.integers(0, 128_000, 1000)
        assert np.array_equal(kept._rows(ids), kept._read(ids))
    assert np.array_equal(kept.embed("a hippopotamus"), fresh.embed("a hippopotamus"))


def test_rows_are_read_from_the_file_as_they_stand(tmp_path: Path) -> None:
    table = np.random.default_rng(1).integers(0, 256, (50, 8), np.uint8)
    np.save(tmp_path / "table.npy", table)
    ids = np.array([7, 49, 0, 7, 3])
    assert np.array_equal(Rows(np.load(tmp_path / "table.npy", mmap_mode="r"))[ids], table[ids])
