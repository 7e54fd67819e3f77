"""The model hub's data repositories: what they hold, and one file of them to the disk.

Built around `Hub`, a listing and bytes over HTTP, and `fetch_file`, which goes on where a stopped download
was and keeps nothing whose checksum is wrong. It knows nothing of what files are for.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 2**20
TRIES = 5
"""How often in a row a file may fail to grow before it is given up."""
PAUSE_S = 1.0
"""After a first failure; doubled after each further one."""


class DownloadError(Exception):
    """Something cannot be fetched. One sentence for a person: what, from where, what to do."""


class NotThere(DownloadError):
    """The hub does not have it."""


@dataclass(frozen=True)
class HubFile:
    """`sha256` of a large file; a small one has git's `blob` name instead, a SHA-1 of length and bytes."""

    repo: str
    path: str
    size: int
    sha256: str | None
    blob: str | None = None


class Hub:
    """The hub's listing and files over HTTP. `HF_ENDPOINT` and `HF_TOKEN` are heeded."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._token = token or os.environ.get("HF_TOKEN")
        self._lists: dict[str, list[HubFile]] = {}
        self._opener = urllib.request.build_opener(_Redirects)

    def files(self, repo: str) -> list[HubFile]:
        """Every file of a data repository, with size and checksum. Raises `OSError`, `DownloadError`."""
        if repo not in self._lists:
            found: list[HubFile] = []
            url: str | None = f"{self.endpoint}/api/datasets/{repo}/tree/main?recursive=true"
            while url:
                with self._open(url, repo) as reply:
                    try:
                        found += [_file(repo, e) for e in json.load(reply) if e["type"] == "file"]
                    except (http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                        raise OSError(f"its answer about {repo} is cut short or no listing") from error
                    url = _next_page(reply.headers.get("Link"))
            self._lists[repo] = found
        return self._lists[repo]

    def read(self, file: HubFile, start: int) -> BinaryIO:
        """The file's bytes from `start` on (or all of them: look at the reply's status)."""
        path = urllib.parse.quote(file.path)
        url = f"{self.endpoint}/datasets/{file.repo}/resolve/main/{path}"
        return self._open(url, f"{file.repo}/{file.path}", {"Range": f"bytes={start}-"} if start else {})

    def _open(self, url: str, what: str, headers: dict[str, str] | None = None) -> Any:
        sent = {"User-Agent": "sightline", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            return self._opener.open(urllib.request.Request(url, headers=sent), timeout=60)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise DownloadError(
                    f"{what}: the hub asks for an account; accept the terms of the set there and set HF_TOKEN"
                ) from error
            if error.code == 404:
                raise NotThere(f"{what}: not on the hub at {self.endpoint}") from error
            raise OSError(f"the hub answers {error.code}") from error
        except urllib.error.URLError as error:
            raise OSError(str(error.reason)) from error
        except http.client.HTTPException as error:
            raise OSError(f"the hub's answer is no HTTP ({error!r})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Large files lie on other hosts, behind signed addresses: the token is the hub's and stays there."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        before, after = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if following is not None and (before.scheme, before.netloc) != (after.scheme, after.netloc):
            following.remove_header("Authorization")
        return following


def fetch_file(hub: Hub, file: HubFile, place: Path) -> None:
    """The file at `place`, whole and checked; what a stopped run left in `place`.part is not fetched again.

    Raises `DownloadError` after `TRIES` tries that brought nothing.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".part")
    problem, failures = "", 0
    while failures < TRIES:
        have = _size(partial)
        if have > file.size:
            partial.unlink()
            have = 0
        try:
            if have < file.size or not partial.is_file():
                with hub.read(file, have) as reply:
                    goes_on = getattr(reply, "status", 200) == 206
                    with partial.open("ab" if goes_on else "wb") as out:
                        shutil.copyfileobj(reply, out, CHUNK)
            problem = "the connection ended early"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise DownloadError(f"the disk is full at {partial}; make room and start again") from error
            problem = str(error)
        if _size(partial) >= file.size and partial.is_file():
            if _is_whole(file, partial):
                partial.rename(place)
                return
            partial.unlink()
            problem = "its checksum was wrong"
            failures += 1
        elif _size(partial) > have:
            failures = 0
        else:
            failures += 1
            if failures < TRIES:
                time.sleep(PAUSE_S * 2 ** (failures - 1))
    raise DownloadError(
        f"{file.repo}/{file.path} could not be fetched in {TRIES} tries ({problem}); "
        "start the same command again, it goes on where it stopped"
    )


def _file(repo: str, entry: dict[str, Any]) -> HubFile:
    large = entry.get("lfs") or {}
    size = int(large.get("size", entry["size"]))
    return HubFile(repo, entry["path"], size, large.get("oid"), None if large else entry.get("oid"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_whole(file: HubFile, path: Path) -> bool:
    """Size and checksum, where the hub names one."""
    if path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _digest(hashlib.sha256(), path) == file.sha256
    if file.blob:
        return _digest(hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False), path) == file.blob
    return True


def _digest(digest: Any, path: Path) -> str:
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _next_page(link: str | None) -> str | None:
    for part in (link or "").split(","):
        if 'rel="next"' in part:
            return part.split(";")[0].strip(" <>")
    return None
