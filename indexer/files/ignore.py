"""What an index run passes over: hidden files, the caches of other programs, `.sightlineignore`.

Built around gitignore's own rules (pathspec): a `.sightlineignore` in any folder speaks for that
folder and all below it, later and deeper lines win, `!name` takes something back in, also
something that is left out by default. It knows nothing of scanning or watching, which share it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

IGNORE_FILE = ".sightlineignore"

CACHES = frozenset(
    {
        "node_modules",
        "__pycache__",
        "@eaDir",  # Synology's thumbnails
        "@Recycle",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        "Thumbs.db",
        "iPod Photo Cache",
    }
)
"""Folders (and files) that hold other programs' copies or leftovers. Hidden names are left out as well:
.git, .thumbnails, .Trash-1000, .cache ..."""

CACHE_ENDINGS = (".lrdata", ".lrcat-data", ".cocatalog")
"""Preview stores of Lightroom and Capture One."""


@dataclass(frozen=True)
class Rules:
    """The rules inside one folder: (folder of a `.sightlineignore`, its patterns), outermost first."""

    specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def below(self, folder: str, has_file: bool) -> Rules:
        """The rules inside `folder`, a child (or the top) of where these hold."""
        if not has_file:
            return self
        try:
            lines = Path(folder, IGNORE_FILE).read_text("utf-8", "replace").splitlines()
            return Rules((*self.specs, (folder, GitIgnoreSpec.from_lines(lines))))
        except OSError:
            return self

    def leave_out(self, folder: str, name: str, is_dir: bool) -> bool:
        """Whether `name`, directly in `folder`, is passed over."""
        verdict = by_default(name)
        for top, spec in self.specs:
            below = os.path.join(folder, name)[len(top.rstrip(os.sep)) + 1 :]  # noqa: PTH118
            said = spec.check_file(below.replace(os.sep, "/") + ("/" if is_dir else "")).include
            verdict = verdict if said is None else said
        return verdict


def by_default(name: str) -> bool:
    """Hidden, or a cache by its name."""
    return name[0] == "." or name in CACHES or name.endswith(CACHE_ENDINGS)


def rules_for(root: str, folder: str) -> Rules | None:
    """The rules inside `folder` of a root, for whoever has not walked down to it; None when the folder
    itself is left out."""
    rules = Rules().below(root, Path(root, IGNORE_FILE).exists())
    at = root
    for name in Path(folder).relative_to(root).parts:
        if rules.leave_out(at, name, is_dir=True):
            return None
        at = os.path.join(at, name)  # noqa: PTH118
        rules = rules.below(at, Path(at, IGNORE_FILE).exists())
    return rules
