"""Which files are left out, and why: hidden files, other programs' copies, the rules of a folder, `.sightlineignore`.

Built around the rules of gitignore (pathspec): those that the library keeps for a root, then each `.sightlineignore`,
which applies to its folder and all folders below it. Later and deeper lines win, and `!name` takes a file in again,
also one that is left out by default. The scanner and the watcher share it; it knows nothing of either.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pathspec import GitIgnoreSpec

from data.media.kinds import (
    AMBIGUOUS_EXTENSIONS,
    SOUNDS,
    Kind,
    kind_by_content,
    kind_of,
    may_describe_others,
    suffix_of,
)
from indexer.types import COPIES

IGNORE_FILE = ".sightlineignore"

HIDDEN = "hidden"
RULE = f"a rule in {IGNORE_FILE}"
KEPT_RULE = "a rule in the settings of its folder"
UNREAD = "a kind of file that Sightline does not read"
UNHEARD = "sound files are indexed only where speech is installed and on"
BESIDE = "subtitles and sidecars, read with the file beside them"
NO_VIDEO = "a video by its ending and not by its content"
NO_FILE = "neither a file nor a folder"
"""Reasons why a file or a folder is left out; `COPIES` is one more."""

_ANYWHERE = (
    *("@eadir", "#recycle", "#snapshot", "@sharesnap", "@tmp"),  # Synology
    *("@recycle", "@recently-snapshot", "@transcode"),  # QNAP
    *("~snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found"),
    *("appdata_oc*", "files_trashbin", "files_versions"),  # Nextcloud
    *("*.trickplay", "*.lrdata", "*.lrcat-data", "*.cocatalog", "ipod photo cache", "backups.backupdb"),
    *("mipmaps-*.d", "thumbnails_big", "square_thumbnails", "square_thumbnails_small"),  # darktable, LibrePhotos
    *("node_modules", "__pycache__", "__macosx"),
)
_BELOW = (
    *("*.photoslibrary/scopes", "*.photoslibrary/private", "*.photoslibrary/resources/derivatives"),
    *("*.photoslibrary/database", "*.photoslibrary/thumbnails", "*.photoslibrary/previews"),
    *(
        f"*.photoslibrary/resources/{name}"  # not "renders", the edited pictures
        for name in ("cpl", "proxies", "media", "modelresources", "projects", "segments", "journals", "smartsharing")
    ),
    *("*.photolibrary/thumbnails", "*.photolibrary/previews"),
    *(f"iphoto library/{name}" for name in ("data", "data.noindex", "thumbnails", "previews")),
    *("*.aplibrary/thumbnails", "*.aplibrary/previews", "*.migratedphotolibrary/thumbnails"),
    *("*immich*/thumbs", "*immich*/encoded-video", "*immich*/profile"),
    *("*photoprism*/cache", "*photoprism*/storage/cache", "*photoprism*/storage/sidecar"),
    *("plex media server/cache", "plex media server/media", "plex media server/metadata"),
    *("*jellyfin*/cache", "*jellyfin*/metadata", "*jellyfin*/config/metadata", "*emby*/cache", "*emby*/metadata"),
    *(f"*{cloud}*/data/*/{name}" for cloud in ("nextcloud", "owncloud") for name in ("cache", "uploads", "thumbnails")),
    *("android/data/*/cache", "captureone/cache", "*kodi*/userdata/thumbnails", "*piwigo*/_data/i"),
    *("*lychee*/uploads/thumb", "*lychee*/uploads/small", "*lychee*/uploads/medium"),
    *("*.fcpbundle/*/render files", "*.fcpbundle/*/transcoded media", "*.imovielibrary/*/render files"),
)
"""Folders with images and videos that other programs derived or deleted: by name, and by name below other
names, in lower case. Hidden names are left out as well: .git, .thumbnails, .Trash-1000 …"""


@dataclass(frozen=True)
class Intake:
    """What a library indexes beside images, videos and PDFs: sound files, other programs' copies. `rules`: of each root
    that has some, its path and their lines."""

    sound: bool = False
    copies: bool = False
    rules: tuple[tuple[str, str], ...] = ()

    def rules_of(self, root: str) -> Rules:
        """Returns the rules inside a root, without its `.sightlineignore`."""
        lines = dict(self.rules).get(root, "").splitlines()
        return Rules(((root, _spec(lines), KEPT_RULE),) if lines else (), self.copies)

    def kind(self, path: str) -> Kind | None:
        """Returns the kind of a file by its name, or by its first bytes if the name is ambiguous; None if it is
        left out."""
        suffix = suffix_of(path)
        if suffix in SOUNDS:
            return "video" if self.sound else None
        return kind_by_content(Path(path)) if suffix in AMBIGUOUS_EXTENSIONS else kind_of(path)


DEFAULT = Intake()


def why_unread(name: str) -> str:
    """Returns the reason why a file without a kind is left out."""
    suffix = suffix_of(name)
    if suffix in SOUNDS:
        return UNHEARD
    if suffix in AMBIGUOUS_EXTENSIONS:
        return NO_VIDEO
    return BESIDE if may_describe_others(name) else UNREAD


_IMMICH = (("thumbs", "encoded-video", "profile"), ".immich")
"""Names of Immich's folders, and the file that marks each of them."""


def _pattern(globs: Iterable[str]) -> str:
    return "|".join(re.escape(glob).replace(r"\*", "[^/]*") for glob in globs)


_ANY = re.compile(rf"(?:{_pattern(_ANYWHERE)}|trash-\d+)$")
_PATHS = re.compile(f"/(?:{_pattern(_BELOW)})$")
_LAST = {glob.rpartition("/")[2] for glob in _BELOW}


def wrong_rule(lines: Iterable[str]) -> tuple[int, str] | None:
    """Returns the first line that is no rule, and its number from 1; None if all are rules, comments or blank."""
    return next(((n, line.strip()) for n, line in enumerate(lines, 1) if not _is_rule(line)), None)


def _is_rule(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):  # "!" alone, a range like [z-a]
        return False
    return True


def _spec(lines: Iterable[str]) -> GitIgnoreSpec:
    """The rules of some lines; a line that is none is passed over, as git does."""
    return GitIgnoreSpec.from_lines(filter(_is_rule, lines))


@dataclass(frozen=True)
class Rules:
    """The rules inside one folder, outermost first: (the folder that they are for, its patterns, the reason to give).

    `copies`: other programs' copies are indexed.
    """

    specs: tuple[tuple[str, GitIgnoreSpec, str], ...] = ()
    copies: bool = False

    @property
    def in_files(self) -> bool:
        """Whether a file holds some of them, which may change at any time."""
        return any(reason == RULE for _, _, reason in self.specs)

    def below(self, folder: str, has_file: bool) -> Rules:
        """Returns the rules inside `folder`, a child of the folder of these rules, or the same folder."""
        if not has_file:
            return self
        try:
            lines = Path(folder, IGNORE_FILE).read_text("utf-8", "replace").splitlines()
            return replace(self, specs=(*self.specs, (folder, _spec(lines), RULE)))
        except OSError:
            return self

    def why_not(self, folder: str, name: str, is_dir: bool) -> str | None:
        """Returns the reason why `name` in `folder` is left out; None if it is not."""
        why = HIDDEN if name[0] == "." else None
        if why is None and is_dir and not self.copies and is_copy(folder, name):
            why = COPIES
        for top, spec, reason in self.specs:
            below = os.path.join(folder, name)[len(top.rstrip(os.sep)) + 1 :]  # noqa: PTH118
            matches = spec.check_file(below.replace(os.sep, "/") + ("/" if is_dir else "")).include
            why = why if matches is None else reason if matches else None
        return why


def is_copy(folder: str, name: str) -> bool:
    """Whether the folder `name` in `folder` is one that another program keeps its copies or deleted files in."""
    low = name.lower()
    if _ANY.match(low):
        return True
    if low not in _LAST:
        return False
    if low in _IMMICH[0] and Path(folder, name, _IMMICH[1]).exists():
        return True
    return _PATHS.search(os.path.join(folder, name).replace(os.sep, "/").lower()) is not None  # noqa: PTH118


def rules_for(root: str, folder: str, intake: Intake) -> Rules | None:
    """Returns the rules inside `folder` of a root, without a walk; None if the folder itself is left out."""
    rules = intake.rules_of(root).below(root, Path(root, IGNORE_FILE).exists())
    at = root
    for name in Path(folder).relative_to(root).parts:
        if rules.why_not(at, name, is_dir=True):
            return None
        at = os.path.join(at, name)  # noqa: PTH118
        rules = rules.below(at, Path(at, IGNORE_FILE).exists())
    return rules
