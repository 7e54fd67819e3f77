"""The hub's repositories, of data and of models: list their files, download one file.

Built around `huggingface_hub`, which lists and reads, and `fetch_file`, which adds two things to that library's
download: the next run resumes a stopped download, and a file with a wrong checksum is deleted. It knows nothing of
the purpose of files.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRIES = 5
"""Consecutive attempts without a new byte before `DownloadError`."""
PAUSE_S = 1.0
"""The pause after a first failure; it doubles after each further one."""


class DownloadError(Exception):
    """A download fails. The message is for the user: what, from where, what to do."""


class NotThere(DownloadError):
    """The hub has no such repository or file."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. A large one has a `sha256`, a small one git's `blob` id (SHA-1 of size and bytes).

    `kind`: "dataset" or "model", the type of the repository.
    """

    repo: str
    path: str
    size: int
    sha256: str | None
    blob: str | None = None
    kind: str = "dataset"
    revision: str = "main"


class Hub:
    """The hub's file lists, each requested once. It uses `HF_ENDPOINT` and `HF_TOKEN`."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        from huggingface_hub import HfApi

        self.api = HfApi((endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"), token)
        self._lists: dict[tuple[str, str, str], list[HubFile]] = {}

    def revision(self, repo: str) -> str:
        """Returns the newest revision of a model repository. Raises `OSError`, `DownloadError`."""
        with _hub_errors(repo, self.api.endpoint):
            sha = self.api.model_info(repo).sha
            if not sha:
                raise ValueError
            return str(sha)

    def files(self, repo: str, kind: str = "dataset", revision: str = "main") -> list[HubFile]:
        """Returns every file of a repository, with size and checksum. Raises `OSError`, `DownloadError`."""
        from huggingface_hub.hf_api import RepoFile

        key = (repo, kind, revision)
        if key not in self._lists:
            with _hub_errors(repo, self.api.endpoint):
                tree = self.api.list_repo_tree(repo, recursive=True, repo_type=kind, revision=revision)
                self._lists[key] = [
                    HubFile(repo, e.path, e.size, e.lfs.sha256 if e.lfs else None, e.blob_id, kind, revision)
                    for e in tree
                    if isinstance(e, RepoFile)
                ]
                if bad := [file.path for file in self._lists[key] if not _stays_below(file.path)]:
                    del self._lists[key]
                    raise DownloadError(f"{repo} lists {bad[0]!a}, which is no path below it; nothing is fetched of it")
        return self._lists[key]


@contextlib.contextmanager
def _hub_errors(repo: str, endpoint: str) -> Iterator[None]:
    """Raises the errors of a request to the hub as `OSError` (temporary) or `DownloadError`."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined, unused-ignore]

    try:
        yield
    except HfHubHTTPError as error:
        raise _status_error(error, repo, endpoint) from error
    except (HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, HTTPError) and "Protocol" not in type(error).__name__:
            raise OSError(str(error)) from error
        raise OSError(f"its answer about {repo} is cut short or no listing") from error


def _stays_below(path: str) -> bool:
    """Whether a path that the hub lists stays in the folder of its repository, on any system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts)


def _status_error(error: Any, name: str, endpoint: str) -> Exception:
    """Returns the exception for the status code of an `HfHubHTTPError`."""
    code = error.response.status_code
    if code in (401, 403):
        return DownloadError(f"{name}: the hub asks for an account; accept the terms there and set HF_TOKEN")
    return NotThere(f"{name}: not on the hub at {endpoint}") if code == 404 else OSError(f"the hub answers {code}")


def fetch_file(hub: Hub, file: HubFile, target: Path) -> None:
    """Download a file to `target` and verify it, from the end of `target`.part if that exists.

    Raises `DownloadError` after `TRIES` attempts without a new byte.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined, unused-ignore]
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    url = hf_hub_url(file.repo, file.path, repo_type=file.kind, revision=file.revision, endpoint=hub.api.endpoint)
    headers = build_hf_headers(token=hub.api.token, library_name="sightline")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    problem, failures = "", 0
    while failures < TRIES:
        start = size_on_disk(partial)
        if start > file.size:
            partial.unlink()
            start = 0
        try:
            with partial.open("ab") as out:
                if start < file.size:
                    http_get(url, out, resume_size=start, headers=headers)
        except HfHubHTTPError as error:
            status_error = _status_error(error, f"{file.repo}/{file.path}", hub.api.endpoint)
            if isinstance(status_error, DownloadError):
                raise status_error from error
            problem = str(status_error)
        except (OSError, HTTPError, RecursionError) as error:  # http_get calls itself after each break
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise DownloadError(f"the disk is full at {partial}; make room and start again") from error
            problem = str(error).splitlines()[0] or type(error).__name__
        if size_on_disk(partial) >= file.size:
            if is_intact(file, partial):
                partial.rename(target)
                return
            partial.unlink()
            problem = "its checksum was wrong"
            failures += 1
        elif size_on_disk(partial) > start:
            failures = 0
        else:
            failures += 1
            if failures < TRIES:
                time.sleep(PAUSE_S * 2 ** (failures - 1))
    raise DownloadError(
        f"{file.repo}/{file.path} could not be fetched in {TRIES} tries ({problem}); "
        "start the same command again, it goes on where it stopped"
    )


def size_on_disk(path: Path) -> int:
    """Returns the bytes of a file; 0 if there is no such file."""
    return path.stat().st_size if path.is_file() else 0


def is_intact(file: HubFile, path: Path) -> bool:
    """Returns whether the file at `path` exists with the hub's size and checksum."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    git_header = b"blob %d\0" % file.size
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(git_header, usedforsecurity=False)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest() == (file.sha256 or file.blob)
