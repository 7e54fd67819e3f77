"""The kind of a file, by name and by content, and the reasons for which it cannot be read.

Built around two cheap checks: `kind_of` uses only the name, for scans of a hundred thousand files; `sniff` uses
the first kilobytes, because names may be wrong. Every reader reports a fault of a file as `MediaError`, with a
text for the owner of the file. Decodes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["image", "video", "pdf"]

GENERATION: dict[Kind, int] = {"image": 3, "video": 3, "pdf": 4}
"""Raised for a kind when readers return more or different content: every library reads its files of that kind
again in the background, and answers from the earlier content until then."""

TEXTLESS = 16
"""Characters in a page's text layer; one with fewer needs OCR."""

Cause = Literal[
    "empty",  # no bytes at all
    "wrong kind",  # not the kind that the name says
    "damaged",
    "cut off",  # the end is missing
    "being written",  # by a copy, a download or a recording
    "encrypted",  # needs a password
    "too large",  # beyond the limits of pixels, pages or length
    "nothing to see",  # audio only, a PDF without pages
    "unsupported",  # a codec or format without a decoder here
    "gone",  # deleted or renamed since the scan
    "no permission",
    "disk",  # the disk or the network share answers with errors
    "crash",  # sandbox: the decoder crashed
    "time",  # sandbox: over the time limit
    "memory",  # sandbox: over the memory limit
    "closed",  # sandbox: the program is stopping
]


class MediaError(Exception):
    """A file cannot be read because of the file.

    `str(error)` is one plain reason for a person, without the path: "the PDF is encrypted; save a copy
    without password". `cause` is the class of the reason.
    """

    def __init__(self, reason: str, cause: Cause = "damaged") -> None:
        super().__init__(reason)
        self.cause: Cause = cause


EXTENSIONS: dict[str, Kind] = {
    **dict.fromkeys(
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"), "image"
    ),
    **dict.fromkeys((".tif", ".tiff", ".heic", ".heif", ".hif", ".heics", ".heifs", ".avif", ".avifs"), "image"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jxl", ".ico", ".jif", ".insp"), "image"),
    # Cameras' raw files.
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf"), "image"),
    **dict.fromkeys((".rw2", ".rwl", ".orf", ".pef", ".srw", ".x3f", ".3fr", ".fff", ".iiq", ".mrw"), "image"),
    **dict.fromkeys((".kdc", ".dcr", ".erf", ".mef", ".mos"), "image"),
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".qt", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts"), "video"),
    **dict.fromkeys((".m2ts", ".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".vob", ".mxf", ".dv"), "video"),
    # Camcorders (JVC, Panasonic, HDV, DVD-VR), action cameras and their previews, recorders, phones.
    **dict.fromkeys((".m2t", ".m2v", ".m1v", ".mpv", ".mpe", ".m2p", ".tod", ".vro", ".tp", ".trp"), "video"),
    **dict.fromkeys((".3gpp", ".3gp2", ".mp4v", ".divx", ".mk3d", ".ogm", ".insv", ".lrv", ".360"), "video"),
    ".pdf": "pdf",
}


# Extensions of videos and of other files, told apart by `kind_by_content`: TypeScript, tracker music and go.mod,
# MetaPost. Motion photos of a Pixel are .mp; camcorders of JVC and Panasonic write .mod.
AMBIGUOUS_EXTENSIONS: dict[str, Kind] = dict.fromkeys((".ts", ".mod", ".mp"), "video")
# Sound recordings.
SOUNDS = frozenset(
    (
        *(".m4a", ".m4b", ".mp3", ".ogg", ".oga", ".opus", ".wav", ".flac", ".aac", ".amr", ".awb", ".3ga"),
        *(".wma", ".aif", ".aiff", ".caf", ".mka", ".weba", ".ac3", ".ape", ".wv", ".au"),
    )
)


def suffix_of(path: Path | str) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()  # noqa: PTH122 – no Path per file of a scan


def kind_by_content(path: Path) -> Kind | None:
    """Returns the kind of a file with one of `AMBIGUOUS_EXTENSIONS`, by its first bytes; None for other names,
    other content and unreadable files."""
    kind = AMBIGUOUS_EXTENSIONS.get(suffix_of(path))
    if kind is None:
        return None
    try:
        with path.open("rb") as file:
            return kind if sniff(file.read(HEAD_BYTES)) == kind else None
    except OSError:
        return None


def kind_of(path: Path | str) -> Kind | None:
    """Returns the kind by the extension; None for files that Sightline ignores."""
    return EXTENSIONS.get(suffix_of(path))


SUBTITLES = (".srt", ".vtt", ".ass", ".ssa")
NOTES = (".xmp", ".json")


def may_describe_others(name: str) -> bool:
    """Whether a file of this name may hold subtitles or metadata of an image or a video beside it."""
    return name.lower().endswith((*SUBTITLES, *NOTES))


HEAD_BYTES = 4096
SOUND = "a sound file"

# (offset, bytes, description). "image", "video" and "pdf" are kinds; other descriptions name foreign formats.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image"),
    (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"GIF87a", "image"),
    (0, b"GIF89a", "image"),
    (0, b"II*\x00", "image"),
    (0, b"MM\x00*", "image"),
    (0, b"II+\x00", "image"),
    (0, b"MM\x00+", "image"),
    (0, b"\x1aE\xdf\xa3", "video"),
    (0, b"FLV\x01", "video"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "video"),
    (0, b"\x00\x00\x01\xba", "video"),
    (0, b"\x00\x00\x01\xb3", "video"),
    (0, b"\x06\x0e+4\x02\x05\x01\x01", "video"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x7fELF", "a Linux program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a macOS program"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "a ZIP archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf'\x1c", "a 7-Zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"SQLite format 3\x00", "a database"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (0, b"{\\rtf", "a text document (RTF)"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image"),
    (0, b"\xff\x4f\xff\x51", "image"),
    (0, b"\xff\x0a", "image"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image"),
    (0, b"ID3", SOUND),
    (0, b"fLaC", SOUND),
    (0, b"#!AMR", SOUND),
    (0, b"caff\x00\x01", SOUND),
    (0, b"wvpk", SOUND),
    (0, b".snd\x00\x00", SOUND),
    (0, b"\x0bw", SOUND),
)
# Raw files other than TIFF: Olympus, Panasonic, Fujifilm, Sigma, Minolta, Canon before 2004.
_RAW_MAGIC = (
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"IIU\x00",
    b"FUJIFILMCCD-RAW",
    b"FOVb",
    b"\x00MRM",
    b"II\x1a\x00\x00\x00HEAPCCDR",
)
_IMAGE_BRANDS = (
    b"crx ",  # Canon's CR3
    b"avif",
    b"avis",
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"mif1",
    b"msf1",
    b"mif2",
)
_KIND_NAMES: dict[Kind, str] = {"image": "an image", "video": "a video", "pdf": "a PDF"}


def is_raw(head: bytes) -> bool:
    """Whether the first bytes belong to a camera's raw file other than TIFF."""
    return head.startswith(_RAW_MAGIC) or head[4:12] == b"ftypcrx "


def sniff(head: bytes) -> str | None:
    """Returns the kind by the first `HEAD_BYTES` of a file, or a description of a foreign format ("a ZIP
    archive"); None if they are not recognised."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"M4A ", b"M4B "):
            return SOUND
        return "image" if brand in _IMAGE_BRANDS else "video"
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip") and head[:2] == b"\x00\x00":
        return "video"
    if head[:4] == b"RIFF":
        form = head[8:12]
        return {b"WEBP": "image", b"AVI ": "video", b"WAVE": SOUND}.get(form)
    if head[:4] == b"OggS":
        return "video" if any(m in head for m in (b"theora", b"\x01video", b"BBCD")) else SOUND
    if head[:2] == b"BM" and len(head) >= 26 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image"
    if head[:5] == b"%PDF-":
        return "pdf"
    if is_raw(head) or (head[:4] == b"\x00\x00\x01\x00" and head[4:5] > b"\x00" == head[9:10]):  # an icon
        return "image"
    for offset, magic, description in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return description
    if b"%PDF-" in head[:1024]:  # readers accept a header that comes late
        return "pdf"
    if _is_transport_stream(head):
        return "video"
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return SOUND
    if len(head) > 3 and head[0] == 0xFF and _is_mpeg_sound(head):
        return SOUND
    return _text(head)


def _is_transport_stream(head: bytes) -> bool:
    """Whether sync bytes (0x47) repeat every 188 bytes, or every 192 or 204 with a recorder's additions; a cut
    recording may begin within a packet."""
    if b"\x00" not in head and b"\xff" not in head:
        return False  # text, DNA
    for length in (188, 192, 204):
        if len(head) < 2 * length:
            continue
        for start in range(length):
            if head[start] == 0x47 and not head[start::length].strip(b"\x47"):
                return True
    return False


def _is_mpeg_sound(head: bytes) -> bool:
    """Whether the bytes are a frame header of MP3, MP2 or AAC in ADTS."""
    layer, rates = head[1] >> 1 & 3, head[2]
    if head[1] & 0xF6 == 0xF0:
        return rates >> 2 & 15 < 13
    return (
        head[1] & 0xE0 == 0xE0
        and head[1] >> 3 & 3 != 1
        and layer in (1, 2)
        and 0 < rates >> 4 < 15
        and rates >> 2 & 3 != 3
    )


_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def _text(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")) and b"<svg" in head.lower():
        return "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if not head or b"\x00" in head:
        return None
    odd = sum(byte < 32 and byte not in (9, 10, 12, 13, 27) for byte in head)
    if odd > len(head) // 100:
        return None
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
    return "text"


def require(path: Path, kind: Kind, also_allowed: str | None = None) -> bytes:
    """Returns the first bytes of a file unless they are recognised as anything but `kind` or `also_allowed`.

    Raises `MediaError` for missing, unreadable and empty files and for other content. Unrecognised content
    passes; the decoder decides.
    """
    with open_file(path) as file:
        return require_of(file, kind, path.suffix, also_allowed)


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading. Raises `MediaError` if the system cannot."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise from_os_error(error) from error
    with file:
        yield file


def require_of(file: BinaryIO, kind: Kind, suffix: str = "", also_allowed: str | None = None) -> bytes:
    """`require` of an open file, which is at its start afterwards. `suffix`: the ending, for the message."""
    try:
        head = file.read(HEAD_BYTES)
        is_all_zeros = len(head) == HEAD_BYTES and not head.strip(b"\x00") and not _holds_more_than_zeros(file)
        file.seek(0)
    except OSError as error:
        raise from_os_error(error) from error
    if also_allowed is None or sniff(head) != also_allowed:
        require_content(head, kind, suffix)
    if is_all_zeros:
        raise MediaError("the file holds nothing but zeros; its copy or download did not finish", "damaged")
    return head


def _holds_more_than_zeros(file: BinaryIO) -> bool:
    return any(block.strip(b"\x00") for block in iter(partial(file.read, 1 << 20), b""))


def require_content(head: bytes, kind: Kind, suffix: str = "") -> None:
    """Raises `MediaError` if the first bytes are empty or recognised as anything but `kind`."""
    if not head:
        raise MediaError("the file is empty (0 bytes)", "empty")
    sniffed = sniff(head)
    if sniffed is None or sniffed == kind:
        return
    need = _KIND_NAMES[kind]
    if sniffed in _KIND_NAMES:
        name = _KIND_NAMES[sniffed]
        if kind_of(f"x{suffix}") == kind:
            raise MediaError(f"this is {name}, although its name ends in {suffix}; rename it", "wrong kind")
        raise MediaError(f"this is {name}, not {need}", "wrong kind")
    if sniffed == "an SVG drawing" or sniffed.endswith("image") or sniffed.startswith("a Photoshop"):
        raise MediaError(f"this is {sniffed}, a format that Sightline does not read; save a copy as PNG", "unsupported")
    if sniffed == SOUND and kind == "video":
        raise MediaError("this is a sound file; there is no picture in it", "nothing to see")
    raise MediaError(f"this is not {need}: the file holds {sniffed}", "wrong kind")


def from_os_error(error: OSError) -> MediaError:
    """Returns the plain reason for a file that the system cannot read."""
    if isinstance(error, FileNotFoundError):
        return MediaError("the file is no longer there", "gone")
    if isinstance(error, PermissionError):
        return MediaError("no permission to read the file; change its permissions", "no permission")
    if isinstance(error, IsADirectoryError):
        return MediaError("this is a folder, not a file", "wrong kind")
    if error.errno == errno.EINVAL:
        return MediaError("an offset in it points outside of the file", "damaged")
    return MediaError(f"the disk could not deliver the file ({error.strerror or error})", "disk")
