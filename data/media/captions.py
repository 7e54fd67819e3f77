"""The caption of a file: title, description, keywords, people and places that people wrote, as one short text.

Built around `Facts`, lists of texts by slot, read from EXIF, IPTC, XMP and the text chunks of PNG, the tags of
a video container, and the information of a PDF. Texts that cameras and programs write by themselves are left
out. Knows nothing of files beside a file (`beside.py`).
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from data.media.caption_noise import is_junk
from data.media.iptc import records
from data.media.metadata import XMP_PEOPLE
from data.media.text import decode_text, one_line, repair_encoding
from data.media.xmp import packet_of, read_xmp

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

MAX_LETTERS = 2_000

# In the order of the caption; the last three are one line each.
Slot = Literal["title", "headline", "description", "alt", "comment", "people", "keywords", "places"]
_SENTENCES: tuple[Slot, ...] = ("title", "headline", "description", "alt", "comment")
_LISTS: tuple[Slot, ...] = ("people", "keywords", "places")
Facts = dict[str, list[str]]

# Errors of Pillow and `struct` on damaged metadata.
_METADATA_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    OSError,
    SyntaxError,
    RuntimeError,
    struct.error,
)


def caption_of_image(image: Image.Image) -> str:
    """Returns the caption in an open image; empty without one."""
    return caption_text([facts_or_nothing(read, image) for read in (_xmp, _iptc, _exif, _png)])


def caption_of_tags(tags: Mapping[str, str], packet: bytes = b"") -> str:
    """Returns the caption in the tags of a video container and in the XMP packet inside it."""
    facts: Facts = {}
    for key, value in tags.items():
        name = key.lower().removeprefix("com.apple.quicktime.")
        if name in _CONTAINER_TAGS:
            values = re.split("[,;]", value) if _CONTAINER_TAGS[name] == "keywords" else [value]
            facts.setdefault(_CONTAINER_TAGS[name], []).extend(values)
    return caption_text([facts_or_nothing(facts_of_packet, packet), facts])


def caption_of_document(title: str, subject: str, keywords: str) -> str:
    """Returns title, subject and keywords of a PDF as a caption."""
    return caption_text([{"title": [title], "description": [subject], "keywords": re.split("[,;]", keywords)}])


_CONTAINER_TAGS: dict[str, Slot] = {
    "title": "title",
    "displayname": "title",
    "show": "headline",
    "description": "description",
    "synopsis": "description",
    "comment": "comment",
    "keywords": "keywords",
}


def caption_text(sources: Sequence[Facts]) -> str:
    """Returns one text of all sources: each fact once, one per line, at most `MAX_LETTERS` characters."""
    merged: Facts = {}
    folded_facts: set[str] = set()
    for slot in (*_SENTENCES, *_LISTS):
        for value in (value for source in sources for value in source.get(slot, ())):
            fact = one_line(value[: 2 * MAX_LETTERS], 2 * MAX_LETTERS)
            if fact.casefold() not in folded_facts and not is_junk(fact, tag=slot in _LISTS):
                folded_facts.add(fact.casefold())
                merged.setdefault(slot, []).append(fact)
    lines = [fact for slot in _SENTENCES for fact in merged.get(slot, ())]
    lines += [", ".join(merged[slot]) for slot in _LISTS if slot in merged]
    text = "\n".join(lines)
    if len(text) <= MAX_LETTERS:
        return text
    cut = text[: MAX_LETTERS + 1]
    return cut[: max(cut.rfind(" "), cut.rfind("\n"))].rstrip(", \n") if " " in cut else cut[:-1]


def facts_or_nothing(read: Callable[[Any], Facts], source: Any) -> Facts:
    """Returns the facts that `read` returns; none for damaged metadata."""
    try:
        return read(source)
    except _METADATA_ERRORS as error:
        log.info("damaged metadata: %s", error)
        return {}


# -----------------------------------------------------------------------------------------------------------
# ---- Inside the file

_DC = "http://purl.org/dc/elements/1.1/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
# Hierarchical keywords, "Places|Europe|Lisbon" or "Places/Europe/Lisbon", and their separators.
_XMP_TREES = {
    "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject": "|",
    "http://www.digikam.org/ns/1.0/ TagsList": "/",
}
_XMP_WORDS: dict[str, Slot] = {
    f"{_DC} title": "title",
    f"{_PHOTOSHOP} Headline": "headline",
    f"{_DC} description": "description",
    "http://ns.adobe.com/tiff/1.0/ ImageDescription": "description",
    f"{_CORE} AltTextAccessibility": "alt",
    f"{_CORE} ExtDescrAccessibility": "alt",
    f"{_EXT} Event": "headline",
    "http://ns.adobe.com/exif/1.0/ UserComment": "comment",
    f"{_DC} subject": "keywords",
    "http://ns.microsoft.com/photo/1.0/ LastKeywordXMP": "keywords",
    **dict.fromkeys(XMP_PEOPLE, "people"),
    f"{_CORE} Location": "places",
    f"{_EXT} LocationName": "places",
    f"{_EXT} Sublocation": "places",
    f"{_PHOTOSHOP} City": "places",
    f"{_EXT} City": "places",
    f"{_PHOTOSHOP} State": "places",
    f"{_EXT} ProvinceState": "places",
    f"{_PHOTOSHOP} Country": "places",
    f"{_EXT} CountryName": "places",
}
_XMP_PROPERTIES = frozenset((*_XMP_WORDS, *_XMP_TREES))
# Tags that programs write for their own bookkeeping.
_BOOKKEEPING = ("darktable", "_digikam_", "color labels", "pick labels")


def _xmp(image: Image.Image) -> Facts:
    return facts_of_packet(packet_of(image))


def facts_of_packet(packet: bytes) -> Facts:
    """Returns the facts in an XMP packet."""
    values = read_xmp(packet, _XMP_PROPERTIES)
    facts: Facts = {}
    for key, slot in _XMP_WORDS.items():
        facts.setdefault(slot, []).extend(values.get(key, ()))
    paths = [path.split(separator) for key, separator in _XMP_TREES.items() for path in values.get(key, ())]
    bookkeeping_paths = [path for path in paths if path[0].lower().startswith(_BOOKKEEPING)]
    bookkeeping_words = {step.casefold() for path in bookkeeping_paths for step in path}
    words = facts["keywords"] + [path[-1] for path in paths if path not in bookkeeping_paths]
    facts["keywords"] = [word for word in words if word.casefold() not in bookkeeping_words]
    return facts


# IPTC-IIM records by data set; places from small to large.
_IPTC_WORDS: dict[tuple[int, int], Slot] = {
    (2, 5): "title",
    (2, 105): "headline",
    (2, 120): "description",
    (2, 25): "keywords",
    (2, 92): "places",
    (2, 90): "places",
    (2, 95): "places",
    (2, 101): "places",
}


def _iptc(image: Image.Image) -> Facts:
    values = records(image)
    facts: Facts = {}
    for key, slot in _IPTC_WORDS.items():
        facts.setdefault(slot, []).extend(decode_text(value) for value in values.get(key, ()))
    return facts


_EXIF_IFD = 0x8769
_EXIF_WORDS: dict[int, Slot] = {0x010E: "description"}
_WINDOWS_WORDS: dict[int, Slot] = {0x9C9B: "title", 0x9C9F: "headline", 0x9C9C: "comment", 0x9C9E: "keywords"}
_USER_COMMENT = 0x9286


def _exif(image: Image.Image) -> Facts:
    exif = image.getexif()
    facts: Facts = {}
    if not exif:
        return facts
    for tag, slot in _EXIF_WORDS.items():
        if isinstance(value := exif.get(tag), str):
            facts.setdefault(slot, []).append(repair_encoding(value))
    for tag, slot in _WINDOWS_WORDS.items():
        value = exif.get(tag)
        if isinstance(value, (bytes, tuple)):
            text = bytes(value).decode("utf-16-le", "ignore")
            facts.setdefault(slot, []).extend(text.split(";") if slot == "keywords" else [text])
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if comment:
        facts.setdefault("comment", []).append(comment if isinstance(comment, str) else _user_comment(bytes(comment)))
    return facts


def _user_comment(data: bytes) -> str:
    """EXIF 2.3, 4.6.5: the first eight bytes name the encoding."""
    name, text = data[:8].rstrip(b"\x00 ").upper(), data[8:]
    if name == b"UNICODE":
        if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return decode_text(text)
        # Either byte order occurs; high bytes, which select the script, vary less than low bytes.
        big = len(set(text[::2])) < len(set(text[1::2]))
        return text.decode("utf-16-be" if big else "utf-16-le", "ignore")
    if name == b"JIS":
        return text.decode("iso2022_jp", "ignore")
    return decode_text((text if name in (b"ASCII", b"") else data).replace(b"\x00", b""))


def _png(image: Image.Image) -> Facts:
    facts: Facts = {}
    if image.format == "PNG":
        for key, slot in _PNG_WORDS.items():
            if isinstance(value := image.info.get(key), str):
                facts.setdefault(slot, []).append(repair_encoding(value))
    return facts


_PNG_WORDS: dict[str, Slot] = {"Title": "title", "Description": "description", "Comment": "comment"}
