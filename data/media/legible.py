"""Detects text layers that are garbled because a font has no table of its characters.

Built around five statistics, each with a limit that no real page comes near. The tests check them on pages
of many languages and of code, and on pages garbled in each way:

1. The share of codes that are no characters: controls, U+FFFD, private and unassigned codes. Text: under 3 %.
2. Letters beyond Latin-1 that share their low byte: text with swapped bytes (U+5400 for "T").
3. Neighbours from two scripts: 60 % and more if glyph numbers are read as characters. Text: 20 %.
4. Accented among Latin letters: most of them if an alphabet is decoded with another's table ("Ïðèâåò").
   Vietnamese: a third.
5. Pairs of Latin letters: the mean bits by which a pair is likelier in thirty languages than by chance.
   Language gives 1.0 to 1.7, lists of commands 0.0 and more, substituted letters -1.0 to -3.0. Garbled text
   must also have letter frequencies as uneven as those of a language, unlike codes and keys.

Knows nothing of PDFs, and nothing of what the words mean.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np

# Half bits by which each pair of letters (row: the first) is likelier than chance; "l" is zero. The mean over
# the 32 Latin-script languages of langdetect 1.0.9's profiles (Apache-2.0, from Wikipedia), without accents,
# mixed with 2 % of chance.
_PAIRS = (
    "omnplknmolnrptjmgrqqnmjimlofdcoaaanebkaemaamfcmbdajaoaganaapofkhchoabigjkabaihqeclrcdjqffhgjocaljhmffaii"
    "mlnonjnknkmqosjlesrqlliijllaaclhbbldbhadmaalehjacafaodbfobhingfkfimdamihlcgajbpaaepbabnefgegnbdidklefaia"
    "pkonqjnjlmopnsolforpklgfjloabdoaaalaebdglaaahdldaabaqcecoaahndhkifoaalklnfgajarifkqghfqijojiofacllmheakd"
    "qlceqdgdogggjgnlafigmagagcrfmpqhqjqjkhflobbfoplgfbmhjlmnjlmikkmpormmcqommnkdgkpadaoccjmdbkbdoiaohilbccda"
    "faacfaaaeaaaaadaaaaalaaabarjjmrhlirgkjllphdkmnnjgakipgleqefmpgokjinlcgmrmifajkrgcbrdenqfgifipcaolmoigakf"
    "lkklmgkhliknmpjkcoomjiffgjpaccpaaandcgaimaaggcibaaidobdclabdlabebhjaaffaeaaajaiabcfaabgaaabaccaaaeeabaaa"
    "nfijjggeiehijlkfajkhgfgacdmedgladdmcfffjjdadfghfeahd"
)

# Blocks of code points by script, in steps of 128. Scripts that mix within words count as one: Latin with
# Greek (in formulas), Chinese with Japanese and Korean. Latin-1 and signs belong to every script.
_SCRIPTS = (
    ((0x00, 0x7F), (0x100, 0x27F), (0x380, 0x3FF), (0x1E00, 0x1FFF)),
    ((0x3000, 0x9FFF), (0xAC00, 0xD7AF)),
    ((0x400, 0x4FF),),
    ((0x500, 0x5FF),),  # Armenian and Hebrew
    ((0x600, 0x8FF),),  # Arabic, Syriac, Thaana
    *(((start, start + 0x7F),) for start in range(0x900, 0xE00, 0x80)),  # ten of India and Sri Lanka
    ((0xE00, 0xEFF),),  # Thai and Lao
    *(((start, start + 0x7F),) for start in (0xF00, 0xF80, 0x1000, 0x1080, 0x1100, 0x1180)),
    ((0x1200, 0x137F),),
    ((0x1380, 0x167F),),
    ((0x1780, 0x17FF),),
    ((0x1800, 0x1DFF),),
)
_LONG_WORD = re.compile("[A-Za-z]{4,}")
SURELY_WORDS, WORDS = 0.8, 0.2
_BLANKS = np.array([0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x02, 0xFFFE], np.uint32)  # and PDFium's signs for a hyphen
_NUMBERS = bytes(next((n for n in (c - 65, c - 97) if 0 <= n < 26), 26) for c in range(256))
_WINDOWS = np.array([ord(bytes([i]).decode("cp1252", "replace")) for i in range(0x80, 0xA0)], np.uint32)
_MIN_PAIRS = 24  # fewer pairs of letters say little about a page
_SUBSTITUTED_BITS = -0.6  # letters are substituted if the mean is below this by three standard errors
_LANGUAGE_COINCIDENCE = (0.048, 0.12)  # chance that two letters of a text are equal; keys 0.038, hexadecimal 0.16


def is_garbled(text: str) -> bool:
    """Whether text is unreadable: codes that are no characters, or letters substituted for others."""
    codes = _codes(text)
    if len(codes) < 8:
        return False
    if _share_of_noncharacters(codes) >= 0.3:
        return True
    if not text.isascii() and (_has_swapped_bytes(codes) or _mixes_scripts(text, codes) or _is_mostly_western(codes)):
        return True
    # Short words are left out: they may be abbreviations, which follow no rule.
    return _has_substituted_letters(_letters(" ".join(_LONG_WORD.findall(text))))


def readable_lines(text: str) -> str:
    """Returns the text without lines of substituted letters, as one of several fonts may cause; all of it if
    those lines are less than a quarter."""
    lines = text.split("\n")
    if len(lines) < 2:
        return text
    wordless = [line for line in lines if _is_wordless(_letters(line))]
    bad_text = "\n".join(wordless)
    if len(bad_text) * 4 < len(text) or not is_garbled(bad_text):
        return text
    return "\n".join(line for line in lines if not _is_wordless(_letters(line), -0.3))


def looks_like_words(text: str) -> bool:
    """Whether Latin letters follow each other as in words. True for text in other scripts."""
    mean, count = _bits(_letters(text))
    return count < len(text) // 2 or mean > 0.1


def bits(text: str) -> float:
    """Returns the fifth statistic, mean bits per pair: from `WORDS` on text is words, from `SURELY_WORDS` on
    beyond doubt. Minus infinity for fewer than 8 pairs of Latin letters."""
    data = text.encode("utf-8", "ignore")
    if len(data) < 1000:
        mean, count = _bits(_letters(text))
        return mean if count >= 8 else -np.inf
    # Every second pair, two bytes as one number: this runs on every page.
    total = int(_quick_pairs().take(np.frombuffer(data, "<u2", len(data) // 2)).sum())
    count = (total + (1 << 31)) >> 32
    return (total - (count << 32)) / 2 / count if count >= 8 else -np.inf


@lru_cache(maxsize=1)
def _pairs() -> np.ndarray:
    """int8 [27 * 27], half bits of each pair; 0 with the 27th letter, which stands for other characters."""
    table = np.zeros((27, 27), np.int8)
    table[:26, :26] = np.frombuffer("".join(_PAIRS).encode(), np.int8).reshape(26, 26) - ord("l")
    return table.ravel()


@lru_cache(maxsize=1)
def _quick_pairs() -> np.ndarray:
    """int64 [65536], by two bytes of text: the half bits of the pair, plus 1 << 32 if both are letters."""
    numbers = np.frombuffer(_NUMBERS, np.uint8).astype(np.intp)
    second, first = np.divmod(np.arange(1 << 16), 256)
    pairs = numbers[first] * 27 + numbers[second]
    both = (numbers[first] < 26) & (numbers[second] < 26)
    return np.asarray(_pairs().astype(np.int64)[pairs] + (both.astype(np.int64) << 32))


def _letters(text: str) -> np.ndarray:
    """uint8, 0 to 25 for Latin letters, 26 for each byte of any other character."""
    return np.frombuffer(text.encode("utf-8", "ignore").translate(_NUMBERS), np.uint8)


def _bits(letters: np.ndarray) -> tuple[float, int]:
    """The mean bits per pair of neighbouring letters, and the number of pairs."""
    is_letter = letters < 26
    count = int(np.count_nonzero(is_letter[:-1] & is_letter[1:]))
    if not count:
        return 0.0, 0
    return float(_pairs().take(letters[:-1] * np.int16(27) + letters[1:]).sum()) / 2 / count, count


def _has_substituted_letters(letters: np.ndarray) -> bool:
    mean, count = _bits(letters)
    if count < _MIN_PAIRS or mean > _SUBSTITUTED_BITS - 3 / count**0.5:
        return False
    frequencies = np.bincount(letters, minlength=27)[:26]
    total = int(frequencies.sum())
    coincidence = float((frequencies * (frequencies - 1)).sum()) / (total * (total - 1))
    return _LANGUAGE_COINCIDENCE[0] < coincidence < _LANGUAGE_COINCIDENCE[1]


def _is_wordless(letters: np.ndarray, limit: float = -1.0) -> bool:
    mean, count = _bits(letters)
    return count >= 6 and mean < limit


def _codes(text: str) -> np.ndarray:
    """uint32 code points without blanks."""
    codes = np.frombuffer(text.encode("utf-32-le", "ignore"), np.uint32)
    return codes[~np.isin(codes, _BLANKS)]


def _share_of_noncharacters(codes: np.ndarray) -> float:
    """The share of codes that are no characters."""
    if codes.max() < 0x7F:
        return float((codes < 0x20).mean())
    kinds, counts = np.unique(codes, return_counts=True)
    invalid = [unicodedata.category(chr(code)) in ("Cc", "Co", "Cn", "Cs") or code == 0xFFFD for code in kinds]
    return float(counts[invalid].sum() / counts.sum())


def _has_swapped_bytes(codes: np.ndarray) -> bool:
    """Whether most letters share their low byte, as letters of one alphabet share their high byte."""
    high_codes = codes[codes >= 0x100]
    if len(high_codes) < 8 or len(high_codes) * 2 < len(codes):
        return False
    low = np.bincount(high_codes & 0xFF, minlength=256)
    return bool(low.max() * 2 > len(high_codes)) and len(np.unique(high_codes[high_codes & 0xFF == low.argmax()])) >= 5


def _mixes_scripts(text: str, codes: np.ndarray) -> bool:
    """Whether at least 45 % of neighbouring letters belong to different scripts."""
    if codes.max() < 0x250:
        return False
    all_codes = np.frombuffer(text.encode("utf-32-le", "ignore"), np.uint32)
    scripts = _scripts()[np.minimum(all_codes >> 7, 0x3FF)]
    scripts[(all_codes < 0x80) & ~_is_latin(all_codes)] = 0
    before, after = scripts[:-1], scripts[1:]
    both = (before > 0) & (after > 0)
    return bool(both.sum() >= 16 and (before != after)[both].mean() >= 0.45)


def _is_mostly_western(codes: np.ndarray) -> bool:
    """Whether most characters are non-ASCII characters of Western code pages."""
    western = ((codes >= 0x80) & (codes < 0x250)) | np.isin(codes, _WINDOWS)
    count = int(western.sum())
    return count >= 12 and count * 2 > len(codes) and count > int(_is_latin(codes).sum())


def _is_latin(codes: np.ndarray) -> np.ndarray:
    return ((codes | 0x20) >= ord("a")) & ((codes | 0x20) <= ord("z"))


@lru_cache(maxsize=1)
def _scripts() -> np.ndarray:
    """uint8 [1024], by code point >> 7: the number of the script, 0 for signs and marks."""
    numbers = np.zeros(0x400, np.uint8)
    for number, blocks in enumerate(_SCRIPTS, 1):
        for start, end in blocks:
            numbers[start >> 7 : (end >> 7) + 1] = number
    return numbers
