"""The model hub's data repositories: what they hold, and one file of them to the disk.

Built around `huggingface_hub`, which lists and reads, and `fetch_file`, which adds what that library's own
download leaves out: a stopped download goes on in the next run where it was, and nothing is kept whose
checksum is wrong. It knows nothing of what files are for.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """`sha256` of a large file; a small one has git's `blob` name alone, a SHA-1 of length and bytes."""

    repo: str
    path: str
    size: int
    sha256: str | None
    blob: str | None = None


class Hub:
    """The hub's listings, each asked for once. `HF_ENDPOINT` and `HF_TOKEN` are heeded."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        from huggingface_hub import HfApi

        self.api = HfApi((endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"), token)
        self._lists: dict[str, list[HubFile]] = {}

    def files(self, repo: str) -> list[HubFile]:
        """Every file of a data repository, with size and checksum. Raises `OSError`, `DownloadError`."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError
        from huggingface_hub.hf_api import RepoFile

        if repo not in self._lists:
            try:
                tree = self.api.list_repo_tree(repo, recursive=True, repo_type="dataset")
                self._lists[repo] = [
                    HubFile(repo, e.path, e.size, e.lfs.sha256 if e.lfs else None, e.blob_id)
                    for e in tree
                    if isinstance(e, RepoFile)
                ]
                if bad := [file.path for file in self._lists[repo] if not _stays_below(file.path)]:
                    del self._lists[repo]
                    raise DownloadError(f"{repo} lists {bad[0]!a}, which is no path below it; nothing is fetched of it")
            except HfHubHTTPError as error:
                raise _refused(error, repo, self.api.endpoint) from error
            except (HTTPError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, HTTPError) and "Protocol" not in type(error).__name__:
                    raise OSError(str(error)) from error
                raise OSError(f"its answer about {repo} is cut short or no listing") from error
        return self._lists[repo]


def _stays_below(path: str) -> bool:
    """Whether a path that the hub lists stays in the folder of its repository, on any system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts)


def _refused(error: Any, what: str, endpoint: str) -> Exception:
    """What the hub's refusal (an `HfHubHTTPError`) means."""
    code = error.response.status_code
    if code in (401, 403):
        return DownloadError(f"{what}: the hub asks for an account; accept the terms of the set there and set HF_TOKEN")
    return NotThere(f"{what}: not on the hub at {endpoint}") if code == 404 else OSError(f"the hub answers {code}")


def fetch_file(hub: Hub, file: HubFile, place: Path) -> None:
    """The file at `place`, whole and checked; what a stopped run left in `place`.part is not fetched again.

    Raises `DownloadError` after `TRIES` tries that brought nothing.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(file.repo, file.path, repo_type="dataset", endpoint=hub.api.endpoint)
    headers = build_hf_headers(token=hub.api.token, library_name="sightline")
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".part")
    problem, failures = "", 0
    while failures < TRIES:
        have = _size(partial)
        if have > file.size:
            partial.unlink()
            have = 0
        try:
            with partial.open("ab") as out:
                if have < file.size:
                    http_get(url, out, resume_size=have, headers=headers)
        except HfHubHTTPError as error:
            refusal = _refused(error, f"{file.repo}/{file.path}", hub.api.endpoint)
            if isinstance(refusal, DownloadError):
                raise refusal from error
            problem = str(refusal)
        except (OSError, HTTPError, RecursionError) as error:  # http_get calls itself after each break
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise DownloadError(f"the disk is full at {partial}; make room and start again") from error
            problem = str(error).splitlines()[0] or type(error).__name__
        if _size(partial) >= file.size:
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


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_whole(file: HubFile, path: Path) -> bool:
    """Size and checksum are those that the hub names."""
    if path.stat().st_size != file.size:
        return False
    git = b"blob %d\0" % file.size
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(git, usedforsecurity=False)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest() == (file.sha256 or file.blob)
