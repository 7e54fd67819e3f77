"""Text out of files: readable whatever wrote it, and safe to show and to store."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.media.text import clean, decode_text, one_line, repair_encoding


@given(st.text(st.characters(), max_size=60))
def test_no_character_that_cannot_be_stored_or_seen_is_left(text: str) -> None:
    found = clean(text, 50)
    assert clean(found, 1000) == found
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn") for c in found)
    line = one_line(text, 50)
    assert "\n" not in line and "  " not in line and line == line.strip()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_bytes_of_any_usual_encoding_are_read(text: str) -> None:
    plain = text.lstrip("\ufeff")
    assert decode_text(plain.encode("utf-8-sig")) == plain
    assert decode_text(b"\xff\xfe" + plain.encode("utf-16-le")) == plain
    assert decode_text(b"\xfe\xff" + plain.encode("utf-16-be")) == plain


@given(st.binary(max_size=60))
def test_no_bytes_are_refused(data: bytes) -> None:
    assert isinstance(decode_text(data), str)


@pytest.mark.parametrize("text", ["Grüße", "C’est l’été", "plain", "帆船", "Ω and ü"])
def test_text_that_was_read_as_latin_1_is_mended_and_other_text_kept(text: str) -> None:
    assert repair_encoding(text.encode("utf-8").decode("latin-1")) == text
    assert repair_encoding(text) == text
