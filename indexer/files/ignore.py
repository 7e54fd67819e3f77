"""What an index run leaves out, and why: hidden files, other programs' copies, `.sightlineignore`.

Built around gitignore's own rules (pathspec): a `.sightlineignore` in any folder speaks for that
folder and all below it, later and deeper lines win, `!name` takes something back in, also
something that is left out by default. It knows nothing of scanning or watching, which share it.
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
UNREAD = "a kind of file that Sightline does not read"
UNHEARD = "sound is listened to where speech is installed and not off"
BESIDE = "words for pictures and films, read with those they lie beside"
NO_VIDEO = "the name of a video on something else"
NO_FILE = "neither a file nor a folder"
"""Why something is left out; `COPIES` is one more reason."""

_ANYWHERE = (
    *("@eadir", "#recycle", "#snapshot", "@sharesnap", "@tmp"),  # Synology
    *("@recycle", "@recently-snapshot", "@transcode"),  # QNAP
    *("~snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found"),
    *("appdata_oc*", "files_trashbin", "files_versions"),  # Nextcloud
    *("*.trickplay", "*.lrdata", "*.lrcat-data", "*.cocatalog", "ipod photo cache"),
    *("node_modules", "__pycache__", "__macosx"),
)
_BELOW = (
    *("*.photoslibrary/scopes", "*.photoslibrary/private", "*.photoslibrary/resources/derivatives"),
    *("*.photoslibrary/resources/cpl", "*.photolibrary/thumbnails", "*.photolibrary/previews"),
    *("*.aplibrary/thumbnails", "*.aplibrary/previews", "*.migratedphotolibrary/thumbnails"),
    *("*immich*/thumbs", "*immich*/encoded-video", "*immich*/profile"),
    *("*photoprism*/cache", "*photoprism*/storage/cache", "*photoprism*/storage/sidecar"),
    *("plex media server/cache", "plex media server/media", "plex media server/metadata"),
    *("*jellyfin*/cache", "*emby*/cache", "android/data/*/cache", "captureone/cache"),
)
"""Folders that hold what other programs derived from pictures and films, or threw away: by name, and by
name below other names, in small letters. Hidden names are left out as well: .git, .thumbnails, .Trash-1000 …"""


@dataclass(frozen=True)
class Intake:
    """What a library takes in beside pictures, films and PDFs: recordings of sound, other programs' copies."""

    sound: bool = False
    copies: bool = False

    def kind(self, path: str) -> Kind | None:
        """The kind of a file by its name, where names mislead by its first bytes; None if it is not taken in."""
        suffix = suffix_of(path)
        if suffix in SOUNDS:
            return "video" if self.sound else None
        return kind_by_content(Path(path)) if suffix in AMBIGUOUS_EXTENSIONS else kind_of(path)


DEFAULT = Intake()


def why_unread(name: str) -> str:
    """Why a file without a kind is left out."""
    suffix = suffix_of(name)
    if suffix in SOUNDS:
        return UNHEARD
    if suffix in AMBIGUOUS_EXTENSIONS:
        return NO_VIDEO
    return BESIDE if may_describe_others(name) else UNREAD


_IMMICH = (("thumbs", "encoded-video", "profile"), ".immich")
"""Folders of Immich wherever it keeps them, and the file that it lays into each."""


def _pattern(globs: Iterable[str]) -> str:
    return "|".join(re.escape(glob).replace(r"\*", "[^/]*") for glob in globs)


_ANY = re.compile(rf"(?:{_pattern(_ANYWHERE)}|trash-\d+)$")
_PATHS = re.compile(f"/(?:{_pattern(_BELOW)})$")
_LAST = {glob.rpartition("/")[2] for glob in _BELOW}


@dataclass(frozen=True)
class Rules:
    """The rules inside one folder: (folder of a `.sightlineignore`, its patterns), outermost first.

    With `copies`, those of other programs are taken in.
    """

    specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()
    copies: bool = False

    def below(self, folder: str, has_file: bool) -> Rules:
        """The rules inside `folder`, a child (or the top) of where these hold."""
        if not has_file:
            return self
        try:
            lines = Path(folder, IGNORE_FILE).read_text("utf-8", "replace").splitlines()
            return replace(self, specs=(*self.specs, (folder, GitIgnoreSpec.from_lines(lines))))
        except OSError:
            return self

    def why_not(self, folder: str, name: str, is_dir: bool) -> str | None:
        """Why `name`, directly in `folder`, is left out; None if it is not."""
        why = HIDDEN if name[0] == "." else None
        if why is None and is_dir and not self.copies and is_copy(folder, name):
            why = COPIES
        for top, spec in self.specs:
            below = os.path.join(folder, name)[len(top.rstrip(os.sep)) + 1 :]  # noqa: PTH118
            said = spec.check_file(below.replace(os.sep, "/") + ("/" if is_dir else "")).include
            why = why if said is None else RULE if said else None
        return why


def is_copy(folder: str, name: str) -> bool:
    """Whether another program keeps its copies or leftovers in a folder of this name in `folder`."""
    low = name.lower()
    if _ANY.match(low):
        return True
    if low not in _LAST:
        return False
    if low in _IMMICH[0] and Path(folder, name, _IMMICH[1]).exists():
        return True
    return _PATHS.search(os.path.join(folder, name).replace(os.sep, "/").lower()) is not None  # noqa: PTH118


def rules_for(root: str, folder: str, copies: bool = False) -> Rules | None:
    """The rules inside `folder` of a root, for whoever has not walked down to it; None when the folder
    itself is left out."""
    rules = Rules(copies=copies).below(root, Path(root, IGNORE_FILE).exists())
    at = root
    for name in Path(folder).relative_to(root).parts:
        if rules.why_not(at, name, is_dir=True):
            return None
        at = os.path.join(at, name)  # noqa: PTH118
        rules = rules.below(at, Path(at, IGNORE_FILE).exists())
    return rules
