"""Words out of files as any database, any JSON and any page takes them.

Built around what goes wrong with text between the program that wrote it and the one that reads it: bytes
whose encoding nobody noted, UTF-8 that was read as Latin-1, characters that no one can see. Knows nothing of
what the words say, nor of the formats that hold them.
"""

from __future__ import annotations

import codecs
import stat
import unicodedata
from pathlib import Path

from data.media.kinds import MediaError, from_os_error

# Marks that turn or join what stands beside them, and show nothing: the soft hyphen, marks and embeddings of
# direction, the word joiner, the byte order mark. Not the joiners inside Persian and Hindi words.
_UNSEEN = dict.fromkeys((0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))


def clean(text: str, most: int) -> str:
    """At most `most` characters of it, without NUL, lone surrogates and private line ends; NFC."""
    text = text[:most].encode("utf-8", "ignore").decode("utf-8")
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    if text.replace("\n", "").isprintable():  # nothing to look for: a tenth of the time
        return text.strip()
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Co", "Cn")).strip()


def one_line(text: str, most: int) -> str:
    """The same on one line, its words one space apart, without marks that cannot be seen."""
    return " ".join(clean(text, most).translate(_UNSEEN).split())


def decoded(data: bytes) -> str:
    """Bytes of unknown encoding: UTF-16 with its mark, UTF-8, else Western Windows or Latin-1."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def repaired(text: str) -> str:
    """UTF-8 or Western Windows that was read as Latin-1 ("GrÃ¼ÃŸe"), read again; other text as it is."""
    if text.isascii():
        return text
    try:
        return decoded(text.encode("latin-1"))
    except UnicodeEncodeError:
        return text


def read_beside(path: Path, most: int) -> bytes:
    """A small file that lies beside another. Raises `MediaError`, also where it is larger than `most` bytes
    or no file: a pipe would keep its reader waiting."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise MediaError("this is not a file", "wrong kind")
        if found.st_size > most:
            raise MediaError(f"it is larger than Sightline reads ({most >> 20:,} MB)", "too large")
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise from_os_error(error) from error
