"""Positioned letters of a page to the words that a person reads.

Built around what typesetting does to a word: an accent is drawn apart from its letter, a heading is spaced
out letter by letter, a word is divided at the end of a line. Each word keeps the box around its letters, so
that it can be marked on the page; a divided word has two boxes. Distances on the page decide whether a blank
separates words or letters, since the PDF engine only guesses blanks. Knows nothing of PDFs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import NamedTuple

import numpy as np

from data.media.legible import looks_like_words
from data.media.text import beyond_ascii, clean

Box = tuple[float, float, float, float]


class Letter(NamedTuple):
    """A character and its box on the page, from the page's top left, in any unit."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float


class Line(NamedTuple):
    """Letters in reading order, blanks included. `angle`: the direction of reading, clockwise: 0, 90, 180,
    270 degrees, or -1 for any other."""

    letters: list[Letter]
    angle: int = 0


class WordBox(NamedTuple):
    """A word, or the part of a divided word on one line. `whole` is the undivided word, equal for both parts."""

    box: Box
    text: str
    whole: str


_MARKS = dict(
    zip(
        "`´¨^~¯¸ˆˇˉˊˋ˘˙˚˛˜˝°",
        "\u0300\u0301\u0308\u0302\u0303\u0304\u0327\u0302\u030c\u0304\u0301\u0300"
        "\u0306\u0307\u030a\u0328\u0303\u030b\u030a",
        strict=True,
    )
)
# TeX's ligatures at these codes, where a PDF does not name the glyphs; fl has the code of a line end.
_TEX_CODES = {"\x0b": "ff", "\x0c": "fi", "\x0e": "ffi", "\x0f": "ffl"}
_TEX_LIGATURE = re.compile(r"[\x0b\x0c\x0e\x0f](?=[a-z])|(?<=[a-z])[\x0b\x0c\x0e\x0f]")
_DOTLESS = {"ı": "i", "ȷ": "j"}
# These patterns run on every page, so each begins with a rare or quickly matched part.
_ACCENT = re.compile("[´¨¯¸ˆˇˉˊˋ˘˙˚˛˜˝\u0300-\u036f]")
_SEPARATE_ACCENT = re.compile(
    r"[´¨¯¸ˇˉˊˋ˘˙˚˛˝]|(?<=[^\W\d_])[ˆ˜]|[ˆ˜](?=[^\W\d_])"
    r"|(?<!\s)[\u0300-\u036f]|[\u0302-\u036f](?=[^\W\d_])"
)
_GRAVE = re.compile(r"`(?:(?<=[^\W\d_]`)(?=[aeiouAEIOU])|(?<![\w`]`)(?=[AaEeOo]\b)(?!.`)|(?<=[aeiouAEIOU]`)(?!\S))")
_SPACED_OUT_PATTERNS = (
    re.compile(
        r" (?:[^\W\d_]  ?[^\W\d_]  ?[^\W\d_]  ?[^\W\d_](?!\w)"
        r"|[^\W\d_a-z]{1,2} [^\W\d_a-z]{1,2} [^\W\d_a-z]{1,2} [^\W\d_a-z]{1,2}(?!\w))"
    ),
    re.compile(
        r"\n(?:[^\W\d_] [^\W\d_]  ?[^\W\d_]  ?[^\W\d_](?!\w)"
        r"|[^\W\d_a-z]\s{1,3}[^\W\d_a-z]\s{1,3}[^\W\d_a-z]\s{1,3}[^\W\d_a-z]\s"
        r"|[^\W\d_a-z]{1,2} [^\W\d_a-z]{1,2} [^\W\d_a-z]{1,2} [^\W\d_a-z]{1,2}(?!\w))"
    ),
)
# One weight per Latin-1 character ("?" for others): a word of one letter or of two capitals weighs at most 4.
_WEIGHTS = np.array(
    [3 if "a" <= c <= "z" else 2 if c.isalpha() or c == "?" else 0 if c.isspace() else 5 for c in map(chr, range(256))],
    np.uint8,
)
# A hyphen, a soft hyphen, or one of PDFium's two signs for a hyphen that it removed.
_HYPHENS = ("-\n", "- \n", "\u2010\n", "\xad", "\x02", "\ufffe")
_HYPHEN = re.compile(r"[-\u2010\xad\x02\ufffe][ \t]*\n?[ \t]*")
_USUAL_HYPHEN = re.compile(r"-[ \t]*\n[ \t]*")  # four times as fast, since it begins with a literal
_TAIL = re.compile(r"[^\s\x02\ufffe]+")
_WORD = re.compile(r"[^\W\d_]+")


def needs_positions(text: str) -> bool:
    """Whether text may hold separate accents or spaced-out letters, which only letter positions can resolve."""
    if _ACCENT.search(beyond_ascii(text)) and _SEPARATE_ACCENT.search(text):
        return True
    if "`" in text and _GRAVE.search(text):
        return True
    # The two patterns are slow, and three words in a row of one letter, or of two capitals, are rare.
    weights = _WEIGHTS.take(np.frombuffer(f" {text} ".encode("latin-1", "replace"), np.uint8))
    words = np.diff(np.cumsum(weights, dtype=np.int32)[np.flatnonzero(weights == 0)]) <= 4
    if not (words[:-2] & words[1:-1] & words[2:]).any():
        return False
    text = f"\n{text}"
    return any(pattern.search(text) for pattern in _SPACED_OUT_PATTERNS)


def spell_ligatures(text: str) -> str:
    """Returns the text with TeX's ligature codes spelt as letters."""
    if not any(code in text for code in _TEX_CODES):
        return text
    return _TEX_LIGATURE.sub(lambda match: _TEX_CODES[match[0]], text)


def join_divided_words(text: str) -> str:
    """Returns the text with words joined that were divided at the end of a line."""
    if not any(sign in text for sign in _HYPHENS):
        return text
    lowercase, parts, at = "", [], 0
    pattern = _HYPHEN if any(sign in text for sign in _HYPHENS[2:]) else _USUAL_HYPHEN
    for match in pattern.finditer(text):
        if not _divides(match):
            continue
        lowercase = lowercase or text.lower()
        start = max(at, *(text.rfind(blank, at, match.start()) + 1 for blank in " \n\xa0"))
        tail = _TAIL.match(text, match.end())
        if tail is None or start == match.start():
            continue  # the second half of a word whose first half is already joined
        head = text[start : match.start()]
        parts += [text[at:start], _joined_word(head, tail[0], match[0][0] == "\xad", lowercase)]
        at = tail.end()
    return "".join([*parts, text[at:]]).replace("\xad", "")


def _divides(hyphen: re.Match[str]) -> bool:
    """Whether a hyphen stands between a letter and a letter or digit on the next line."""
    text, start, end = hyphen.string, hyphen.start(), hyphen.end()
    next_line = "\n" in hyphen[0] or hyphen[0][0] in "\x02\ufffe"
    return next_line and start > 0 and text[start - 1].isalpha() and text[end : end + 1].isalnum()


def text_of_parts(parts: Sequence[Line | str]) -> str:
    """Returns the text of lines given as text or, where positions matter, as letters."""
    texts: list[str] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, str)):
        lines = list(group)
        texts.append("\n".join(lines) if is_text else text_of(rows_of(lines), undivide=False))  # type: ignore[arg-type]
    return join_divided_words("\n".join(texts))


def rows_of(lines: Sequence[Line]) -> list[list[WordBox]]:
    """Returns the words of each line in reading order, with accents composed and spaced-out words joined."""
    rows = []
    for line in _join_single_letters(_attach_accent_lines(lines)):
        line.letters[:] = [
            character._replace(text=_TEX_CODES.get(character.text, character.text)) for character in line.letters
        ]
        words = _words_of(_compose_accents(line), line.angle)
        boxed = [(_box_around(word), clean("".join(letter.text for letter in word), 1000)) for word in words]
        rows.append([WordBox(box, text, text) for box, text in boxed if text])
    lowercase = text_of(rows, undivide=False).lower()
    for row, following in pairwise([row for row in rows if row]):
        end, start = row[-1], following[0]
        divided = _HYPHEN.search(f"{end.whole}\n{start.text}", len(end.whole) - 1)
        if divided is not None and _divides(divided):
            whole = _joined_word(end.whole[:-1], start.text, end.whole[-1] == "\xad", lowercase)
            row[-1], following[0] = end._replace(whole=whole), start._replace(whole=whole)
    return rows


def text_of(rows: Sequence[Sequence[WordBox]], *, undivide: bool = True) -> str:
    """Returns the words of the rows, one line per row."""
    text = "\n".join(" ".join(piece.text for piece in row) for row in rows)
    return join_divided_words(text) if undivide else text


def _joined_word(head: str, tail: str, soft: bool, text: str) -> str:
    """Joins the halves of a word. The hyphen stays before capitals and digits, in addresses, and where `text`
    contains the hyphenated word or both halves (of four letters or more) as words."""
    first_part = _WORD.match(tail)
    last_part = re.split(r"[\W_]", head)[-1]
    if soft:
        return head + tail
    if first_part is None or re.search(r"[\d_/@\\.]", head) or (first_part[0][0].isupper() and not last_part.isupper()):
        return f"{head}-{tail}"
    a, b = last_part.lower(), first_part[0].lower()
    words = min(len(a), len(b)) >= 4 and _occurs(a, text) and _occurs(b, text)
    if a + b not in text and (words or f"{a}-{b}" in text or ("-" in head and len(a) <= 3)):
        return f"{head}-{tail}"
    return head + tail


def _occurs(word: str, text: str) -> bool:
    """Whether a word occurs in a text, not as half of a divided word."""
    at = text.find(word)
    while at >= 0:
        before, after = text[max(0, at - 1) : at] or " ", text[at + len(word) : at + len(word) + 1] or " "
        if not (before.isalnum() or after.isalnum() or before == "\n" or after in "-\u2010\x02\ufffe\xad"):
            return True
        at = text.find(word, at + 1)
    return False


def _extent_along(letter: Letter, angle: int) -> tuple[float, float]:
    """Start and end of a letter in the direction of reading."""
    if angle in (90, 270):
        return (letter.y0, letter.y1) if angle == 90 else (-letter.y1, -letter.y0)
    return (letter.x0, letter.x1) if angle != 180 else (-letter.x1, -letter.x0)


def extent_across(letter: Letter, angle: int) -> tuple[float, float]:
    """Start and end of a letter across the direction of reading."""
    return (letter.x0, letter.x1) if angle in (90, 270) else (letter.y0, letter.y1)


def _box_around(letters: Sequence[Letter]) -> Box:
    x0, y0, x1, y1 = zip(*(letter[1:] for letter in letters), strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _join_single_letters(lines: Sequence[Line]) -> list[Line]:
    """Joins lines of one letter, which an engine makes of wide spacing or of vertical writing."""
    joined: list[Line] = []
    after_single = False
    for line in lines:
        letters = [letter for letter in line.letters if not letter.text.isspace()]
        if len(letters) != 1:
            if letters or not after_single:
                joined.append(line)
                after_single = False
            continue
        if (
            after_single
            and (angle := _continued_angle(joined[-1].letters, letters[0], joined[-1].angle, line.angle)) >= 0
        ):
            blank = letters[0]._replace(text=" ") if angle != 90 or line.angle == 90 else None
            joined[-1].letters.extend([*([blank] if blank else []), *letters])
            joined[-1] = joined[-1]._replace(angle=angle)
        else:
            joined.append(Line(letters, line.angle))
        after_single = True
    return joined


def _attach_accent_lines(lines: Sequence[Line]) -> list[Line]:
    """Moves lines that hold only accents into the line that they are drawn on."""
    result: list[Line] = []
    accents: list[Letter] = []
    for line in lines:
        letters = [letter for letter in line.letters if not letter.text.isspace()]
        if letters and all(_mark(letter.text) for letter in letters):
            before = result[-1].letters if result else []
            if before and _on_one_line(before[-1], letters[0], line.angle):
                before.extend(letters)
            else:
                accents = letters
            continue
        if accents:
            if letters and _on_one_line(letters[0], accents[0], line.angle):
                line.letters.extend(accents)
            else:
                result.append(Line(accents, line.angle))
            accents = []
        result.append(line)
    return [*result, Line(accents)] if accents else result


def _on_one_line(a: Letter, b: Letter, angle: int) -> bool:
    (a_start, a_end), (b_start, b_end) = extent_across(a, angle), extent_across(b, angle)
    return min(a_end, b_end) - max(a_start, b_start) > (a_end - a_start) / 3


def _continued_angle(previous: Sequence[Letter], letter: Letter, angle: int, letter_angle: int) -> int:
    """The reading angle if a single letter continues the single letters before it, else -1."""
    last = previous[-1]
    start, end = extent_across(last, letter_angle)
    letter_start, letter_end = extent_across(letter, letter_angle)
    size = end - start
    gap = _extent_along(letter, letter_angle)[0] - _extent_along(last, letter_angle)[1]
    if angle == letter_angle and min(end, letter_end) - max(start, letter_start) > size / 2 and 0 < gap < 3 * size:
        return letter_angle
    middle, letter_middle = (last.x0 + last.x1) / 2, (letter.x0 + letter.x1) / 2
    wide = all("\u2e80" <= character.text <= "\uffef" or character.text >= "\U00020000" for character in (last, letter))
    downwards = wide and letter_angle == 0 and (angle == 90 or len(previous) == 1)
    if downwards and abs(middle - letter_middle) < size / 4 and 0 < letter.y0 - last.y0 < 2 * size:
        return 90
    return -1


def _compose_accents(line: Line) -> list[Letter]:
    """The letters of a line, each accent composed with the letter that it is drawn over, under or through."""
    letters, angle = line.letters, line.angle
    marks = {i: mark for i, letter in enumerate(letters) if (mark := _mark(letter.text))}
    solid = [i for i, letter in enumerate(letters) if i not in marks and not letter.text.isspace()]
    if not marks or not solid:
        return letters
    accents_of: dict[int, list[int]] = {}
    omitted: set[int] = set()
    for i in marks:
        neighbours = [
            j
            for j in (max((j for j in solid if j < i), default=-1), min((j for j in solid if j > i), default=-1))
            if j >= 0
        ]
        # The neighbours come first: if both share an accent equally, the letter before it owns it.
        owner = max([*neighbours, *solid], key=lambda j: _share_over(letters[i], letters[j], angle))
        if letters[i].text in _MARKS and _share_over(letters[i], letters[owner], angle) < 0.5:
            continue  # a sign of its own: a tilde in an address, a power in a formula
        accents_of.setdefault(owner, []).append(i)
        omitted.add(i)
        if owner in neighbours:
            omitted.update(range(min(i, owner) + 1, max(i, owner)))
        omitted.update(_blanks_between_neighbours(letters, neighbours, angle))
    accented = []
    for i, letter in enumerate(letters):
        if i in accents_of:
            base = _DOTLESS.get(letter.text, letter.text) + "".join(marks[j] for j in accents_of[i])
            box = _box_around([letter, *(letters[j] for j in accents_of[i])])
            letter = Letter(unicodedata.normalize("NFC", base), *box)
        if i not in omitted:
            accented.append(letter)
    return accented


def _mark(text: str) -> str:
    """The combining form of an accent; empty for other characters."""
    return _MARKS.get(text) or (text if "\u0300" <= text <= "\u036f" else "")


def _share_over(accent: Letter, letter: Letter, angle: int) -> float:
    """The share of an accent, or of a narrower letter, that lies over the letter; 0.5 without a width."""
    (a0, a1), (b0, b1) = _extent_along(accent, angle), _extent_along(letter, angle)
    width = min(a1 - a0, b1 - b0)
    return (min(a1, b1) - max(a0, b0)) / width if width > 0 else 0.5


def _blanks_between_neighbours(letters: Sequence[Letter], neighbours: Sequence[int], angle: int) -> list[int]:
    """The blanks that an engine inserted for an accent between two letters that touch."""
    if len(neighbours) < 2:
        return []
    before, after = letters[neighbours[0]], letters[neighbours[1]]
    start, end = extent_across(before, angle)
    if _extent_along(after, angle)[0] - _extent_along(before, angle)[1] > (end - start) / 10:
        return []
    return [i for i in range(neighbours[0] + 1, neighbours[1]) if letters[i].text.isspace()]


def _words_of(letters: Sequence[Letter], angle: int) -> list[list[Letter]]:
    """The letters of each word of a line."""
    words: list[list[Letter]] = [[]]
    for letter in letters:
        if not letter.text.isspace():
            words[-1].append(letter)
        elif words[-1]:
            words.append([])
    words = [word for word in words if word]
    if angle < 0 or len(words) < 3:
        return words
    result: list[list[Letter]] = []
    position = 0
    while position < len(words):
        end = position
        while end < len(words) and _is_spaced_out(words[end], angle):
            end += 1
        run = words[position:end]
        joined = _join_spaced_out([letter for word in run for letter in word], angle) if len(run) >= 3 else None
        result += joined or run or [words[end]]
        position = max(end, position + 1)
    return result


def _is_spaced_out(word: Sequence[Letter], angle: int) -> bool:
    """Whether `word` is one letter, or up to three letters with gaps, as in a spaced-out word."""
    if not all(letter.text.isalpha() for letter in word) or len(word) > 3:
        return False
    start, end = extent_across(word[0], angle)
    gaps = [_extent_along(b, angle)[0] - _extent_along(a, angle)[1] for a, b in pairwise(word)]
    return min(gaps, default=end) > (end - start) / 20


def _join_spaced_out(letters: list[Letter], angle: int) -> list[list[Letter]] | None:
    """The words of a run of spaced-out letters, split at larger gaps; None for single letters ("A B C D")."""
    gaps = [_extent_along(b, angle)[0] - _extent_along(a, angle)[1] for a, b in pairwise(letters)]
    usual = median(gaps)
    start, end = extent_across(letters[0], angle)
    size = end - start
    if not 0 < usual < 1.5 * size:
        return None
    words = [[letters[0]]]
    for gap, letter in zip(gaps, letters[1:], strict=True):
        if gap > max(1.5 * usual, usual + size / 10):
            words.append([])
        words[-1].append(letter)
    texts = ["".join(letter.text for letter in word) for word in words]
    codes = [ord(letter.text[0]) for letter in letters]
    steps = {b - a for a, b in pairwise(codes)}
    if max(map(len, texts)) < 3 or len(steps) == 1 or not looks_like_words(" ".join(texts)):
        return None
    return words
