"""The rules that a library keeps for its roots, beside the `.sightlineignore` files in them: read, changed, counted.

Built around one setting and `files/ignore.py`; the user's own folders are only ever read, so these rules stand in the
catalogue. What other rules would change is counted by a walk over names. It knows nothing of the queue.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from indexer.catalogue.settings import RULES, StoredSettings
from indexer.errors import LibraryError
from indexer.files.ignore import IGNORE_FILE, Intake, Rules, wrong_rule
from indexer.files.roots import Folders, absolute
from indexer.types import FolderRules, RulesChange

MOST = 20_000
"""Characters of the rules of one root."""

COUNTED_S = 10.0
"""Seconds of counting: about a million files on a quick disk."""


def stored_rules(settings: StoredSettings) -> tuple[tuple[str, str], ...]:
    """Returns the path and the rules of each root that has some, as `Intake.rules`."""
    return tuple(sorted(json.loads(settings.get(RULES) or "{}").items()))


def all_rules(settings: StoredSettings, folders: Folders) -> list[FolderRules]:
    """Returns the rules of every root: those kept here, and those of the file in it."""
    kept = dict(stored_rules(settings))
    return [FolderRules(str(root.path), kept.get(str(root.path), ""), _of_file(root.path)) for root in folders.roots()]


def changed_rules(settings: StoredSettings, folders: Folders, folder: Path, text: str) -> tuple[tuple[str, str], ...]:
    """Returns `Intake.rules` with other rules of a root; nothing is stored. Raises `LibraryError` for a line that is no
    rule, and for a folder that is no root."""
    path = absolute(folder)
    if path not in (root.path for root in folders.roots()):
        raise LibraryError(f"{path} is no folder of the library; `sightline status` lists its folders.")
    if len(text) > MOST:
        raise LibraryError(f"These rules have {len(text):,} characters; a folder's rules have at most {MOST:,}.")
    lines = text.splitlines()
    if (wrong := wrong_rule(lines)) is not None:
        raise LibraryError(f"Line {wrong[0]} is no rule as in a .gitignore: {wrong[1]}")
    rest = {top: rules for top, rules in stored_rules(settings) if top != str(path)}
    if any(lines):
        rest[str(path)] = "\n".join(lines)
    return tuple(sorted(rest.items()))


def keep_rules(settings: StoredSettings, rules: tuple[tuple[str, str], ...]) -> None:
    settings.set(RULES, json.dumps(dict(rules)))


def concerned(root: Path, before: Intake, after: Intake, skip: Collection[str]) -> RulesChange:
    """Returns how many files below a root one of two intakes takes in and the other leaves out. `skip`: folders not to
    enter. Links to folders are not followed."""
    top = str(root)
    change, until = RulesChange(), time.monotonic() + COUNTED_S
    pending: list[tuple[str, Rules | None, Rules | None]] = [(top, before.rules_of(top), after.rules_of(top))]
    while pending:
        if time.monotonic() > until:
            return replace(change, at_least=True)
        folder, *both = pending.pop()
        try:
            with os.scandir(folder) as iterator:
                entries = list(iterator)
        except OSError:
            continue
        has_file = any(entry.name == IGNORE_FILE for entry in entries)
        inside = [None if rules is None else rules.below(folder, has_file) for rules in both]
        for entry in entries:
            is_dir = entry.is_dir(follow_symlinks=False)
            old, new = (
                rules if rules is not None and rules.why_not(folder, entry.name, is_dir) is None else None
                for rules in inside
            )
            if is_dir and (old or new) is not None and entry.path not in skip:
                pending.append((entry.path, old, new))
            elif not is_dir and (old is None) != (new is None) and after.kind(entry.path) is not None:
                change = replace(
                    change, left_out=change.left_out + (new is None), taken_in=change.taken_in + (old is None)
                )
    return change


def _of_file(root: Path) -> str:
    try:
        return (root / IGNORE_FILE).read_text("utf-8", "replace")[:MOST]
    except OSError:
        return ""
