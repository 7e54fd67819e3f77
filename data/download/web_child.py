"""The child's side of `data.download.web`: fetch one address into a folder, answer in lines of JSON, end.

Built around two ways. httpx asks for the address: an image, a video or a PDF, by its first bytes, is the file. A web
page goes to yt-dlp, which knows where pages hold their videos. Run as a script by a fresh interpreter, which confines
itself first (`data.download.addresses`). Lines: `{"bytes"}` on the way; last `{"file", "name", "suffix", "title",
"description"}` or `{"error"}`.
"""

from __future__ import annotations

import errno
import json
import mimetypes
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

MEMORY_BYTES = 1 << 30
_BLOCK = 1 << 16
_REPORT_S = 0.5
_AGENT = "Mozilla/5.0 (compatible; Sightline)"
_REFUSALS = (401, 403, 406, 429)
"""Statuses that may be meant for the program that asks and not for the page: yt-dlp asks as a browser does."""
# (offset, bytes, suffixes of such a file, the usual one first)
_SUFFIXES: tuple[tuple[int, bytes, tuple[str, ...]], ...] = (
    (0, b"\xff\xd8\xff", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    (0, b"\x89PNG", (".png", ".apng")),
    (0, b"GIF8", (".gif",)),
    (8, b"WEBP", (".webp",)),
    (8, b"AVI ", (".avi",)),
    (0, b"BM", (".bmp", ".dib")),
    (0, b"\x1aE\xdf\xa3", (".mkv", ".webm", ".mk3d")),
    (0, b"FLV", (".flv", ".f4v")),
    (0, b"OggS", (".ogv", ".ogm")),
    (0, b"G", (".ts", ".mts", ".m2ts", ".m2t")),
    (4, b"ftypavi", (".avif", ".avifs")),
    (4, b"ftypcrx", (".cr3",)),
    (4, b"ftyphe", (".heic", ".heif", ".hif", ".heics", ".heifs")),
    (4, b"ftypm", (".heic", ".heif", ".hif", ".avif", ".mp4", ".m4v", ".mov")),
    (4, b"ftypqt", (".mov", ".qt", ".mp4")),
    (4, b"ftyp", (".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".f4v")),
)
_PLAIN: dict[str, str] = {"image": ".jpg", "video": ".mp4", "pdf": ".pdf"}


class Failure(Exception):
    """Nothing was fetched. `str(error)` is the reason for a person, without the address."""


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # a library that prints cannot break the protocol
    sys.path[:] = request["path"]
    os.umask(0o077)
    _bound(request["max_bytes"])

    def answer(record: dict[str, Any]) -> None:
        answers.write(json.dumps(record).encode() + b"\n")

    from data.download.addresses import confine, networks_of

    state = confine(networks_of(" ".join(request["networks"])))
    fetch = _Fetch(request, answer)
    try:
        record = fetch.direct() or fetch.page()
    except Exception as error:  # noqa: BLE001 – the boundary of the process
        if state.refused is not None:
            reason = f"{state.refused} is a private address, which may not be reached (--web-networks opens some)"
        elif fetch.is_too_large or _number(error) == errno.EFBIG:
            reason = f"it is larger than {request['max_bytes'] / 1e6:,.0f} MB"
        else:
            reason = _reason(error)
        record = {"error": reason}
    answer(record)
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _bound(max_bytes: int) -> None:
    """Bounds of the system: the size of a file, and memory above that of a fresh interpreter."""
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)


def _number(error: BaseException | None) -> int | None:
    """The system's number of an error, or of the error behind it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _reason(error: BaseException) -> str:
    import httpx

    if isinstance(error, Failure):
        return str(error)
    if _number(error) == errno.ENOSPC:
        return "the disk is full"
    if isinstance(error, MemoryError):
        return "it needs more memory than allowed"
    if isinstance(error, httpx.TimeoutException):
        return "the server does not answer in time"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the server ends the transfer early"
    if isinstance(error, httpx.TooManyRedirects):
        return "it leads from one address to the next without an end"
    if isinstance(error, httpx.UnsupportedProtocol):
        return "it leads to an address that is neither http nor https"
    if isinstance(error, httpx.ConnectError):
        return "the server cannot be reached; check the address and the network"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


class _Fetch:
    def __init__(self, request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
        self.address: str = request["address"]
        self.folder = Path(request["folder"])
        self.max_bytes: int = request["max_bytes"]
        self.stall_s: float = request["stall_s"]
        self.answer, self.reported_at = answer, 0.0
        self.is_too_large = False

    def direct(self) -> dict[str, Any] | None:
        """Returns the record of the file at the address; None if there is a page that yt-dlp may know."""
        import httpx

        from data.media.kinds import HEAD_BYTES, sniff, suffix_of

        headers = {"user-agent": _AGENT, "accept-encoding": "identity"}
        client = httpx.Client(
            trust_env=False, follow_redirects=True, max_redirects=5, timeout=self.stall_s, headers=headers
        )
        with client, client.stream("GET", self.address) as response:
            if response.status_code in _REFUSALS:
                return None
            if response.is_error:
                raise Failure(f"the server answers {response.status_code} {response.reason_phrase}")
            if not response.is_success:
                raise Failure(f"the server answers {response.status_code} and no file")
            self._check_size(int(response.headers.get("content-length") or 0))
            blocks = response.iter_bytes(_BLOCK)
            first = next(blocks, b"")
            if not first:
                raise Failure("the file there is empty")
            head = first[:HEAD_BYTES]
            content = sniff(head)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            name = _name(response.headers.get("content-disposition", ""), str(response.url))
            if content not in _PLAIN and _may_be_page(content, media_type):
                return None
            kind = content if content in _PLAIN else _kind_of_unknown(content, name)
            path = self.folder / "media.part"
            self._write(path, first, blocks)
        suffix = suffix_of_content(kind, head, suffix_of(name), media_type)
        return {"file": path.name, "name": name, "suffix": suffix, "title": "", "description": ""}

    def _write(self, path: Path, first: bytes, blocks: Iterator[bytes]) -> None:
        size = 0
        with path.open("wb") as out:
            for block in chain([first], blocks):
                size += len(block)
                self._check_size(size)
                out.write(block)
                self._report(size)

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            self.is_too_large = True
            raise Failure("too large")

    def _report(self, size: int) -> None:
        now = time.monotonic()
        if now - self.reported_at > _REPORT_S:
            self.reported_at = now
            self.answer({"bytes": size})

    def page(self) -> dict[str, Any]:
        """Returns the record of the first video of a page, which yt-dlp fetches with Python's own sockets."""
        from yt_dlp import YoutubeDL
        from yt_dlp.networking._urllib import UrllibRH
        from yt_dlp.utils import DownloadError, UnsupportedError

        from data.media.kinds import HEAD_BYTES, SOUND, sniff, suffix_of

        class WebRH(UrllibRH):  # type: ignore[misc]
            _SUPPORTED_URL_SCHEMES = ("http", "https")

        class Downloader(YoutubeDL):  # type: ignore[misc]
            # The one road to the network: libcurl, which yt-dlp can use too, connects without Python's sockets.
            @cached_property
            def _request_director(self) -> Any:
                return self.build_request_director([WebRH])

        with Downloader(self._options()) as downloader:
            try:
                page = downloader.extract_info(self.address, download=True) or {}
            except DownloadError as error:
                cause = error.exc_info[1] if error.exc_info else None
                if isinstance(cause, UnsupportedError):
                    raise Failure("the page holds no video, and is neither an image nor a PDF") from error
                raise Failure(f"the page gives no video ({_plain(error)})") from error
        info = next(iter(page.get("entries") or ()), None) or page  # a page with several videos
        path = next((Path(d["filepath"]) for d in info.get("requested_downloads") or () if d.get("filepath")), None)
        if path is None:
            raise Failure("the page gives no video that has an end")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        content = sniff(head)
        if content not in _PLAIN:
            raise Failure(f"the page gives {'sound alone' if content == SOUND else content or 'no video'}")
        suffix = suffix_of_content(content, head, suffix_of(path), "")
        title, description = str(info.get("title") or ""), str(info.get("description") or "")
        if info.get("extractor_key") == "HTML5MediaEmbed":  # which numbers a page's videos, a single one too
            title = title.removesuffix(" (1)")
        return {"file": path.name, "name": "", "suffix": suffix, "title": title, "description": description}

    def _options(self) -> dict[str, Any]:
        """yt-dlp's options: one file without conversion, no program, no script engine, no file of this account."""

        def progress(status: dict[str, Any]) -> None:
            size = int(status.get("downloaded_bytes") or 0)
            self._check_size(max(size, int(status.get("total_bytes") or 0)))
            self._report(size)

        def whole_only(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
            return "it is a live stream" if info.get("is_live") else None

        one_file = "b[protocol^={0}]", "bv[protocol^={0}]"
        return {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "logger": _Silence(),
            "progress_hooks": [progress],
            "paths": {"home": os.fspath(self.folder)},
            "outtmpl": "media.%(ext)s",
            "format": "/".join(choice.format(protocol) for choice in one_file for protocol in ("http", "m3u8")),
            "format_sort": ["res:720"],
            "noplaylist": True,
            "playlist_items": "1",
            "match_filter": whole_only,
            "socket_timeout": self.stall_s,
            "retries": 2,
            "fragment_retries": 2,
            "extractor_retries": 1,
            "skip_unavailable_fragments": False,
            "external_downloader": {"default": "native"},
            "ffmpeg_location": os.fspath(self.folder / "none"),
            "fixup": "never",
            "postprocessors": [],
            "js_runtimes": {},
            "proxy": "",
            "cachedir": False,
            "updatetime": False,
            "enable_file_urls": False,
        }


class _Silence:
    """yt-dlp's messages go nowhere; errors are raised."""

    def debug(self, message: str) -> None: ...

    info = warning = error = debug


def _plain(error: Exception) -> str:
    """yt-dlp's reason without its marks and its advice for the command line."""
    reason = " ".join(str(error).removeprefix("ERROR: ").split())
    if "Requested format is not available" in reason:
        return "it is in no single file of http"
    reason = re.split(r"; please report|\(caused by| Use --| See ", reason)[0]
    return re.sub(r"^\[[\w:+]+\] (?:[\w-]+: )?", "", reason).strip(" .")[:200]


def _may_be_page(content: str | None, media_type: str) -> bool:
    """Whether yt-dlp may know the answer: HTML, or the list of a stream."""
    return content == "a web page" or media_type.endswith(("html", "html+xml", "mpegurl", "dash+xml"))


def _kind_of_unknown(content: str | None, name: str) -> str:
    """The kind of bytes that are not recognised, by the name; the decoder decides."""
    from data.media.kinds import kind_of

    if content is None and (kind := kind_of(name)) is not None:
        return kind
    raise Failure(f"it leads to {content or 'a file'}, and not to an image, a video, a PDF or a page with a video")


def _name(disposition: str, address: str) -> str:
    """The file's name: as the server gives it, or the last part of the address."""
    message = Message()
    message["content-disposition"] = disposition
    path = message.get_filename() or unquote(urlsplit(address).path)
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def suffix_of_content(kind: str, head: bytes, own: str, media_type: str) -> str:
    """The suffix for a file: its own if its first bytes allow it, else that of its media type or the usual one."""
    from data.media.kinds import EXTENSIONS

    candidates = own, mimetypes.guess_extension(media_type) or ""
    for offset, magic, suffixes in _SUFFIXES:
        if head[offset : offset + len(magic)] == magic:
            return next((suffix for suffix in candidates if suffix in suffixes), suffixes[0])
    return next((suffix for suffix in candidates if EXTENSIONS.get(suffix) == kind), _PLAIN[kind])


if __name__ == "__main__":
    main()
