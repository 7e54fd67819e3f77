"""A SentencePiece model (.model) as a tokenizer of the `tokenizers` library.

Built around the protobuf wire format, of which a model needs three fields: its pieces with their scores, and the
table by which it normalises text. The layout is the one of 2018, in which that table stands in field 3. It knows
nothing of languages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from model.lite.build.pickle_reader import WeightFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


def tokenizer_of(model: bytes) -> Tokenizer:
    """The tokenizer of a unigram model: normalised text, a blank before the first word, begin and end marks.

    Raises WeightFileError. As SentencePiece itself, it makes one unknown piece of a run of unknown characters.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    try:
        pieces = [_piece(value) for number, value in _fields(model) if number == 1]
        normaliser = next(v for number, value in _fields(model) if number == 3 for n, v in _fields(value) if n == 2)
    except (IndexError, KeyError, StopIteration, struct.error, UnicodeDecodeError) as error:
        raise WeightFileError(f"it is no SentencePiece model of 2018 ({error})") from error
    names = [text for text, _ in pieces]
    if not {UNKNOWN, BEGIN, END}.issubset(names):
        raise WeightFileError("it lacks its marks of beginning and end")
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=names.index(UNKNOWN), byte_fallback=False))
    blanks = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(normaliser), normalizers.Strip(), blanks])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(mark, names.index(mark)) for mark in (BEGIN, END)]
    )
    return tokenizer


def _piece(message: bytes) -> tuple[str, float]:
    fields = dict(_fields(message))
    score = fields.get(2)
    return fields[1].decode(), struct.unpack("<f", score)[0] if score else 0.0


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of each field; of a whole number none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            size, (_, at) = 0, _varint(message, at)
        elif wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise WeightFileError(f"it has a field of kind {wire}")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
