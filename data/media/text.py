"""Words out of files as any database, any JSON and any page takes them.

Built around what goes wrong with text between the program that wrote it and the one that reads it: bytes
whose encoding nobody noted, UTF-8 that was read as Latin-1, characters that no one can see. Knows nothing of
what the words say, nor of the formats that hold them.
"""

from __future__ import annotations

import codecs
import re
import stat
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np

from data.media.kinds import MediaError, from_os_error

# Marks that turn or join what stands beside them, and show nothing: the soft hyphen, marks and embeddings of
# direction, the word joiner, the byte order mark. Not the joiners inside Persian and Hindi words.
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))


# Letters in another dress, which nobody types: ligatures, wide and half-width forms, shapes of Arabic
# letters, letters of formulas, Chinese characters as radicals, digraphs and Roman numbers in one, the long s.
# Signs keep their width.
_VARIANT_FORMS = re.compile(
    "[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"
    "\u2e80-\u2fd5\u2160-\u217f\u0132\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3"
    "\u210a-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c-\u2134\u2145-\u2149\U0001d400-\U0001d7ff]+"
)
# What Western tables make of the bytes of UTF-8, and back; five codes have no character there.
_WESTERN = {ord(bytes([i]).decode("cp1252", "ignore") or chr(i)): i for i in range(0x80, 0x100)}
_MISREAD = re.compile("[\xc2-\xf4][^\\x00-\\x7f]")
_WESTERN_RUN = re.compile(f"[{re.escape(''.join(map(chr, _WESTERN)))}]+")


def clean(text: str, max_letters: int) -> str:
    """At most `most` characters of it, without NUL, lone surrogates and private line ends; NFC, its letters
    in their usual form ("ﬁ" as "fi")."""
    text = text[:max_letters].replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode("utf-8"))
        if _VARIANT_FORMS.search(beyond_ascii(text)):
            text = unicodedata.normalize("NFC", _VARIANT_FORMS.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text))
    if not text.replace("\n", "").isprintable():
        removed = {ord(c) for c in set(text) - {"\n", "\t"} if unicodedata.category(c) in ("Cc", "Co", "Cn")}
        text = text.translate(dict.fromkeys(removed)) if removed else text
    return text.strip()


@lru_cache(maxsize=2)
def beyond_ascii(text: str) -> str:
    """The characters of a text that are not ASCII, run together: few, so that looking for some is quick."""
    if text.isascii():
        return ""
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)  # five times as fast as a pattern
    return units[units > 0x7F].tobytes().decode("utf-16-le", "surrogatepass")


def one_line(text: str, max_letters: int) -> str:
    """The same on one line, its words one space apart, without marks that cannot be seen."""
    return " ".join(clean(text, max_letters).translate(_INVISIBLE).split())


def decode_text(data: bytes) -> str:
    """Bytes of unknown encoding: UTF-16 with its mark, UTF-8, else Western Windows or Latin-1."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def repair_encoding(text: str) -> str:
    """UTF-8 or Western Windows that was read as Latin-1 ("GrÃ¼ÃŸe"), read again; other text as it is."""
    if text.isascii():
        return text
    try:
        return decode_text(text.encode("latin-1"))
    except UnicodeEncodeError:
        return text


def repair_mojibake(text: str) -> str:
    """Text whose every run beyond ASCII is UTF-8 that a Western table read ("GrÃ¼ÃŸe"), read again; other
    text as it is."""
    if _MISREAD.search(beyond_ascii(text)) is None:
        return text
    runs = set(_WESTERN_RUN.findall(text))
    try:
        decoded = {run: bytes(_WESTERN[ord(c)] for c in run).decode() for run in runs}
    except UnicodeDecodeError:
        return text
    return _WESTERN_RUN.sub(lambda m: decoded[m[0]], text) if decoded else text


def read_beside(path: Path, max_letters: int) -> bytes:
    """A small file that lies beside another. Raises `MediaError`, also where it is larger than `most` bytes
    or no file: a pipe would keep its reader waiting."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError("this is not a file", "wrong kind")
        if status.st_size > max_letters:
            raise MediaError(f"it is larger than Sightline reads ({max_letters >> 20:,} MB)", "too large")
        with path.open("rb") as file:
            return file.read(max_letters)
    except OSError as error:
        raise from_os_error(error) from error
