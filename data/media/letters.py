"""Letters as they stand on a page to words as a person reads them.

Built around what typesetting does to a word: an accent is drawn apart from its letter, a heading is spaced
out letter by letter, a word is divided at the end of a line. Each mended word keeps the boxes of its letters,
so that it can be marked on the page; a divided word has two. Whether blanks part words or letters is decided
by the distances on the page, since the blanks themselves are guesses of the PDF engine. Knows nothing of
PDFs.
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


class Piece(NamedTuple):
    """A word, or what of it stands on one line. `whole` is the word as it is read: of a divided word both
    pieces have the same."""

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
# What TeX's fonts have at these codes, where a PDF does not name the glyphs; fl has that of a line end.
_CODES = {"\x0b": "ff", "\x0c": "fi", "\x0e": "ffi", "\x0f": "ffl"}
_CODED = re.compile(r"[\x0b\x0c\x0e\x0f](?=[a-z])|(?<=[a-z])[\x0b\x0c\x0e\x0f]")
_DOTTED = {"ı": "i", "ȷ": "j"}
# Looked for in every page, so each begins with what is rare or quickly found.
_ACCENT = re.compile("[´¨¯¸ˆˇˉˊˋ˘˙˚˛˜˝\u0300-\u036f]")
_DRAWN_APART = re.compile(
    r"[´¨¯¸ˇˉˊˋ˘˙˚˛˝]|(?<=[^\W\d_])[ˆ˜]|[ˆ˜](?=[^\W\d_])"
    r"|(?<!\s)[\u0300-\u036f]|[\u0302-\u036f](?=[^\W\d_])"
)
_GRAVE = re.compile(r"`(?:(?<=[^\W\d_]`)(?=[aeiouAEIOU])|(?<![\w`]`)(?=[AaEeOo]\b)(?!.`)|(?<=[aeiouAEIOU]`)(?!\S))")
_SPACED_OUT = (
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
# Of the characters of Latin-1, "?" for others, so that a word of one letter or of two capitals weighs at most 4.
_WEIGHTS = np.array(
    [3 if "a" <= c <= "z" else 2 if c.isalpha() or c == "?" else 0 if c.isspace() else 5 for c in map(chr, range(256))],
    np.uint8,
)
# A word may end in a hyphen, a soft one, or one of PDFium's two signs for a hyphen that it took away.
_SIGNS = ("-\n", "- \n", "\u2010\n", "\xad", "\x02", "\ufffe")
_HYPHEN = re.compile(r"[-\u2010\xad\x02\ufffe][ \t]*\n?[ \t]*")
_USUAL_HYPHEN = re.compile(r"-[ \t]*\n[ \t]*")  # looked for four times as fast, one literal first
_TAIL = re.compile(r"[^\s\x02\ufffe]+")
_WORD = re.compile(r"[^\W\d_]+")


def need_places(text: str) -> bool:
    """Whether text may hold accents apart or letters spaced out, which only their places can tell."""
    if _ACCENT.search(beyond_ascii(text)) and _DRAWN_APART.search(text):
        return True
    if "`" in text and _GRAVE.search(text):
        return True
    # The two patterns are slow, and three words in a row of one letter, or of two capitals, are rare.
    weights = _WEIGHTS.take(np.frombuffer(f" {text} ".encode("latin-1", "replace"), np.uint8))
    words = np.diff(np.cumsum(weights, dtype=np.int32)[np.flatnonzero(weights == 0)]) <= 4
    if not (words[:-2] & words[1:-1] & words[2:]).any():
        return False
    text = f"\n{text}"
    return any(pattern.search(text) for pattern in _SPACED_OUT)


def with_ligatures(text: str) -> str:
    """Text with the ligatures spelt of which a font gives TeX's code alone."""
    if not any(code in text for code in _CODES):
        return text
    return _CODED.sub(lambda match: _CODES[match[0]], text)


def undivided(text: str) -> str:
    """Text with the words whole that were divided at the end of a line."""
    if not any(sign in text for sign in _SIGNS):
        return text
    around, parts, at = "", [], 0
    hyphen = _HYPHEN if any(sign in text for sign in _SIGNS[2:]) else _USUAL_HYPHEN
    for match in hyphen.finditer(text):
        if not _divides(match):
            continue
        around = around or text.lower()
        start = max(at, *(text.rfind(blank, at, match.start()) + 1 for blank in " \n\xa0"))
        tail = _TAIL.match(text, match.end())
        if tail is None or start == match.start():
            continue  # the rest of a word of which the first half has been used
        head = text[start : match.start()]
        parts += [text[at:start], _whole(head, tail[0], match[0][0] == "\xad", around)]
        at = tail.end()
    return "".join([*parts, text[at:]]).replace("\xad", "")


def _divides(hyphen: re.Match[str]) -> bool:
    """Whether a hyphen stands between a letter and, on the next line, another or a figure."""
    text, start, end = hyphen.string, hyphen.start(), hyphen.end()
    next_line = "\n" in hyphen[0] or hyphen[0][0] in "\x02\ufffe"
    return next_line and start > 0 and text[start - 1].isalpha() and text[end : end + 1].isalnum()


def text_with(parts: Sequence[Line | str]) -> str:
    """The text of lines, some of which are given as letters to be mended."""
    found: list[str] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, str)):
        lines = list(group)
        found.append("\n".join(lines) if is_text else text_of(rows_of(lines), undivide=False))  # type: ignore[arg-type]
    return undivided("\n".join(found))


def rows_of(lines: Sequence[Line]) -> list[list[Piece]]:
    """The words of each line, in reading order. Accents are on their letters, spaced-out words are one."""
    rows = []
    for line in _joined(_with_accents(lines)):
        line.letters[:] = [one._replace(text=_CODES.get(one.text, one.text)) for one in line.letters]
        words = _parted(_accented(line), line.angle)
        pieces = [(_around(word), clean("".join(letter.text for letter in word), 1000)) for word in words]
        rows.append([Piece(box, text, text) for box, text in pieces if text])
    around = text_of(rows, undivide=False).lower()
    for row, following in pairwise([row for row in rows if row]):
        end, start = row[-1], following[0]
        divided = _HYPHEN.search(f"{end.whole}\n{start.text}", len(end.whole) - 1)
        if divided is not None and _divides(divided):
            whole = _whole(end.whole[:-1], start.text, end.whole[-1] == "\xad", around)
            row[-1], following[0] = end._replace(whole=whole), start._replace(whole=whole)
    return rows


def text_of(rows: Sequence[Sequence[Piece]], *, undivide: bool = True) -> str:
    """The words of the rows, a line each."""
    text = "\n".join(" ".join(piece.text for piece in row) for row in rows)
    return undivided(text) if undivide else text


def _whole(head: str, tail: str, soft: bool, around: str) -> str:
    """One word of two halves. The hyphen stays where it belongs to the word: before capitals and figures, in
    addresses, and where the text around writes the word so or has both halves (of four letters or more) as
    words."""
    first = _WORD.match(tail)
    last = re.split(r"[\W_]", head)[-1]
    if soft:
        return head + tail
    if first is None or re.search(r"[\d_/@\\.]", head) or (first[0][0].isupper() and not last.isupper()):
        return f"{head}-{tail}"
    a, b = last.lower(), first[0].lower()
    words = min(len(a), len(b)) >= 4 and _stands(a, around) and _stands(b, around)
    if a + b not in around and (words or f"{a}-{b}" in around or ("-" in head and len(a) <= 3)):
        return f"{head}-{tail}"
    return head + tail


def _stands(word: str, text: str) -> bool:
    """Whether a word stands in a text, not as half of a divided one."""
    at = text.find(word)
    while at >= 0:
        before, after = text[max(0, at - 1) : at] or " ", text[at + len(word) : at + len(word) + 1] or " "
        if not (before.isalnum() or after.isalnum() or before == "\n" or after in "-\u2010\x02\ufffe\xad"):
            return True
        at = text.find(word, at + 1)
    return False


def _along(letter: Letter, angle: int) -> tuple[float, float]:
    """Where a letter begins and ends in the direction of reading."""
    if angle in (90, 270):
        return (letter.y0, letter.y1) if angle == 90 else (-letter.y1, -letter.y0)
    return (letter.x0, letter.x1) if angle != 180 else (-letter.x1, -letter.x0)


def across(letter: Letter, angle: int) -> tuple[float, float]:
    return (letter.x0, letter.x1) if angle in (90, 270) else (letter.y0, letter.y1)


def _around(letters: Sequence[Letter]) -> Box:
    x0, y0, x1, y1 = zip(*(letter[1:] for letter in letters), strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Lines of one letter each, as an engine makes them of wide spacing or of upright writing from top to
    bottom, as one line."""
    found: list[Line] = []
    single = False
    for line in lines:
        letters = [letter for letter in line.letters if not letter.text.isspace()]
        if len(letters) != 1:
            if letters or not single:
                found.append(line)
                single = False
            continue
        if single and (angle := _goes_on(found[-1].letters, letters[0], found[-1].angle, line.angle)) >= 0:
            blank = letters[0]._replace(text=" ") if angle != 90 or line.angle == 90 else None
            found[-1].letters.extend([*([blank] if blank else []), *letters])
            found[-1] = found[-1]._replace(angle=angle)
        else:
            found.append(Line(letters, line.angle))
        single = True
    return found


def _with_accents(lines: Sequence[Line]) -> list[Line]:
    """The lines, those of accents alone taken into the line that they stand on."""
    found: list[Line] = []
    waiting: list[Letter] = []
    for line in lines:
        letters = [letter for letter in line.letters if not letter.text.isspace()]
        if letters and all(_mark(letter.text) for letter in letters):
            before = found[-1].letters if found else []
            if before and _on_one_line(before[-1], letters[0], line.angle):
                before.extend(letters)
            else:
                waiting = letters
            continue
        if waiting:
            if letters and _on_one_line(letters[0], waiting[0], line.angle):
                line.letters.extend(waiting)
            else:
                found.append(Line(waiting, line.angle))
            waiting = []
        found.append(line)
    return [*found, Line(waiting)] if waiting else found


def _on_one_line(a: Letter, b: Letter, angle: int) -> bool:
    (start, end), (its_start, its_end) = across(a, angle), across(b, angle)
    return min(end, its_end) - max(start, its_start) > (end - start) / 3


def _goes_on(before: Sequence[Letter], letter: Letter, angle: int, its_angle: int) -> int:
    """The direction in which a single letter goes on with single letters before it, or -1."""
    last = before[-1]
    start, end = across(last, its_angle)
    its_start, its_end = across(letter, its_angle)
    size = end - start
    gap = _along(letter, its_angle)[0] - _along(last, its_angle)[1]
    if angle == its_angle and min(end, its_end) - max(start, its_start) > size / 2 and 0 < gap < 3 * size:
        return its_angle
    middle, its_middle = (last.x0 + last.x1) / 2, (letter.x0 + letter.x1) / 2
    wide = all("\u2e80" <= one.text <= "\uffef" or one.text >= "\U00020000" for one in (last, letter))
    downwards = wide and its_angle == 0 and (angle == 90 or len(before) == 1)
    if downwards and abs(middle - its_middle) < size / 4 and 0 < letter.y0 - last.y0 < 2 * size:
        return 90
    return -1


def _accented(line: Line) -> list[Letter]:
    """The line with each accent on the letter that it is drawn over, under or through."""
    letters, angle = line.letters, line.angle
    marks = {i: mark for i, letter in enumerate(letters) if (mark := _mark(letter.text))}
    solid = [i for i, letter in enumerate(letters) if i not in marks and not letter.text.isspace()]
    if not marks or not solid:
        return letters
    owned: dict[int, list[int]] = {}
    left_out: set[int] = set()
    for i in marks:
        near = [
            j
            for j in (max((j for j in solid if j < i), default=-1), min((j for j in solid if j > i), default=-1))
            if j >= 0
        ]
        # The neighbours first: where they share an accent by halves, it belongs to the one before.
        owner = max([*near, *solid], key=lambda j: _share_over(letters[i], letters[j], angle))
        if letters[i].text in _MARKS and _share_over(letters[i], letters[owner], angle) < 0.5:
            continue  # an accent by itself: a tilde in an address, a power in a formula
        owned.setdefault(owner, []).append(i)
        left_out.add(i)
        if owner in near:
            left_out.update(range(min(i, owner) + 1, max(i, owner)))
        left_out.update(_blanks_between_neighbours(letters, near, angle))
    found = []
    for i, letter in enumerate(letters):
        if i in owned:
            base = _DOTTED.get(letter.text, letter.text) + "".join(marks[j] for j in owned[i])
            box = _around([letter, *(letters[j] for j in owned[i])])
            letter = Letter(unicodedata.normalize("NFC", base), *box)
        if i not in left_out:
            found.append(letter)
    return found


def _mark(text: str) -> str:
    """The combining form of an accent; empty for other characters."""
    return _MARKS.get(text) or (text if "\u0300" <= text <= "\u036f" else "")


def _share_over(accent: Letter, letter: Letter, angle: int) -> float:
    """How much of an accent, or of a narrower letter, lies over the letter; half for one without width."""
    (a0, a1), (b0, b1) = _along(accent, angle), _along(letter, angle)
    width = min(a1 - a0, b1 - b0)
    return (min(a1, b1) - max(a0, b0)) / width if width > 0 else 0.5


def _blanks_between_neighbours(letters: Sequence[Letter], near: Sequence[int], angle: int) -> list[int]:
    """The blanks that an engine put between two letters that touch, because an accent stands there."""
    if len(near) < 2:
        return []
    before, after = letters[near[0]], letters[near[1]]
    start, end = across(before, angle)
    if _along(after, angle)[0] - _along(before, angle)[1] > (end - start) / 10:
        return []
    return [i for i in range(near[0] + 1, near[1]) if letters[i].text.isspace()]


def _parted(letters: Sequence[Letter], angle: int) -> list[list[Letter]]:
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
    found: list[list[Letter]] = []
    at = 0
    while at < len(words):
        end = at
        while end < len(words) and _is_part(words[end], angle):
            end += 1
        run = words[at:end]
        mended = _spaced_out([letter for word in run for letter in word], angle) if len(run) >= 3 else None
        found += mended or run or [words[end]]
        at = max(end, at + 1)
    return found


def _is_part(word: Sequence[Letter], angle: int) -> bool:
    """Whether it is a letter, or a few that stand apart, as parts of a word that is spaced out do."""
    if not all(letter.text.isalpha() for letter in word) or len(word) > 3:
        return False
    start, end = across(word[0], angle)
    gaps = [_along(b, angle)[0] - _along(a, angle)[1] for a, b in pairwise(word)]
    return min(gaps, default=end) > (end - start) / 20


def _spaced_out(letters: list[Letter], angle: int) -> list[list[Letter]] | None:
    """The words of a run of letters that stand apart, parted where the distance is larger; None where they
    are letters by themselves, as in "A B C D"."""
    gaps = [_along(b, angle)[0] - _along(a, angle)[1] for a, b in pairwise(letters)]
    usual = median(gaps)
    start, end = across(letters[0], angle)
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
