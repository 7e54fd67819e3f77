"""Fetch what an address leads to, an image, a video or a PDF: `fetch`, and `keep`, which puts it into a folder.

Built around a child process (`data.download.web_child`) that is confined to public addresses, writes one file into a
folder and answers in JSON. It ends when the time is over, when the caller cancels, and with this program. `keep` moves
the whole file under its final name, so that no watcher sees half of it; an XMP sidecar beside it holds title and
source. Needs the extra `web` (yt-dlp). It knows nothing of libraries.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from data.media.kinds import EXTENSIONS, suffix_of

EXTRA_MISSING = (
    "fetching an address needs a package that is not installed; "
    'run: pip install "sightline[web]" (in a checkout: make setup EXTRAS=cpu,web)'
)
_CHECK_S = 0.2
_MAX_NAME_BYTES = 150
"""Of a name without its suffix: with a number and `.xmp` it stays below the 255 of most file systems."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_TRIES = 10_000


class WebError(Exception):
    """Nothing was fetched. `str(error)` is one sentence for a person."""


@dataclass(frozen=True)
class Bounds:
    """What a fetch may cost. `stall_s`: without a byte; `total_s`: for all of it. `networks`: private networks that it
    may reach, such as "192.168.1.0/24"."""

    max_bytes: int = 2_000_000_000
    stall_s: float = 30.0
    total_s: float = 1800.0
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fetched:
    """`path`: the file, with a safe name; `address`: what was asked for; `title`, `description`: of a video's page."""

    path: Path
    address: str
    title: str = ""
    description: str = ""


def is_installed() -> bool:
    """Whether the extra `web` is installed."""
    return find_spec("yt_dlp") is not None


def checked(address: str) -> str:
    """Returns the address without blanks around it. Raises `WebError` unless it is one of http or https."""
    address = address.strip()
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme.lower() not in ("http", "https") or not host or re.search(r"[\x00-\x20\x7f]", address):
        raise WebError(f"{address[:80]!r} is no address of the web; it begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise WebError("an address with a name or a password in it is not fetched, because it would be kept")
    return address


def fetch(
    address: str,
    folder: Path,
    bounds: Bounds,
    *,
    on_bytes: Callable[[int], None] = lambda size: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Fetched:
    """Fetch the image, video or PDF at an address into an empty folder. `on_bytes` is called with the bytes so far.

    A video's page gives its first video, of at most 720 lines, in one file that holds picture and sound. Raises
    `WebError`: also for a private address, for more than `max_bytes`, and when it takes longer than the bounds.
    """
    address = checked(address)
    if not is_installed():
        raise WebError(EXTRA_MISSING)
    request = {
        "path": sys.path,
        "address": address,
        "folder": os.fspath(folder),
        "max_bytes": bounds.max_bytes,
        "stall_s": bounds.stall_s,
        "networks": bounds.networks,
    }
    answer = _run(request, bounds.total_s, on_bytes, is_cancelled)
    if "error" in answer:
        raise WebError(f"nothing fetched from {_shown(address)}: {answer['error']}")
    name = safe_name(answer["title"] or answer["name"] or urlsplit(address).hostname or "file", answer["suffix"])
    path = (folder / answer["file"]).rename(folder / name)
    return Fetched(path, address, answer["title"], answer["description"])


def _shown(address: str) -> str:
    return address if len(address) <= 100 else f"{address[:97]}…"


def safe_name(name: str, suffix: str) -> str:
    """Returns a file name for any system that ends in `suffix`: no folder, no control or reserved character, no dot or
    blank at its ends."""
    stem = name[: -len(suffix_of(name))] if suffix_of(name) in EXTENSIONS else name
    stem = "".join("_" if c in '<>:"/\\|?*' else c for c in stem if c.isprintable())
    stem = stem.encode("utf-8", "ignore")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(". ")
    return f"{'_' if _RESERVED.match(stem) else ''}{stem or 'file'}{suffix}"


def _run(
    request: dict[str, Any], total_s: float, on_bytes: Callable[[int], None], is_cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Returns the last answer of a child for a request, or why there is none."""
    here = Path(__file__).with_name("web_child.py")
    # Neither settings nor plugins nor programs of this account: `PATH` is empty.
    environment = {"YTDLP_NO_PLUGINS": "1", "PATH": "", "HOME": request["folder"], "TMPDIR": request["folder"]}
    environment |= {name: os.environ[name] for name in ("SYSTEMROOT", "LANG", "LC_ALL") if name in os.environ}
    flags: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.CREATE_NO_WINDOW}
    child = subprocess.Popen(
        [sys.executable, "-I", os.fspath(here)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd=request["folder"], env=environment, **flags,
    )  # fmt: skip
    done = threading.Event()
    verdict = ""

    def watch() -> None:
        nonlocal verdict
        deadline = time.monotonic() + total_s
        while not done.wait(_CHECK_S):
            if is_cancelled():
                verdict = "it was cancelled"
            elif time.monotonic() > deadline:
                verdict = f"it takes longer than {total_s:,.0f} s"
            if verdict:
                child.kill()
                return

    watcher = threading.Thread(target=watch, name="web-fetch", daemon=True)
    watcher.start()
    answer: dict[str, Any] = {}
    try:
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()  # left open: its end is the sign that this program has ended
        for line in child.stdout:
            answer = json.loads(line)
            if "bytes" in answer:
                on_bytes(answer["bytes"])
    finally:
        done.set()
        watcher.join()
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        child.wait()
    if "file" in answer or "error" in answer:
        return answer
    return {"error": verdict or f"the process that fetches ended ({child.returncode})"}


# -----------------------------------------------------------------------------------------------------------
# ---- Into a folder


def keep(fetched: Fetched, folder: Path) -> Path:
    """Move a fetched file and a sidecar with its source into a folder, under a name that is free there. Returns the
    path. Raises OSError."""
    hidden = folder / f".{os.urandom(8).hex()}.part"  # hidden and of no kind: nothing indexes it
    try:
        shutil.move(fetched.path, hidden)
        for number in range(1, _TRIES):
            stem, suffix = os.path.splitext(fetched.path.name)  # noqa: PTH122
            path = folder / (f"{stem} ({number}){suffix}" if number > 1 else fetched.path.name)
            sidecar = path.with_name(f"{path.name}.xmp")
            if path.exists():
                continue
            with contextlib.suppress(FileExistsError):
                with sidecar.open("x", encoding="utf-8") as out:  # first: whoever reads the file finds it beside
                    out.write(_sidecar(fetched))
                try:
                    _rename_to_new(hidden, path)
                except OSError:
                    sidecar.unlink()
                    raise
                return path
        raise FileExistsError(f"{folder} holds {_TRIES:,} files of the name {fetched.path.name}")
    finally:
        hidden.unlink(missing_ok=True)


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename in one step to a name that does not exist. Raises FileExistsError if it does."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        source.rename(target)


def _sidecar(fetched: Fetched) -> str:
    """An XMP packet with Dublin Core's source, title and description."""

    def text(value: str, limit: int) -> str:
        clean = "".join(c for c in value if c.isprintable() or c == "\n").encode("utf-8", "ignore").decode()
        return escape(clean[:limit])

    def alternatives(name: str, value: str) -> str:
        item = f'<rdf:Alt><rdf:li xml:lang="x-default">{value}</rdf:li></rdf:Alt>'
        return f"   <dc:{name}>{item}</dc:{name}>\n" if value else ""

    words = alternatives("title", text(fetched.title, 500))
    words += alternatives("description", text(fetched.description, 2000))
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">\n'
        f"   <dc:source>{text(fetched.address, 4000)}</dc:source>\n"
        f"{words}"
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="r"?>\n'
    )
