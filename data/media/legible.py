"""Whether the text layer of a page is text, or what a font without a table of its characters leaves of it.

Built around five statistics, each with a limit that no real page comes near. Their test holds them to pages
of many languages and of code, and to pages spoilt in each way:

1. What are no characters: control codes, U+FFFD, the private areas, unassigned codes. Text: under 3 %.
2. Letters beyond Latin-1 that share their low byte: text whose two bytes were swapped (U+5400 for "T").
3. Neighbours from two scripts, as numbers of glyphs give when read as characters: 60 % and more. Text: 20 %.
4. Letters with accents among Latin ones, as an alphabet read by another's table gives ("Ïðèâåò"). Vietnamese:
   a third.
5. Pairs of Latin letters: bits by which a pair is likelier in thirty languages than by chance, on average.
   Language gives 1.0 to 1.7, lists of commands 0.0 and more, letters exchanged for others -1.0 to -3.0. To be
   no text it must also use some letters much and others little, as language does: codes and keys do not.

Knows nothing of PDFs, and nothing of what the words mean.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np

# Bits, in halves, by which each pair of letters (row: the first) is likelier than chance, "l" for none. From
# the mean over the 32 languages in Latin letters of the profiles of langdetect 1.0.9 (Apache-2.0, made of
# Wikipedia), accents left out, with 2 % of chance mixed in.
_PAIRS = (
    "omnplknmolnrptjmgrqqnmjimlofdcoaaanebkaemaamfcmbdajaoaganaapofkhchoabigjkabaihqeclrcdjqffhgjocaljhmffaii"
    "mlnonjnknkmqosjlesrqlliijllaaclhbbldbhadmaalehjacafaodbfobhingfkfimdamihlcgajbpaaepbabnefgegnbdidklefaia"
    "pkonqjnjlmopnsolforpklgfjloabdoaaalaebdglaaahdldaabaqcecoaahndhkifoaalklnfgajarifkqghfqijojiofacllmheakd"
    "qlceqdgdogggjgnlafigmagagcrfmpqhqjqjkhflobbfoplgfbmhjlmnjlmikkmpormmcqommnkdgkpadaoccjmdbkbdoiaohilbccda"
    "faacfaaaeaaaaadaaaaalaaabarjjmrhlirgkjllphdkmnnjgakipgleqefmpgokjinlcgmrmifajkrgcbrdenqfgifipcaolmoigakf"
    "lkklmgkhliknmpjkcoomjiffgjpaccpaaandcgaimaaggcibaaidobdclabdlabebhjaaffaeaaajaiabcfaabgaaabaccaaaeeabaaa"
    "nfijjggeiehijlkfajkhgfgacdmedgladdmcfffjjdadfghfeahd"
)

# Where letters lie, to 128 code points; what stands side by side in words is one script: Latin with Greek (in
# formulas), Chinese with Japanese and Korean. Latin-1 and the signs are everyone's.
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
_ENOUGH = 24  # pairs of letters: fewer say little about a page
_EXCHANGED = -0.6  # bits: below it, and three standard errors, letters stand for others
_UNEVEN = (0.048, 0.12)  # chance that two letters of a text are the same; keys 0.038, hexadecimal 0.16


def is_no_text(text: str) -> bool:
    """Whether text says nothing to anyone: no characters, or letters that stand for others."""
    codes = _codes(text)
    if len(codes) < 8:
        return False
    if _no_characters(codes) >= 0.3:
        return True
    if not text.isascii() and (_swapped(codes) or _mixed(text, codes) or _accented(codes)):
        return True
    # Not abbreviations: they are short, and follow no rule.
    return _exchanged(_letters(" ".join(_LONG_WORD.findall(text))))


def readable_lines(text: str) -> str:
    """Text without the lines whose letters stand for others, as where one font of several has no table of its
    characters; all of it if those lines are less than a quarter."""
    lines = text.split("\n")
    if len(lines) < 2:
        return text
    bad = [line for line in lines if _no_words(_letters(line))]
    rest = "\n".join(bad)
    if len(rest) * 4 < len(text) or not is_no_text(rest):
        return text
    return "\n".join(line for line in lines if not _no_words(_letters(line), -0.3))


def looks_like_words(text: str) -> bool:
    """Whether Latin letters follow each other as in words. Text in other scripts always does."""
    mean, count = _bits(_letters(text))
    return count < len(text) // 2 or mean > 0.1


def bits(text: str) -> float:
    """The fifth statistic: a page is words from `WORDS` on, and beyond doubt from `SURELY_WORDS` on. Minus
    infinity where there are hardly any Latin letters."""
    data = text.encode("utf-8", "ignore")
    if len(data) < 1000:
        mean, count = _bits(_letters(text))
        return mean if count >= 8 else -np.inf
    # Every second pair, two bytes as one number: this is asked of every page.
    total = int(_quick_pairs().take(np.frombuffer(data, "<u2", len(data) // 2)).sum())
    count = (total + (1 << 31)) >> 32
    return (total - (count << 32)) / 2 / count if count >= 8 else -np.inf


@lru_cache(maxsize=1)
def _pairs() -> np.ndarray:
    """Half bits of each pair of letters, none for a pair with the 27th, which stands for other characters."""
    table = np.zeros((27, 27), np.int8)
    table[:26, :26] = np.frombuffer("".join(_PAIRS).encode(), np.int8).reshape(26, 26) - ord("l")
    return table.ravel()


@lru_cache(maxsize=1)
def _quick_pairs() -> np.ndarray:
    """From two bytes of text to half the bits of their pair, and 1 in the upper half, if they are letters."""
    numbers = np.frombuffer(_NUMBERS, np.uint8).astype(np.intp)
    second, first = np.divmod(np.arange(1 << 16), 256)
    pairs = numbers[first] * 27 + numbers[second]
    both = (numbers[first] < 26) & (numbers[second] < 26)
    return _pairs().astype(np.int64)[pairs] + (both.astype(np.int64) << 32)


def _letters(text: str) -> np.ndarray:
    """Numbers of the Latin letters of a text, 26 for other characters, letters with accents among them."""
    return np.frombuffer(text.encode("utf-8", "ignore").translate(_NUMBERS), np.uint8)


def _bits(letters: np.ndarray) -> tuple[float, int]:
    """The mean of the bits of all pairs of neighbours, and how many there are."""
    is_letter = letters < 26
    count = int(np.count_nonzero(is_letter[:-1] & is_letter[1:]))
    if not count:
        return 0.0, 0
    return float(_pairs().take(letters[:-1] * np.int16(27) + letters[1:]).sum()) / 2 / count, count


def _exchanged(letters: np.ndarray) -> bool:
    mean, count = _bits(letters)
    if count < _ENOUGH or mean > _EXCHANGED - 3 / count**0.5:
        return False
    often = np.bincount(letters, minlength=27)[:26]
    total = int(often.sum())
    same = float((often * (often - 1)).sum()) / (total * (total - 1))
    return _UNEVEN[0] < same < _UNEVEN[1]


def _no_words(letters: np.ndarray, limit: float = -1.0) -> bool:
    mean, count = _bits(letters)
    return count >= 6 and mean < limit


def _codes(text: str) -> np.ndarray:
    """Code points without blanks."""
    codes = np.frombuffer(text.encode("utf-32-le", "ignore"), np.uint32)
    return codes[~np.isin(codes, _BLANKS)]


def _no_characters(codes: np.ndarray) -> float:
    """The share of codes that are no characters."""
    if codes.max() < 0x7F:
        return float((codes < 0x20).mean())
    kinds, counts = np.unique(codes, return_counts=True)
    none = [unicodedata.category(chr(code)) in ("Cc", "Co", "Cn", "Cs") or code == 0xFFFD for code in kinds]
    return float(counts[none].sum() / counts.sum())


def _swapped(codes: np.ndarray) -> bool:
    """Whether most letters share their low byte, as those of one alphabet share the high one."""
    far = codes[codes >= 0x100]
    if len(far) < 8 or len(far) * 2 < len(codes):
        return False
    low = np.bincount(far & 0xFF, minlength=256)
    return bool(low.max() * 2 > len(far)) and len(np.unique(far[far & 0xFF == low.argmax()])) >= 5


def _mixed(text: str, codes: np.ndarray) -> bool:
    """Whether neighbours within words are of different scripts, nearly every second time."""
    if codes.max() < 0x250:
        return False
    every = np.frombuffer(text.encode("utf-32-le", "ignore"), np.uint32)
    scripts = _scripts()[np.minimum(every >> 7, 0x3FF)]
    scripts[(every < 0x80) & ~_is_latin(every)] = 0
    left, right = scripts[:-1], scripts[1:]
    both = (left > 0) & (right > 0)
    return bool(both.sum() >= 16 and (left != right)[both].mean() >= 0.45)


def _accented(codes: np.ndarray) -> bool:
    """Whether most characters are what Western tables have beyond ASCII."""
    western = ((codes >= 0x80) & (codes < 0x250)) | np.isin(codes, _WINDOWS)
    count = int(western.sum())
    return count >= 12 and count * 2 > len(codes) and count > int(_is_latin(codes).sum())


def _is_latin(codes: np.ndarray) -> np.ndarray:
    return ((codes | 0x20) >= ord("a")) & ((codes | 0x20) <= ord("z"))


@lru_cache(maxsize=1)
def _scripts() -> np.ndarray:
    """From a code point's bits above the seventh to a number of its script; 0 for signs and for marks."""
    numbers = np.zeros(0x400, np.uint8)
    for number, blocks in enumerate(_SCRIPTS, 1):
        for start, end in blocks:
            numbers[start >> 7 : (end >> 7) + 1] = number
    return numbers
