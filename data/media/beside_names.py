"""Which file describes which, by names alone: `may_describe`, `lies_with`, and `match_score` and keys for Google export
notes.

Built around names found in exports: "a.jpg.json", "a.jpg.supplemental-metadata.json" cut to 46 characters before
its extension, "a.supplemental-metadata.json" without the media extension, the number of a copy at another position
("a(1).jpg", "a.jpg(1).json"), and files without a note of their own: edited copies ("a-edited.jpg" in the language of
the account) and videos of live photos ("a.MP4" beside "a.HEIC"). Knows nothing of the content of notes.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from data.media.kinds import AMBIGUOUS_EXTENSIONS, SUBTITLES, kind_of, may_describe_others, suffix_of

_TAIL = ".supplemental-metadata"
_MAX_NAME = 46
WHOLE_NAME_SCORE = 35
"""From this score on, the note's name begins with the whole name of its file."""
# "-edited" in the language of the account: a word or two without digits. A truncated name may have lost its end.
_IS_EDITED = re.compile(r"(.+)[-_][^\d_.()-]{2,24}", re.DOTALL)
_IS_CUT_EDITED = re.compile(r"(.{40,}?)-\w?")


def is_note(name: str) -> bool:
    """Whether a file of this name may be a note of an export."""
    return name.lower().endswith(".json")


SIDECAR = ".xmp"


def is_sidecar(name: str) -> bool:
    """Whether a file of this name may be XMP beside another."""
    return name.lower().endswith(SIDECAR)


def may_describe(name: str, other: str) -> bool:
    """Whether a file of this name may describe `other` beside it: film.en.srt film.mp4, a.jpg(1).json a(1).jpg."""
    kind = kind_of(other)
    if kind == "pdf" or (kind == "image" and name.lower().endswith(SUBTITLES)):
        return False
    if is_note(name):
        return match_score(other, name) > 0
    return name.startswith(f"{os.path.splitext(other)[0]}.")  # noqa: PTH122


def lies_with(name: str, other: str) -> bool:
    """Whether a file of this name may belong to `other` beside it: it describes it, or both are halves of a live
    photo."""
    if may_describe_others(name):
        return may_describe(name, other)
    return stem(name) == stem(other) and _is_half(name) and _is_half(other)


def _is_half(name: str) -> bool:
    return (kind_of(name) or AMBIGUOUS_EXTENSIONS.get(suffix_of(name))) in ("image", "video")


def stem(name: str) -> str:
    """Returns the lower-case name that the image and the video of a live photo share, without suffixes, Google's ".MP"
    and Apple's "_HEVC"."""
    name = re.sub(r"(\.(heic|heif|jpe?g|mov|mp4|mp|avif|dng)(~\d+)?)+$", "", name.lower())
    return name.removesuffix("_hevc")


def match_score(name: str, note: str) -> int:
    """Returns how well a note's name matches a media file's, 0 for no match."""
    base, number = _note_parts(note)
    scores = (_variant_score(variant, base, number) - variant.penalty for variant in _variants(name))
    return max(0, *scores)


def keys_of_note(note: str) -> set[tuple[str, str]]:
    """Returns the keys of a note, (name, number); it shares at least one with `keys_of_media` of its media file."""
    base, number = _note_parts(note)
    keys = {base, base[: _MAX_NAME - 1]}
    for _ in range(4):
        base = base.rpartition(".")[0]
        if not base:
            break
        keys.add(base)
    return {(key, number) for key in keys}


def keys_of_media(name: str) -> set[tuple[str, str]]:
    """Returns the keys of a media file, (name, number), to look up its note by `keys_of_note`."""
    return {
        (key, number)
        for stem, end, number, _ in _variants(name)
        for key in (stem, stem + end, (stem + end + _TAIL)[: _MAX_NAME - 1])
    }


def _note_parts(note: str) -> tuple[str, str]:
    """ "a.jpg.supplemental-metadata(1).json" -> ("a.jpg.supplemental-metadata", "1")."""
    return _split_number(unicodedata.normalize("NFC", note)[: -len(".json")])


def _split_number(stem: str) -> tuple[str, str]:
    """ "a(1)" -> ("a", "1"); ("a", "") without a number."""
    match = re.fullmatch(r"(.+)\((\d+)\)", stem, re.DOTALL)
    return (match[1], match[2]) if match else (stem, "")


class _Variant(NamedTuple):
    """A name from which the note's name may derive. `penalty`: the likelier, the less."""

    stem: str
    end: str
    number: str
    penalty: int


def _variants(name: str) -> Iterator[_Variant]:
    stem, end = os.path.splitext(unicodedata.normalize("NFC", name))  # noqa: PTH122
    yield _Variant(stem, end, "", 0)
    plain, number = _split_number(stem)
    if number:
        yield _Variant(plain, end, number, 1)
    edited = _IS_EDITED.fullmatch(plain) or _IS_CUT_EDITED.fullmatch(plain)
    if edited:
        original, inner_number = _split_number(edited[1])
        yield _Variant(original, end, inner_number or number, 6)


def _variant_score(variant: _Variant, base: str, note_number: str) -> int:
    stem, end, number, _ = variant
    if number != note_number:
        return 0
    full_name = stem + end
    if _is_tail(base, full_name):
        return 40
    if len(base) >= _MAX_NAME - 1 and (full_name + _TAIL).startswith(base):
        # What is cut off may be the number of a copy, which has a note of its own.
        return 37 if len(base) < len(stem) and _split_number(stem)[1] else 40
    if _is_tail(base, stem):
        return 30
    for known in (stem, full_name):  # the video of a live photo, an edited copy in another format
        match = re.match(rf"{re.escape(known)}(\.\w{{2,5}})", base)
        if match and kind_of(match[0]) and _is_tail(base, match[0]):
            return 20
    return 0


def _is_tail(base: str, name: str) -> bool:
    """Whether `base` is `name` plus nothing or the beginning of ".supplemental-metadata"."""
    return base.startswith(name) and _TAIL.startswith(base[len(name) :])
