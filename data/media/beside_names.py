"""Which file tells of which by their names alone: `says_of`, and for the notes of a Google export `fits` and keys.

Built around what has been seen in exports: "a.jpg.json", "a.jpg.supplemental-metadata.json" cut to 46 characters
before its end, "a.supplemental-metadata.json" without the extension, the number of a copy at another place
("a(1).jpg", "a.jpg(1).json"), and pictures that have no note of their own because they are the edited copy
("a-edited.jpg") or the film of a live photo ("a.MP4" beside "a.HEIC"). Knows nothing of what the notes hold.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator

from data.media.kinds import SUBTITLES, kind_of

_TAIL = ".supplemental-metadata"
_CUT = 46
SURE = 35
"""A note that fits so well is called after the whole name of its file."""
_EDITED = (
    "edited", "bearbeitet", "modifié", "editado", "editada", "ha editado", "modificato", "bewerkt", "redigerad",
    "redigeret", "redigert", "muokattu", "edytowane", "upraveno", "düzenlendi", "отредактировано", "изменено",
    "編集済み", "已修改", "已編輯", "편집됨", "effects", "collage", "mix", "animation", "pano",
)  # fmt: skip
# A name that was cut may have lost the end of its "-edited".
_IS_EDITED = re.compile(rf"(.+?)[-_](?:{'|'.join(map(re.escape, _EDITED))})", re.IGNORECASE)
_IS_CUT_EDITED = re.compile(r"(.{40,}?)-(?:e|ed|edi|edit|edite)")


def is_note(name: str) -> bool:
    """Whether a file of this name may be such a note."""
    return name.lower().endswith(".json")


def says_of(name: str, other: str) -> bool:
    """Whether a file of this name may tell of `other` beside it: film.en.srt of film.mp4, a.jpg(1).json of a(1).jpg."""
    kind = kind_of(other)
    if kind == "pdf" or (kind == "image" and name.lower().endswith(SUBTITLES)):
        return False
    if is_note(name):
        return fits(other, name) > 0
    return name.startswith(f"{os.path.splitext(other)[0]}.")  # noqa: PTH122


def fits(name: str, note: str) -> int:
    """Returns how well a note's name fits a media file's, 0 for not at all."""
    base, number = _note_parts(note)
    return max((_fit(*variant, base, number) - n for n, variant in enumerate(_variants(name))), default=0)


def keys_of_note(note: str) -> set[str]:
    """Returns what the note of a media file shares with `keys_of_media` of that file."""
    base, _ = _note_parts(note)
    keys = {base, base[: _CUT - 1]}
    for _ in range(4):
        base = base.rpartition(".")[0]
        if not base:
            break
        keys.add(base)
    return keys


def keys_of_media(name: str) -> set[str]:
    """Returns the keys under which the note of a media file may be found."""
    return {key for stem, end, _ in _variants(name) for key in (stem, stem + end, (stem + end + _TAIL)[: _CUT - 1])}


def _note_parts(note: str) -> tuple[str, str]:
    """ "a.jpg.supplemental-metadata(1).json" -> ("a.jpg.supplemental-metadata", "1")."""
    base = unicodedata.normalize("NFC", note)[: -len(".json")]
    found = re.fullmatch(r"(.+)\((\d+)\)", base, re.DOTALL)
    return (found[1], found[2]) if found else (base, "")


def _variants(name: str) -> Iterator[tuple[str, str, str]]:
    """(stem, extension, number) of the names that the note may be called after, the likeliest first."""
    stem, end = os.path.splitext(unicodedata.normalize("NFC", name))  # noqa: PTH122
    yield stem, end, ""
    found = re.fullmatch(r"(.+)\((\d+)\)", stem, re.DOTALL)
    plain, number = (found[1], found[2]) if found else (stem, "")
    if found:
        yield plain, end, number
    edited = _IS_EDITED.fullmatch(plain) or _IS_CUT_EDITED.fullmatch(plain)
    if edited:
        inner = re.fullmatch(r"(.+)\((\d+)\)", edited[1], re.DOTALL)
        yield (inner[1], end, inner[2]) if inner else (edited[1], end, number)


def _fit(stem: str, end: str, number: str, base: str, note_number: str) -> int:
    if number != note_number:
        return 0
    whole = stem + end
    if _is_tail(base, whole) or (len(base) >= _CUT - 1 and (whole + _TAIL).startswith(base)):
        return 40
    if _is_tail(base, stem):
        return 30
    other = re.fullmatch(rf"{re.escape(stem)}(\.\w{{2,5}})(.*)", base, re.DOTALL)
    if other and kind_of(base[: len(stem) + len(other[1])]) and _is_tail(base, stem + other[1]):
        return 20  # the film of a live photo, an edited copy in another format
    return 0


def _is_tail(base: str, name: str) -> bool:
    """Whether the rest of the base is nothing, or the beginning of ".supplemental-metadata"."""
    return base.startswith(name) and _TAIL.startswith(base[len(name) :])
