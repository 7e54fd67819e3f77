"""Text from files, cleaned for databases, JSON and web pages.

Built around the faults of stored text: bytes of unknown encoding, UTF-8 decoded as Latin-1, invisible
characters. Knows nothing of the meaning of words, nor of file formats.
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

# Invisible characters: the soft hyphen, direction marks and embeddings, the word joiner, the byte order mark.
# Not the joiners inside Persian and Hindi words.
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))


# Variant forms of letters that nobody types: ligatures, full-width and half-width forms, Arabic presentation
# forms, mathematical letters, CJK radicals, digraphs, Roman numerals, the long s. Signs keep their width.
_VARIANT_FORMS = re.compile(
    "[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"
    "\u2e80-\u2fd5\u2160-\u217f\u0132\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3"
    "\u210a-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c-\u2134\u2145-\u2149\U0001d400-\U0001d7ff]+"
)
# Characters of Windows-1252 to their bytes; its five undefined codes map to Latin-1 controls.
_WESTERN = {ord(bytes([i]).decode("cp1252", "ignore") or chr(i)): i for i in range(0x80, 0x100)}
_MISREAD = re.compile("[\xc2-\xf4][^\\x00-\\x7f]")
_WESTERN_RUN = re.compile(f"[{re.escape(''.join(map(chr, _WESTERN)))}]+")


def clean(text: str, max_letters: int) -> str:
    """Returns at most `max_letters` characters of the text, in NFC, without control, private and unassigned
    characters and lone surrogates, with LF line ends and letters in their usual form ("ﬁ" as "fi")."""
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
    """Returns the non-ASCII characters of a text, joined: a short text to search."""
    if text.isascii():
        return ""
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)  # five times as fast as a pattern
    return units[units > 0x7F].tobytes().decode("utf-16-le", "surrogatepass")


def one_line(text: str, max_letters: int) -> str:
    """Returns `clean` text on one line with single spaces, without invisible characters."""
    return " ".join(clean(text, max_letters).translate(_INVISIBLE).split())


def decode_text(data: bytes) -> str:
    """Decodes bytes of unknown encoding: UTF-16 with a byte order mark, UTF-8, else Windows-1252 or Latin-1."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def repair_encoding(text: str) -> str:
    """Repairs UTF-8 or Windows-1252 decoded as Latin-1 ("GrÃ¼ÃŸe"); returns other text unchanged."""
    if text.isascii():
        return text
    try:
        return decode_text(text.encode("latin-1"))
    except UnicodeEncodeError:
        return text


def repair_mojibake(text: str) -> str:
    """Repairs text whose every non-ASCII run is UTF-8 decoded as Windows-1252 ("GrÃ¼ÃŸe"); returns other text
    unchanged."""
    if _MISREAD.search(beyond_ascii(text)) is None:
        return text
    runs = set(_WESTERN_RUN.findall(text))
    try:
        decoded = {run: bytes(_WESTERN[ord(c)] for c in run).decode() for run in runs}
    except UnicodeDecodeError:
        return text
    return _WESTERN_RUN.sub(lambda m: decoded[m[0]], text) if decoded else text


def read_beside(path: Path, max_bytes: int) -> bytes:
    """Returns the bytes of a small file beside another. Raises `MediaError`, also for more than `max_bytes` bytes
    and for anything but a regular file: a pipe would block its reader."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError("this is not a file", "wrong kind")
        if status.st_size > max_bytes:
            raise MediaError(f"it is larger than Sightline reads ({max_bytes >> 20:,} MB)", "too large")
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise from_os_error(error) from error
